//! Vector norms, `logsumexp`, and what is built of them.

use super::formula::{compute_type, pointwise};
use super::number::Number;
use super::promote::number_or;
use super::reduce::{axes_and_keep, over};
use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::ValueId;
use crate::network::expr::{Binary, Unary};
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};

/// `(sum |x|^p)^(1/p)` over axes; p of infinity is the largest, of -infinity the smallest magnitude, of 0 the count of what is not 0.
/// f16 and bf16 compute in f32.
fn vector_norm(lower: &mut Lower, x: ValueId, p: f64, axes: &[usize], keep: bool) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let work = compute_type(dtype);
    let terms = match p {
        2.0 => pointwise(lower, [x], work, |[x]| x * x)?,
        0.0 => pointwise(lower, [x], work, |[x]| x.binary(Binary::Ne, 0.0).select(1.0, 0.0))?,
        p if p == 1.0 || p.is_infinite() => pointwise(lower, [x], work, |[x]| x.abs())?,
        p => pointwise(lower, [x], work, |[x]| x.abs().binary(Binary::Pow, p))?,
    };
    let op = match p {
        f64::INFINITY => ReduceOp::Max,
        f64::NEG_INFINITY => ReduceOp::Min,
        _ => ReduceOp::Sum,
    };
    let total = over(lower, terms, op, axes, keep)?;
    match p {
        2.0 => pointwise(lower, [total], dtype, |[t]| t.unary(Unary::Sqrt)),
        p if p == 0.0 || p == 1.0 || p.is_infinite() => lower.cast(total, dtype),
        p => pointwise(lower, [total], dtype, |[t]| t.binary(Binary::Pow, 1.0 / p)),
    }
}

fn norm(lower: &mut Lower, args: &Args, order: &str) -> Result<Vec<Item>, Refusal> {
    let p = number_or(args, order, Number::Int(2))?.as_f64();
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let x = match args.opt_dtype(lower, "dtype")? {
        Some(found) if !found.is_float() || found < lower.dtype(x) => {
            return Err(Refusal::Dtype { arg: "dtype", found });
        }
        Some(dtype) => lower.cast(x, dtype)?,
        None => float_tensor(lower, args, "self")?,
    };
    one(vector_norm(lower, x, p, &axes, keep)?)
}

/// Without an order the 2-norm of everything; with one, only where it is a vector's.
fn linalg_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axes = args.opt_ints(lower, "dim")?.map_or(lower.shape(x).len(), |d| d.len());
    if args.has("ord") && axes != 1 {
        return Err(Refusal::Attribute { arg: "ord".into(), why: "a matrix norm".into() });
    }
    norm(lower, args, "ord")
}

/// `log(sum(exp(x)))` over axes, relative to the largest; integers compute in f32.
fn logsumexp(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let dtype = if lower.dtype(x).is_float() { lower.dtype(x) } else { DType::F32 };
    let work = compute_type(dtype);
    let x = lower.cast(x, work)?;
    let largest = over(lower, x, ReduceOp::Max, &axes, true)?;
    let shift = pointwise(lower, [largest], work, |[m]| m.unary(Unary::IsInf).select(0.0, m))?;
    let terms = pointwise(lower, [x, shift], work, |[x, m]| (x - m).exp())?;
    let sum = over(lower, terms, ReduceOp::Sum, &axes, keep)?;
    let shape = lower.shape(sum).to_vec();
    let shift = lower.reshape(shift, shape)?;
    one(pointwise(lower, [sum, shift], dtype, |[s, m]| s.unary(Unary::Log) + m)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::norm.Scalar(Tensor self, Scalar p=2) -> Tensor",
            "aten::norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor",
            "aten::norm.ScalarOpt_dim_dtype(Tensor self, Scalar? p, int[1] dim, bool keepdim, *, ScalarType dtype) -> Tensor",
            "aten::norm.ScalarOpt_dtype(Tensor self, Scalar? p, *, ScalarType dtype) -> Tensor",
        ],
        lower: |l, a| norm(l, a, "p"),
    },
    Def {
        schemas: &[
            "aten::linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
            "aten::frobenius_norm.dim(Tensor self, int[1] dim, bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| norm(l, a, "ord"),
    },
    Def {
        schemas: &[
            "aten::linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        ],
        lower: linalg_norm,
    },
    Def {
        schemas: &["aten::logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor"],
        lower: logsumexp,
    },
];
