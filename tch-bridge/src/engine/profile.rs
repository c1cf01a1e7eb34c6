//! Where an engine's time goes, while somebody asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use trt_subgraph::backend::{Profile, RunError, StepTime};

/// Times gathered over some calls of one shape.
#[derive(Clone, Default, Debug)]
pub(crate) struct Gathered {
    pub(crate) calls: u32,
    /// Sums over the calls, as the engine tells them.
    pub(crate) engine: Profile,
    /// What the caller waited for all that, profiling included.
    pub(crate) waited: Duration,
}

/// Gathers a profile between `start` and `stop`; costs one load a call otherwise.
#[derive(Default)]
pub(crate) struct Profiler {
    running: AtomicBool,
    gathered: Mutex<Gathered>,
}

impl Profiler {
    /// Begins a profile anew.
    #[cfg(feature = "tool")]
    pub(crate) fn start(&self) {
        *self.gathered() = Gathered::default();
        self.running.store(true, Ordering::Release);
    }

    /// Ends the profile and gives it.
    #[cfg(feature = "tool")]
    pub(crate) fn stop(&self) -> Gathered {
        self.running.store(false, Ordering::Release);
        std::mem::take(&mut self.gathered())
    }

    pub(crate) fn running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Adds one call, which gives its times. A call of another shape begins anew.
    pub(crate) fn time(&self, call: impl FnOnce() -> Result<Profile, RunError>) -> Result<(), RunError> {
        let start = Instant::now();
        let profile = call()?;
        let waited = start.elapsed();
        let mut gathered = self.gathered();
        let same = gathered.engine.steps.iter().map(|s| &s.step).eq(profile.steps.iter().map(|s| &s.step));
        if !same {
            let zero = |s: &StepTime| StepTime { step: s.step.clone(), time: Duration::ZERO };
            let steps = profile.steps.iter().map(zero).collect();
            *gathered = Gathered { engine: Profile { steps, ..Profile::default() }, ..Gathered::default() };
        }
        gathered.calls += 1;
        gathered.waited += waited;
        gathered.engine.whole += profile.whole;
        gathered.engine.steps.iter_mut().zip(profile.steps).for_each(|(sum, step)| sum.time += step.time);
        Ok(())
    }

    fn gathered(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
