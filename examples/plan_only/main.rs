//! A saved plan on a machine without a framework: open, bind by name, run on a stream, time.
//!
//! ```sh
//! cargo run --release -p plan_only                        # makes LeNet-5 first, then runs it
//! cargo run --release -p plan_only -- make lenet5.plan    # only makes it
//! cargo run --release -p plan_only -- lenet5.plan 1000    # runs it, 1000 batches
//! ```
//!
//! `TRT_BACKEND` names the backend (`auto`: a GPU where there is one).

#[path = "../help.rs"]
mod help;
mod lenet5;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trt_subgraph::Random;
use trt_subgraph::backend::{Backend, CompileOptions, choose};
use trt_subgraph::plan::Plan;
use trt_subgraph::session::{Session, Times};

const USAGE: &str = "usage: plan_only [make FILE | FILE [BATCHES]]";

fn main() -> Result<()> {
    help::explain(include_str!("main.rs"));
    let start = Instant::now();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", file] => make(Path::new(file)),
        [] => {
            let file: PathBuf = std::env::temp_dir().join(format!("lenet5-{}.plan", std::process::id()));
            make(&file)?;
            let ran = run(&file, 1000, Instant::now());
            std::fs::remove_file(&file)?;
            ran
        }
        [file] => run(Path::new(file), 100, start),
        [file, batches] => match batches.parse() {
            Ok(batches) => run(Path::new(file), batches, start),
            Err(_) => bail!("`{batches}` is no number of batches; {USAGE}"),
        },
        _ => bail!("{USAGE}"),
    }
}

fn backend() -> Result<&'static dyn Backend> {
    let name = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
    Ok(choose(name.as_deref().unwrap_or("auto"))?)
}

/// Builds LeNet-5 for this machine and saves it.
fn make(file: &Path) -> Result<()> {
    let plan = lenet5::define()?.build(backend()?, &CompileOptions::default())?;
    plan.save(file)?;
    println!("{}: {} bytes", file.display(), plan.bytes().len());
    Ok(())
}

/// Runs a plan of any network on random inputs. `start` is when the program did.
fn run(file: &Path, batches: usize, start: Instant) -> Result<()> {
    let plan = Plan::open(file).with_context(|| format!("no plan in {}", file.display()))?;
    let backend = backend()?;
    let how = if plan.is_built_for(backend, plan.options()) { "saved in the plan" } else { "built now" };
    let mut session = Session::new(&plan, backend, plan.options())?;
    call(&plan, &mut session, 1)?;
    let first = start.elapsed();
    for port in plan.outputs() {
        let value = session.get(&port.name)?;
        println!("{}: {value:?}", port.name);
    }
    println!("first result after {:.2} ms on {}, engine {how}", milliseconds(first), backend.name());
    if batches > 0 {
        measure(&mut session, batches)?;
    }
    Ok(())
}

/// One call, step by step. On a GPU the host's side of every tensor is page-locked, and all steps but waiting return at once.
fn call(plan: &Plan, session: &mut Session, seed: u64) -> Result<()> {
    let mut random = Random::new(seed);
    for port in plan.inputs() {
        let value = random.literal(port.ty.clone());
        session.input_mut(&port.name)?.copy_from_slice(value.bytes());
    }
    session.send()?; // inputs to the device, on the session's stream
    session.execute()?; // the engine, behind them
    session.fetch()?; // outputs from the device, behind that
    session.wait()?;
    for port in plan.outputs() {
        let elements: &[u8] = session.output(&port.name)?;
        assert_eq!(elements.len(), port.ty.bytes());
    }
    Ok(())
}

/// Times batches one at a time, their parts, and two sessions in flight side by side.
fn measure(session: &mut Session, batches: usize) -> Result<()> {
    let mut times: Vec<Duration> = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = Instant::now();
        session.run()?;
        times.push(start.elapsed());
    }
    let best = times.iter().min().copied().unwrap_or_default();
    println!(
        "a batch takes {:.4} ms (median), {:.4} ms (best), with its copies",
        milliseconds(median(&mut times)),
        milliseconds(best)
    );
    let parts = (0..batches).map(|_| session.run_timed()).collect::<Result<Vec<Times>, _>>()?;
    let part =
        |of: fn(&Times) -> Duration| milliseconds(median(&mut parts.iter().map(of).collect::<Vec<_>>()));
    println!(
        "of that: inputs to the device {:.4} ms, engine {:.4} ms, outputs from the device {:.4} ms",
        part(|t| t.send),
        part(|t| t.execute),
        part(|t| t.fetch)
    );
    let mut other = session.fork()?;
    other.run()?;
    let start = Instant::now();
    for _ in 0..batches {
        session.start()?;
        other.start()?;
    }
    session.wait()?;
    other.wait()?;
    let each = start.elapsed() / (2 * batches as u32);
    println!("two in flight: {:.4} ms a batch", milliseconds(each));
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
