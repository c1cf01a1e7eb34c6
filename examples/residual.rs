//! Residual networks for small images: ResNet v1 and v2, wide ResNet, ResNeXt.

use tch::Tensor;
use tch::nn::{self, Module, ModuleT, Path};

/// How the blocks of a network are built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Convolution, norm, activation; the sum is activated (He et al., arXiv 1512.03385).
    V1,
    /// Norm, activation, convolution; the sum is left alone (He et al., arXiv 1603.05027).
    V2,
    /// As [`Family::V2`] with this many times as many channels (Zagoruyko and Komodakis, arXiv 1605.07146).
    Wide(i64),
    /// Three convolutions, the middle one in groups (Xie et al., arXiv 1611.05431).
    ResNeXt {
        /// Groups.
        cardinality: i64,
        /// Channels of a group in the first stage.
        width: i64,
    },
}

/// A network by its name and its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Architecture {
    /// What tables call it.
    pub name: &'static str,
    family: Family,
    /// Blocks in each of the three stages.
    blocks: i64,
}

/// Of `depth` layers with weights, as the papers count them.
const fn architecture(name: &'static str, family: Family, depth: i64) -> Architecture {
    let blocks = match family {
        Family::V1 | Family::V2 => (depth - 2) / 6,
        Family::Wide(_) => (depth - 4) / 6,
        Family::ResNeXt { .. } => (depth - 2) / 9,
    };
    Architecture { name, family, blocks }
}

/// The networks that MXNet's integration of TensorRT was shown with.
pub const ARCHITECTURES: [Architecture; 10] = [
    architecture("resnet20_v1", Family::V1, 20),
    architecture("resnet56_v1", Family::V1, 56),
    architecture("resnet110_v1", Family::V1, 110),
    architecture("resnet20_v2", Family::V2, 20),
    architecture("resnet56_v2", Family::V2, 56),
    architecture("resnet110_v2", Family::V2, 110),
    architecture("wideresnet16_10", Family::Wide(10), 16),
    architecture("wideresnet28_10", Family::Wide(10), 28),
    architecture("wideresnet40_8", Family::Wide(8), 40),
    architecture("resnext29_16x64d", Family::ResNeXt { cardinality: 16, width: 64 }, 29),
];

impl Architecture {
    /// The network: images `[n, channels, height, width]` to class scores `[n, classes]`. Makes its variables under `vs`.
    pub fn build(&self, vs: &Path, channels: i64, classes: i64) -> nn::SequentialT {
        let (stem, stages) = match self.family {
            Family::V1 | Family::V2 => (16, [16, 32, 64]),
            Family::Wide(factor) => (16, [16, 32, 64].map(|c| c * factor)),
            Family::ResNeXt { .. } => (64, [256, 512, 1024]),
        };
        let first_norm = matches!(self.family, Family::V1 | Family::ResNeXt { .. });
        let mut net = nn::seq_t().add(convolution(&(vs / "stem"), [channels, stem], 3, 1, 1));
        if first_norm {
            net = net.add(norm(&(vs / "stem_norm"), stem)).add_fn(Tensor::relu);
        }
        let mut inputs = stem;
        for (stage, outputs) in stages.into_iter().enumerate() {
            for block in 0..self.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let vs = vs / format!("stage{stage}") / format!("block{block}");
                net = net.add(self.family.block(&vs, [inputs, outputs], stride));
                inputs = outputs;
            }
        }
        if !first_norm {
            net = net.add(norm(&(vs / "last_norm"), inputs)).add_fn(Tensor::relu);
        }
        net.add_fn(|x| x.mean_dim([2i64, 3].as_slice(), false, None)).add(nn::linear(
            vs / "scores",
            inputs,
            classes,
            Default::default(),
        ))
    }
}

impl Family {
    fn block(self, vs: &Path, [inputs, outputs]: [i64; 2], stride: i64) -> Block {
        let changes = stride != 1 || inputs != outputs;
        let (convolutions, norms) = match self {
            Family::V1 | Family::V2 | Family::Wide(_) => (
                vec![
                    convolution(&(vs / "conv1"), [inputs, outputs], 3, stride, 1),
                    convolution(&(vs / "conv2"), [outputs, outputs], 3, 1, 1),
                ],
                if self == Family::V1 { [outputs, outputs].to_vec() } else { vec![inputs, outputs] },
            ),
            Family::ResNeXt { cardinality, width } => {
                let inner = cardinality * width * outputs / 256;
                (
                    vec![
                        convolution(&(vs / "conv1"), [inputs, inner], 1, 1, 1),
                        convolution(&(vs / "conv2"), [inner, inner], 3, stride, cardinality),
                        convolution(&(vs / "conv3"), [inner, outputs], 1, 1, 1),
                    ],
                    vec![inner, inner, outputs],
                )
            }
        };
        let norms = norms.into_iter().enumerate().map(|(at, n)| norm(&(vs / format!("norm{}", at + 1)), n));
        let activated_first = matches!(self, Family::V2 | Family::Wide(_));
        let shortcut = changes.then(|| convolution(&(vs / "shortcut"), [inputs, outputs], 1, stride, 1));
        let shortcut_norm = (changes && !activated_first).then(|| norm(&(vs / "shortcut_norm"), outputs));
        Block { activated_first, convolutions, norms: norms.collect(), shortcut, shortcut_norm }
    }
}

/// A residual block.
#[derive(Debug)]
struct Block {
    /// Do norm and activation come before the convolutions?
    activated_first: bool,
    convolutions: Vec<nn::Conv2D>,
    norms: Vec<nn::BatchNorm>,
    shortcut: Option<nn::Conv2D>,
    shortcut_norm: Option<nn::BatchNorm>,
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let layers = || self.convolutions.iter().zip(&self.norms);
        if self.activated_first {
            let first = x.apply_t(&self.norms[0], train).relu();
            let kept = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |s| s.forward(&first));
            let mut y = first.apply(&self.convolutions[0]);
            for (convolution, norm) in layers().skip(1) {
                y = y.apply_t(norm, train).relu().apply(convolution);
            }
            return y + kept;
        }
        let mut y = x.shallow_clone();
        for (at, (convolution, norm)) in layers().enumerate() {
            y = y.apply(convolution).apply_t(norm, train);
            if at + 1 < self.convolutions.len() {
                y = y.relu();
            }
        }
        let kept = self.shortcut.as_ref().map_or_else(|| x.shallow_clone(), |s| s.forward(x));
        let kept =
            self.shortcut_norm.as_ref().map_or_else(|| kept.shallow_clone(), |n| n.forward_t(&kept, train));
        (y + kept).relu()
    }
}

fn convolution(vs: &Path, [inputs, outputs]: [i64; 2], kernel: i64, stride: i64, groups: i64) -> nn::Conv2D {
    let config = nn::ConvConfig { stride, padding: kernel / 2, groups, bias: false, ..Default::default() };
    nn::conv2d(vs, inputs, outputs, kernel, config)
}

fn norm(vs: &Path, channels: i64) -> nn::BatchNorm {
    nn::batch_norm2d(
        vs,
        channels,
        nn::BatchNormConfig { ws_init: nn::Init::Const(1.0), ..Default::default() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::nn::VarStore;
    use tch::{Device, Kind};

    #[test]
    fn the_networks_have_the_sizes_of_the_papers() {
        // Trainable parameters for ten classes of colour images, in thousands.
        let expected = [272, 856, 1731, 272, 856, 1731, 17_117, 36_479, 35_748, 68_155];
        for (architecture, expected) in ARCHITECTURES.iter().zip(expected) {
            let vs = VarStore::new(Device::Cpu);
            let net = architecture.build(&vs.root(), 3, 10);
            let size: i64 = vs.trainable_variables().iter().map(|t| t.numel() as i64).sum();
            assert_eq!((size + 500) / 1000, expected, "{}", architecture.name);
            if size < 2_000_000 {
                let images = Tensor::zeros([2, 3, 32, 32], (Kind::Float, Device::Cpu));
                assert_eq!(net.forward_t(&images, false).size(), [2, 10], "{}", architecture.name);
            }
        }
    }
}
