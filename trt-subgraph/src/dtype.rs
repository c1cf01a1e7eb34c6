//! Element types and how two of them meet.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of one tensor element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer, wrapping.
    U8,
    /// Signed 8-bit integer, wrapping.
    I8,
    /// Signed 16-bit integer, wrapping.
    I16,
    /// Signed 32-bit integer, wrapping.
    I32,
    /// Signed 64-bit integer, wrapping; never narrowed.
    I64,
    /// IEEE 754 binary16; arithmetic happens in f32.
    F16,
    /// bfloat16; arithmetic happens in f32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64; never narrowed.
    F64,
}

/// The broad class that decides promotion between a tensor and a scalar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Category {
    /// `Bool`.
    Boolean,
    /// Any integer.
    Integral,
    /// Any floating-point type.
    Floating,
}

impl DType {
    /// Every type, narrow to wide.
    pub const ALL: [DType; 10] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::I16 | DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The name in the text form: `f32`, `i64`, `bool`, ...
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// The inverse of [`DType::name`].
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Boolean, integral or floating.
    pub fn category(self) -> Category {
        match self {
            DType::Bool => Category::Boolean,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Category::Floating,
            _ => Category::Integral,
        }
    }

    /// Is this a floating-point type?
    pub fn is_float(self) -> bool {
        self.category() == Category::Floating
    }

    /// Is this an integer type (`Bool` is not)?
    pub fn is_int(self) -> bool {
        self.category() == Category::Integral
    }

    /// The type that two tensors of these types compute in, as torch promotes them
    /// (<https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc>).
    pub fn promote(self, other: DType) -> DType {
        use DType::*;
        let (low, high) = if self <= other { (self, other) } else { (other, self) };
        match (low, high) {
            (a, b) if a == b => a,
            (U8, I8) => I16,
            (F16, BF16) => F32,
            (_, b) => b,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DType::{self, *};

    #[test]
    fn promotion_is_symmetric_and_follows_torch() {
        for a in DType::ALL {
            for b in DType::ALL {
                assert_eq!(a.promote(b), b.promote(a));
            }
        }
        assert_eq!(U8.promote(I8), I16);
        assert_eq!(F16.promote(BF16), F32);
        assert_eq!(I64.promote(F16), F16);
        assert_eq!(Bool.promote(U8), U8);
    }

    #[test]
    fn names_read_back() {
        for d in DType::ALL {
            assert_eq!(DType::parse(d.name()), Some(d));
        }
        assert_eq!(DType::parse("float"), None);
    }
}
