//! YOLOX-m finds objects in a photograph: TorchScript from pixels to boxes. The network, the decoding and the overlaps of the boxes run
//! in an engine; the loop that strikes out doubles, whose length and branches hang on the boxes, is the host's.
//!
//! `cargo run --release --example yolox -- [--weights FILE] [--side PIXELS] [--cpu] [PHOTOGRAPH]`
//!
//! `--weights`: safetensors, or a `.pt` that is one plain `dict` of tensors, under the names of the authors' checkpoints; without it weights are
//! random, and so are the boxes. The authors' `yolox_m.pth` holds more than that, and a state dict is no plain one; in Python such a `.pt` is made by
//!
//! ```python
//! torch.save(dict(torch.load("yolox_m.pth", map_location="cpu", weights_only=False)["model"]), "yolox_m.pt")
//! ```
//!
//! `--side`: what the network sees is so many pixels wide and high, 640 without it. `--cpu`: runs there even if there is a GPU. `PHOTOGRAPH`: a JPEG or a
//! PNG; without it the one that ships. Ends with exit code 1 when the engines find other boxes than the host.

mod picture;
mod script;
mod steps;

use anyhow::{Context, Result, bail, ensure};
use examples::difference::Difference;
use examples::times::{Times, note_if_busy};
use examples::weights::load;
use indicatif::{ProgressBar, ProgressStyle};
use picture::Photograph;
use std::path::Path;
use std::time::{Duration, Instant};
use steps::{Execution, STEPS};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tch_bridge::{Options, TrtModule};

/// Time for comparing host and engines, and the fewest and the most calls of each.
const BUDGET: Duration = Duration::from_secs(15);
const CALLS: (usize, usize) = (2, 20);

/// How much farther from the boxes in float64 the engines' may lie than the host's.
const FARTHER: f64 = 4.0;

/// What `--weights` takes, in words.
const WEIGHTS: &str = "wanted is safetensors, or a .pt made by torch.save(dict(state), ...), under the names of the authors' checkpoints; --help says how to make one of yolox_m.pth";

/// The photograph that ships, see `data/photograph/README.md`.
const SHIPPED: &[u8] = include_bytes!("../data/photograph/grace_hopper.jpg");

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let Arguments { weights, side, device, photograph } = Arguments::read()?;
    let photograph = match &photograph {
        Some(file) => Photograph::load(Path::new(file))?,
        None => Photograph::from_bytes(SHIPPED)?,
    };
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let mut vs = VarStore::new(device);
    let network = script::module(&vs, side)?;
    let image = photograph.input(side)?;
    let there = image.to_device(device);
    let size: i64 = vs.trainable_variables().iter().map(|t| t.numel() as i64).sum();
    println!("YOLOX-m: {:.1} million weights, {side} by {side} pixels, on {device:?}", size as f64 / 1e6);
    match &weights {
        Some(file) => {
            load(&mut vs, file).with_context(|| format!("no weights of YOLOX-m in {file}: {WEIGHTS}"))?
        }
        None => {
            script::observe(&network, &there)?;
            println!("random weights: the boxes mean nothing");
        }
    }
    vs.freeze();

    let module = TrtModule::wrap(network.to_cmodule(), &Options::waiting())?;
    let start = Instant::now();
    module.compile(&[&there])?;
    let build = start.elapsed();
    ensure!(module.report().engines() > 0, "no engine was built\n{}", module.report());

    let ([host, engines], steps) = compare(&module, device, &image)?;
    println!("{}", module.report());
    println!("{:12}{:>10}{:>14}", "", "boxes", "time");
    for (name, (boxes, times)) in [("host", &host), ("engines", &engines)] {
        println!("{name:12}{:>10}{:>14}", boxes.size()[0], format!("{:.1?}", times.median()));
    }
    let speed_up = host.1.median().as_secs_f64() / engines.1.median().as_secs_f64();
    println!("of the engines' time: {}", steps.join(", "));
    println!(
        "speed-up without build time {speed_up:.2} x; {build:.1?} to a compiled module, a look at a call on the host among them"
    );
    note_if_busy([host.1.spread(), engines.1.spread()]);
    ensure!(host.0.size() == engines.0.size(), "the engines find another number of boxes");
    let picture = examples::picture("yolox.png")?;
    photograph.draw(&engines.0, side, &picture)?;
    println!("the boxes are drawn into {}", picture.display());
    if host.0.size()[0] == 0 {
        println!("there is nothing to compare: no box is good enough");
        return Ok(());
    }
    let exact = exact(&vs, &image, side)?;
    ensure!(
        exact.size() == host.0.size(),
        "in float64 there is another number of boxes: nothing to judge by"
    );
    println!("largest difference of the boxes from the host's: {}", difference(&engines.0, &host.0));
    let [of_host, of_engines] = [&host, &engines].map(|found| difference(&found.0, &exact));
    println!("error against float64: host {of_host}; engines {of_engines}");
    ensure!(of_engines.absolute <= FARTHER * of_host.absolute, "the engines' boxes are off");
    Ok(())
}

/// How far boxes lie from those that are wanted, each from its nearest: where scores are all but equal, the order is chance.
fn difference(found: &Tensor, wanted: &Tensor) -> Difference {
    let apart = (found.unsqueeze(0) - wanted.unsqueeze(1)).abs().amax([2i64].as_slice(), false);
    Difference::between(&found.index_select(0, &apart.argmin(1, false)), wanted)
}

/// The boxes of the same network with the same weights in float64, on the host.
fn exact(vs: &VarStore, image: &Tensor, side: i64) -> Result<Tensor> {
    let mut double = VarStore::new(Device::Cpu);
    let network = script::module(&double, side)?;
    double.copy(vs)?;
    double.double();
    Ok(network.to_cmodule().forward_ts(&[image.to_kind(Kind::Double)])?)
}

struct Arguments {
    weights: Option<String>,
    side: i64,
    device: Device,
    photograph: Option<String>,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut found = Arguments { weights: None, side: 640, device: examples::device(), photograph: None };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--weights" => found.weights = Some(value()?),
                "--side" => found.side = value()?.parse().context("--side wants a number")?,
                "--cpu" => found.device = Device::Cpu,
                word if word.starts_with('-') => {
                    bail!("{word} is unknown; --weights, --side and --cpu are known")
                }
                _ if found.photograph.is_some() => {
                    bail!("one photograph is enough: `{word}` is a second one")
                }
                _ => found.photograph = Some(word),
            }
        }
        ensure!(found.side > 0 && found.side % 32 == 0, "--side wants a multiple of 32");
        Ok(found)
    }
}

/// Boxes, and what each call took that found them, of the host and of the engines.
type Found = [(Tensor, Times); 2];

/// What the host and the engines find, calls taken by turns; and what each step of the engines' took (median).
fn compare(module: &TrtModule, device: Device, image: &Tensor) -> Result<(Found, Vec<String>)> {
    let mut execution = Execution::new(module, device, image)?;
    let mut call = |enabled: bool| -> Result<(Tensor, [Duration; 6])> {
        tch_bridge::set_enabled(enabled);
        execution.run(image)
    };
    let style = ProgressStyle::with_template("{spinner} {pos} calls of each, {elapsed}")?;
    let bar = ProgressBar::new_spinner().with_style(style);
    let boxes = [call(false)?.0, call(true)?.0];
    let mut times: [Vec<[Duration; 6]>; 2] = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while times[0].len() < CALLS.0 || (times[0].len() < CALLS.1 && start.elapsed() < BUDGET) {
        times[0].push(call(false)?.1);
        times[1].push(call(true)?.1);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let step = |at: usize| times[1].iter().map(|call| call[at]).collect::<Times>().median();
    let steps = STEPS.iter().enumerate().map(|(at, name)| format!("{name} {:.1?}", step(at))).collect();
    let [host, engines] = times.map(|calls| calls.iter().map(|call| call.iter().sum::<Duration>()).collect());
    let [of_host, of_engines] = boxes;
    Ok(([(of_host, host), (of_engines, engines)], steps))
}
