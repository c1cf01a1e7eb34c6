//! Attention: scores that only a softmax reads, whose result only one product reads, are not written, masked or not. Each layer but the last is put
//! off; whoever wants its result all the same gets it.

use super::softmax;
use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::gemm::attend::Scores;
use crate::backend::cpu::gemm::batch::Batch;
use crate::backend::cpu::gemm::change::Change;
use crate::backend::cpu::view::View;
use crate::network::{Expr, Layer, LayerKind, ValueId};

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
    let softmax = reader(a, layer.outputs[0]).filter(|s| is_softmax(s, scores.rank()));
    let sums = |value| reader(a, value).is_some_and(|p| takes(a, p, value));
    let masked = |value| reader(a, value).is_some_and(|p| is_mask(a, p, value) && sums(p.outputs[0]));
    scores.dtype == DType::F32 && softmax.is_some_and(|s| sums(s.outputs[0]) || masked(s.outputs[0]))
}

/// An expression of scores, with these operands.
pub fn change(a: &mut Assembler, expr: Expr, operands: &[ValueId]) -> Change {
    Change { expr, operands: operands.iter().map(|&v| a.view(v)).collect() }
}

/// Is this layer the softmax of scores that were put off? Then it is put off too.
pub fn goes_on(a: &mut Assembler, layer: &Layer, axis: usize, log: bool) -> bool {
    let scores = a.attended.get(&layer.inputs[0]).filter(|at| !at.softmax).map(|at| at.scores.clone());
    let Some(scores) = scores.filter(|_| !log && is_softmax(layer, axis + 1)) else { return false };
    a.attended.insert(layer.outputs[0], Attention { scores, softmax: true });
    true
}

/// Is this layer an expression of a softmax that was put off? Then it is put off too.
pub fn masks(a: &mut Assembler, layer: &Layer, expr: &Expr) -> bool {
    let Some(&softmax) = layer.inputs.first() else { return false };
    let scores = a.attended.get(&softmax).filter(|at| at.softmax).map(|at| at.scores.clone());
    let Some(mut scores) = scores.filter(|s| s.after.is_none() && is_mask(a, layer, softmax)) else {
        return false;
    };
    scores.after = Some(change(a, expr.clone(), &layer.inputs[1..]));
    a.attended.insert(layer.outputs[0], Attention { scores, softmax: true });
    true
}

/// Is the layer an expression of this value, of its shape and type, that reads it as its first operand alone?
fn is_mask(a: &Assembler, layer: &Layer, value: ValueId) -> bool {
    let is_first = layer.inputs.first() == Some(&value) && !layer.inputs[1..].contains(&value);
    let [from, to] = [value, layer.outputs[0]].map(|v| a.network.ty(v));
    matches!(layer.kind, LayerKind::Pointwise(_)) && is_first && from == to
}

/// The scores whose softmax the product of this layer begins with.
pub fn ends(a: &Assembler, layer: &Layer, transposed: bool) -> Option<Scores> {
    let at = a.attended.get(&layer.inputs[0]).filter(|at| at.softmax && !transposed)?;
    takes(a, layer, layer.inputs[0]).then(|| at.scores.clone())
}

fn is_softmax(layer: &Layer, rank: usize) -> bool {
    matches!(layer.kind, LayerKind::Softmax { axis, log: false } if axis + 1 == rank)
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
    let Scores { x, b, factor, before, after } = at.scores;
    Batch::emit(a, x, (b, factor), out.clone());
    apply(a, before, &out);
    if at.softmax {
        let scores = out.clone();
        let out = a.temporary(&scores.ty(), &order);
        softmax::emit(a, scores, out.clone(), rank - 1, false);
        apply(a, after, &out);
        a.define(value, out.clone());
        return out;
    }
    a.define(value, out.clone());
    out
}

/// Emits a change of scores that have been written.
fn apply(a: &mut Assembler, change: Option<Change>, scores: &View) {
    if let Some(change) = change {
        let operands = [std::slice::from_ref(scores), &change.operands].concat();
        a.pointwise(&change.expr, &change.typing(), &operands, scores.clone());
    }
}
