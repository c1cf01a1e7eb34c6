//! The layers through the network API.

use crate::network::{Layers, Unit};
use anyhow::Result;
use examples::weights::Weights;
use trt_subgraph::define::{Activation, Definition, Pooling, Window};
use trt_subgraph::network::ValueId;

/// A definition under construction, and the weights of the host.
pub struct ByHand<'a> {
    /// The network so far.
    pub network: Definition,
    /// The host's variables.
    pub weights: &'a Weights,
}

impl ByHand<'_> {
    fn pair(&mut self, name: &str) -> Result<[ValueId; 2]> {
        let weight = self.weights.enter(&mut self.network, &format!("{name}.weight"))?;
        Ok([weight, self.weights.enter(&mut self.network, &format!("{name}.bias"))?])
    }
}

impl Layers for ByHand<'_> {
    type Value = ValueId;

    fn convolution(&mut self, name: &str, &x: &ValueId, unit: Unit) -> Result<ValueId> {
        let [weight, bias] = self.pair(name)?;
        let window = Window::stride(&[unit.stride as usize]).padded(&[unit.window as usize / 2]);
        let y = self.network.layer(name).convolution(x, weight, Some(bias), &window)?;
        Ok(self.network.activation(y, Activation::Relu)?)
    }

    fn largest(&mut self, &x: &ValueId, stride: i64) -> Result<ValueId> {
        let window = Window::stride(&[stride as usize]).padded(&[1]);
        Ok(self.network.layer("pool").pooling(x, Pooling::Max, &[3, 3], &window)?)
    }

    fn normalised(&mut self, &x: &ValueId) -> Result<ValueId> {
        Ok(self.network.layer("normalisation").lrn(x, 5, 1e-4, 0.75, 1.0)?)
    }

    fn joined(&mut self, parts: &[ValueId]) -> Result<ValueId> {
        Ok(self.network.layer("inception").concat(parts, 1)?)
    }

    fn mean(&mut self, &x: &ValueId) -> Result<ValueId> {
        let [n, channels, height, width] = self.network.ty(x).shape[..] else { unreachable!("images") };
        let mean =
            self.network.layer("mean").pooling(x, Pooling::Average, &[height, width], &Window::default())?;
        Ok(self.network.reshape(mean, &[n, channels])?)
    }

    fn probabilities(&mut self, name: &str, &x: &ValueId, _outputs: i64) -> Result<ValueId> {
        let [weight, bias] = self.pair(name)?;
        let scores = self.network.layer(name).fully_connected(x, weight, Some(bias))?;
        Ok(self.network.softmax(scores, 1)?)
    }
}
