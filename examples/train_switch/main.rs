//! One training script, run with `USE_TRT=0` and `USE_TRT=1`: the same learning curve to the last bit of its losses, and
//! evaluation in less time.
//!
//! `cargo run --release --example train_switch [MNIST_DIR]` trains a small residual network on the digits that ship with the project,
//! or on an MNIST folder, once with each value of the switch; `USE_TRT=0` or `USE_TRT=1` in front runs that one alone.
//! It trains on the CPU: on a GPU, libtorch's own training gives other last bits in each run. Ends with exit code 1 when the two part.

use anyhow::{Error, Result, ensure};
use examples::evaluation::{Evaluation, evaluate};
use examples::plot::{self, Line};
use examples::residual::ARCHITECTURES;
use examples::times::{Times, note_if_busy};
use examples::{digits, picture};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::{Duration, Instant};
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::vision::dataset::Dataset;
use tch::{Device, Kind};
use tch_bridge::{Options, TrtModule};

const EPOCHS: usize = 6;
const BATCH: i64 = 32;

/// Images of an epoch, at most.
const IMAGES: i64 = 1_438;

/// What an epoch left behind.
struct Epoch {
    /// The mean loss of its steps.
    loss: f64,
    accuracy: f64,
    training: Duration,
    evaluation: Duration,
}

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let folder = examples::arguments("train_switch [MNIST_DIR]", 1).map_err(Error::msg)?;
    let data = match folder.first() {
        Some(dir) => digits::mnist(Path::new(dir))?,
        None => digits::shipped()?,
    };
    digits::ensure_enough(&data)?;
    if std::env::var_os("USE_TRT").is_some_and(|value| !value.is_empty()) {
        let curve = train(&data, if tch_bridge::is_enabled()? { "engines" } else { "host" })?;
        print(&[("this run", &curve)]);
        return Ok(());
    }
    let run = |on: bool, name: &'static str| {
        tch_bridge::set_enabled(on);
        train(&data, name)
    };
    let (host, engines) = (run(false, "host")?, run(true, "engines")?);
    print(&[("host", &host), ("engines", &engines)]);
    draw(&host, &engines)?;

    let times = [&host, &engines].map(|curve| curve.iter().map(|e| e.evaluation).collect::<Times>());
    let [of_host, of_engines] = times.each_ref().map(Times::median);
    println!(
        "an evaluation (median): host {of_host:.1?}, engines {of_engines:.1?}, {:.2} x; the first one of engines builds them",
        of_host.as_secs_f64() / of_engines.as_secs_f64()
    );
    note_if_busy(times.iter().map(Times::spread));
    for (at, (a, b)) in host.iter().zip(&engines).enumerate() {
        let same = a.loss.to_bits() == b.loss.to_bits() && a.accuracy == b.accuracy;
        ensure!(same, "epoch {}: the curves part", at + 1);
    }
    println!("both learning curves are the same");
    Ok(())
}

/// The training script. Only `module` knows of engines.
fn train(data: &Dataset, name: &'static str) -> Result<Vec<Epoch>> {
    tch::manual_seed(7);
    let vs = VarStore::new(Device::Cpu);
    let net = ARCHITECTURES[0].build(&vs.root(), 1, digits::CLASSES);
    let sample = data.test_images.narrow(0, 0, 1);
    let module = tch::no_grad(|| {
        TrtModule::trace(&vs, &[sample], |xs| net.forward_t(&xs[0], false), &Options::waiting())
    })?;

    let mut optimiser = nn::Adam::default().build(&vs, 2e-3)?;
    let steps = data.train_images.size()[0].min(IMAGES) / BATCH;
    let style = ProgressStyle::with_template("{prefix:8} {bar:40} {pos}/{len} steps, {elapsed}, {msg}")?;
    let bar = ProgressBar::new(steps as u64 * EPOCHS as u64).with_style(style).with_prefix(name);
    let mut curve = Vec::new();
    for _ in 0..EPOCHS {
        let start = Instant::now();
        let mut losses = 0.0;
        for (images, labels) in data.train_iter(BATCH).shuffle().take(steps as usize) {
            let loss = net.forward_t(&images, true).cross_entropy_for_logits(&labels);
            optimiser.backward_step(&loss);
            losses += loss.to_kind(Kind::Double).double_value(&[]);
            bar.inc(1);
        }
        // Gradients that stay would have each evaluation compare all weights.
        optimiser.zero_grad();
        let training = start.elapsed();
        let Evaluation { accuracy, time, .. } =
            evaluate(data, BATCH, &mut |images| Ok(module.forward_ts(&[images])?))?;
        bar.set_message(format!("accuracy {:.2} %", 100.0 * accuracy));
        curve.push(Epoch { loss: losses / steps as f64, accuracy, training, evaluation: time });
    }
    bar.finish();
    Ok(curve)
}

fn print(curves: &[(&str, &[Epoch])]) {
    println!(
        "\n{:9}{:>7}{:>12}{:>12}{:>14}{:>16}",
        "", "epoch", "loss", "accuracy", "training, s", "evaluation, ms"
    );
    for (name, curve) in curves {
        for (at, e) in curve.iter().enumerate() {
            let (training, evaluation) = (e.training.as_secs_f64(), 1e3 * e.evaluation.as_secs_f64());
            let accuracy = format!("{:.2} %", 100.0 * e.accuracy);
            println!("{name:9}{:>7}{:>12.6}{accuracy:>12}{training:>14.2}{evaluation:>16.1}", at + 1, e.loss);
        }
    }
    println!();
}

fn draw(host: &[Epoch], engines: &[Epoch]) -> Result<()> {
    let line = |name, colour, dashed, curve: &[Epoch], of: &dyn Fn(&Epoch) -> f64| Line {
        name,
        colour,
        dashed,
        points: curve.iter().enumerate().map(|(at, e)| (at as f64 + 1.0, of(e))).collect(),
    };
    let accuracy = |e: &Epoch| 100.0 * e.accuracy;
    // The first evaluation warms up: engines are built in it.
    let time = |e: &Epoch| 1e3 * e.evaluation.as_secs_f64();
    let later = |name, colour, dashed, curve: &[Epoch]| {
        let mut line = line(name, colour, dashed, curve, &time);
        line.points.remove(0);
        line
    };
    let learning =
        [line("host", "#c33", false, host, &accuracy), line("engines", "#36c", true, engines, &accuracy)];
    let times = [later("host", "#c33", false, host), later("engines", "#36c", true, engines)];
    for (file, title, y, lines) in [
        ("train-switch-accuracy.svg", "held-out accuracy", "%", learning),
        ("train-switch-time.svg", "time of an evaluation, after the first", "ms", times),
    ] {
        let path = picture(file)?;
        std::fs::write(&path, plot::lines(title, ["epoch", y], &lines))?;
        println!("a plot is in {}", path.display());
    }
    Ok(())
}
