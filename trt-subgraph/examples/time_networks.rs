//! Times networks in their text form on the CPU backend, with random weights and inputs.
//!
//! `cargo run --release -p trt-subgraph --example time_networks -- [--threads N] [--rounds N] [--steps] [--check] FILE...`
//!
//! Networks are optimised first. `cpu ms` is the time that the calling thread was on a processor in a run (Linux): where a
//! machine is shared and one thread is used, it is what the run would take alone. `--steps` adds the best time of each step, `--check` the largest difference from the
//! reference backend, as a part of the largest value.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileOptions, Engine, Io, Stream};
use trt_subgraph::network::Network;
use trt_subgraph::pass::{Options, optimize};
use trt_subgraph::{Literal, Random, TensorType};

#[derive(Default)]
struct Arguments {
    threads: usize,
    rounds: usize,
    steps: bool,
    check: bool,
    files: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments { rounds: 9, ..Arguments::default() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match word.as_str() {
            "--threads" => arguments.threads = number(),
            "--rounds" => arguments.rounds = number().max(1),
            "--steps" => arguments.steps = true,
            "--check" => arguments.check = true,
            _ => arguments.files.push(word),
        }
    }
    match Cpu.probe() {
        Ok(found) => println!("{found}"),
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{:<28} {:>7} {:>11} {:>11} {:>11} {:>9} {:>9} {:>9}",
        "network", "steps", "median ms", "best ms", "cpu ms", "build ms", "arena MB", "packed MB"
    );
    for file in &arguments.files {
        if let Err(why) = time(file, &arguments) {
            eprintln!("{file}: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn time(file: &str, arguments: &Arguments) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let network = Network::parse(&text).map_err(|e| e.to_string())?;
    network.verify().map_err(|e| e.to_string())?;
    let network = optimize(network, &Options::default());
    let mut random = Random::new(1);
    let weights: Vec<Literal> = network.parameters.iter().map(|p| weight(&mut random, &p.ty)).collect();
    let inputs: Vec<Literal> = network.inputs.iter().map(|&v| input(&mut random, network.ty(v))).collect();
    let start = Instant::now();
    let options = CompileOptions { threads: arguments.threads, ..CompileOptions::default() };
    let mut engine = Cpu.compile(&network, &weights, &options).map_err(|e| e.to_string())?;
    let build = start.elapsed();
    let mut outputs: Vec<Literal> = engine.signature().outputs.iter().cloned().map(Literal::zeros).collect();
    let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    let io = Io { inputs: &from, outputs: &to };

    let run = |engine: &mut dyn Engine| {
        let start = Instant::now();
        // SAFETY: inputs and outputs were made of the signature.
        unsafe { engine.run(&io, Stream::NONE) }.map_err(|e| e.to_string())?;
        Ok::<_, String>(start.elapsed())
    };
    let first = (0..3).map(|_| run(&mut *engine)).collect::<Result<Vec<_>, _>>()?;
    let once = first.into_iter().min().unwrap_or_default();
    // Each round lasts about 50 ms.
    let repeats = (50e-3 / once.as_secs_f64().max(1e-9)).clamp(1.0, 2000.0) as usize;
    let mut medians = Vec::new();
    let (mut best, mut on_cpu) = (Duration::MAX, f64::MAX);
    for _ in 0..arguments.rounds {
        let before = cpu_ms();
        let mut times = (0..repeats).map(|_| run(&mut *engine)).collect::<Result<Vec<_>, _>>()?;
        on_cpu = on_cpu.min((cpu_ms() - before) / repeats as f64);
        medians.push(median(&mut times));
        best = best.min(times[0]);
    }
    let (info, ms) = (engine.describe(), |t: Duration| t.as_secs_f64() * 1e3);
    let name = std::path::Path::new(file).file_stem().map_or(file.into(), |s| s.to_string_lossy());
    println!(
        "{name:<28} {:>7} {:>11.4} {:>11.4} {on_cpu:>11.4} {:>9.1} {:>9.2} {:>9.2}",
        info.steps.len(),
        ms(median(&mut medians)),
        ms(best),
        ms(build),
        info.arena_bytes as f64 / 1e6,
        info.weight_bytes as f64 / 1e6
    );
    if arguments.steps {
        steps(&mut *engine, &io, repeats.clamp(5, 200))?;
    }
    if arguments.check {
        let expected = evaluate(&network, &weights, &inputs).map_err(|e| e.to_string())?;
        println!("    {:.1e} off the reference", difference(&outputs, &expected));
    }
    Ok(())
}

/// The best time of every step over `repeats` runs.
fn steps(engine: &mut dyn Engine, io: &Io<'_>, repeats: usize) -> Result<(), String> {
    let mut all: Vec<(String, Duration)> = Vec::new();
    for _ in 0..repeats {
        // SAFETY: as for `run`.
        let profile = unsafe { engine.profile(io, Stream::NONE) }.map_err(|e| e.to_string())?;
        if all.is_empty() {
            all = profile.steps.iter().map(|s| (s.step.clone(), s.time)).collect();
        }
        all.iter_mut().zip(profile.steps).for_each(|(to, step)| to.1 = to.1.min(step.time));
    }
    for (step, time) in &all {
        println!("    {:>10.2} us  {step}", time.as_secs_f64() * 1e6);
    }
    Ok(())
}

/// Milliseconds that the calling thread has been on a processor; 0 where that is not known.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e6
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Weights that keep activations of a network near 1: small matrices, scales and variances about 1.
fn weight(random: &mut Random, ty: &TensorType) -> Literal {
    if ty.rank() < 2 {
        return random.literal_in(ty.clone(), 0.5, 1.5);
    }
    let reach = (6.0 / ty.shape[1..].iter().product::<usize>().max(1) as f64).sqrt();
    random.literal_in(ty.clone(), -reach, reach)
}

/// Inputs that are valid indices where they are integers.
fn input(random: &mut Random, ty: &TensorType) -> Literal {
    if ty.dtype.is_float() {
        return random.literal_in(ty.clone(), -1.0, 1.0);
    }
    random.literal_in(ty.clone(), 0.0, 2.0)
}

fn difference(found: &[Literal], expected: &[Literal]) -> f64 {
    let part = |(f, e): (&Literal, &Literal)| {
        let (f, e) = (f.to_f64(), e.to_f64());
        let scale = e.iter().fold(0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
        f.iter().zip(&e).fold(0f64, |m, (f, e)| m.max((f - e).abs())) / scale
    };
    found.iter().zip(expected).map(part).fold(0.0, f64::max)
}
