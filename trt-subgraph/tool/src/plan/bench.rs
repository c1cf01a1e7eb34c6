//! `tch-trt plan bench`.

use super::{Source, told};
use crate::Document;
use crate::Failure;
use crate::statistics::{Statistics, median};
use crate::terminal::{Style, progress, table};
use clap::Args;
use partitioner::quantity;
use serde::Serialize;
use std::time::{Duration, Instant};
use trt_subgraph::Random;
use trt_subgraph::session::{Session, Times};

/// Calls whose parts are timed, at most.
const TIMED: usize = 200;

/// Arguments of `plan bench`.
#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    source: Source,
    /// Seconds of timing
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = crate::seconds, allow_negative_numbers = true)]
    duration: f64,
    /// Seconds of warm-up
    #[arg(long, value_name = "S", default_value_t = 0.5, value_parser = crate::seconds, allow_negative_numbers = true)]
    warmup: f64,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What was measured.
#[derive(Serialize)]
pub(super) struct Measurement {
    plan: String,
    backend: &'static str,
    /// Was the engine in the plan?
    built_ahead: bool,
    /// Mapping and checking.
    open_ms: f64,
    /// Making the engine and memory for its tensors.
    engine_ms: f64,
    first_call_ms: f64,
    /// Calls one at a time, with their copies to and from the device.
    calls: Option<Statistics>,
    parts: Option<Parts>,
    weight_bytes: usize,
    arena_bytes: usize,
}

/// Medians of the parts of calls.
#[derive(Serialize)]
struct Parts {
    send_us: f64,
    execute_us: f64,
    fetch_us: f64,
}

impl Parts {
    fn of(times: &[Times]) -> Option<Parts> {
        let of = |part: fn(&Times) -> Duration| {
            let us: Vec<f64> = times.iter().map(|t| part(t).as_secs_f64() * 1e6).collect();
            median(&us)
        };
        Some(Parts { send_us: of(|t| t.send)?, execute_us: of(|t| t.execute)?, fetch_us: of(|t| t.fetch)? })
    }
}

impl Bench {
    pub(super) fn run(&self) -> Result<Measurement, Failure> {
        let name = &self.source.plan;
        let ms = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let plan = self.source.open()?;
        let open_ms = ms(start);
        let backend = self.source.backend(&plan)?;
        let options = self.source.options(&plan);
        let start = Instant::now();
        let mut session = Session::new(&plan, backend, &options).map_err(|e| told(name, e))?;
        let engine_ms = ms(start);
        let mut random = Random::new(1);
        for port in plan.inputs() {
            // 0 and 1 are good indices of nearly everything.
            let ty = port.ty.clone();
            let value = match ty.dtype.is_int() {
                true => random.literal_in(ty, 0.0, 2.0),
                false => random.literal(ty),
            };
            session.set(&port.name, &value).map_err(|e| told(name, e))?;
        }
        let mut call = || {
            let start = Instant::now();
            session.run().map_err(|e| told(name, e))?;
            Ok::<Duration, Failure>(start.elapsed())
        };
        let first_call_ms = call()?.as_secs_f64() * 1e3;
        let bar = progress(0, "calls");
        let mut calls = Vec::new();
        for (seconds, kept) in [(self.warmup, false), (self.duration, true)] {
            let start = Instant::now();
            while start.elapsed().as_secs_f64() < seconds {
                let time = call()?;
                if kept {
                    calls.push(time);
                }
            }
        }
        let timed = calls.len().min(TIMED);
        let parts = (0..timed).map(|_| session.run_timed().map_err(|e| told(name, e)));
        let parts = Parts::of(&parts.collect::<Result<Vec<_>, Failure>>()?);
        bar.finish_and_clear();
        let info = session.describe();
        Ok(Measurement {
            plan: name.clone(),
            backend: backend.name(),
            built_ahead: session.is_saved(),
            open_ms,
            engine_ms,
            first_call_ms,
            calls: Statistics::of(&mut calls),
            parts,
            weight_bytes: info.weight_bytes,
            arena_bytes: info.arena_bytes,
        })
    }
}

impl Document for Measurement {
    fn text(&self, style: Style) -> String {
        let how = if self.built_ahead { "saved in the plan" } else { "built now" };
        let mut out = format!("{} on {}\n", style.bold(&self.plan), self.backend);
        let ms = |v: f64| format!("{v:.2} ms");
        let mut rows = vec![
            vec!["opened and checked".to_string(), ms(self.open_ms)],
            vec![format!("engine, {how}"), ms(self.engine_ms)],
            vec!["first call".to_string(), ms(self.first_call_ms)],
        ];
        if let Some(s) = &self.calls {
            let us = |name: &str, v: f64| vec![name.to_string(), format!("{v:.1} us")];
            rows.extend([us("median call", s.median_us), us("best", s.min_us), us("p99", s.p99_us)]);
            if let Some(parts) = &self.parts {
                rows.push(us("inputs to the device", parts.send_us));
                rows.push(us("engine alone", parts.execute_us));
                rows.push(us("outputs from the device", parts.fetch_us));
            }
        }
        rows.push(vec!["weights".to_string(), quantity(self.weight_bytes as f64, "B")]);
        rows.push(vec!["working memory".to_string(), quantity(self.arena_bytes as f64, "B")]);
        out += &table(&rows);
        out
    }
}
