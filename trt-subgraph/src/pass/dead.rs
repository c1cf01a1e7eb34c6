//! Layers that nothing reads are dropped.

use super::Pass;
use crate::network::{Draft, Edit};

pub(super) const PASS: Pass = Pass { name: "dead", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    draft.layer(at).outputs.iter().all(|&v| draft.uses(v) == 0).then(|| Edit::drop(at))
}
