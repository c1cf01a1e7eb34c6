//! Broadcasts: of broadcasts are one, to the same shape are none; before layers that broadcast anyhow they go, or move below.

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "broadcast", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let result = *layer.outputs.first()?;
    let shape = &draft.ty(result).shape;
    let mut patch = Patch::new(draft, &layer.origin);
    match &layer.kind {
        LayerKind::Broadcast { .. } if draft.ty(layer.inputs[0]).shape == *shape => {
            patch.only(result, layer.inputs[0])
        }
        LayerKind::Broadcast { .. } => {
            let new = patch.add(layer.kind.clone(), &[source(draft, layer.inputs[0])?]).ok()?;
            patch.only(result, new)
        }
        LayerKind::Pointwise(_) => {
            let narrow = narrowed(draft, &layer.inputs, |_, _| true)?;
            let new = patch.add(layer.kind.clone(), &narrow).ok()?;
            if patch.ty(new).shape == *shape {
                return patch.only(result, new);
            }
            let stretched = patch.add(LayerKind::Broadcast { shape: shape.clone() }, &[new]).ok()?;
            patch.only(result, stretched)
        }
        kind => {
            let own = kind.arity()?;
            let product = matches!(kind, LayerKind::MatMul { .. });
            let narrow = narrowed(draft, &layer.inputs, |i, x| {
                i >= own || (product && matrix(draft, x) == matrix(draft, layer.inputs[i]))
            })?;
            let new = patch.fused(kind.clone(), &narrow, layer.epilogue.clone()).ok()?;
            patch.only(result, new[0])
        }
    }
}

/// What the broadcast that computes `v` reads.
fn source(draft: &Draft, v: ValueId) -> Option<ValueId> {
    let layer = draft.producer(v)?;
    matches!(layer.kind, LayerKind::Broadcast { .. }).then(|| layer.inputs[0])
}

/// The two last sizes.
fn matrix(draft: &Draft, v: ValueId) -> &[usize] {
    let shape = &draft.ty(v).shape;
    &shape[shape.len().saturating_sub(2)..]
}

/// The operands with broadcasts skipped where operand `i` may as well be `x`; `None` when there are none.
fn narrowed(draft: &Draft, inputs: &[ValueId], may: impl Fn(usize, ValueId) -> bool) -> Option<Vec<ValueId>> {
    let narrow = |(i, &v)| source(draft, v).filter(|&x| may(i, x)).unwrap_or(v);
    let out: Vec<ValueId> = inputs.iter().enumerate().map(narrow).collect();
    (out != inputs).then_some(out)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, binary, f32s, unary};

    fn broadcast(b: &mut Builder, x: ValueId, shape: &[usize]) -> ValueId {
        b.add(LayerKind::Broadcast { shape: shape.to_vec() }, &[x]).unwrap()
    }

    #[test]
    fn chains_are_one() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[1, 3]));
        let y = broadcast(&mut b, x, &[2, 3]);
        let y = broadcast(&mut b, y, &[4, 2, 3]);
        let y = broadcast(&mut b, y, &[4, 2, 3]);
        assert_eq!(check::kinds(&check::pass("broadcast", b.finish(vec![y]), true)), "broadcast");
    }

    #[test]
    fn pointwise_layers_broadcast_anyhow() {
        let mut b = Builder::new();
        let (x, z) = (b.input(f32s(&[3])), b.input(f32s(&[2, 3])));
        let y = broadcast(&mut b, x, &[2, 3]);
        let y = binary(&mut b, Binary::Add, y, z);
        assert_eq!(check::kinds(&check::pass("broadcast", b.finish(vec![y]), true)), "pointwise");
    }

    #[test]
    fn work_happens_before_stretching() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[3]));
        let y = broadcast(&mut b, x, &[2, 3]);
        let y = unary(&mut b, Unary::Exp, y);
        let out = check::pass("broadcast", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "pointwise broadcast");
    }

    #[test]
    fn matrix_products_broadcast_leading_axes_alone() {
        for (from, left) in [([1, 3, 4], "matmul"), ([2, 3, 1], "broadcast matmul")] {
            let mut b = Builder::new();
            let (x, w) = (b.input(f32s(&from)), b.input(f32s(&[2, 4, 5])));
            let y = broadcast(&mut b, x, &[2, 3, 4]);
            let kind = LayerKind::MatMul { transpose_a: false, transpose_b: false };
            let y = b.add(kind, &[y, w]).unwrap();
            assert_eq!(check::kinds(&check::pass("broadcast", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn a_stretched_inner_axis_counts() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[3, 1]));
        let y = broadcast(&mut b, x, &[3, 5]);
        let kind = LayerKind::MatMul { transpose_a: false, transpose_b: true };
        let y = b.add(kind, &[y, y]).unwrap();
        assert_eq!(check::kinds(&check::pass("broadcast", b.finish(vec![y]), true)), "broadcast matmul");
    }
}
