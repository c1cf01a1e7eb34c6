//! Photographs as the network takes them, and boxes drawn into them.

use anyhow::{Context, Result};
use std::path::Path;
use tch::vision::image;
use tch::{Kind, Tensor};

/// What the network sees where the photograph does not reach.
const GREY: f64 = 114.0;

/// A photograph: bytes `[3, height, width]`, RGB.
pub struct Photograph(Tensor);

impl Photograph {
    /// The photograph in a file, JPEG or PNG.
    pub fn load(path: &Path) -> Result<Photograph> {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        Photograph::from_bytes(&bytes).with_context(|| path.display().to_string())
    }

    /// From the bytes of a file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Photograph> {
        Ok(Photograph(image::load_from_memory(bytes).context("a photograph is a JPEG or PNG")?))
    }

    /// How much larger it is than what the network sees of it.
    fn scale(&self, side: i64) -> f64 {
        let longest = self.0.size()[1..].iter().copied().max().unwrap_or(1);
        longest as f64 / side as f64
    }

    /// `[1, 3, side, side]`: the photograph in the upper left corner, as large as fits; BGR in 0 to 255.
    pub fn input(&self, side: i64) -> Result<Tensor> {
        let sizes = [1, 2].map(|axis| (self.0.size()[axis] as f64 / self.scale(side)).round() as i64);
        let small = image::resize(&self.0, sizes[1], sizes[0])?.flip([0]).to_kind(Kind::Float);
        let input = Tensor::full([1, 3, side, side], GREY, tch::kind::FLOAT_CPU);
        input.get(0).narrow(1, 0, sizes[0]).narrow(2, 0, sizes[1]).copy_(&small);
        Ok(input)
    }

    /// Draws boxes `[n, 6]` that were found in an input of this side: left, top, right, bottom, score, class; writes a PNG.
    pub fn draw(&self, boxes: &Tensor, side: i64, path: &Path) -> Result<()> {
        const LINE: i64 = 3;
        let picture = self.0.copy();
        let (height, width) = (picture.size()[1], picture.size()[2]);
        for at in 0..boxes.size()[0] {
            let edge = |i: i64, end: i64| {
                ((boxes.double_value(&[at, i]) * self.scale(side)) as i64).clamp(0, (end - 1).max(0))
            };
            let [left, top, right, bottom] =
                [edge(0, width), edge(1, height), edge(2, width), edge(3, height)];
            let fill = |x: i64, y: i64, w: i64, h: i64| {
                let part = picture.narrow(1, y, h.min(height - y)).narrow(2, x, w.min(width - x));
                for (channel, value) in colour(boxes.int64_value(&[at, 5])).into_iter().enumerate() {
                    drop(part.get(channel as i64).fill_(value));
                }
            };
            fill(left, top, right - left + 1, LINE);
            fill(left, bottom, right - left + 1, LINE);
            fill(left, top, LINE, bottom - top + 1);
            fill(right, top, LINE, bottom - top + 1);
        }
        image::save(&picture, path).with_context(|| path.display().to_string())
    }
}

/// A colour for a class.
fn colour(class: i64) -> [i64; 3] {
    [class * 67 % 256, (class * 151 + 80) % 256, (class * 199 + 160) % 256]
}
