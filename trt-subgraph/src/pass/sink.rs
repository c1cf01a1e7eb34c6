//! Permutations and reshapes move below pointwise layers, where they meet their inverses and no longer stand between a
//! layer and what could be its epilogue.
//!
//! ```text
//! y = permute(a) + permute(b) * s   =>   y = permute(a + b * s')    s static, s' = s permuted back
//! y = relu(reshape(convolution(x))) =>   y = reshape(relu(convolution(x)))
//! ```
//!
//! Every operand must be moved alike (and read here alone), have one element, or be static. Never more layers per call.

use super::Pass;
use super::lift::groups;
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "sink", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let result = layer.outputs.first().copied()?;
    if !matches!(layer.kind, LayerKind::Pointwise(_)) || draft.is_static(result) {
        return None;
    }
    let moved = |v: ValueId| {
        let movement = draft.producer(v)?;
        let moves = matches!(movement.kind, LayerKind::Reshape { .. } | LayerKind::Permute { .. });
        (moves && !draft.is_static(v) && draft.only_reader(v, at)).then_some(movement)
    };
    let movement = layer.inputs.iter().find_map(|&v| moved(v))?;
    let source = &draft.ty(movement.inputs[0]).shape;

    let mut patch = Patch::new(draft, &layer.origin);
    let mut inputs = Vec::with_capacity(layer.inputs.len());
    for &v in &layer.inputs {
        inputs.push(match moved(v) {
            Some(m) if m.kind == movement.kind && draft.ty(m.inputs[0]).shape == *source => m.inputs[0],
            _ if draft.ty(v).elements() == 1 => patch.reshape(v, []).ok()?,
            _ if draft.is_static(v) => moved_back(&mut patch, v, &movement.kind, source)?,
            _ => return None,
        });
    }
    let new = patch.add(layer.kind.clone(), &inputs).ok()?;
    let new = patch.add(movement.kind.clone(), &[new]).ok()?;
    patch.only(result, new)
}

/// `v`, broadcast against the result of a movement, as it broadcasts against the operand (of shape `source`).
fn moved_back(patch: &mut Patch, v: ValueId, movement: &LayerKind, source: &[usize]) -> Option<ValueId> {
    match movement {
        LayerKind::Permute { axes } => {
            let shape = &patch.ty(v).shape;
            let aligned = [&vec![1; axes.len().checked_sub(shape.len())?][..], shape].concat();
            let aligned = patch.reshape(v, aligned).ok()?;
            let back = (0..axes.len()).map(|i| axes.iter().position(|&a| a == i)).collect::<Option<_>>()?;
            patch.add(LayerKind::Permute { axes: back }, &[aligned]).ok()
        }
        LayerKind::Reshape { shape } => {
            let shape = regrouped(&patch.ty(v).shape, shape, source)?;
            patch.reshape(v, shape).ok()
        }
        _ => patch.reshape(v, source).ok(),
    }
}

/// The shape of what broadcasts against the result of a reshape, as it broadcasts against the operand (of shape `source`): along axes that
/// the reshape splits or joins it has all elements or one.
fn regrouped(shape: &[usize], result: &[usize], source: &[usize]) -> Option<Vec<usize>> {
    let aligned = [&vec![1; result.len().checked_sub(shape.len())?][..], shape].concat();
    let mut out = Vec::with_capacity(source.len());
    for (of_source, of_result) in groups(source, result)? {
        match &aligned[of_result.clone()] {
            ones if ones.iter().all(|&n| n == 1) => out.extend(of_source.map(|_| 1)),
            all if *all == result[of_result] => out.extend(&source[of_source]),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, binary, f32s, unary};

    fn permute(b: &mut Builder, x: ValueId, axes: &[usize]) -> ValueId {
        b.add(LayerKind::Permute { axes: axes.to_vec() }, &[x]).unwrap()
    }

    #[test]
    fn permutations_sink_and_cancel() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[2, 3, 4, 5]));
        let s = b.parameter("s", f32s(&[3]));
        let y = permute(&mut b, x, &[0, 2, 3, 1]);
        let y = binary(&mut b, Binary::Mul, y, s);
        let y = unary(&mut b, Unary::Exp, y);
        let y = permute(&mut b, y, &[0, 3, 1, 2]);
        assert_eq!(check::run_kinds(&check::optimize(b.finish(vec![y]))), "pointwise");
    }

    #[test]
    fn both_sides_moved_alike() {
        for (axes, left) in [([1, 0], "pointwise permute"), ([0, 1], "permute pointwise")] {
            let mut b = Builder::new();
            let (x, z) = (b.input(f32s(&[4, 4])), b.input(f32s(&[4, 4])));
            let (p, q) = (permute(&mut b, x, &[1, 0]), permute(&mut b, z, &axes));
            let y = binary(&mut b, Binary::Sub, p, q);
            let network = check::pass("permute", b.finish(vec![y]), true);
            assert_eq!(check::kinds(&check::pass("sink", network, true)), left);
        }
    }

    #[test]
    fn a_reshape_leaves_the_epilogue_free() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[4, 6])), b.parameter("w", f32s(&[6, 6])));
        let table = b.parameter("table", f32s(&[4, 2, 3]));
        let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, w]).unwrap();
        let y = b.add(LayerKind::Reshape { shape: vec![4, 2, 3] }, &[y]).unwrap();
        let y = binary(&mut b, Binary::Add, y, table);
        let y = unary(&mut b, Unary::Tanh, y);
        assert_eq!(check::run_kinds(&check::optimize(b.finish(vec![y]))), "matmul+ reshape");
    }

    #[test]
    fn what_broadcasts_is_regrouped_with_the_axes() {
        for (from, to, other, left) in [
            (&[2, 3, 5][..], &[6, 5][..], &[5][..], "pointwise reshape"),
            (&[2, 3, 5], &[6, 5], &[6, 5], "pointwise reshape"),
            (&[2, 3, 5], &[6, 5], &[6, 1], "pointwise reshape"),
            (&[2, 7, 6], &[2, 7, 3, 2], &[7, 1, 1], "pointwise reshape"),
            (&[6, 5], &[2, 3, 5], &[3, 1], "reshape pointwise"),
        ] {
            let mut b = Builder::new();
            let (x, other) = (b.input(f32s(from)), b.parameter("other", f32s(other)));
            let y = b.add(LayerKind::Reshape { shape: to.to_vec() }, &[x]).unwrap();
            let y = binary(&mut b, Binary::Add, y, other);
            assert_eq!(check::run_kinds(&check::pass("sink", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn a_movement_with_other_readers_or_another_operand_stays() {
        let mut b = Builder::new();
        let (x, z) = (b.input(f32s(&[3, 4])), b.input(f32s(&[4, 3])));
        let p = permute(&mut b, x, &[1, 0]);
        let outputs = vec![unary(&mut b, Unary::Exp, p), binary(&mut b, Binary::Add, p, z)];
        let out = check::pass("sink", b.finish(outputs), true);
        assert_eq!(check::kinds(&out), "permute pointwise pointwise");
    }
}
