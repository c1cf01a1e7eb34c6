//! Floats as integers, as libtorch's code for the processor makes them: cut off towards zero; what the integer does not
//! hold, NaN among it, becomes what the processor's own instruction gives.

use crate::DType;

/// A float that becomes an integer.
pub(crate) trait Truncate: Copy {
    /// In i32, by way of which i16 and i8 are made.
    fn to_i32(self) -> i32;
    /// In i64, by way of which u8 is made.
    fn to_i64(self) -> i64;
}

macro_rules! truncate {
    ($($T:ident),*) => { $(
        impl Truncate for $T {
            #[inline(always)]
            fn to_i32(self) -> i32 {
                let fits = self.abs() < 2147483648.0;
                if fits || cfg!(not(target_arch = "x86_64")) { self as i32 } else { i32::MIN }
            }
            #[inline(always)]
            fn to_i64(self) -> i64 {
                let fits = self.abs() < 9223372036854775808.0;
                if fits || cfg!(not(target_arch = "x86_64")) { self as i64 } else { i64::MIN }
            }
        }
    )* };
}
truncate!(f32, f64);

/// `value` as an integer that has still to be wrapped to the type `to`.
pub(crate) fn truncated(to: DType, value: f64) -> i64 {
    if matches!(to, DType::I64 | DType::U8) { value.to_i64() } else { value.to_i32() as i64 }
}
