//! Which layers of a network are an attention.

use crate::DType;
use crate::network::expr::{Expr, Node, Scalar};
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::collections::HashMap;

/// The layers of one attention; all but the last leave nothing that others read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attention {
    /// Position of the product of queries and keys.
    pub scores: usize,
    /// Positions of the softmax and of what becomes of its result: a cast to halves, where some queries' weights may be made 0. Of f32, the
    /// latter alone, or nothing: the softmax again.
    pub weights: [usize; 2],
}

/// Which queries' weights are kept, of the operands from number 1 on of the layer that casts them.
pub struct Keep {
    pub condition: Expr,
    /// What the condition is where they are kept.
    pub when: bool,
}

/// The attentions of a network, by the position of the product with the values; those of f32 only where asked for.
pub fn find(network: &Network, of_f32: bool) -> HashMap<usize, Attention> {
    let mut readers = vec![0usize; network.values.len()];
    let mut maker = vec![usize::MAX; network.values.len()];
    for (at, layer) in network.layers.iter().enumerate() {
        layer.inputs.iter().for_each(|v| readers[v.index()] += 1);
        layer.outputs.iter().for_each(|v| maker[v.index()] = at);
    }
    network.outputs.iter().for_each(|v| readers[v.index()] += 1);
    // The layer that makes a value for one reader alone.
    let own = |v: ValueId| {
        let at = maker[v.index()];
        (readers[v.index()] == 1 && at != usize::MAX).then(|| (at, &network.layers[at]))
    };
    let mut out = HashMap::new();
    for (at, layer) in network.layers.iter().enumerate() {
        let LayerKind::MatMul { transpose_a: false, .. } = layer.kind else { continue };
        let found = own(layer.inputs[0]).and_then(|(last, c)| {
            let f32s = network.ty(layer.inputs[0]).dtype == DType::F32;
            let (softmax, s) = match is_softmax(network, c) {
                true if f32s => (last, c),
                _ => {
                    cast(network, c)?;
                    own(c.inputs[0]).filter(|(_, s)| is_softmax(network, s))?
                }
            };
            let (scores, m) = own(s.inputs[0])?;
            let wanted = of_f32 || network.ty(layer.inputs[1]).dtype != DType::F32;
            (wanted && fits(network, m, layer)).then_some(Attention { scores, weights: [softmax, last] })
        });
        out.extend(found.map(|attention| (at, attention)));
    }
    out
}

/// Is the layer a cast of its first operand to halves, or of f32 nothing? Then which of its rows are not made 0, if some may be.
pub fn cast(network: &Network, layer: &Layer) -> Option<Option<Keep>> {
    let LayerKind::Pointwise(expr) = &layer.kind else { return None };
    let node = |at: u32| expr.nodes[at as usize];
    let out = network.ty(layer.outputs[0]);
    let from = match (out.dtype, node(expr.root())) {
        (DType::F16 | DType::BF16, Node::Cast(_, from)) => from,
        (DType::F32, Node::Select(..)) => expr.root(),
        _ => return None,
    };
    if network.ty(layer.inputs[0]).shape != out.shape {
        return None;
    }
    let zero = |at: u32| matches!(node(at), Node::Const(_, v) if v == Scalar::Float(0.0));
    let (condition, when) = match node(from) {
        Node::Input(0) => return Some(None),
        Node::Select(c, a, b) if node(a) == Node::Input(0) && zero(b) => (c, true),
        Node::Select(c, a, b) if zero(a) && node(b) == Node::Input(0) => (c, false),
        _ => return None,
    };
    let condition = expr.clone().finish(condition);
    let of_rows = layer.inputs[1..].iter().all(|&v| network.ty(v).shape.last().is_none_or(|&n| n == 1));
    (of_rows && !condition.nodes.contains(&Node::Input(0))).then_some(Some(Keep { condition, when }))
}

fn is_softmax(network: &Network, layer: &Layer) -> bool {
    let LayerKind::Softmax { axis, log: false } = layer.kind else { return false };
    let ty = network.ty(layer.inputs[0]);
    ty.dtype == DType::F32 && axis + 1 == ty.rank() && layer.epilogue.is_none()
}

/// Are both products of one type, and their sizes those of the kernel?
fn fits(network: &Network, scores: &Layer, result: &Layer) -> bool {
    let LayerKind::MatMul { transpose_a, .. } = scores.kind else { return false };
    let (q, k, v) =
        (network.ty(scores.inputs[0]), network.ty(scores.inputs[1]), network.ty(result.inputs[1]));
    let (s, y) = (network.ty(scores.outputs[0]), network.ty(result.outputs[0]));
    let depth = q.shape[q.rank() - if transpose_a { 2 } else { 1 }];
    let width = y.shape[y.rank() - 1];
    let one =
        matches!(q.dtype, DType::F16 | DType::BF16 | DType::F32) && k.dtype == q.dtype && v.dtype == q.dtype;
    let size = |n: usize| (16..=128).contains(&n) && n.is_multiple_of(16);
    let together = s.shape[..s.rank() - 2] == y.shape[..y.rank() - 2];
    one && size(depth) && size(width) && s.elements() > 0 && y.elements() > 0 && together
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Builder, Expr};
    use crate::{Literal, TensorType};

    /// A product whose left factor is a cast of a softmax of scores, or of what stands for one of these.
    fn found(with: usize) -> usize {
        let mut b = Builder::new();
        let ty = |dtype, shape: &[usize]| TensorType::new(dtype, shape);
        let product = |transpose_b| LayerKind::MatMul { transpose_a: false, transpose_b };
        let q = b.input(ty(DType::F16, &[5, 16]));
        let mut x = b.constant(Literal::zeros(ty(DType::F32, &[5, 5])));
        if with >= 3 {
            let wide = Some(Expr::cast(DType::F32));
            x = b.fused(product(true), &[q, q], wide).unwrap()[0];
        }
        if with >= 2 {
            x = b.add(LayerKind::Softmax { axis: 1, log: false }, &[x]).unwrap();
        }
        let weights = if with >= 1 {
            b.add(LayerKind::Pointwise(Expr::cast(DType::F16)), &[x]).unwrap()
        } else {
            b.constant(Literal::zeros(ty(DType::F16, &[5, 5])))
        };
        let y = b.add(product(false), &[weights, q]).unwrap();
        find(&b.finish(vec![y]), true).len()
    }

    #[test]
    fn only_whole_attentions_are_found() {
        assert_eq!([0, 1, 2, 3].map(found), [0, 0, 0, 1]);
    }
}
