//! Wraps an existing TorchScript model and holds the engines against libtorch: who runs what, time, difference.
//!
//! `cargo run --release --example wrap_model [MODEL.pt SIZES...]`, where `SIZES` is the shape of one f32 input, for instance
//! `1,3,224,224`; a model of several inputs takes several. Without arguments, a small network of our own is
//! wrapped. Ends with exit code 1 when the answer is not the host's.

use anyhow::{Context, Result, ensure};
use examples::{difference::Difference, picture};
use std::time::{Duration, Instant};
use tch::nn::{self, Module, VarStore};
use tch::{CModule, Device, Kind, Tensor};
use tch_bridge::{Options, TrtModule};

/// Timed calls of each path, at most; fewer where they take longer than [`BUDGET`].
const CALLS: usize = 200;

/// Time for the calls of both paths.
const BUDGET: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let (module, shapes) = match arguments.next() {
        Some(path) => {
            let shapes: Vec<Vec<i64>> = arguments.map(|text| shape(&text)).collect::<Result<_>>()?;
            (TrtModule::load(path, &Options::waiting())?, shapes)
        }
        // What a program needs that has a `CModule` already: one line. Its calls stay as they are.
        None => (TrtModule::wrap(small_model()?, &Options::waiting())?, vec![vec![8, 3, 32, 32]]),
    };
    let inputs: Vec<Tensor> = shapes
        .iter()
        .map(|sizes| Tensor::f_randn(sizes, (Kind::Float, Device::Cpu)))
        .collect::<Result<_, _>>()?;
    module.compile(&inputs)?;

    let [host, engines] = timed(&module, &inputs)?;
    println!("{}", module.report());
    let picture = picture("wrap-model.svg")?;
    module.report().write(&picture)?;
    println!("A picture of this partition is in {}", picture.display());
    println!(
        "host {:.1?} a call, engines {:.1?}: {:.2} x",
        host.1,
        engines.1,
        host.1.as_secs_f64() / engines.1.as_secs_f64()
    );
    let difference = Difference::between(&engines.0, &host.0);
    println!("largest difference of the engines' answer from the host's: {difference}");
    ensure!(difference.is_small(Device::Cpu), "the engines' answer is not the host's");
    Ok(())
}

/// The answers of the host and of the engines, and the medians of their times, calls taken by turns.
fn timed(module: &TrtModule, inputs: &[Tensor]) -> Result<[(Tensor, Duration); 2]> {
    let call = |enabled: bool| {
        tch_bridge::set_enabled(enabled);
        let start = Instant::now();
        let answer = module.forward_ts(inputs)?;
        Ok::<_, anyhow::Error>((answer, start.elapsed()))
    };
    let answers = [call(false)?.0, call(true)?.0];
    let mut times = [Vec::new(), Vec::new()];
    let start = Instant::now();
    while times[0].is_empty() || (times[0].len() < CALLS && start.elapsed() < BUDGET) {
        times[0].push(call(false)?.1);
        times[1].push(call(true)?.1);
    }
    let [host, engines] = answers;
    times.iter_mut().for_each(|t| t.sort_unstable());
    Ok([(host, times[0][times[0].len() / 2]), (engines, times[1][times[1].len() / 2])])
}

/// `1,3,224,224` as sizes.
fn shape(text: &str) -> Result<Vec<i64>> {
    let size = |s: &str| {
        s.trim().parse().with_context(|| format!("`{text}` is no shape; one looks like 1,3,224,224"))
    };
    text.split(',').map(size).collect()
}

/// A small convolutional network for images `[n, 3, 32, 32]`.
fn small_model() -> Result<CModule> {
    let mut vs = VarStore::new(Device::Cpu);
    let padded = nn::ConvConfig { padding: 1, ..Default::default() };
    let net = nn::seq()
        .add(nn::conv2d(vs.root() / "first", 3, 32, 3, padded))
        .add_fn(|x| x.relu())
        .add(nn::conv2d(vs.root() / "second", 32, 64, 3, padded))
        .add_fn(|x| x.relu().adaptive_avg_pool2d([1, 1]).flatten(1, -1))
        .add(nn::linear(vs.root() / "scores", 64, 10, Default::default()));
    vs.freeze();
    let sample = Tensor::zeros([8, 3, 32, 32], (Kind::Float, Device::Cpu));
    let mut forward = |xs: &[Tensor]| vec![net.forward(&xs[0])];
    Ok(CModule::create_by_tracing("SmallNet", "forward", &[sample], &mut forward)?)
}
