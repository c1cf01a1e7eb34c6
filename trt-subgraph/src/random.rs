//! Reproducible random values for cases and differential tests.

use crate::{DType, Literal, TensorType};

/// A stream of numbers that its seed determines (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The stream of a text.
    pub fn of_text(text: &str) -> Random {
        let hash = |h: u64, b: u8| (h ^ b as u64).wrapping_mul(0x0100_0000_01b3);
        Random(text.bytes().fold(0xcbf2_9ce4_8422_2325, hash))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of these, which are not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A tensor: floats in [-2, 2), integers in -9..=9 (u8: 0..=9), either boolean.
    pub fn literal(&mut self, ty: TensorType) -> Literal {
        match ty.dtype {
            d if d.is_float() => self.literal_in(ty, -2.0, 2.0),
            DType::Bool => self.literal_in(ty, 0.0, 2.0),
            DType::U8 => self.literal_in(ty, 0.0, 10.0),
            _ => self.literal_in(ty, -9.0, 10.0),
        }
    }

    /// A tensor of values in [from, to), whole ones for integers.
    pub fn literal_in(&mut self, ty: TensorType, from: f64, to: f64) -> Literal {
        let whole = !ty.dtype.is_float();
        let n = ty.elements();
        let values = (0..n).map(|_| from + self.unit() * (to - from));
        let values = values.map(|v| if whole { v.floor() } else { v });
        Literal::from_f64(ty, values).expect("as many as the type has")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_stay_in_range() {
        let ty = TensorType::new(DType::I64, [100]);
        let a = Random::of_text("a").literal(ty.clone());
        assert_eq!(a, Random::of_text("a").literal(ty.clone()));
        assert_ne!(a, Random::of_text("b").literal(ty.clone()));
        assert!(a.to_f64().iter().all(|v| (-9.0..=9.0).contains(v)));
        let index = Random::new(1).literal_in(ty, 0.0, 3.0).to_f64();
        assert!([0.0, 1.0, 2.0].iter().all(|v| index.contains(v)) && index.iter().all(|&v| v < 3.0));
    }
}
