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
            let narrow = narrowed(draft, &layer.inputs, 0)?;
            let new = patch.add(layer.kind.clone(), &narrow).ok()?;
            if patch.ty(new).shape == *shape {
                return patch.only(result, new);
            }
            let stretched = patch.add(LayerKind::Broadcast { shape: shape.clone() }, &[new]).ok()?;
            patch.only(result, stretched)
        }
        kind => {
            let own = kind.arity()?;
            let whole = if matches!(kind, LayerKind::MatMul { .. }) { 0 } else { own };
            let narrow = narrowed(draft, &layer.inputs, whole)?;
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

/// The operands with broadcasts skipped from position `from` on; `None` when there are none.
fn narrowed(draft: &Draft, inputs: &[ValueId], from: usize) -> Option<Vec<ValueId>> {
    let mut out = inputs.to_vec();
    for v in &mut out[from.min(inputs.len())..] {
        *v = source(draft, *v).unwrap_or(*v);
    }
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
}
