//! Attention: scores that only a softmax reads, whose result only one product reads, are not written. Each of the first two layers is put
//! off; whoever wants its result all the same gets it.

use super::softmax;
use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::gemm::attend::{Attend, Scores};
use crate::backend::cpu::gemm::batch::Batch;
use crate::backend::cpu::view::View;
use crate::network::{Layer, LayerKind, ValueId};

/// Scores, or their softmax, that have been put off.
#[derive(Clone, Debug)]
pub struct Attention {
    scores: Scores,
    softmax: bool,
}

impl Attention {
    /// Scores.
    pub fn of(scores: Scores) -> Attention {
        Attention { scores, softmax: false }
    }
}

/// The one layer that reads a value which no caller gets.
fn reader<'a>(a: &Assembler<'a>, value: ValueId) -> Option<&'a Layer> {
    let mut readers = a.network.layers.iter().filter(|layer| layer.inputs.contains(&value));
    let first = readers.next()?;
    let is_once = first.inputs.iter().filter(|v| **v == value).count() == 1;
    (is_once && readers.next().is_none() && !a.network.outputs.contains(&value)).then_some(first)
}

/// Is the product of this layer one that attention begins with?
pub fn begins(a: &Assembler, layer: &Layer) -> bool {
    let scores = a.network.ty(layer.outputs[0]);
    let keys = scores.shape[scores.rank() - 1];
    let softmax = reader(a, layer.outputs[0]).filter(|s| is_softmax(s, scores.rank()));
    let product = softmax.and_then(|s| reader(a, s.outputs[0]).filter(|p| takes(a, p, s.outputs[0])));
    scores.dtype == DType::F32 && Attend::fits(keys, a.machine.cache) && product.is_some()
}

/// Is this layer the softmax of scores that were put off? Then it is put off too.
pub fn goes_on(a: &mut Assembler, layer: &Layer, axis: usize, log: bool) -> bool {
    let scores = a.attended.get(&layer.inputs[0]).filter(|at| !at.softmax).map(|at| at.scores.clone());
    let Some(scores) = scores.filter(|_| !log && is_softmax(layer, axis + 1)) else { return false };
    a.attended.insert(layer.outputs[0], Attention { scores, softmax: true });
    true
}

/// The scores whose softmax the product of this layer begins with.
pub fn ends(a: &Assembler, layer: &Layer, transposed: bool) -> Option<Scores> {
    let at = a.attended.get(&layer.inputs[0]).filter(|at| at.softmax && !transposed)?;
    takes(a, layer, layer.inputs[0]).then(|| at.scores.clone())
}

fn is_softmax(layer: &Layer, rank: usize) -> bool {
    matches!(layer.kind, LayerKind::Softmax { axis, log: false } if axis + 1 == rank)
        && layer.epilogue.is_none()
}

/// Is the layer a product with this value as its first operand, and one with other batch axes for the second?
fn takes(a: &Assembler, layer: &Layer, value: ValueId) -> bool {
    let LayerKind::MatMul { transpose_a: false, .. } = layer.kind else { return false };
    let [first, second, ..] = layer.inputs[..] else { return false };
    let (scores, out) = (a.network.ty(value), a.network.ty(layer.outputs[0]));
    let is_plain = a.network.ty(second).dtype == DType::F32 && out.rank() == scores.rank();
    first == value && second != value && is_plain && out.elements() > 0
}

/// Emits what was put off, into the room of its value.
pub fn written(a: &mut Assembler, value: ValueId, at: Attention) -> View {
    let rank = a.network.ty(value).rank();
    let order: Vec<usize> = (0..rank).collect();
    let out = a.room(value, &order);
    let Scores { x, b, factor } = at.scores;
    Batch::emit(a, x, (b, factor), out.clone());
    if at.softmax {
        let scores = out.clone();
        let out = a.temporary(&scores.ty(), &order);
        softmax::emit(a, scores, out.clone(), rank - 1, false);
        a.define(value, out.clone());
        return out;
    }
    a.define(value, out.clone());
    out
}
