//! Where the time of a call goes: the steps of each engine, and the host around them.

use super::contender::{Arguments, Contender};
use crate::variant::Stitched;
use serde::Serialize;
use std::time::{Duration, Instant};
use trt_subgraph::backend::StepTime;
use trt_tool::Failure;

/// Mean times of the profiled calls, in microseconds.
#[derive(Serialize)]
pub(crate) struct Layers {
    pub(crate) calls: u32,
    /// A whole call: the host's part and the engines' own times.
    pub(crate) whole_us: f64,
    /// Of that, within engines.
    pub(crate) engines_us: f64,
    /// The rest: the interpreter, the host's operators, allocation.
    pub(crate) host_us: f64,
    /// The part of the engines' time that their steps do not account for, 0 to 1.
    pub(crate) unaccounted: f64,
    pub(crate) engines: Vec<EngineTime>,
}

/// One engine.
#[derive(Serialize)]
pub(crate) struct EngineTime {
    pub(crate) engine: usize,
    pub(crate) whole_us: f64,
    /// The sum of its steps.
    pub(crate) sum_us: f64,
    pub(crate) steps: Vec<StepShare>,
}

/// One step of an engine.
#[derive(Serialize)]
pub(crate) struct StepShare {
    pub(crate) step: String,
    pub(crate) us: f64,
    /// Part of the whole call, 0 to 1.
    pub(crate) share: f64,
}

/// Profiles calls for this long. `whole`: what a call takes that is not profiled, in microseconds, where profiling changes how
/// engines are started, as on a GPU; the host's part is what the engines leave of it.
pub(crate) fn profile(
    engines: &Contender<'_>,
    arguments: &Arguments,
    stitched: &Stitched,
    length: Duration,
    whole: Option<f64>,
) -> Result<Layers, Failure> {
    stitched.clusters.iter().for_each(|c| c.profiler.start());
    let (start, mut calls) = (Instant::now(), 0);
    let ran = tch::no_grad(|| {
        while start.elapsed() < length || calls < 3 {
            engines.call(arguments)?;
            calls += 1;
        }
        Ok::<_, Failure>(())
    });
    let elapsed = start.elapsed();
    let profiles: Vec<_> = stitched.clusters.iter().map(|c| c.profiler.stop()).collect();
    ran?;
    let each = |d: Duration| d.as_secs_f64() * 1e6 / f64::from(calls);
    // What engines do to time their steps is none of the call's.
    let waited: Duration = profiles.iter().map(|p| p.waited).sum();
    let engines_us: f64 = profiles.iter().map(|p| each(p.engine.whole)).sum();
    let host_us = match whole {
        Some(whole) => (whole - engines_us).max(0.0),
        None => each(elapsed.saturating_sub(waited)),
    };
    let whole_us = host_us + engines_us;
    let mut times = Vec::new();
    for (engine, profile) in profiles.iter().enumerate() {
        let step = |s: &StepTime| {
            let us = each(s.time);
            StepShare { step: s.step.clone(), us, share: us / whole_us }
        };
        times.push(EngineTime {
            engine,
            whole_us: each(profile.engine.whole),
            sum_us: each(profile.engine.steps.iter().map(|s| s.time).sum()),
            steps: profile.engine.steps.iter().map(step).collect(),
        });
    }
    let told: Vec<&EngineTime> = times.iter().filter(|t| !t.steps.is_empty()).collect();
    let (sum, of): (f64, f64) = (told.iter().map(|t| t.sum_us).sum(), told.iter().map(|t| t.whole_us).sum());
    Ok(Layers {
        calls,
        whole_us,
        engines_us,
        host_us,
        unaccounted: if of > 0.0 { 1.0 - sum / of } else { 0.0 },
        engines: times,
    })
}
