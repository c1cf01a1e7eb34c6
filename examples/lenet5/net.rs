//! LeNet-5 with 20 and 50 feature maps and 500 hidden units, and its training.

use anyhow::Result;
use examples::digits::{CLASSES, SIDE};
use indicatif::{ProgressBar, ProgressStyle};
use tch::nn::{self, Module, OptimizerConfig};
use tch::vision::dataset::Dataset;
use tch::{Device, Kind, Tensor};

/// Images in a training step.
const BATCH: i64 = 32;

/// Training ends with the first epoch that reaches this number of images.
const IMAGES: i64 = 14_380;

/// The farthest shift, in pixels, that training applies to the images of a step.
const SHIFT: i64 = 2;

/// LeNet-5: images `[n, 1, 28, 28]` to class probabilities `[n, 10]`.
#[derive(Debug)]
pub struct LeNet {
    convolutions: [nn::Conv2D; 2],
    hidden: nn::Linear,
    output: nn::Linear,
}

impl LeNet {
    /// Makes the variables in `vs`.
    pub fn new(vs: nn::Path) -> Self {
        let convolution =
            |name, inputs, outputs| nn::conv2d(&vs / name, inputs, outputs, 5, Default::default());
        Self {
            convolutions: [convolution("conv1", 1, 20), convolution("conv2", 20, 50)],
            hidden: nn::linear(&vs / "hidden", 800, 500, Default::default()),
            output: nn::linear(&vs / "output", 500, CLASSES, Default::default()),
        }
    }

    fn logits(&self, images: &Tensor) -> Tensor {
        let [first, second] = &self.convolutions;
        let features = images.apply(first).tanh().max_pool2d_default(2);
        let features = features.apply(second).tanh().max_pool2d_default(2);
        features.flatten(1, -1).apply(&self.hidden).tanh().apply(&self.output)
    }
}

impl Module for LeNet {
    fn forward(&self, images: &Tensor) -> Tensor {
        self.logits(images).softmax(-1, None::<Kind>)
    }
}

/// Trains `net` with Adam on the training part of `data`, behind a progress bar.
pub fn train(net: &LeNet, vs: &nn::VarStore, data: &Dataset) -> Result<()> {
    let images = data.train_images.size()[0];
    let epochs = (IMAGES as u64).div_ceil(images as u64) as i64;
    let steps = (images / BATCH) * epochs;
    let bar = ProgressBar::new(steps as u64);
    bar.set_style(ProgressStyle::with_template("training {bar:40} {pos}/{len} steps, {elapsed}, {msg}")?);
    let mut adam = nn::Adam::default().build(vs, 1e-3)?;
    for _ in 0..epochs {
        for (images, labels) in data.train_iter(BATCH).shuffle().to_device(vs.device()) {
            // The last steps are small, so that the result does not hang on where training stops.
            adam.set_lr(if bar.position() as i64 * 10 < steps * 7 { 1e-3 } else { 2e-4 });
            let loss = net.logits(&shifted(&images)).cross_entropy_for_logits(&labels);
            adam.backward_step(&loss);
            bar.inc(1);
            if bar.position().is_multiple_of(10) {
                bar.set_message(format!("loss {:.4}", loss.double_value(&[])));
            }
        }
    }
    bar.finish();
    // Gradients that stay would have each evaluation compare all weights.
    adam.zero_grad();
    Ok(())
}

/// `images` moved by one random offset of up to [`SHIFT`] pixels each way, zeros moving in.
fn shifted(images: &Tensor) -> Tensor {
    let offset = || Tensor::randint(2 * SHIFT + 1, [1], (Kind::Int64, Device::Cpu)).int64_value(&[0]);
    let padded = images.constant_pad_nd([SHIFT; 4]);
    padded.narrow(2, offset(), SIDE).narrow(3, offset(), SIDE)
}
