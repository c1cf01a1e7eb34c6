//! Expressions over whole tensors: pointwise layers and epilogues.

use super::scalar;
use super::tensor::{Data, Tensor, positions, stretched};
use crate::network::Expr;
use crate::network::expr::Scalar;
use crate::{DType, TensorType};

/// `expr` for every element of `ty`'s shape, the operands stretched to it. Rounded to the type that the result computes in.
pub(super) fn pointwise(expr: &Expr, ty: &TensorType, x: &[&Tensor]) -> Data {
    let given: Vec<DType> = x.iter().map(|t| t.ty.dtype).collect();
    let dtypes = expr.dtypes(&given).expect("a verified expression");
    let operands: Vec<Data> = x.iter().map(|t| stretch(t, &ty.shape)).collect();
    let (mut inputs, mut steps) = (vec![Scalar::Int(0); x.len()], Vec::new());
    let mut element = |i: usize| {
        for (input, operand) in inputs.iter_mut().zip(&operands) {
            *input = match operand {
                Data::Float(v) => Scalar::Float(v[i]),
                Data::Int(v) => Scalar::Int(v[i]),
            };
        }
        scalar::evaluate(expr, &dtypes, &inputs, &mut steps)
    };
    if ty.dtype.is_float() {
        Data::Float((0..ty.elements()).map(|i| element(i).as_f64()).collect())
    } else {
        let int =
            |v| if let Scalar::Int(v) = v { v } else { unreachable!("the result's type is an integer") };
        Data::Int((0..ty.elements()).map(|i| int(element(i))).collect())
    }
}

/// The elements of `x` stretched to `shape`.
pub(super) fn stretch(x: &Tensor, shape: &[usize]) -> Data {
    if x.ty.shape == shape {
        return x.data.clone();
    }
    x.data.take(&positions(shape, &stretched(&x.ty.shape, shape), 0))
}
