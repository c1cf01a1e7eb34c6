//! GoogLeNet, the deploy phase: no framework on the machine. Opens the plans that the example `googlenet` built, one for each batch,
//! checks the answers on the input that lies beside them, and measures latency and throughput against the batch.
//!
//! `cargo run --release -p googlenet_deploy [FOLDER]`; `FOLDER` is where the plans are, `target/googlenet` without. Leaves two plots there.
//! `TRT_BACKEND` names the backend. Ends with exit code 1 when an answer is not the host's.

#[path = "../help.rs"]
mod help;
#[path = "../plot.rs"]
mod plot;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use plot::Line;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use trt_subgraph::backend::cuda::Meter;
use trt_subgraph::backend::{Backend, choose};
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;
use trt_subgraph::{Literal, TensorType};

/// Time for measuring a batch, in each of two ways.
const BUDGET: Duration = Duration::from_secs(2);

/// The farthest that a probability may lie from the host's, as a part of the largest.
const TOLERANCE: f64 = 1e-4;

/// So on a GPU, whose convolutions round their factors to the ten bits of TF32.
const TOLERANCE_ON_A_GPU: f64 = 5e-3;

/// One batch, measured.
struct Row {
    batch: usize,
    /// From the file to an engine that can be called.
    ready: Duration,
    /// Median time of a call, with its copies.
    latency: Duration,
    /// Images a second of one session, and of two in flight.
    rates: [f64; 2],
    /// Images a joule, which is images a second and watt, of one session; where the GPU tells what it used.
    thrift: Option<f64>,
    /// From the host, as a part of the largest probability.
    difference: f64,
}

fn main() -> Result<()> {
    help::explain(include_str!("main.rs"));
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in the project");
    let folder = std::env::args_os().nth(1).map_or_else(|| project.join("target/googlenet"), PathBuf::from);
    let name = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
    let backend = choose(name.as_deref().unwrap_or("auto"))?;
    let batches = batches(&folder)?;
    println!("{}: {}", backend.name(), backend.probe()?);
    println!(
        "{:>6}{:>12}{:>14}{:>16}{:>16}{:>14}{:>12}",
        "batch", "ready", "latency", "images a s", "two in flight", "images a J", "difference"
    );
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} batches, {elapsed}")?;
    let bar = ProgressBar::new(batches.len() as u64).with_style(style);
    let mut rows = Vec::new();
    for batch in batches {
        let row = measure(&folder, batch, backend)?;
        bar.suspend(|| print(&row));
        bar.inc(1);
        rows.push(row);
    }
    bar.finish_and_clear();
    if rows.iter().any(|row| row.thrift.is_some()) {
        println!("images a J: images a second and watt of the GPU, all programs on it together");
    }
    println!("difference: of the probabilities from the host's, the largest, as a part of their scale");
    draw(&folder, &rows)
}

/// The batches that there are plans for, in order.
fn batches(folder: &Path) -> Result<Vec<usize>> {
    let hint =
        || format!("{}: no plans; `cargo run --release --example googlenet` makes them", folder.display());
    let files = std::fs::read_dir(folder).with_context(hint)?;
    let batch =
        |name: &str| -> Option<usize> { name.strip_prefix("batch-")?.strip_suffix(".plan")?.parse().ok() };
    let mut batches = Vec::new();
    for file in files {
        batches.extend(file?.file_name().to_str().and_then(batch));
    }
    batches.sort_unstable();
    if batches.is_empty() { bail!(hint()) } else { Ok(batches) }
}

fn measure(folder: &Path, batch: usize, backend: &dyn Backend) -> Result<Row> {
    let file = |kind: &str| folder.join(format!("batch-{batch}.{kind}"));
    let start = Instant::now();
    let plan = Plan::open(file("plan"))?;
    let mut session = Session::new(&plan, backend, plan.options())?;
    let ready = start.elapsed();

    let image = tensor(&file("image"), &plan.inputs()[0].ty)?;
    session.set("image", &image)?;
    session.run()?;
    let expected = tensor(&file("probability"), &plan.outputs()[0].ty)?;
    let difference = difference(&session.get("probability")?, &expected);
    let allowed = if backend.name() == "cuda" { TOLERANCE_ON_A_GPU } else { TOLERANCE };
    if difference > allowed || difference.is_nan() {
        bail!("batch {batch}: the answer differs from the host's by {difference:.1e}");
    }

    let meter = if backend.name() == "cuda" { Meter::of(plan.options().device) } else { None };
    let used = || meter.as_ref().and_then(Meter::joules);
    let before = used();
    let mut times = Vec::new();
    let whole = Instant::now();
    while times.is_empty() || whole.elapsed() < BUDGET {
        let start = Instant::now();
        session.set("image", &image)?;
        session.run()?;
        session.output("probability")?;
        times.push(start.elapsed());
    }
    let images = (batch * times.len()) as f64;
    let thrift =
        before.zip(used()).map(|(before, after)| images / (after - before)).filter(|v| v.is_finite());
    let one = images / whole.elapsed().as_secs_f64();
    let two = in_flight(&mut session, &image, times.len())? * batch as f64;
    times.sort_unstable();
    Ok(Row { batch, ready, latency: times[times.len() / 2], rates: [one, two], thrift, difference })
}

/// Calls a second of two sessions side by side, each on a thread and a stream of its own.
fn in_flight(session: &mut Session, image: &Literal, calls: usize) -> Result<f64> {
    let mut other = session.fork()?;
    let run = |session: &mut Session| -> Result<(), trt_subgraph::session::SessionError> {
        (0..calls.div_ceil(2)).try_for_each(|_| {
            session.set("image", image)?;
            session.run()
        })
    };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| run(&mut other));
        run(session)?;
        beside.join().expect("a session does not panic")
    })?;
    Ok((2 * calls.div_ceil(2)) as f64 / start.elapsed().as_secs_f64())
}

/// A tensor whose bytes are a file.
fn tensor(path: &Path, ty: &TensorType) -> Result<Literal> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let tensor = Literal::from_bytes(ty.clone(), &bytes);
    tensor.with_context(|| format!("{}: not the bytes of {ty}", path.display()))
}

fn difference(found: &Literal, expected: &Literal) -> f64 {
    let (found, expected) = (found.to_f64(), expected.to_f64());
    let largest = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, nan_or_larger);
    largest / expected.iter().copied().fold(0.0, nan_or_larger)
}

fn nan_or_larger(a: f64, b: f64) -> f64 {
    if a >= b { a } else { b }
}

fn print(row: &Row) {
    let [one, two] = row.rates;
    println!(
        "{:>6}{:>12}{:>14}{one:>16.1}{two:>16.1}{:>14}{:>12}",
        row.batch,
        format!("{:.1?}", row.ready),
        format!("{:.2?}", row.latency),
        row.thrift.map_or("-".to_string(), |v| format!("{v:.2}")),
        format!("{:.1e}", row.difference)
    );
}

fn draw(folder: &Path, rows: &[Row]) -> Result<()> {
    let line = |name, colour, of: &dyn Fn(&Row) -> f64| Line {
        name,
        colour,
        dashed: false,
        points: rows.iter().map(|row| (row.batch as f64, of(row))).collect(),
    };
    let latency = [line("one session", "#36c", &|row| 1e3 * row.latency.as_secs_f64())];
    let rates = [
        line("one session", "#36c", &|row| row.rates[0]),
        line("two in flight", "#c33", &|row| row.rates[1]),
    ];
    for (file, title, unit, lines) in [
        ("latency.svg", "latency", "ms", &latency[..]),
        ("throughput.svg", "throughput", "images a second", &rates),
    ] {
        let path = folder.join(file);
        std::fs::write(&path, plot::lines(title, ["batch", unit], lines))?;
        println!("a plot is in {}", path.display());
    }
    Ok(())
}
