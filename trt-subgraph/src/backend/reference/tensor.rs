//! The values that the interpreter works on: widened elements, and moving them about.

use crate::{DType, Literal, TensorType};
use half::{bf16, f16};

/// A tensor with widened elements, each of which its element type can represent.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tensor {
    pub ty: TensorType,
    pub data: Data,
}

/// Elements in row-major order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Data {
    /// Of a floating-point type.
    Float(Vec<f64>),
    /// Of an integer type or `Bool` (0 or 1).
    Int(Vec<i64>),
}

/// What both widened element types can do; integers wrap.
pub(super) trait Element: Copy + PartialOrd {
    const ZERO: Self;
    const ONE: Self;
    fn plus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
}

impl Element for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    fn times(self, other: f64) -> f64 {
        self * other
    }
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

impl Element for i64 {
    const ZERO: i64 = 0;
    const ONE: i64 = 1;
    fn plus(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }
    fn times(self, other: i64) -> i64 {
        self.wrapping_mul(other)
    }
    fn is_nan(self) -> bool {
        false
    }
}

/// Evaluates `body` with `v` bound to the elements, of whichever type, and wraps the resulting elements again.
macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            Data::Float($v) => Data::Float($body),
            Data::Int($v) => Data::Int($body),
        }
    };
}
pub(super) use each;

impl Data {
    /// The elements of a floating-point tensor, which the typing rules promise.
    pub fn floats(&self) -> &[f64] {
        match self {
            Data::Float(v) => v,
            Data::Int(_) => unreachable!("the typing rules ask for a floating-point operand"),
        }
    }

    /// The elements of an integer or `Bool` tensor, which the typing rules promise.
    pub fn ints(&self) -> &[i64] {
        match self {
            Data::Int(v) => v,
            Data::Float(_) => unreachable!("the typing rules ask for an integer operand"),
        }
    }

    /// The elements at these positions.
    pub fn take(&self, at: &[usize]) -> Data {
        each!(self, v => at.iter().map(|&i| v[i]).collect())
    }

    /// Rounds or wraps every element to what the type can hold.
    pub fn store(self, dtype: DType) -> Data {
        match self {
            Data::Float(mut v) => {
                v.iter_mut().for_each(|x| *x = round(dtype, *x));
                Data::Float(v)
            }
            Data::Int(mut v) => {
                v.iter_mut().for_each(|x| *x = wrap(dtype, *x));
                Data::Int(v)
            }
        }
    }
}

impl Tensor {
    /// Widens a literal.
    pub fn load(literal: &Literal) -> Tensor {
        let ty = literal.ty().clone();
        let all = 0..ty.elements();
        let data = if ty.dtype.is_float() {
            Data::Float(all.map(|i| literal.f64_at(i)).collect())
        } else {
            Data::Int(all.map(|i| literal.i64_at(i)).collect())
        };
        Tensor { ty, data }
    }

    /// Narrows to a literal; exact.
    pub fn literal(&self) -> Literal {
        let literal = match &self.data {
            Data::Float(v) => Literal::from_f64(self.ty.clone(), v.iter().copied()),
            Data::Int(v) => Literal::from_i64(self.ty.clone(), v.iter().copied()),
        };
        literal.expect("as many elements as the type says")
    }
}

/// `v` rounded to a floating-point type. Half types round by way of f32, as torch's conversions do.
pub(super) fn round(dtype: DType, v: f64) -> f64 {
    match dtype {
        DType::F16 => f16::from_f32(v as f32).to_f64(),
        DType::BF16 => bf16::from_f32(v as f32).to_f64(),
        DType::F32 => v as f32 as f64,
        _ => v,
    }
}

/// `v` wrapped to an integer type; `Bool` is `!= 0`.
pub(super) fn wrap(dtype: DType, v: i64) -> i64 {
    match dtype {
        DType::Bool => (v != 0) as i64,
        DType::U8 => v as u8 as i64,
        DType::I8 => v as i8 as i64,
        DType::I16 => v as i16 as i64,
        DType::I32 => v as i32 as i64,
        _ => v,
    }
}

/// Does `candidate` win over `best` as the largest (or smallest) so far? NaN wins over numbers; the first among equals stays.
pub(super) fn beats<T: Element>(candidate: T, best: T, largest: bool) -> bool {
    !best.is_nan() && (candidate.is_nan() || if largest { candidate > best } else { candidate < best })
}

/// The positions that a strided view visits in row-major order of its shape.
pub(super) fn positions(shape: &[usize], strides: &[isize], start: usize) -> Vec<usize> {
    let mut out = vec![start];
    for (&n, &stride) in shape.iter().zip(strides) {
        let step = |p: usize| (0..n as isize).map(move |i| p.wrapping_add_signed(i * stride));
        out = out.into_iter().flat_map(step).collect();
    }
    out
}

/// Row-major strides of a shape, signed.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    crate::network::ty::row_major(shape).into_iter().map(|s| s as isize).collect()
}

/// Strides that read a tensor of shape `from` as if it were stretched to `to`.
pub(super) fn stretched(from: &[usize], to: &[usize]) -> Vec<isize> {
    let mut out = vec![0; to.len() - from.len()];
    out.extend(from.iter().zip(strides(from)).map(|(&n, s)| if n == 1 { 0 } else { s }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_visit_their_elements() {
        assert_eq!(positions(&[3, 2], &[1, 3], 0), [0, 3, 1, 4, 2, 5]);
        assert_eq!(positions(&[2, 2], &stretched(&[2, 1], &[2, 2]), 0), [0, 0, 1, 1]);
        assert_eq!(positions(&[3], &[-2], 4), [4, 2, 0]);
        assert_eq!(positions(&[0, 2], &[2, 1], 0), [0usize; 0]);
        assert_eq!(positions(&[], &[], 7), [7]);
    }

    #[test]
    fn nan_wins_and_ties_stay() {
        assert!(beats(f64::NAN, f64::INFINITY, true) && beats(f64::NAN, -1.0, false));
        assert!(!beats(f64::NAN, f64::NAN, true) && !beats(2.0, f64::NAN, true));
        assert!(!beats(2, 2, true) && beats(3, 2, true) && beats(1, 2, false));
    }

    #[test]
    fn literals_survive() {
        for dtype in DType::ALL {
            let l = Literal::from_i64(TensorType::new(dtype, [2, 1]), [1, 0]).unwrap();
            assert_eq!(Tensor::load(&l).literal(), l);
        }
        let big = Literal::from_i64(TensorType::new(DType::I64, []), [i64::MAX - 1]).unwrap();
        assert_eq!(Tensor::load(&big).literal(), big);
    }
}
