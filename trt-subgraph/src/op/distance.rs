//! Distances between vectors: cosine similarity and p-norms of differences.

use super::formula::{compute_type, pointwise};
use super::{Def, float_tensor, one};
use crate::network::expr::Unary;
use crate::network::layer::ReduceOp;
use crate::network::{LayerKind, ValueId, ty};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, TensorType};

/// Two floating-point tensors of one type, widened to compute; and their common type.
fn pair(lower: &mut Lower, args: &Args) -> Result<([ValueId; 2], TensorType), Refusal> {
    let (a, b) = (float_tensor(lower, args, "x1")?, float_tensor(lower, args, "x2")?);
    if lower.ty(a).rank() == 0 || lower.ty(b).rank() == 0 {
        return Err(Refusal::Invalid("a vector of no dimensions".into()));
    }
    let dtype = lower.dtype(a);
    if lower.dtype(b) != dtype {
        return Err(Refusal::Dtype { arg: "x2", found: lower.dtype(b) });
    }
    let shape = ty::broadcast([lower.shape(a), lower.shape(b)])
        .ok_or_else(|| Refusal::Invalid("the vectors do not broadcast".into()))?;
    let wide = compute_type(dtype);
    Ok(([lower.cast(a, wide)?, lower.cast(b, wide)?], TensorType::new(dtype, shape)))
}

fn reduce(
    lower: &mut Lower,
    op: ReduceOp,
    v: ValueId,
    axis: usize,
    keep: bool,
) -> Result<ValueId, Refusal> {
    lower.add(LayerKind::Reduce { op, axes: vec![axis], keep }, &[v])
}

/// `sum(x1 / |x1| * x2 / |x2|)` along `dim`, lengths no less than `eps`.
fn cosine_similarity(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let ([a, b], common) = pair(lower, args)?;
    let axis = args.axis(lower, "dim", common.rank())?;
    let eps = args.float("eps")?;
    let wide = compute_type(common.dtype);
    let mut unit = |v: ValueId| -> Result<ValueId, Refusal> {
        let v = lower.broadcast(v, common.shape.clone())?;
        let square = pointwise(lower, [v], wide, |[v]| v * v)?;
        let sum = reduce(lower, ReduceOp::Sum, square, axis, true)?;
        pointwise(lower, [v, sum], wide, |[v, s]| v / s.unary(Unary::Sqrt).max(eps))
    };
    let (a, b) = (unit(a)?, unit(b)?);
    let terms = pointwise(lower, [a, b], wide, |[a, b]| a * b)?;
    let out = reduce(lower, ReduceOp::Sum, terms, axis, false)?;
    one(lower.cast(out, common.dtype)?)
}

/// The p-norm of `x1 - x2 + eps` along the last axis, for p of 1, 2 and infinity.
fn pairwise_distance(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let ([a, b], common) = pair(lower, args)?;
    let (p, eps, keep) = (args.float("p")?, args.float("eps")?, args.flag("keepdim")?);
    let (axis, wide): (usize, DType) = (common.rank() - 1, compute_type(common.dtype));
    let out = if p == 2.0 {
        let square = pointwise(lower, [a, b], wide, |[a, b]| (a - b + eps) * (a - b + eps))?;
        let sum = reduce(lower, ReduceOp::Sum, square, axis, keep)?;
        pointwise(lower, [sum], common.dtype, |[s]| s.unary(Unary::Sqrt))?
    } else if p == 1.0 || p == f64::INFINITY {
        let op = if p == 1.0 { ReduceOp::Sum } else { ReduceOp::Max };
        let length = pointwise(lower, [a, b], wide, |[a, b]| (a - b + eps).abs())?;
        reduce(lower, op, length, axis, keep)?
    } else {
        return Err(Refusal::Attribute { arg: "p".into(), why: format!("the {p}-norm is not supported") });
    };
    one(lower.cast(out, common.dtype)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor"],
        lower: cosine_similarity,
    },
    Def {
        schemas: &[
            "aten::pairwise_distance(Tensor x1, Tensor x2, float p=2., float eps=9.9999999999999995e-07, bool keepdim=False) -> Tensor",
        ],
        lower: pairwise_distance,
    },
];
