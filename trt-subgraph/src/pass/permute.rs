//! Permutations: one after the other are one, those that cancel are none; into a matrix product they become its transpose
//! flags, into a reduction other axes.

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "permute", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    match &layer.kind {
        LayerKind::Permute { axes } => permute(draft, at, axes),
        LayerKind::MatMul { transpose_a, transpose_b } => matmul(draft, at, [*transpose_a, *transpose_b]),
        LayerKind::Reduce { keep: false, axes, .. } => reduce(draft, at, axes),
        _ => None,
    }
}

/// The permutation that computes `v`, and what it reads.
fn source(draft: &Draft, v: ValueId) -> Option<(&[usize], ValueId)> {
    let layer = draft.producer(v)?;
    match &layer.kind {
        LayerKind::Permute { axes } => Some((axes, layer.inputs[0])),
        _ => None,
    }
}

fn permute(draft: &Draft, at: usize, axes: &[usize]) -> Option<Edit> {
    let layer = draft.layer(at);
    let mut patch = Patch::new(draft, &layer.origin);
    if axes.is_sorted() {
        return patch.only(layer.outputs[0], layer.inputs[0]);
    }
    let (inner, x) = source(draft, layer.inputs[0])?;
    let both = axes.iter().map(|&a| inner[a]).collect();
    let new = patch.add(LayerKind::Permute { axes: both }, &[x]).ok()?;
    patch.only(layer.outputs[0], new)
}

/// Takes the swap of the two last axes out of an operand's permutation. What is left of it is kept only where that leaves the
/// innermost axis in place, so that it moves whole rows.
fn matmul(draft: &Draft, at: usize, mut transpose: [bool; 2]) -> Option<Edit> {
    let layer = draft.layer(at);
    let mut patch = Patch::new(draft, &layer.origin);
    let mut inputs = layer.inputs.clone();
    for i in 0..2 {
        let Some((axes, x)) = source(draft, inputs[i]) else { continue };
        let mut rest = axes.to_vec();
        let last = rest.len() - 1;
        rest.swap(last - 1, last);
        if rest.is_sorted() {
            inputs[i] = x;
        } else if rest[last] == last && draft.only_reader(inputs[i], at) {
            inputs[i] = patch.add(LayerKind::Permute { axes: rest }, &[x]).ok()?;
        } else {
            continue;
        }
        transpose[i] = !transpose[i];
    }
    if inputs == layer.inputs {
        return None;
    }
    let kind = LayerKind::MatMul { transpose_a: transpose[0], transpose_b: transpose[1] };
    let new = patch.fused(kind, &inputs, layer.epilogue.clone()).ok()?;
    patch.only(layer.outputs[0], new[0])
}

/// Reduces the operand of a permutation, where the axes that remain keep their order.
fn reduce(draft: &Draft, at: usize, reduced: &[usize]) -> Option<Edit> {
    let layer = draft.layer(at);
    let (axes, x) = source(draft, layer.inputs[0])?;
    let left: Vec<usize> = (0..axes.len()).filter(|a| !reduced.contains(a)).map(|a| axes[a]).collect();
    if !left.is_sorted() {
        return None;
    }
    let LayerKind::Reduce { op, keep, .. } = layer.kind else { return None };
    let mut of_x: Vec<usize> = reduced.iter().map(|&a| axes[a]).collect();
    of_x.sort_unstable();
    let inputs = [&[x], &layer.inputs[1..]].concat();
    let mut patch = Patch::new(draft, &layer.origin);
    let kind = LayerKind::Reduce { op, axes: of_x, keep };
    let new = patch.fused(kind, &inputs, layer.epilogue.clone()).ok()?;
    patch.only(layer.outputs[0], new[0])
}

#[cfg(test)]
mod tests {
    use crate::network::layer::ReduceOp;
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, f32s};

    fn permute(b: &mut Builder, x: ValueId, axes: &[usize]) -> ValueId {
        b.add(LayerKind::Permute { axes: axes.to_vec() }, &[x]).unwrap()
    }

    #[test]
    fn chains_compose_and_cancel() {
        for (second, left) in [([1, 2, 0], ""), ([2, 0, 1], "permute")] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[2, 3, 4]));
            let y = permute(&mut b, x, &[2, 0, 1]);
            let y = permute(&mut b, y, &second);
            assert_eq!(check::kinds(&check::pass("permute", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn transposed_operands_become_flags() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[2, 5, 4])), b.parameter("w", f32s(&[3, 5])));
        let (xt, wt) = (permute(&mut b, x, &[0, 2, 1]), permute(&mut b, w, &[1, 0]));
        let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[xt, wt]).unwrap();
        let out = check::pass("permute", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "matmul");
        let kind = LayerKind::MatMul { transpose_a: true, transpose_b: true };
        assert_eq!(out.layers.last().unwrap().kind, kind);
    }

    #[test]
    fn what_is_left_of_a_key_permutation_moves_rows() {
        for (axes, rows) in [([0, 2, 3, 1], true), ([0, 2, 1, 3], true), ([3, 2, 1, 0], false)] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[2, 3, 4, 5]));
            let y = permute(&mut b, x, &axes);
            let shape = b.ty(y).shape.clone();
            let q = b.input(f32s(&[shape[0], shape[1], 7, shape[2]]));
            let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[q, y]).unwrap();
            let out = check::pass("permute", b.finish(vec![y]), true);
            assert_eq!(check::kinds(&out), "permute matmul");
            let LayerKind::Permute { axes } = &out.layers[0].kind else { panic!() };
            assert_eq!(axes[3] == 3, rows);
        }
    }

    #[test]
    fn reductions_name_the_axes_below() {
        for (axes, left) in [([0, 2, 3, 1], "reduce"), ([0, 3, 2, 1], "permute reduce")] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[2, 3, 4, 5]));
            let y = permute(&mut b, x, &axes);
            let kind = LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![3], keep: false };
            let y = b.add(kind, &[y]).unwrap();
            assert_eq!(check::kinds(&check::pass("permute", b.finish(vec![y]), true)), left);
        }
    }
}
