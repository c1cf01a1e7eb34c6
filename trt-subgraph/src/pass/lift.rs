//! Reshapes move above permutations that keep together what they split or join, where they meet other reshapes.
//!
//! ```text
//! reshape(permute(x[a, b, c]; 1, 0, 2) to [b, a, c1, c2])   =>   permute(reshape(x to [a, b, c1, c2]); 1, 0, 2, 3)
//! ```
//!
//! What is left in front of a reader is one permutation, which most readers take as it is.

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch};
use std::ops::Range;

pub(super) const PASS: Pass = Pass { name: "lift", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Reshape { shape } = &layer.kind else { return None };
    let moved = layer.inputs[0];
    let LayerKind::Permute { axes } = &draft.producer(moved)?.kind else { return None };
    let x = draft.producer(moved)?.inputs[0];
    if axes.is_sorted() || !draft.only_reader(moved, at) {
        return None;
    }
    let groups = groups(&draft.ty(moved).shape, shape)?;
    let whole = |of: &Range<usize>| axes[of.clone()].windows(2).all(|w| w[1] == w[0] + 1);
    if !groups.iter().all(|(from, _)| whole(from)) {
        return None;
    }
    let mut order: Vec<usize> = (0..groups.len()).collect();
    order.sort_by_key(|&g| axes[groups[g].0.start]);
    // Where each axis of the result is before it is permuted.
    let below: Vec<usize> = order.iter().flat_map(|&g| groups[g].1.clone()).collect();
    let new = (0..shape.len()).map(|axis| below.iter().position(|&b| b == axis)).collect::<Option<_>>()?;
    let mut patch = Patch::new(draft, &layer.origin);
    let y = patch.reshape(x, below.iter().map(|&axis| shape[axis]).collect::<Vec<_>>()).ok()?;
    let y = patch.add(LayerKind::Permute { axes: new }, &[y]).ok()?;
    patch.only(layer.outputs[0], y)
}

/// The smallest runs of axes of equally many elements; `None` where there are no elements, or no axes.
pub(super) fn groups(from: &[usize], to: &[usize]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    if from.contains(&0) {
        return None;
    }
    let mut out: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() && j < to.len() {
        let (start, mut left, mut right) = ((i, j), from[i], to[j]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left *= from.get(i)?;
                i += 1;
            } else {
                right *= to.get(j)?;
                j += 1;
            }
        }
        out.push((start.0..i, start.1..j));
    }
    // Only axes of size 1 are left, on one side.
    let last = out.last_mut()?;
    (last.0.end, last.1.end) = (from.len(), to.len());
    Some(out)
}

#[cfg(test)]
mod tests {
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, f32s};

    fn lifted(axes: &[usize], shape: &[usize]) -> String {
        let mut b = Builder::new();
        let x = b.input(f32s(&[2, 3, 4, 6]));
        let y = b.add(LayerKind::Permute { axes: axes.to_vec() }, &[x]).unwrap();
        let y = b.add(LayerKind::Reshape { shape: shape.to_vec() }, &[y]).unwrap();
        check::kinds(&check::pass("lift", b.finish(vec![y]), true))
    }

    #[test]
    fn what_stays_together_is_split_and_joined_before() {
        assert_eq!(lifted(&[1, 0, 2, 3], &[3, 2, 4, 2, 3]), "reshape permute");
        assert_eq!(lifted(&[2, 3, 0, 1], &[24, 6]), "reshape permute");
        assert_eq!(lifted(&[2, 3, 0, 1], &[1, 24, 1, 2, 3, 1]), "reshape permute");
    }

    #[test]
    fn what_a_permutation_brings_together_is_not() {
        assert_eq!(lifted(&[0, 2, 1, 3], &[2, 4, 18]), "permute reshape");
        assert_eq!(lifted(&[1, 0, 2, 3], &[6, 24]), "permute reshape");
    }
}
