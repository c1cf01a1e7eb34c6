//! Python-like numbers: scalar arguments and the arithmetic of scripted code.

use crate::network::expr::Scalar;
use crate::source::{Item, Refusal};
use crate::truncate::truncated;
use crate::{Category, DType};

/// A number that is known while lowering.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Number {
    /// A boolean, 0 or 1 in arithmetic.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, in f64.
    Float(f64),
}

impl Number {
    /// The number that an item holds.
    pub(super) fn of(item: &Item) -> Option<Number> {
        match *item {
            Item::Bool(v) => Some(Number::Bool(v)),
            Item::Int(v) => Some(Number::Int(v)),
            Item::Float(v) => Some(Number::Float(v)),
            _ => None,
        }
    }

    /// As an item.
    pub(super) fn item(self) -> Item {
        match self {
            Number::Bool(v) => Item::Bool(v),
            Number::Int(v) => Item::Int(v),
            Number::Float(v) => Item::Float(v),
        }
    }

    /// The element type of a tensor made from it: `Bool`, I64, or torch's default F32.
    pub(super) fn dtype(self) -> DType {
        match self {
            Number::Bool(_) => DType::Bool,
            Number::Int(_) => DType::I64,
            Number::Float(_) => DType::F32,
        }
    }

    /// Widened to f64.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Number::Float(v) => v,
            other => other.as_i64() as f64,
        }
    }

    /// As an integer; a float truncates.
    pub(super) fn as_i64(self) -> i64 {
        match self {
            Number::Bool(v) => v as i64,
            Number::Int(v) => v,
            Number::Float(v) => truncated(DType::I64, v),
        }
    }

    /// The literal of this value in `dtype`, rounded; refused when it does not fit there (a finite value that overflows, a fraction
    /// as an integer).
    pub(super) fn literal(self, dtype: DType, arg: &str) -> Result<Scalar, Refusal> {
        let fail = || Refusal::Attribute {
            arg: arg.to_string(),
            why: format!("{} does not fit {dtype}", self.as_f64()),
        };
        let float = self.as_f64();
        match dtype.category() {
            Category::Boolean => Ok(Scalar::Int((float != 0.0) as i64)),
            Category::Floating => {
                let fits = !float.is_finite() || float.abs() <= largest(dtype);
                fits.then_some(Scalar::Float(rounded(float, dtype))).ok_or_else(fail)
            }
            Category::Integral => {
                let whole = self.as_i64();
                let (low, high) = range(dtype);
                let exact = !matches!(self, Number::Float(_)) || whole as f64 == float;
                (exact && (low..=high).contains(&whole)).then_some(Scalar::Int(whole)).ok_or_else(fail)
            }
        }
    }
}

/// The largest finite value of a floating-point type.
pub(super) fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::MAX.to_f64(),
        DType::BF16 => half::bf16::MAX.to_f64(),
        DType::F32 => f32::MAX as f64,
        _ => f64::MAX,
    }
}

/// The least and the greatest value of an integer type.
pub(super) fn range(dtype: DType) -> (i64, i64) {
    match dtype {
        DType::Bool => (0, 1),
        DType::U8 => (0, u8::MAX as i64),
        DType::I8 => (i8::MIN as i64, i8::MAX as i64),
        DType::I16 => (i16::MIN as i64, i16::MAX as i64),
        DType::I32 => (i32::MIN as i64, i32::MAX as i64),
        _ => (i64::MIN, i64::MAX),
    }
}

/// `value` rounded to a floating-point type.
pub(super) fn rounded(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 => half::f16::from_f64(value).to_f64(),
        DType::BF16 => half::bf16::from_f64(value).to_f64(),
        DType::F32 => value as f32 as f64,
        _ => value,
    }
}
