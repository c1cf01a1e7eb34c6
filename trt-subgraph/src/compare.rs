//! Are two tensors the same, as far as their element type can tell?

use crate::{DType, Literal, TensorType};
use std::fmt;

/// How two tensors differ.
#[derive(Clone, PartialEq, Debug)]
pub enum Difference {
    /// In type.
    Type {
        /// What was found.
        found: TensorType,
        /// What was expected.
        expected: TensorType,
    },
    /// In an element.
    Value {
        /// Its row-major position.
        at: usize,
        /// What was found.
        found: f64,
        /// What was expected.
        expected: f64,
    },
}

/// The first element of `found` that differs from `expected` by more than `tolerance` times the largest finite magnitude in
/// `expected`, if any. NaN equals NaN, infinities equal themselves; integers and booleans have to be equal.
pub fn compare(found: &Literal, expected: &Literal, tolerance: f64) -> Result<(), Difference> {
    let ty = expected.ty();
    if found.ty() != ty {
        return Err(Difference::Type { found: found.ty().clone(), expected: ty.clone() });
    }
    let exact = !ty.dtype.is_float();
    let expected_values = expected.to_f64();
    let scale = expected_values.iter().map(|v| v.abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    for (at, &want) in expected_values.iter().enumerate() {
        let have = found.f64_at(at);
        let same = if exact {
            found.i64_at(at) == expected.i64_at(at)
        } else {
            have == want || (have.is_nan() && want.is_nan()) || (have - want).abs() <= tolerance * scale
        };
        if !same {
            return Err(Difference::Value { at, found: have, expected: want });
        }
    }
    Ok(())
}

/// The tolerance at which two sound implementations of one operator agree in this type: a few roundings.
pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 1e-5,
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        _ => 0.0,
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Type { found, expected } => write!(f, "type is {found}, expected {expected}"),
            Difference::Value { at, found, expected } => {
                write!(f, "element {at} is {found:?}, expected {expected:?}")
            }
        }
    }
}

impl std::error::Error for Difference {}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f64]) -> Literal {
        Literal::from_f64(TensorType::new(DType::F32, [values.len()]), values.iter().copied()).unwrap()
    }

    #[test]
    fn closeness_is_relative_to_the_tensor() {
        assert_eq!(compare(&floats(&[100.0, 1.0005]), &floats(&[100.0, 1.0]), 1e-5), Ok(()));
        let error = compare(&floats(&[100.0, 1.1]), &floats(&[100.0, 1.0]), 1e-5).unwrap_err();
        assert!(matches!(error, Difference::Value { at: 1, .. }));
        assert!(matches!(compare(&floats(&[1.0]), &floats(&[]), 1.0), Err(Difference::Type { .. })));
    }

    #[test]
    fn what_is_not_finite_is_equal_or_not() {
        let odd = floats(&[f64::NAN, f64::INFINITY, 1.0]);
        assert_eq!(compare(&odd, &odd, 0.0), Ok(()));
        assert!(compare(&floats(&[0.0, f64::INFINITY, 1.0]), &odd, 1.0).is_err());
        assert!(compare(&floats(&[f64::NAN, f64::NEG_INFINITY, 1.0]), &odd, 1.0).is_err());
        assert!(compare(&floats(&[f64::NAN, 1e30, 1.0]), &odd, 1.0).is_err());
    }

    #[test]
    fn integers_are_equal() {
        let big = |v| Literal::from_i64(TensorType::new(DType::I64, []), [v]).unwrap();
        assert!(compare(&big(i64::MAX), &big(i64::MAX - 1), 1.0).is_err());
    }
}
