//! Residual networks at batch 16, with libtorch and with engines: accuracy, time and difference of each, side by side.
//!
//! `cargo run --release --example cifar_resnet -- [--cifar DIR] [MODEL...]`: all ten networks, or those named. `DIR` holds the binary version of
//! CIFAR-10 (`data_batch_1.bin`, ...); without it, images of ten drawn shapes are made. The networks of 20 layers are trained
//! first; the others keep their random weights, which cost as much time. They run on a GPU where there is
//! one; `TRT_BACKEND=cpu` keeps them from there. Ends with exit code 1 when an answer is not the host's.

use anyhow::{Context, Result, bail, ensure};
use examples::cifar;
use examples::difference::{Difference, accuracy_tolerance};
use examples::evaluation::{Evaluation, compare};
use examples::residual::{ARCHITECTURES, Architecture};
use examples::shapes;
use examples::times::note_if_busy;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::time::{Duration, Instant};
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::vision::dataset::Dataset;
use tch::{Device, Tensor};
use tch_bridge::{Options, TrtModule};

/// Images in a call.
const BATCH: i64 = 16;

/// Training steps, and images in each.
const STEPS: u64 = 200;
const TRAINING_BATCH: i64 = 32;

/// A pass over the held-out images is cut so that the host needs about this long.
const PASS: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let (folder, chosen) = arguments()?;
    let data = match &folder {
        Some(folder) => cifar::load(Path::new(folder))?,
        None => shapes::dataset(4_000, 480, 1),
    };
    let [training, held_out] = [&data.train_labels, &data.test_labels].map(|labels| labels.size()[0]);
    ensure!(
        training >= TRAINING_BATCH && held_out >= BATCH,
        "{training} images to train with and {held_out} held out are too few: {TRAINING_BATCH} and {BATCH} are enough"
    );
    println!(
        "{:18}{:>9}{:>10}{:>10}{:>12}{:>12}{:>10}{:>10}{:>12}",
        "model", "trained", "accuracy", "engines", "time", "engines", "speed-up", "build", "difference"
    );
    let mut spreads = Vec::new();
    for architecture in chosen {
        let (row, spread) = measure(&architecture, &data)?;
        println!("{row}");
        spreads.push(spread);
    }
    println!(
        "accuracy and time of an image at batch {BATCH}, on the host and in engines; difference: the largest, as a part of the answer's scale"
    );
    note_if_busy(spreads);
    Ok(())
}

/// The folder with CIFAR-10, if one is given, and the networks.
fn arguments() -> Result<(Option<String>, Vec<Architecture>)> {
    let (mut folder, mut chosen) = (None, Vec::new());
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        if word == "--cifar" {
            folder = Some(rest.next().context("--cifar wants a folder")?);
            continue;
        }
        match ARCHITECTURES.iter().find(|a| a.name == word) {
            Some(found) => chosen.push(*found),
            None => {
                let names: Vec<&str> = ARCHITECTURES.iter().map(|a| a.name).collect();
                bail!("`{word}` is none of {}", names.join(", "));
            }
        }
    }
    Ok((folder, if chosen.is_empty() { ARCHITECTURES.to_vec() } else { chosen }))
}

/// One line of the table, and how far times of one path lie apart.
fn measure(architecture: &Architecture, data: &Dataset) -> Result<(String, f64)> {
    tch::manual_seed(2);
    let device = examples::device();
    let mut vs = VarStore::new(device);
    let net = architecture.build(&vs.root(), 3, data.labels);
    let sample = data.test_images.narrow(0, 0, BATCH).to_device(device);
    let module = tch::no_grad(|| {
        TrtModule::trace(&vs, &[sample.copy()], |xs| net.forward_t(&xs[0], false), &Options::waiting())
    })?;
    let trained = architecture.name.starts_with("resnet20");
    if trained {
        train(architecture.name, &net, &vs, data)?;
    }
    vs.freeze();
    let start = Instant::now();
    tch::no_grad(|| module.compile(&[&sample]))?;
    let build = start.elapsed();
    ensure!(module.report().engines() > 0, "{}: no engine was built\n{}", architecture.name, module.report());

    let held_out = held_out(&module, data, device)?;
    let switched = |on: bool| {
        let module = &module;
        move |images: &Tensor| {
            tch_bridge::set_enabled(on);
            Ok(module.forward_ts(&[images.to_device(device)])?.to_device(Device::Cpu))
        }
    };
    let style = ProgressStyle::with_template("{msg:18} {bar:40} {pos}/{len} passes of each, {elapsed}")?;
    let bar = ProgressBar::new(1).with_style(style).with_message(architecture.name);
    let [host, engines] = compare(&held_out, BATCH, &mut switched(false), &mut switched(true), &bar)?;
    bar.finish_and_clear();
    let difference = Difference::between(&engines.scores, &host.scores);
    ensure!(
        difference.is_small(device),
        "{}: the engines differ from the host by {difference}",
        architecture.name
    );
    let apart = (host.accuracy - engines.accuracy).abs();
    ensure!(apart <= accuracy_tolerance(device), "{}: the accuracy differs", architecture.name);

    let percent = |e: &Evaluation| format!("{:.2} %", 100.0 * e.accuracy);
    let time = |e: &Evaluation| format!("{:.2?}", e.time / e.scores.size()[0] as u32);
    let row = format!(
        "{:18}{:>9}{:>10}{:>10}{:>12}{:>12}{:>10}{:>10}{:>12}",
        architecture.name,
        if trained { "yes" } else { "no" },
        percent(&host),
        percent(&engines),
        time(&host),
        time(&engines),
        format!("{:.2} x", host.time.as_secs_f64() / engines.time.as_secs_f64()),
        format!("{build:.0?}"),
        format!("{:.1e}", difference.relative())
    );
    Ok((row, host.spread.max(engines.spread)))
}

/// As much of the held-out part, in whole batches, as the host answers in about [`PASS`].
fn held_out(module: &TrtModule, data: &Dataset, device: Device) -> Result<Dataset> {
    tch_bridge::set_enabled(false);
    let batch = data.test_images.narrow(0, 0, BATCH).to_device(device);
    let mut time = Duration::MAX;
    for _ in 0..2 {
        let start = Instant::now();
        drop(tch::no_grad(|| module.forward_ts(&[&batch]))?.to_device(Device::Cpu));
        time = time.min(start.elapsed());
    }
    let all = data.test_images.size()[0] / BATCH;
    let images = BATCH * ((PASS.as_secs_f64() / time.as_secs_f64()) as i64).clamp(1, all);
    let part = |t: &Tensor| t.narrow(0, 0, images);
    Ok(Dataset {
        train_images: data.train_images.shallow_clone(),
        train_labels: data.train_labels.shallow_clone(),
        test_images: part(&data.test_images),
        test_labels: part(&data.test_labels),
        labels: data.labels,
    })
}

/// Adam on shuffled images, behind a progress bar; the last third in smaller steps.
fn train(name: &'static str, net: &impl ModuleT, vs: &VarStore, data: &Dataset) -> Result<()> {
    let style =
        ProgressStyle::with_template("{prefix:18} {bar:40} {pos}/{len} training steps, {elapsed}, {msg}")?;
    let bar = ProgressBar::new(STEPS).with_style(style).with_prefix(name);
    let mut adam = nn::Adam::default().build(vs, 2e-3)?;
    while bar.position() < STEPS {
        for (images, labels) in data.train_iter(TRAINING_BATCH).shuffle().to_device(vs.device()) {
            if bar.position() == STEPS {
                break;
            }
            adam.set_lr(if bar.position() * 3 < STEPS * 2 { 2e-3 } else { 2e-4 });
            let loss = net.forward_t(&images, true).cross_entropy_for_logits(&labels);
            adam.backward_step(&loss);
            bar.inc(1);
            bar.set_message(format!("loss {:.3}", loss.double_value(&[])));
        }
    }
    bar.finish_and_clear();
    // Gradients that stay would have each evaluation compare all weights.
    adam.zero_grad();
    Ok(())
}
