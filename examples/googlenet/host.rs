//! The layers on the host: a forward pass with tch.

use crate::network::{Layers, Unit};
use anyhow::Result;
use tch::nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use tch::nn::{Init, Path};
use tch::{Kind, Tensor};

/// A forward pass whose variables are in `0`, and made there by the first pass.
pub struct Host<'a>(pub Path<'a>);

impl Host<'_> {
    /// The variables of a layer: a weight of this shape, and a bias.
    fn pair(&self, name: &str, shape: &[i64]) -> Result<[Tensor; 2]> {
        let spread = Init::Kaiming {
            dist: NormalOrUniform::Normal,
            fan: FanInOut::FanIn,
            non_linearity: NonLinearity::ReLU,
        };
        let path = &self.0 / name;
        let variable = |name: &str, shape: &[i64], init| {
            path.get(name).map_or_else(|| path.f_var(name, shape, init), Ok)
        };
        let bias = Init::Randn { mean: 0.0, stdev: 0.05 };
        Ok([variable("weight", shape, spread)?, variable("bias", &shape[..1], bias)?])
    }
}

impl Layers for Host<'_> {
    type Value = Tensor;

    fn convolution(&mut self, name: &str, x: &Tensor, unit: Unit) -> Result<Tensor> {
        let Unit { outputs, window, stride } = unit;
        let [weight, bias] = self.pair(name, &[outputs, x.size()[1], window, window])?;
        Ok(x.f_conv2d(&weight, Some(bias), stride, window / 2, 1, 1)?.relu_())
    }

    fn largest(&mut self, x: &Tensor, stride: i64) -> Result<Tensor> {
        Ok(x.f_max_pool2d(3, stride, 1, 1, false)?)
    }

    fn normalised(&mut self, x: &Tensor) -> Result<Tensor> {
        let square = x.square().unsqueeze(1).f_constant_pad_nd([0, 0, 0, 0, 2, 2])?;
        let mean = square.f_avg_pool3d([5, 1, 1], [1, 1, 1], [0, 0, 0], false, true, None)?.squeeze_dim(1);
        Ok(x / (mean * 1e-4 + 1.0).pow_tensor_scalar(0.75))
    }

    fn joined(&mut self, parts: &[Tensor]) -> Result<Tensor> {
        Ok(Tensor::f_cat(parts, 1)?)
    }

    fn mean(&mut self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_mean_dim([2i64, 3].as_slice(), false, None)?)
    }

    fn probabilities(&mut self, name: &str, x: &Tensor, outputs: i64) -> Result<Tensor> {
        let [weight, bias] = self.pair(name, &[outputs, x.size()[1]])?;
        Ok(x.f_linear(&weight, Some(bias))?.f_softmax(-1, None::<Kind>)?)
    }
}
