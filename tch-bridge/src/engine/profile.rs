//! Where an engine's time goes, while somebody asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use trt_subgraph::backend::{RunError, StepTime};

/// Times gathered over some calls of one shape.
#[derive(Clone, Default, Debug)]
pub(crate) struct Profile {
    pub(crate) calls: u32,
    /// Time within the engine.
    pub(crate) whole: Duration,
    /// Of each step, in order; one that stands for the whole where the engine cannot tell them apart.
    pub(crate) steps: Vec<StepTime>,
}

/// Gathers a profile between `start` and `stop`; costs one load a call otherwise.
#[derive(Default)]
pub(crate) struct Profiler {
    running: AtomicBool,
    gathered: Mutex<Profile>,
}

impl Profiler {
    /// Begins a profile anew.
    #[cfg(feature = "tool")]
    pub(crate) fn start(&self) {
        *self.gathered() = Profile::default();
        self.running.store(true, Ordering::Release);
    }

    /// Ends the profile and gives it.
    #[cfg(feature = "tool")]
    pub(crate) fn stop(&self) -> Profile {
        self.running.store(false, Ordering::Release);
        std::mem::take(&mut self.gathered())
    }

    pub(crate) fn running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// Adds one call, which gives the times of its steps. A call of another shape begins anew.
    pub(crate) fn time(
        &self,
        call: impl FnOnce() -> Result<Vec<StepTime>, RunError>,
    ) -> Result<(), RunError> {
        let start = Instant::now();
        let steps = call()?;
        let whole = start.elapsed();
        let mut gathered = self.gathered();
        let same = gathered.steps.iter().map(|s| &s.step).eq(steps.iter().map(|s| &s.step));
        if !same {
            let zero = |s: &StepTime| StepTime { step: s.step.clone(), time: Duration::ZERO };
            *gathered = Profile { steps: steps.iter().map(zero).collect(), ..Profile::default() };
        }
        gathered.calls += 1;
        gathered.whole += whole;
        gathered.steps.iter_mut().zip(steps).for_each(|(sum, step)| sum.time += step.time);
        Ok(())
    }

    fn gathered(&self) -> std::sync::MutexGuard<'_, Profile> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
