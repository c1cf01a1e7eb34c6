//! Forks of one engine: a caller takes one, runs it, puts it back. Lock-free unless a new fork has to be made.

use crossbeam_queue::ArrayQueue;
use std::sync::Mutex;
use trt_subgraph::backend::{CompileError, Engine, EngineInfo, Prepared, Weights};

/// The most idle forks that are kept; more callers at once than that make and drop their own.
const IDLE: usize = 64;

pub(crate) struct Pool {
    root: Mutex<Box<dyn Engine>>,
    idle: ArrayQueue<Box<dyn Engine>>,
    info: EngineInfo,
}

impl Pool {
    pub(crate) fn new(engine: Box<dyn Engine>) -> Pool {
        let info = engine.describe();
        let idle = ArrayQueue::new(IDLE);
        drop(idle.push(engine.fork()));
        Pool { root: Mutex::new(engine), idle, info }
    }

    /// Runs `f` on a fork of its own. A fork whose run panicked is not used again.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut dyn Engine) -> R) -> R {
        let mut fork = self.idle.pop().unwrap_or_else(|| self.root().fork());
        let result = f(&mut *fork);
        drop(self.idle.push(fork));
        result
    }

    /// Prepares the weights of all forks anew.
    pub(crate) fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        self.root().refit(weights)
    }

    /// The prepared weights of all forks, where engines of other networks can use them.
    pub(crate) fn prepared(&self) -> Option<Prepared> {
        self.root().prepared()
    }

    pub(crate) fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn root(&self) -> std::sync::MutexGuard<'_, Box<dyn Engine>> {
        self.root.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
