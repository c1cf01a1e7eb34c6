//! Trains LeNet-5 on handwritten digits, then evaluates it on the held-out ones with libtorch alone and with engines.
//!
//! `cargo run --release --example lenet5 [MNIST_DIR]`: without a folder, on the digits that ship with the project. It runs on a GPU where
//! there is one; `TRT_BACKEND=cpu` keeps it from there. Ends with exit code 1 when no engine served, or when an answer is not the host's.

mod net;
mod outcome;

use anyhow::{Error, Result, ensure};
use examples::times::note_if_busy;
use examples::{difference::Difference, digits, evaluation, picture};
use indicatif::{ProgressBar, ProgressStyle};
use net::LeNet;
use outcome::{Outcome, Outcomes};
use std::path::Path;
use std::time::{Duration, Instant};
use tch::nn::{Module, VarStore};
use tch::vision::dataset::Dataset;
use tch::{Device, Kind, Tensor};
use tch_bridge::{Options, TrtModule};

/// The batch sizes of the evaluation.
const BATCHES: [i64; 2] = [1, 64];

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let folder = examples::arguments("lenet5 [MNIST_DIR]", 1).map_err(Error::msg)?;
    let data = match folder.first() {
        Some(dir) => digits::mnist(Path::new(dir))?,
        None => digits::shipped()?,
    };
    digits::ensure_enough(&data)?;
    let (training, held_out) = (data.train_images.size()[0], data.test_images.size()[0]);
    let device = examples::device();
    println!("LeNet-5 on {device:?}: {training} digits to train with, {held_out} held out");

    tch::manual_seed(1);
    let vs = VarStore::new(device);
    let net = LeNet::new(vs.root());
    // Made before the training: its parameters are those of `vs`, so it follows each step.
    let sample = data.test_images.narrow(0, 0, 1).to_device(device);
    let module =
        tch::no_grad(|| TrtModule::trace(&vs, &[sample], |xs| net.forward(&xs[0]), &Options::waiting()))?;
    net::train(&net, &vs, &data)?;

    tch_bridge::set_enabled(true);
    let builds = BATCHES.map(|batch| build(&module, &data, batch, device));
    show_partition(&module)?;

    let exact = exact_scores(&vs, &data)?;
    let mut outcomes = Vec::new();
    for (batch, build) in BATCHES.into_iter().zip(builds) {
        let [host, engines] = evaluate(&module, &data, batch, device)?;
        let difference = Difference::between(&engines.scores, &host.scores);
        let errors = [&host, &engines].map(|e| Difference::between(&e.scores, &exact));
        outcomes.push(Outcome { batch, host, engines, build: build?, difference, errors });
    }
    let outcomes = Outcomes(outcomes);
    print!("\n{outcomes}");
    note_if_busy(outcomes.0.iter().flat_map(|o| [o.host.spread, o.engines.spread]));
    outcomes.check(device)
}

/// Builds the engines for all shapes that batches of `batch` have, and tells how long that took.
fn build(module: &TrtModule, data: &Dataset, batch: i64, device: Device) -> Result<Duration> {
    let images = &data.test_images;
    let last = images.size()[0] % batch;
    let start = Instant::now();
    for size in [batch, last].into_iter().filter(|&size| size > 0) {
        tch::no_grad(|| module.compile(&[images.narrow(0, 0, size).to_device(device)]))?;
    }
    Ok(start.elapsed())
}

fn show_partition(module: &TrtModule) -> Result<()> {
    let report = module.report();
    println!("\n{report}");
    ensure!(
        report.engines() > 0,
        "no engine was built, the report above says why; there is nothing to compare"
    );
    let picture = picture("lenet5-partition.svg")?;
    report.write(&picture)?;
    println!("A picture of this partition is in {}\n", picture.display());
    Ok(())
}

/// The scores of the same network with the same weights in float64.
fn exact_scores(vs: &VarStore, data: &Dataset) -> Result<Tensor> {
    let mut double = VarStore::new(Device::Cpu);
    let net = LeNet::new(double.root());
    double.double();
    double.copy(vs)?;
    let mut path = |images: &Tensor| Ok(net.forward(&images.to_kind(Kind::Double)));
    Ok(evaluation::evaluate(data, 64, &mut path)?.scores)
}

/// The host, then the engines: the same module through the same pipeline, as `USE_TRT=0` and `USE_TRT=1` run it.
fn evaluate(
    module: &TrtModule,
    data: &Dataset,
    batch: i64,
    device: Device,
) -> Result<[evaluation::Evaluation; 2]> {
    let switched = |on: bool| {
        move |images: &Tensor| {
            tch_bridge::set_enabled(on);
            Ok(module.forward_ts(&[images.to_device(device)])?.to_device(Device::Cpu))
        }
    };
    let before = outcome::served(module);
    let style = ProgressStyle::with_template("batch {msg:2} {bar:40} {pos}/{len} passes of each, {elapsed}")?;
    let bar = ProgressBar::new(1).with_style(style).with_message(batch.to_string());
    let evaluations = evaluation::compare(data, batch, &mut switched(false), &mut switched(true), &bar)?;
    bar.finish();
    let calls =
        (bar.position() + 1) * data.test_images.size()[0].unsigned_abs().div_ceil(batch.unsigned_abs());
    let served = outcome::served(module) - before;
    ensure!(
        served == calls,
        "engines served {served} of {calls} calls at batch {batch}; nothing is compared"
    );
    Ok(evaluations)
}
