//! Drawn shapes as a [`Dataset`]: colour images `[n, 3, 32, 32]` of `f32`, one shape of ten in each, at a random place,
//! size, angle and in random colours, under noise; labels `[n]` of `i64` in 0 to 9.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use tch::vision::dataset::Dataset;
use tch::{Kind, Tensor};

/// Width and height of the images.
pub const SIDE: i64 = 32;

/// disc, ring, square, frame, triangle, plus, cross, two bars lying, two bars standing, crescent.
pub const CLASSES: i64 = 10;

/// How much the noise adds to each pixel, as its standard deviation.
const NOISE: f64 = 0.15;

/// So many images to train with and held out, the same ones for the same seed.
pub fn dataset(training: i64, held_out: i64, seed: u64) -> Dataset {
    let mut numbers = Numbers(seed);
    let (train_images, train_labels) = drawn(training, &mut numbers);
    let (test_images, test_labels) = drawn(held_out, &mut numbers);
    Dataset { train_images, train_labels, test_images, test_labels, labels: CLASSES }
}

fn drawn(n: i64, numbers: &mut Numbers) -> (Tensor, Tensor) {
    let labels = (numbers.uniform(&[n]) * CLASSES).to_kind(Kind::Int64).clamp(0, CLASSES - 1);
    let mut random = |low: f64, high: f64, shape: &[i64]| numbers.uniform(shape) * (high - low) + low;
    let mut each = |low, high| random(low, high, &[n, 1, 1]);
    let grid = (Tensor::arange(SIDE, tch::kind::FLOAT_CPU) - (SIDE - 1) as f64 / 2.0) / (SIDE as f64 / 2.0);
    let (size, angle) = (each(0.4, 0.75), each(-0.3, 0.3));
    let x = (grid.view([1, 1, SIDE]) - each(-0.25, 0.25)) / &size;
    let y = (grid.view([1, SIDE, 1]) - each(-0.25, 0.25)) / &size;
    let (sine, cosine) = (angle.sin(), angle.cos());
    let (u, v) = (&x * &cosine + &y * &sine, &y * &cosine - &x * &sine);
    let distance = Tensor::stack(&distances(&u, &v), 1);
    let index = labels.view([n, 1, 1, 1]).expand([n, 1, SIDE, SIDE], false);
    let inside =
        (distance.gather(1, &index, false) * (-SIDE as f64 / 3.0) * size.view([n, 1, 1, 1])).sigmoid();
    let mut colour = |low, high| random(low, high, &[n, 3, 1, 1]);
    let (ground, figure) = (colour(0.0, 0.5), colour(0.5, 1.0));
    let noise = numbers.normal(&[n, 3, SIDE, SIDE]) * NOISE;
    (&ground + (&figure - &ground) * inside + noise, labels)
}

/// Random numbers that nobody else draws from (Steele, Lea, Flood: SplitMix, OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    /// In [0, 1).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn uniform(&mut self, shape: &[i64]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| self.next() as f32).collect();
        Tensor::from_slice(&values).view(shape)
    }

    /// By the method of Box and Muller.
    fn normal(&mut self, shape: &[i64]) -> Tensor {
        let (radius, angle) = (self.uniform(shape), self.uniform(shape));
        (radius.clamp(1e-7, 1.0).log() * -2.0).sqrt() * (angle * TAU).cos()
    }
}

/// How far a point lies outside of each shape, about; negative within.
fn distances(u: &Tensor, v: &Tensor) -> Vec<Tensor> {
    let (across, along) = (u.abs(), v.abs());
    let radius = (u.square() + v.square()).sqrt();
    let square = across.maximum(&along);
    let bar = |a: &Tensor, b: &Tensor| (a - 0.3).maximum(&(b - 1.0));
    let plus = |a: &Tensor, b: &Tensor| bar(a, b).minimum(&bar(b, a));
    let bars = |a: &Tensor, b: &Tensor| ((a - 0.6).abs() - 0.25).maximum(&(b - 1.0));
    let (p, q) = ((u + v) * FRAC_1_SQRT_2, (u - v) * FRAC_1_SQRT_2);
    let bite = ((u - 0.55).square() + v.square()).sqrt() - 0.8;
    vec![
        &radius - 0.9,
        (&radius - 0.75).abs() - 0.2,
        &square - 0.8,
        (&square - 0.7).abs() - 0.18,
        (&across * 0.866 + v * 0.5).maximum(&-v) - 0.5,
        plus(&across, &along),
        plus(&p.abs(), &q.abs()),
        bars(&along, &across),
        bars(&across, &along),
        (&radius - 0.95).maximum(&-bite),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_reproducible_and_shapes_differ() {
        let [a, b] = [0, 0].map(|_| dataset(40, 20, 3));
        assert_eq!((a.train_images.size(), a.test_labels.size()), (vec![40, 3, SIDE, SIDE], vec![20]));
        assert!(a.train_images == b.train_images && a.test_labels == b.test_labels);
        let point = |x: f64| Tensor::from_slice(&[x as f32]);
        let centre: Vec<bool> =
            distances(&point(0.0), &point(0.0)).iter().map(|d| d.double_value(&[0]) < 0.0).collect();
        // Which shapes cover their centre.
        assert_eq!(centre, [true, false, true, false, true, true, true, false, false, false]);
    }
}
