//! Reshapes: of reshapes are one, to the same shape are none; a permutation that moves only axes of size 1 is one.

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "reshape", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let (&x, &result) = (layer.inputs.first()?, layer.outputs.first()?);
    let shape = &draft.ty(result).shape;
    let mut patch = Patch::new(draft, &layer.origin);
    match &layer.kind {
        LayerKind::Reshape { .. } if draft.ty(x).shape == *shape => patch.only(result, x),
        LayerKind::Reshape { .. } => {
            let inner = draft.producer(x)?;
            if !matches!(inner.kind, LayerKind::Reshape { .. }) {
                return None;
            }
            let new = patch.reshape(inner.inputs[0], shape.clone()).ok()?;
            patch.only(result, new)
        }
        LayerKind::Permute { axes } => {
            let moved: Vec<usize> = axes.iter().copied().filter(|&a| draft.ty(x).shape[a] != 1).collect();
            if !moved.is_sorted() {
                return None;
            }
            let new = patch.reshape(x, shape.clone()).ok()?;
            patch.only(result, new)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, f32s};

    fn reshapes(shapes: &[&[usize]]) -> String {
        let mut b = Builder::new();
        let mut y = b.input(f32s(&[2, 1, 6]));
        for shape in shapes {
            y = b.add(LayerKind::Reshape { shape: shape.to_vec() }, &[y]).unwrap();
        }
        check::kinds(&check::pass("reshape", b.finish(vec![y]), true))
    }

    #[test]
    fn chains_are_one_or_none() {
        assert_eq!(reshapes(&[&[12], &[3, 4]]), "reshape");
        assert_eq!(reshapes(&[&[12], &[3, 4], &[2, 1, 6]]), "");
    }

    #[test]
    fn permutations_of_ones_are_reshapes() {
        for (axes, kind) in [([1, 0, 2], "reshape"), ([2, 1, 0], "permute"), ([0, 1, 2], "")] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[2, 1, 6]));
            let y = b.add(LayerKind::Permute { axes: axes.to_vec() }, &[x]).unwrap();
            assert_eq!(check::kinds(&check::pass("reshape", b.finish(vec![y]), true)), kind);
        }
    }
}
