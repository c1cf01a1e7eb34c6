//! `tch-trt bench`: how fast are the engines, and whom do they beat?

mod chart;
mod contender;
mod layers;
mod machine;
mod text;

use super::inspect;
use super::model::{Loaded, ModelArgs};
use super::spec::{Filling, Point};
use crate::switch;
use clap::Args;
use contender::{Arguments, Contender, Rival};
use layers::Layers;
use machine::{Memory, Usage};
use partitioner::count;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tch::{Device, IValue};
use trt_subgraph::backend::cuda::Meter;
use trt_tool::Failure;
use trt_tool::statistics::{Statistics, median};
use trt_tool::terminal::progress;
use trt_tool::{logging, terminal};

/// Contenders take turns this often.
const ROUNDS: u32 = 10;

/// Arguments of `bench`.
#[derive(Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    /// Callers at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    streams: u32,
    /// Seconds of timing for each contender
    #[arg(long, value_name = "S", default_value_t = 3.0, value_parser = trt_tool::seconds, allow_negative_numbers = true)]
    duration: f64,
    /// Seconds of warm-up for each contender
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = trt_tool::seconds, allow_negative_numbers = true)]
    warmup: f64,
    /// Time these too, in turns with the engines
    #[arg(long, value_enum, value_name = "WHOM", value_delimiter = ',')]
    compare: Vec<Rival>,
    /// Profile each step of the engines
    #[arg(long)]
    layers: bool,
    /// Draw the latencies
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was measured.
#[derive(Serialize)]
pub(crate) struct Measurement {
    model: String,
    method: String,
    backend: String,
    /// The processor and how many threads it runs at once.
    machine: String,
    inputs: Vec<String>,
    /// torch's threads within a call, and callers.
    threads: i32,
    streams: u32,
    /// Time of the first call: one observed run on the host, and the building of engines, nothing being cached.
    first_call_ms: f64,
    /// From opening the file until engines have served a call: the first call is in it.
    first_result_ms: f64,
    /// Of that, dividing, rewriting and building.
    build_ms: f64,
    /// The same for another copy of the model: what was compiled and timed is known now.
    rebuild_ms: f64,
    memory: Memory,
    contenders: Vec<Timing>,
    /// Mean time of a call outside of the engines: the interpreter, the host's operators, allocation. On a GPU the median time until
    /// a call returns, its work on the GPU having been ordered.
    host_cost_us: Option<f64>,
    #[serde(skip)]
    on_gpu: bool,
    /// Where a profiled call's time goes.
    layers: Option<Layers>,
    /// What makes the numbers doubtful.
    notes: Vec<String>,
    /// Why the picture could not be written.
    fault: Option<String>,
}

/// The times of one contender.
#[derive(Serialize)]
struct Timing {
    name: &'static str,
    #[serde(flatten)]
    latency: Statistics,
    /// Calls a second, of all callers together.
    throughput: f64,
    /// The median of each turn, in microseconds.
    turns_us: Vec<f64>,
    /// Joules of the GPU for each call, where NVML counts them; all programs on it together.
    joules: Option<f64>,
    /// How many times as fast the engines are: the median over the turns, and the least and the most.
    engines_ahead: Option<[f64; 3]>,
    /// Do its turns or the engines' lie apart, or were other programs running?
    noisy: bool,
    #[serde(skip)]
    sorted: Vec<Duration>,
}

impl Bench {
    /// Builds, warms up, and times the contenders in turns.
    pub(crate) fn run(&self) -> Result<Measurement, Failure> {
        if let Some(path) = &self.svg {
            Failure::unless_writable(path)?;
        }
        let opened = Instant::now();
        let loaded = self.load()?;
        let values = self.model.values(&loaded, Filling::usual(0), Point::Opt)?;
        let method = self.model.method.as_str();
        let call =
            |of: &Loaded| switch::force_enabled(|| tch::no_grad(|| of.module.method_is(method, &values)));
        let first = Instant::now();
        loaded.compile(method, &values)?;
        let compiled = first.elapsed();
        let result = call(&loaded)?;
        // Engines that came with the file are built in the call.
        let first_call = if loaded.as_saved { first.elapsed() } else { compiled };
        let first_result = opened.elapsed();
        let one_tensor = matches!(result, IValue::Tensor(_));
        let arguments = (0..self.streams).map(|_| Arguments::copy(&values, one_tensor));
        let arguments = tch::no_grad(|| arguments.collect::<Result<Vec<_>, _>>())?;
        let mut contenders = vec![Contender::engines(&loaded, method)];
        for &rival in &self.compare {
            let made = Contender::rival(rival, &loaded, method);
            contenders.push(made.map_err(|e| format!("there is no {rival:?} to compare with: {e}"))?);
        }
        let before = Usage::now();
        let meter = if let Device::Cuda(at) = loaded.device { Meter::of(at) } else { None };
        let mut timings = self.time(&contenders, &arguments, meter.as_ref())?;
        let others = Usage::now().zip(before).and_then(|(after, before)| after.of_others(before));
        let others = others.filter(|(busy, of)| *busy > 0.1 * *of as f64);
        for at in 0..timings.len() {
            timings[at].noisy = others.is_some() || timings[at].is_apart() || timings[0].is_apart();
        }
        let served = loaded.served();
        if served.0 == 0 || served.1 == 0 {
            timings[0].name = "without engines";
            timings.iter_mut().for_each(|t| t.engines_ahead = None);
        }
        let variant = loaded.module.newest(method)?;
        let stitched = variant.as_ref().and_then(|v| v.made.get()?.as_ref().ok());
        let length = Duration::from_secs_f64((self.duration / 3.0).clamp(0.05, 2.0));
        let median_us = timings[0].latency.median_us;
        let (whole, submission) = if loaded.device == Device::Cpu {
            (None, None)
        } else {
            let mut found = contenders[0].submissions(&arguments[0], length)?;
            (Some(median_us), Statistics::of(&mut found).map(|s| s.median_us))
        };
        let profiled = stitched.map(|s| layers::profile(&contenders[0], &arguments[0], s, length, whole));
        let profiled = profiled.transpose()?;
        // Without an engine it is all of a call; engines of a file are not profiled.
        let all = (!loaded.as_saved).then_some(median_us);
        let host_cost_us = submission.or(profiled.as_ref().map(|p| p.host_us)).or(all);
        let memory = match loaded.as_saved {
            true => Memory::of_saved(&loaded.saved_engines()),
            false => Memory::of(stitched),
        };
        let again = self.load()?;
        again.compile(method, &values)?;
        if again.as_saved {
            call(&again)?;
        }
        let rebuild = again.build_time();
        drop(again);
        let mut measurement = Measurement {
            model: self.model.model.display().to_string(),
            method: method.to_string(),
            backend: loaded.backend(),
            machine: machine::describe(),
            inputs: values.iter().map(inspect::type_text).collect(),
            threads: tch::get_num_threads(),
            streams: self.streams,
            first_call_ms: first_call.as_secs_f64() * 1e3,
            first_result_ms: first_result.as_secs_f64() * 1e3,
            build_ms: loaded.build_time().as_secs_f64() * 1e3,
            rebuild_ms: rebuild.as_secs_f64() * 1e3,
            memory,
            notes: self.notes(&loaded, &timings, profiled.as_ref(), others),
            fault: None,
            contenders: timings,
            host_cost_us,
            on_gpu: self.model.is_on_gpu(),
            layers: profiled.filter(|_| self.layers),
        };
        if let Some(path) = &self.svg {
            let drawn = chart::chart(&measurement);
            measurement.fault = Failure::or_written(path, &drawn).err().map(|e| e.to_string());
        }
        Ok(measurement)
    }

    /// The model. To show where time goes, engines of a file are made anew.
    fn load(&self) -> Result<Loaded, Failure> {
        let mut loaded = self.model.load()?;
        loaded.as_saved &= !self.layers;
        Ok(loaded)
    }

    /// Each contender for its share of a round, in an order that turns from round to round.
    fn time(
        &self,
        contenders: &[Contender<'_>],
        arguments: &[Arguments],
        meter: Option<&Meter>,
    ) -> Result<Vec<Timing>, Failure> {
        let count = contenders.len();
        let bar = progress(u64::from(ROUNDS) * count as u64, "turns");
        for contender in contenders {
            bar.set_message(format!("warming up {}", contender.name));
            contender.run_for(arguments, Duration::from_secs_f64(self.warmup))?;
        }
        bar.set_message("");
        let slice = Duration::from_secs_f64(self.duration / f64::from(ROUNDS));
        let mut latencies: Vec<Vec<Duration>> = vec![Vec::new(); count];
        let mut spent = vec![Duration::ZERO; count];
        let mut joules = vec![0.0; count];
        let used = || meter.and_then(Meter::joules);
        let mut turns: Vec<Vec<f64>> = vec![Vec::new(); count];
        for round in 0..ROUNDS as usize {
            for at in (0..count).map(|i| (i + round) % count) {
                let (start, before) = (Instant::now(), used());
                let mut found = contenders[at].run_for(arguments, slice)?;
                spent[at] += start.elapsed();
                joules[at] += used().zip(before).map_or(f64::NAN, |(after, before)| after - before);
                turns[at].extend(Statistics::of(&mut found).map(|s| s.median_us));
                latencies[at].extend(found);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        let mut timings = Vec::new();
        for (at, contender) in contenders.iter().enumerate() {
            let mut sorted = std::mem::take(&mut latencies[at]);
            let latency = Statistics::of(&mut sorted).expect("a turn has a call at least");
            timings.push(Timing {
                name: contender.name,
                throughput: latency.calls as f64 / spent[at].as_secs_f64(),
                joules: Some(joules[at] / latency.calls as f64).filter(|joules| joules.is_finite()),
                latency,
                engines_ahead: (at > 0).then(|| ahead(&turns[at], &turns[0])),
                noisy: false,
                turns_us: turns[at].clone(),
                sorted,
            });
        }
        Ok(timings)
    }

    fn notes(
        &self,
        loaded: &Loaded,
        timings: &[Timing],
        profiled: Option<&Layers>,
        others: Option<(f64, usize)>,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        let (engines, served) = loaded.served();
        if engines == 0 || served == 0 {
            let saved = loaded.as_saved;
            if !saved {
                notes.extend(logging::warnings());
            }
            notes.push(match saved {
                true => {
                    format!("no engine of the file served: the host does everything: {}", loaded.unserved())
                }
                false => "there is no engine: the host serves everything; `tch-trt inspect` tells why".into(),
            });
        } else {
            notes.extend(logging::warnings());
        }
        if self.layers && loaded.module.was_loaded(&self.model.method).unwrap_or(false) {
            notes.push("--layers makes engines anew: those in the file are timed without it".into());
        }
        for timing in timings {
            if timing.is_apart() {
                let (low, high) = extremes(&timing.turns_us);
                let (name, percent) = (timing.name, 100.0 * (high / low - 1.0));
                notes.push(format!("noisy: the medians of the turns of {name} lie {percent:.0} % apart"));
            }
        }
        for timing in &timings[1..] {
            let whole = timing.latency.median_us / timings[0].latency.median_us;
            let Some([by_turns, ..]) = timing.engines_ahead.filter(|a| (a[0] / whole - 1.0).abs() > 0.05)
            else {
                continue;
            };
            notes.push(format!(
                "noisy: turn by turn the engines are x {by_turns:.2} as fast as {}, over all calls x {whole:.2}",
                timing.name
            ));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = tch::get_num_threads().max(1) as usize * self.streams as usize;
        if self.streams > 1 && threads > cores {
            notes.push(format!(
                "crowded: {} of {} each share {}; --threads {} gives each its own",
                count(self.streams as usize, "caller"),
                count(threads / self.streams as usize, "thread"),
                count(cores, "processor"),
                (cores / self.streams as usize).max(1)
            ));
        }
        if let Some((busy, of)) = others {
            notes.push(format!("noisy: other programs kept {busy:.1} of {} busy", count(of, "processor")));
        }
        let Some(layers) = profiled else { return notes };
        if engines > 0 && layers.host_us > 0.5 * layers.whole_us {
            let percent = 100.0 * layers.host_us / layers.whole_us;
            let few = loaded.coverage(&self.model.method).map(|c| c.fraction()).filter(|part| *part < 0.5);
            notes.push(match few {
                Some(part) => format!(
                    "engines hold {} of the operations, and {percent:.0} % of a call is spent outside of them",
                    terminal::percent(part)
                ),
                None => format!("launch-bound: {percent:.0} % of a call is spent outside of engines"),
            });
        }
        // Two readings of the clock for each step are not the engine's.
        if layers.unaccounted > 0.1 && layers.unaccounted * layers.engines_us > 5.0 {
            let percent = 100.0 * layers.unaccounted;
            notes
                .push(format!("the steps of the engines leave {percent:.0} % of their time unaccounted for"));
        }
        notes
    }
}

impl Timing {
    /// Do the medians of its turns differ by more than a quiet machine's do?
    fn is_apart(&self) -> bool {
        let (low, high) = extremes(&self.turns_us);
        high > 1.15 * low
    }
}

/// By turns, which are near each other in time: how many times as long the rival takes.
fn ahead(rival: &[f64], engines: &[f64]) -> [f64; 3] {
    let ratios: Vec<f64> = rival.iter().zip(engines).map(|(r, e)| r / e).collect();
    let (low, high) = extremes(&ratios);
    [median(&ratios).unwrap_or(f64::NAN), low, high]
}

fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, 0.0), |(low, high), &v| (low.min(v), high.max(v)))
}
