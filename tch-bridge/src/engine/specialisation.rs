//! One shape of one cluster: its key, and the engine that was built for it or why there is none.

use super::entry::Entry;
use super::parity::Parity;
use super::pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tch::Kind;

pub(crate) struct Specialisation {
    pub(crate) entry: Entry,
    pub(crate) outcome: Outcome,
    /// When it was last used, on the cluster's own clock.
    pub(crate) used: AtomicU64,
}

/// What an output tensor is made as.
pub(crate) struct OutputForm {
    pub(crate) sizes: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) kind: Kind,
}

pub(crate) enum Outcome {
    Ready(Box<Ready>),
    /// The host serves this shape, and why.
    Refused(String),
}

pub(crate) struct Ready {
    pub(crate) pool: Pool,
    /// The outputs in torch's terms.
    pub(crate) outputs: Vec<OutputForm>,
    pub(crate) ints: Vec<i64>,
    pub(crate) layers: usize,
    pub(crate) fused_layers: usize,
    pub(crate) build: Duration,
    /// What became of the plan that came with the module for this shape, if one did.
    pub(crate) plan: Option<String>,
    /// Are its prepared weights those of another shape?
    pub(crate) shares_weights: bool,
    /// What the guard of its precision found; none where it came with the module.
    pub(crate) parity: Option<Parity>,
}

impl Specialisation {
    pub(crate) fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }
}
