//! Functions of one element that are one scalar function of a layer expression.

use super::promote::{Value, elementwise};
use super::{Def, one};
use crate::DType;
use crate::network::Expr;
use crate::network::expr::{Binary, Node, Scalar, Unary};
use crate::source::{Args, Item, Lower, Refusal};

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
    let dtype = if lower.dtype(x).is_float() { lower.dtype(x) } else { DType::F32 };
    one(elementwise(lower, &[Value::Tensor(x)], dtype, |x| x[0].unary(f))?)
}

/// A function of every number, not of `Bool`; rounding leaves integers as they are.
fn numeric(lower: &mut Lower, args: &Args, f: Unary) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let dtype = lower.dtype(x);
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    let rounds = matches!(f, Unary::Floor | Unary::Ceil | Unary::Round | Unary::Trunc);
    if rounds && dtype.is_int() { one(x) } else { one(lower.pointwise(Expr::unary(f), &[x])?) }
}

/// -1, 0 or 1; `Bool` is its own sign.
fn sign(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.dtype(x) == DType::Bool { one(x) } else { one(lower.pointwise(Expr::unary(Unary::Sign), &[x])?) }
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::relu(Tensor self) -> Tensor"], lower: relu },
    Def { schemas: &["aten::sign(Tensor self) -> Tensor", "aten::sgn(Tensor self) -> Tensor"], lower: sign },
    Def {
        schemas: &["aten::abs(Tensor self) -> Tensor", "aten::absolute(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Abs),
    },
    Def {
        schemas: &["aten::neg(Tensor self) -> Tensor", "aten::negative(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Neg),
    },
    Def {
        schemas: &["aten::floor(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Floor),
    },
    Def {
        schemas: &["aten::ceil(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Ceil),
    },
    Def {
        schemas: &["aten::round(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Round),
    },
    Def {
        schemas: &["aten::trunc(Tensor self) -> Tensor", "aten::fix(Tensor self) -> Tensor"],
        lower: |l, a| numeric(l, a, Unary::Trunc),
    },
    Def {
        schemas: &["aten::tanh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Tanh),
    },
    Def {
        schemas: &["aten::sigmoid(Tensor self) -> Tensor", "aten::special_expit(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Sigmoid),
    },
    Def {
        schemas: &["aten::exp(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Exp),
    },
    Def {
        schemas: &["aten::exp2(Tensor self) -> Tensor", "aten::special_exp2(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Exp2),
    },
    Def {
        schemas: &["aten::expm1(Tensor self) -> Tensor", "aten::special_expm1(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Expm1),
    },
    Def {
        schemas: &["aten::log(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Log),
    },
    Def {
        schemas: &["aten::log2(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Log2),
    },
    Def {
        schemas: &["aten::log10(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Log10),
    },
    Def {
        schemas: &["aten::log1p(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Log1p),
    },
    Def {
        schemas: &["aten::sqrt(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Sqrt),
    },
    Def {
        schemas: &["aten::rsqrt(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Rsqrt),
    },
    Def {
        schemas: &["aten::reciprocal(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Recip),
    },
    Def {
        schemas: &["aten::sin(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Sin),
    },
    Def {
        schemas: &["aten::cos(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Cos),
    },
    Def {
        schemas: &["aten::tan(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Tan),
    },
    Def {
        schemas: &["aten::asin(Tensor self) -> Tensor", "aten::arcsin(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Asin),
    },
    Def {
        schemas: &["aten::acos(Tensor self) -> Tensor", "aten::arccos(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Acos),
    },
    Def {
        schemas: &["aten::atan(Tensor self) -> Tensor", "aten::arctan(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Atan),
    },
    Def {
        schemas: &["aten::sinh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Sinh),
    },
    Def {
        schemas: &["aten::cosh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Cosh),
    },
    Def {
        schemas: &["aten::asinh(Tensor self) -> Tensor", "aten::arcsinh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Asinh),
    },
    Def {
        schemas: &["aten::acosh(Tensor self) -> Tensor", "aten::arccosh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Acosh),
    },
    Def {
        schemas: &["aten::atanh(Tensor self) -> Tensor", "aten::arctanh(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Atanh),
    },
    Def {
        schemas: &["aten::erf(Tensor self) -> Tensor", "aten::special_erf(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, Unary::Erf),
    },
];
