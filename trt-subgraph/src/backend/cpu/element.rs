//! Element types of memory, for kernels that move or compare elements.

use half::{bf16, f16};

/// An element of any type.
pub trait Element: Copy + Send + Sync + 'static {
    /// A number that orders elements ascending: equal for equal elements, NaN largest.
    fn rank(self) -> u64;
    /// Converts as [`crate::Literal::from_f64`] does.
    fn from_f64(value: f64) -> Self;
}

macro_rules! ints {
    ($($T:ident),*) => { $(
        impl Element for $T {
            #[inline(always)]
            fn rank(self) -> u64 {
                self as i64 as u64 ^ 1 << 63
            }
            fn from_f64(value: f64) -> $T {
                value as i64 as $T
            }
        }
    )* };
}
ints!(u8, i8, i16, i32, i64);

impl Element for f64 {
    #[inline(always)]
    fn rank(self) -> u64 {
        if self.is_nan() {
            return u64::MAX;
        }
        // Adding 0 makes one zero of two.
        let bits = (self + 0.0).to_bits();
        if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
    }
    fn from_f64(value: f64) -> f64 {
        value
    }
}

macro_rules! floats {
    ($($T:ident $from:expr),*) => { $(
        impl Element for $T {
            #[inline(always)]
            fn rank(self) -> u64 {
                f64::from(self).rank()
            }
            fn from_f64(value: f64) -> $T {
                $from(value)
            }
        }
    )* };
}
floats!(f32 |v| v as f32, f16 f16::from_f64, bf16 bf16::from_f64);

/// Runs `$body` with `$T` as the Rust type of a dtype's elements; `Bool` is `u8`.
macro_rules! for_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::Bool | $crate::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}
pub(super) use for_element;

/// Runs `$body` with `$T` as the Rust type of elements of this many bytes, for kernels that only move them.
macro_rules! for_size {
    ($size:expr, $T:ident => $body:expr) => {
        match $size {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}
pub(super) use for_size;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_ascending() {
        let sorted = [f64::NEG_INFINITY, -2.0, -1e-310, 0.0, 1e-310, 3.0, f64::INFINITY, f64::NAN];
        assert!(sorted.windows(2).all(|w| w[0].rank() < w[1].rank()));
        assert_eq!((-0.0f32).rank(), 0f32.rank());
        assert!(
            (-1i8).rank() < 0i8.rank() && 127u8.rank() < 200u8.rank() && i64::MIN.rank() < i64::MAX.rank()
        );
    }
}
