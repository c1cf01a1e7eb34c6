//! Rows of matrix products with one right factor may change places after the product as well as before it: permutations move below,
//! where they meet their inverses, and rows are read as they lie.
//!
//! ```text
//! permute(x; 1, 0, 2) @ w   =>   permute(x @ w; 1, 0, 2)
//! reshape(permute(x[b, h, s, d]; 2, 0, 1, 3) to [s * b, h * d]) @ w
//!                           =>   reshape(permute(reshape(permute(x; 0, 2, 1, 3) to [b, s, h * d]) @ w; 1, 0, 2))
//! ```

use super::Pass;
use crate::network::{Draft, Edit, Layer, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "rows", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::MatMul { transpose_a: false, .. } = layer.kind else { return None };
    let (left, right) = (layer.inputs[0], layer.inputs[1]);
    let (rows, factor) = (draft.ty(left), draft.ty(right));
    let alone = factor.shape[..factor.rank() - 2].iter().all(|&n| n == 1) && factor.rank() <= rows.rank();
    // What epilogues read must be the same for all rows.
    let same = |v: ValueId| {
        let shape = &draft.ty(v).shape;
        shape.iter().rev().skip(1).all(|&n| n == 1)
    };
    let by_row = layer.inputs[2..].iter().all(|&v| same(v));
    if !alone || !by_row || draft.is_static(left) || draft.ty(layer.outputs[0]).elements() == 0 {
        return None;
    }
    permuted(draft, at, layer, left).or_else(|| joined(draft, at, layer, left))
}

/// The permutation whose result `v` is and that nothing else reads, and its operand.
fn permutation(draft: &Draft, v: ValueId, at: usize) -> Option<(&[usize], ValueId)> {
    let producer = draft.producer(v).filter(|_| draft.only_reader(v, at))?;
    match &producer.kind {
        LayerKind::Permute { axes } if !axes.is_sorted() => Some((axes, producer.inputs[0])),
        _ => None,
    }
}

/// The product of another left factor.
fn product(patch: &mut Patch, layer: &Layer, left: ValueId) -> Option<ValueId> {
    let inputs = [&[left], &layer.inputs[1..]].concat();
    Some(patch.fused(layer.kind.clone(), &inputs, layer.epilogue.clone()).ok()?[0])
}

/// Of a permutation of rows.
fn permuted(draft: &Draft, at: usize, layer: &Layer, left: ValueId) -> Option<Edit> {
    let (axes, x) = permutation(draft, left, at)?;
    if *axes.last()? != axes.len() - 1 {
        return None;
    }
    let mut patch = Patch::new(draft, &layer.origin);
    let y = product(&mut patch, layer, x)?;
    let y = patch.add(LayerKind::Permute { axes: axes.to_vec() }, &[y]).ok()?;
    patch.only(layer.outputs[0], y)
}

/// Of rows that are joined of several axes after they were permuted.
fn joined(draft: &Draft, at: usize, layer: &Layer, left: ValueId) -> Option<Edit> {
    let reshape = draft.producer(left).filter(|_| draft.only_reader(left, at))?;
    let LayerKind::Reshape { shape } = &reshape.kind else { return None };
    let (axes, x) = permutation(draft, reshape.inputs[0], draft.definition(left)?)?;
    let sizes = &draft.ty(reshape.inputs[0]).shape;
    let depth = *shape.last()?;
    let of_rows = (1..sizes.len()).rev().find(|&p| sizes[p..].iter().product::<usize>() == depth)?;
    let rows = &axes[..of_rows];
    if rows.is_sorted() {
        return None;
    }
    let mut sorted = rows.to_vec();
    sorted.sort_unstable();
    let mut patch = Patch::new(draft, &layer.origin);
    let before = [&sorted, &axes[of_rows..]].concat();
    let y = if before.is_sorted() { x } else { patch.add(LayerKind::Permute { axes: before }, &[x]).ok()? };
    let flat: Vec<usize> = sorted.iter().map(|&a| draft.ty(x).shape[a]).chain([depth]).collect();
    let y = patch.reshape(y, flat).ok()?;
    let y = product(&mut patch, layer, y)?;
    let place = |a: &usize| sorted.binary_search(a).expect("one of them");
    let after = rows.iter().map(place).chain([of_rows]).collect();
    let y = patch.add(LayerKind::Permute { axes: after }, &[y]).ok()?;
    let y = patch.reshape(y, draft.ty(layer.outputs[0]).shape.clone()).ok()?;
    patch.only(layer.outputs[0], y)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::Binary;
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, binary, f32s};

    fn permute(b: &mut Builder, x: ValueId, axes: &[usize]) -> ValueId {
        b.add(LayerKind::Permute { axes: axes.to_vec() }, &[x]).unwrap()
    }

    fn product(b: &mut Builder, x: ValueId, w: &[usize]) -> ValueId {
        let w = b.parameter("w", f32s(w));
        b.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[x, w]).unwrap()
    }

    #[test]
    fn permutations_of_rows_meet_their_inverses() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[2, 3, 4]));
        let y = permute(&mut b, x, &[1, 0, 2]);
        let y = product(&mut b, y, &[4, 4]);
        let bias = b.parameter("bias", f32s(&[4]));
        let y = binary(&mut b, Binary::Add, y, bias);
        let y = permute(&mut b, y, &[1, 0, 2]);
        let y = binary(&mut b, Binary::Add, y, x);
        assert_eq!(check::run_kinds(&check::optimize(b.finish(vec![y]))), "matmul+");
    }

    #[test]
    fn heads_are_joined_where_they_lie() {
        let mut b = Builder::new();
        let heads = b.input(f32s(&[2, 3, 5, 4]));
        let x = b.input(f32s(&[2, 5, 12]));
        let y = permute(&mut b, heads, &[2, 0, 1, 3]);
        let y = b.add(LayerKind::Reshape { shape: vec![10, 12] }, &[y]).unwrap();
        let y = product(&mut b, y, &[12, 12]);
        let y = b.add(LayerKind::Reshape { shape: vec![5, 2, 12] }, &[y]).unwrap();
        let y = permute(&mut b, y, &[1, 0, 2]);
        let y = binary(&mut b, Binary::Add, y, x);
        assert_eq!(check::run_kinds(&check::optimize(b.finish(vec![y]))), "permute reshape matmul+");
    }

    #[test]
    fn products_with_a_factor_for_each_of_a_batch_stay() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[2, 3, 4]));
        let y = permute(&mut b, x, &[1, 0, 2]);
        let y = product(&mut b, y, &[3, 5, 4]);
        assert_eq!(check::kinds(&check::pass("rows", b.finish(vec![y]), true)), "permute matmul");
    }
}
