//! A recommender from training to many serving processes: a perceptron trained with tch on ratings; a top-k layer added to the trained
//! network; engines in f32 and f16; the f32 engine in shared memory, where several processes load it and serve batches of users.
//!
//! `cargo run --release --example movielens_mlp [RATINGS]`: `RATINGS` is a MovieLens `ratings.dat`; without it, ratings are made from known
//! tastes. `TRT_BACKEND` names the backend. Ends with exit code 1 when a process recommends something else than the host does.

mod compare;
mod net;
mod network;
mod worker;

use anyhow::{Result, bail, ensure};
use compare::{Measured, batches, compare, stray};
use examples::difference::{Difference, TOLERANCE};
use examples::ratings::Ratings;
use examples::times::{Times, note_if_busy};
use examples::weights::Weights;
use indicatif::{ProgressBar, ProgressStyle};
use net::Recommender;
use network::CANDIDATES;
use std::path::Path;
use std::time::{Duration, Instant};
use tch::nn::VarStore;
use tch::{Device, Tensor};
use trt_subgraph::DType;
use trt_subgraph::backend::CompileOptions;
use trt_subgraph::plan::{Plan, share, unshare};
use trt_subgraph::session::Session;
use worker::{Batch, Worker, backend};

/// Processes that serve.
const WORKERS: usize = 3;

/// Batches of users, at most; fewer where there are few users.
const BATCHES: usize = 300;

/// The farthest that f16 scores may lie from the host's, as a part of their scale: 10 bits of mantissa, some layers.
const HALF: f64 = 1e-2;

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => worker::serve(name),
        [] => recommend(&Ratings::made(1_000, 500, 100, 1)),
        [file] => recommend(&Ratings::read(Path::new(file))?),
        _ => bail!("movielens_mlp [RATINGS]"),
    }
}

fn recommend(ratings: &Ratings) -> Result<()> {
    let Ratings { users, items, training, held_out, .. } = ratings;
    println!(
        "{users} users, {items} items, {} ratings to train with, {} held out",
        training.len(),
        held_out.len()
    );
    ensure!(
        *items >= CANDIDATES,
        "there are {items} items, fewer than the {CANDIDATES} that are scored for a user: take more ratings"
    );

    // Training, on the host.
    tch::manual_seed(1);
    let vs = VarStore::new(Device::Cpu);
    let recommender = Recommender::new(&vs.root(), *users, *items);
    recommender.train(&vs, ratings)?;

    // The build: the trained weights, the added layer, an engine for one thread. The plan holds the engine alone.
    let (backend, weights) = (backend()?, Weights::of(&vs));
    let options = CompileOptions { threads: 1, ..CompileOptions::default() };
    let build = |precision| -> Result<(Plan, Session, Duration)> {
        let start = Instant::now();
        let plan = network::define(&weights, precision)?.build(backend, &options)?;
        let plan = Plan::from_bytes(plan.prepared(backend, &options, false)?)?;
        let session = Session::new(&plan, backend, &options)?;
        Ok((plan, session, start.elapsed()))
    };
    let (plan, mut single, single_build) = build(DType::F32)?;
    let (half_plan, mut half, half_build) = build(DType::F16)?;

    // Host and engines side by side in this process, one thread each.
    tch::set_num_threads(1);
    let batches = batches(ratings, BATCHES.min(WORKERS + users / 3));
    let paths: [&mut compare::Path; 3] = [
        &mut |batch| recommender.answer(batch),
        &mut |batch| compare::through(&mut single, batch),
        &mut |batch| compare::through(&mut half, batch),
    ];
    let measured = compare(paths, &batches, ratings)?;
    print(ratings, &measured, [(&plan, single_build), (&half_plan, half_build)]);
    if backend.name() == "cpu" {
        println!("the CPU engine keeps f16 as f16 in memory and computes in f32: less memory, not less time");
    }
    let [host, single, half] = &measured;
    check("f32", single, host, &batches, TOLERANCE)?;
    check("f16", half, host, &batches, HALF)?;

    // Serving: the f32 engine in shared memory, and processes that load it from there.
    let shared = Shared::new(&plan)?;
    serve(&shared.0, &batches, host)
}

/// Are an engine's scores the host's, and its recommendations as good?
fn check(name: &str, engine: &Measured, host: &Measured, batches: &[Batch], allowed: f64) -> Result<()> {
    let scores = |of: &Measured| Tensor::from_slice(&of.scores);
    let difference = Difference::between(&scores(engine), &scores(host));
    println!("largest difference of {name} scores from the host's: {difference}");
    ensure!(difference.relative() <= allowed, "the {name} scores are not the host's");
    let strays = engine.answers.iter().enumerate().map(|(at, answer)| stray(answer, host, at, &batches[at]));
    let (places, loss) = strays.fold((0, 0.0f64), |(n, worst), (places, loss)| (n + places, worst.max(loss)));
    let all: usize = host.answers.iter().map(|a| a.recommended.len()).sum();
    println!("    {places} of {all} recommendations are other ones, worse by {loss:.1e} at most");
    ensure!(loss <= 2.0 * allowed, "the {name} engine recommends worse items than the host");
    Ok(())
}

/// A plan in shared memory, until this is dropped.
struct Shared(String);

impl Shared {
    fn new(plan: &Plan) -> Result<Shared> {
        let name = format!("movielens-{}", std::process::id());
        share(&name, plan, 0o600)?;
        println!("\nthe f32 engine is in shared memory under '{name}', {} bytes", plan.bytes().len());
        Ok(Shared(name))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(unshare(&self.0));
    }
}

/// Workers side by side, each with its part of the batches; their answers have to be the host's.
fn serve(shared: &str, batches: &[Batch], host: &Measured) -> Result<()> {
    let style = ProgressStyle::with_template("serving {bar:40} {pos}/{len} batches, {elapsed}")?;
    let bar = ProgressBar::new(batches.len() as u64).with_style(style);
    let work = &|part: usize| -> Result<String> {
        let mut worker = Worker::start(shared)?;
        let mut times = Times::default();
        for (at, batch) in batches.iter().enumerate().skip(part).step_by(WORKERS) {
            let answer = worker.ask(batch)?;
            let (places, loss) = stray(&answer, host, at, batch);
            ensure!(
                loss <= 2.0 * TOLERANCE,
                "process {} has {places} other recommendations than the host for batch {at}",
                worker.id()
            );
            times.add(answer.time);
            bar.inc(1);
        }
        let line = format!(
            "process {}: ready after {:.2} ms, {} batches, {:.1} us a batch",
            worker.id(),
            1e3 * worker.ready.as_secs_f64(),
            times.count(),
            1e6 * times.median().as_secs_f64()
        );
        worker.end()?;
        Ok(line)
    };
    let lines: Vec<Result<String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..WORKERS).map(|part| scope.spawn(move || work(part))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a worker's thread does not panic")).collect()
    });
    bar.finish_and_clear();
    for line in lines {
        println!("{}", line?);
    }
    println!("all recommend what the host does");
    Ok(())
}

fn print(ratings: &Ratings, measured: &[Measured; 3], built: [(&Plan, Duration); 2]) {
    let row = |name: &str, cells: [String; 3]| {
        println!("{name:38}{:>14}{:>14}{:>14}", cells[0], cells[1], cells[2]);
    };
    let engines = |of: &dyn Fn(&(&Plan, Duration)) -> String| ["".into(), of(&built[0]), of(&built[1])];
    let microseconds = |m: &Measured| 1e6 * m.times.median().as_secs_f64();
    println!();
    row("", ["host", "engine, f32", "engine, f16"].map(String::from));
    row("error of held-out ratings, stars", measured.each_ref().map(|m| format!("{:.4}", m.error)));
    row("time of a batch, us", measured.each_ref().map(|m| format!("{:.1}", microseconds(m))));
    let speed_up = |m: &Measured| microseconds(&measured[0]) / microseconds(m);
    row("speed-up without build time", measured.each_ref().map(|m| format!("{:.2} x", speed_up(m))));
    row("build time", engines(&|(_, time)| format!("{time:.1?}")));
    row("size of the plan, bytes", engines(&|(plan, _)| plan.bytes().len().to_string()));
    let guess = compare::error_of_the_mean(ratings);
    let floor =
        ratings.floor.map_or(String::new(), |floor| format!(", of the tastes that made them {floor:.4}"));
    println!("error of the mean as a guess {guess:.4}{floor}");
    note_if_busy(measured.iter().map(|m| m.times.spread()));
}
