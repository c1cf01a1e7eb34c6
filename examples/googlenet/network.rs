//! GoogLeNet (Szegedy et al., Going Deeper with Convolutions, arXiv 1409.4842), written once; whoever lays its layers decides what comes
//! of it: answers of the host, or a network for an engine.

use anyhow::Result;

/// Width and height of the images.
pub const SIDE: i64 = 224;

/// Number of classes.
pub const CLASSES: i64 = 1000;

/// Takes layers one after the other.
pub trait Layers {
    /// What goes from layer to layer.
    type Value;

    /// A convolution with a bias whose padding keeps the size at stride 1, and ReLU.
    fn convolution(&mut self, name: &str, x: &Self::Value, unit: Unit) -> Result<Self::Value>;

    /// The largest of 3 by 3, at this stride, with a padding of 1.
    fn largest(&mut self, x: &Self::Value, stride: i64) -> Result<Self::Value>;

    /// Local response normalisation across five channels.
    fn normalised(&mut self, x: &Self::Value) -> Result<Self::Value>;

    /// Channels of all these, one after the other.
    fn joined(&mut self, parts: &[Self::Value]) -> Result<Self::Value>;

    /// The mean of each channel, `[n, channels]`.
    fn mean(&mut self, x: &Self::Value) -> Result<Self::Value>;

    /// A fully connected layer, and the softmax of its scores.
    fn probabilities(&mut self, name: &str, x: &Self::Value, outputs: i64) -> Result<Self::Value>;
}

/// The numbers of a convolution.
#[derive(Clone, Copy)]
pub struct Unit {
    /// Channels of its result.
    pub outputs: i64,
    /// Width and height of its window.
    pub window: i64,
    /// Step of the window.
    pub stride: i64,
}

/// Channels in an inception block: 1x1; 1x1, then 3x3; 1x1, then 5x5; pool, then 1x1.
const BLOCKS: [(&str, [i64; 6]); 9] = [
    ("3a", [64, 96, 128, 16, 32, 32]),
    ("3b", [128, 128, 192, 32, 96, 64]),
    ("4a", [192, 96, 208, 16, 48, 64]),
    ("4b", [160, 112, 224, 24, 64, 64]),
    ("4c", [128, 128, 256, 24, 64, 64]),
    ("4d", [112, 144, 288, 32, 64, 64]),
    ("4e", [256, 160, 320, 32, 128, 128]),
    ("5a", [256, 160, 320, 32, 128, 128]),
    ("5b", [384, 192, 384, 48, 128, 128]),
];

/// Images `[n, 3, 224, 224]` to probabilities `[n, 1000]`.
pub fn lay<L: Layers>(layers: &mut L, images: &L::Value) -> Result<L::Value> {
    let unit = |outputs, window| Unit { outputs, window, stride: 1 };
    let x = layers.convolution("conv1", images, Unit { stride: 2, ..unit(64, 7) })?;
    let x = layers.largest(&x, 2)?;
    let x = layers.normalised(&x)?;
    let x = layers.convolution("conv2_reduce", &x, unit(64, 1))?;
    let x = layers.convolution("conv2", &x, unit(192, 3))?;
    let x = layers.normalised(&x)?;
    let mut x = layers.largest(&x, 2)?;
    for (block, [one, reduce3, three, reduce5, five, pooled]) in BLOCKS {
        if matches!(block, "4a" | "5a") {
            x = layers.largest(&x, 2)?;
        }
        let mut convolution = |name: &str, x: &L::Value, unit| {
            layers.convolution(&format!("inception_{block}_{name}"), x, unit)
        };
        let first = convolution("1x1", &x, unit(one, 1))?;
        let narrow = convolution("3x3_reduce", &x, unit(reduce3, 1))?;
        let second = convolution("3x3", &narrow, unit(three, 3))?;
        let narrow = convolution("5x5_reduce", &x, unit(reduce5, 1))?;
        let third = convolution("5x5", &narrow, unit(five, 5))?;
        let pool = layers.largest(&x, 1)?;
        let last = layers.convolution(&format!("inception_{block}_pool"), &pool, unit(pooled, 1))?;
        x = layers.joined(&[first, second, third, last])?;
    }
    let x = layers.mean(&x)?;
    layers.probabilities("classifier", &x, CLASSES)
}
