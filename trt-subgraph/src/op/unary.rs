//! Functions of one element that are one scalar function of a layer expression.

use super::{one, Def};
use crate::network::expr::{Binary, Node, Scalar, Unary};
use crate::network::Expr;
use crate::source::{Args, Item, Lower, Refusal};
use crate::DType;

/// `max(x, 0)`; NaN stays NaN. All numeric types.
fn relu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let dtype = lower.dtype(x);
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    let zero = if dtype.is_float() { Scalar::Float(0.0) } else { Scalar::Int(0) };
    let nodes = vec![Node::Input(0), Node::Const(dtype, zero), Node::Binary(Binary::Max, 0, 1)];
    one(lower.pointwise(Expr { nodes }, &[x])?)
}

/// A floating-point function; integers and `Bool` compute in f32, as torch's default dtype has it.
fn float(lower: &mut Lower, args: &Args, f: Unary) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let x = if lower.dtype(x).is_float() { x } else { lower.cast(x, DType::F32)? };
    one(lower.pointwise(Expr::unary(f), &[x])?)
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::relu(Tensor self) -> Tensor"], lower: relu },
    Def { schemas: &["aten::tanh(Tensor self) -> Tensor"], lower: |l, a| float(l, a, Unary::Tanh) },
    Def { schemas: &["aten::sigmoid(Tensor self) -> Tensor"], lower: |l, a| float(l, a, Unary::Sigmoid) },
    Def { schemas: &["aten::exp(Tensor self) -> Tensor"], lower: |l, a| float(l, a, Unary::Exp) },
];
