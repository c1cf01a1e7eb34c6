//! A network with operators that no engine takes, between two regions that engines do take: Fourier mixing of tokens
//! (Lee-Thorp et al., FNet, 2021) needs complex numbers, which stay on the host.
//!
//! `cargo run --release --example partition_mixed`. Ends with exit code 1 when the partition or the answer is not the
//! expected one.

use anyhow::{Error, Result, ensure};
use examples::{difference::Difference, picture};
use tch::nn::{self, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::{Options, TrtModule};

/// Width of a token.
const WIDTH: i64 = 128;

/// Patches of images `[n, 3, 32, 32]` as tokens, mixed by a Fourier transform, then ten scores for each image: `[n, 10]`.
struct FourierNet {
    patches: nn::Conv2D,
    batch_norm: nn::BatchNorm,
    norm: nn::LayerNorm,
    wide: nn::Linear,
    narrow: nn::Linear,
    scores: nn::Linear,
}

impl FourierNet {
    fn new(vs: nn::Path) -> Self {
        let stride = nn::ConvConfig { stride: 4, ..Default::default() };
        Self {
            patches: nn::conv2d(&vs / "patches", 3, WIDTH, 4, stride),
            batch_norm: nn::batch_norm2d(&vs / "batch_norm", WIDTH, Default::default()),
            norm: nn::layer_norm(&vs / "norm", vec![WIDTH], Default::default()),
            wide: nn::linear(&vs / "wide", WIDTH, 4 * WIDTH, Default::default()),
            narrow: nn::linear(&vs / "narrow", 4 * WIDTH, WIDTH, Default::default()),
            scores: nn::linear(&vs / "scores", WIDTH, 10, Default::default()),
        }
    }

    fn forward(&self, images: &Tensor) -> Tensor {
        let patches = images.apply(&self.patches).apply_t(&self.batch_norm, false).gelu("none");
        let tokens = patches.flatten(2, -1).transpose(1, 2);
        let mixed = tokens.fft_fft2(None::<Vec<i64>>, [-2, -1], "ortho").real();
        let tokens = (tokens + mixed).apply(&self.norm);
        let tokens = &tokens + tokens.apply(&self.wide).gelu("none").apply(&self.narrow);
        tokens.mean_dim(&[1i64][..], false, Kind::Float).apply(&self.scores)
    }
}

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    examples::arguments("partition_mixed", 0).map_err(Error::msg)?;
    tch::manual_seed(1);
    let _no_grad = tch::no_grad_guard();
    let vs = VarStore::new(Device::Cpu);
    let net = FourierNet::new(vs.root());
    let images = Tensor::randn([8, 3, 32, 32], (Kind::Float, Device::Cpu));
    let module =
        TrtModule::trace(&vs, &[images.shallow_clone()], |xs| net.forward(&xs[0]), &Options::waiting())?;

    module.compile(&[&images])?;
    tch_bridge::set_enabled(false);
    let host = module.forward_ts(&[&images])?;
    tch_bridge::set_enabled(true);
    let engines = module.forward_ts(&[&images])?;

    let report = module.report();
    println!("{report}");
    let picture = picture("partition-mixed.svg")?;
    report.write(&picture)?;
    println!("A picture of this partition is in {}", picture.display());
    let difference = Difference::between(&engines, &host);
    println!("Largest difference of the engines' answer from the host's: {difference}");
    ensure!(report.engines() == 2, "two engines were expected, {} were built", report.engines());
    ensure!(difference.is_small(Device::Cpu), "the engines' answer is not the host's");
    Ok(())
}
