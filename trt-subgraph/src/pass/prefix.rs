//! A concatenation that begins as another one does reads that one's result: where all of it lies in the same memory, nothing is moved.
//!
//! ```text
//! x = concat(a, b)                 x = concat(a, b)
//! y = concat(a, b, c)      ->      y = concat(x, c)
//! ```
//!
//! In a densely connected network every layer reads the results of all before it; so each is written once.

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};
use std::collections::HashMap;

pub(super) const PASS: Pass = Pass {
    name: "prefix",
    rule: |_| {
        let mut known = Known::default();
        Box::new(move |draft, at| rule(draft, at, &mut known))
    },
};

/// The positions of concatenations, by what they begin with.
#[derive(Default)]
struct Known {
    positions: HashMap<[ValueId; 2], Vec<usize>>,
    /// As many layers have been looked at.
    seen: usize,
}

impl Known {
    /// Looks at layers that are new.
    fn update(&mut self, draft: &Draft) {
        for at in std::mem::replace(&mut self.seen, draft.len())..draft.len() {
            if let (LayerKind::Concat { .. }, Some(first)) = (&draft.layer(at).kind, beginning(draft, at)) {
                self.positions.entry(first).or_default().push(at);
            }
        }
    }
}

fn beginning(draft: &Draft, at: usize) -> Option<[ValueId; 2]> {
    draft.layer(at).inputs.first_chunk().copied()
}

fn rule(draft: &Draft, at: usize, known: &mut Known) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Concat { .. } = layer.kind else { return None };
    known.update(draft);
    let alike = known.positions.get(&beginning(draft, at)?)?;
    let begins = |&other: &usize| {
        let (other, live) = (draft.layer(other), draft.is_live(other));
        let shorter = other.inputs.len() < layer.inputs.len();
        live && shorter && other.kind == layer.kind && layer.inputs.starts_with(&other.inputs)
    };
    let longest = alike.iter().copied().filter(begins).max_by_key(|&o| draft.layer(o).inputs.len())?;
    let other = draft.layer(longest);
    let mut inputs = vec![other.outputs[0]];
    inputs.extend(&layer.inputs[other.inputs.len()..]);
    let mut patch = Patch::new(draft, &layer.origin);
    let new = patch.add(layer.kind.clone(), &inputs).ok()?;
    patch.only(layer.outputs[0], new)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::Unary;
    use crate::network::{Builder, LayerKind, Network, ValueId};
    use crate::pass::check::{self, f32s, unary};

    /// Concatenations of these inputs along the first axis, each read by another layer.
    fn joined(lists: &[&[usize]]) -> Network {
        let mut b = Builder::new();
        let x: Vec<ValueId> = (0..4).map(|_| b.input(f32s(&[2, 3]))).collect();
        let mut results = Vec::new();
        for list in lists {
            let parts: Vec<ValueId> = list.iter().map(|&i| x[i]).collect();
            let y = b.add(LayerKind::Concat { axis: 0 }, &parts).unwrap();
            results.push(unary(&mut b, Unary::Exp, y));
        }
        b.finish(results)
    }

    fn operands(lists: &[&[usize]]) -> Vec<usize> {
        let out = check::pass("prefix", joined(lists), true);
        let mut counts: Vec<usize> = out
            .layers
            .iter()
            .filter(|l| matches!(l.kind, LayerKind::Concat { .. }))
            .map(|l| l.inputs.len())
            .collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn the_longest_beginning_is_read() {
        assert_eq!(operands(&[&[0, 1], &[0, 1, 2], &[0, 1, 2, 3]]), [2, 2, 2]);
        // In whatever order they come.
        assert_eq!(operands(&[&[0, 1, 2, 3], &[0, 1, 2], &[0, 1]]), [2, 2, 2]);
        assert_eq!(operands(&[&[0, 0], &[0, 0, 0, 1]]), [2, 3]);
    }

    #[test]
    fn others_stay() {
        assert_eq!(operands(&[&[0, 1], &[1, 0, 2], &[0, 2, 1]]), [2, 3, 3]);
        assert_eq!(operands(&[&[0, 1], &[0, 1]]), [2, 2]);
    }
}
