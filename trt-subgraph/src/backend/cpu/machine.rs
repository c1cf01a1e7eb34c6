//! The machine that programs are assembled for.

use super::expr::Isa;
use super::onednn::OneDnn;
use super::tactic::Choice;
use super::team::Team;
use std::sync::Arc;

/// What decides how a network is run.
#[derive(Clone)]
pub struct Machine {
    /// Its vector instructions.
    pub isa: Isa,
    /// Bytes of a core's second-level cache.
    pub cache: usize,
    /// Threads that a step may use.
    pub threads: usize,
    /// oneDNN, where it is there.
    pub library: Option<Arc<OneDnn>>,
    /// Who chooses among ways of running a convolution.
    pub choice: Choice,
    /// Operations, and bytes moved, from which on a part of a batch is worth a thread.
    pub least_part: f64,
}

impl Machine {
    /// One of its threads, for a part of a batch.
    pub fn alone(&self) -> Machine {
        let choice = match &self.choice {
            Choice::Timed(_) => Choice::Timed(Team::new(1, None)),
            other => other.clone(),
        };
        Machine { threads: 1, choice, ..self.clone() }
    }
}
