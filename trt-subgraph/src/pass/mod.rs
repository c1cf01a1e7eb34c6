//! The optimiser: passes over the layer IR, one file each.
//!
//! A pass is a rule: shown one layer of a [`Draft`], it proposes an [`Edit`] or nothing. One place ([`Pass::run`]) carries the
//! edits out and counts them. An edit keeps the network's meaning, so the only thing that can go wrong in combination is
//! endless rewriting; sweeps and rounds are bounded. A rule's new layers read only what the rewritten value depends on, or
//! static values: no cycle can arise.
//!
//! Exactness: rules on scalars keep every bit (signed zeros, NaN, infinities). Folding a scale into weights (`affine`) and
//! fusing f16 chains (which then round once) change the last bits, as the layer IR allows.
//!
//! Debug builds verify the network after each pass. A bad rewrite is found by bisecting [`Options::step_limit`]; with the log
//! level `trace` every step is shown.

mod affine;
mod algebra;
mod broadcast;
#[cfg(test)]
mod check;
mod common;
mod concat;
mod dead;
mod epilogue;
mod fold;
mod horizontal;
mod lift;
mod lookup;
mod operands;
mod pad;
mod patches;
mod permute;
mod phases;
mod pointwise;
mod pool;
mod prefix;
mod reshape;
mod rows;
mod simplify;
mod sink;
mod slice;

use crate::network::{Draft, Edit, Network};

/// What the optimiser may do.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Stop after this many rewrites.
    pub step_limit: Option<usize>,
    /// Bytes that a product of static tables may take so that a call only picks its rows; see the pass `lookup`.
    pub table_bytes: usize,
    /// Transposed convolutions become plain ones wherever they can, not only where that moves and multiplies no more; see the pass `phases`.
    pub all_phases: bool,
}

/// Proposes an edit rooted at the layer at a position, or nothing.
type Rule = Box<dyn FnMut(&Draft, usize) -> Option<Edit>>;

/// One pass.
pub struct Pass {
    /// Its name, that of its file.
    pub name: &'static str,
    rule: fn(&Options) -> Rule,
}

/// Every pass in the order in which they run.
pub const PASSES: &[Pass] = &[
    dead::PASS,
    common::PASS,
    fold::PASS,
    algebra::PASS,
    broadcast::PASS,
    patches::PASS,
    reshape::PASS,
    permute::PASS,
    lift::PASS,
    rows::PASS,
    sink::PASS,
    slice::PASS,
    concat::PASS,
    prefix::PASS,
    pad::PASS,
    pool::PASS,
    pointwise::PASS,
    epilogue::PASS,
    affine::PASS,
    lookup::PASS,
    horizontal::PASS,
    phases::PASS,
];

/// The pass of this name.
pub fn by_name(name: &str) -> Option<&'static Pass> {
    PASSES.iter().find(|p| p.name == name)
}

/// Runs all passes until none has anything left to propose. The result computes the same from the same inputs and parameters.
pub fn optimize(network: Network, options: &Options) -> Network {
    const ROUNDS: usize = 8;
    let mut left = options.step_limit.unwrap_or(usize::MAX);
    let mut draft = Draft::new(network);
    for _ in 0..ROUNDS {
        let before = left;
        for pass in PASSES {
            let before = left;
            pass.sweep(&mut draft, options, &mut left);
            if left != before {
                draft = Draft::new(pass.finish(draft));
            }
        }
        if left == before {
            break;
        }
    }
    draft.finish()
}

impl Pass {
    /// Sweeps over a verified network until the rule is silent, or `left` steps were made.
    pub fn run(&self, network: Network, options: &Options, left: &mut usize) -> Network {
        let mut draft = Draft::new(network);
        self.sweep(&mut draft, options, left);
        self.finish(draft)
    }

    fn finish(&self, draft: Draft) -> Network {
        let network = draft.finish();
        debug_assert_eq!(network.verify(), Ok(()), "after the pass {}", self.name);
        network
    }

    fn sweep(&self, draft: &mut Draft, options: &Options, left: &mut usize) {
        const SWEEPS: usize = 32;
        let mut rule = (self.rule)(options);
        for _ in 0..SWEEPS {
            let before = *left;
            for at in 0..draft.len() {
                if !draft.is_live(at) {
                    continue;
                }
                let Some(edit) = rule(draft, at) else { continue };
                if *left == 0 {
                    return;
                }
                *left -= 1;
                log::trace!("{} at {} ({})", self.name, draft.layer(at).kind.name(), draft.layer(at).origin);
                draft.apply(edit);
            }
            if *left == before {
                return;
            }
        }
    }
}
