//! Distances between vectors: cosine similarity and p-norms of differences.

use super::formula::{compute_type, pointwise};
use super::{Def, float_tensor, one};
use crate::network::expr::{Binary, Unary};
use crate::network::layer::ReduceOp;
use crate::network::{Expr, LayerKind, ValueId, ty};
use crate::source::{Args, Item, Lower, Refusal};
use crate::TensorType;

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

/// The p-norm of `v` along its last axis, for p of 1, 2 and infinity.
fn norm(lower: &mut Lower, v: ValueId, p: f64, keep: bool) -> Result<ValueId, Refusal> {
    let (axis, dtype) = (lower.ty(v).rank() - 1, lower.dtype(v));
    if p == 2.0 {
        let square = pointwise(lower, [v], dtype, |[v]| v * v)?;
        let sum = reduce(lower, ReduceOp::Sum, square, axis, keep)?;
        pointwise(lower, [sum], dtype, |[s]| s.unary(Unary::Sqrt))
    } else if p == 1.0 || p == f64::INFINITY {
        let op = if p == 1.0 { ReduceOp::Sum } else { ReduceOp::Max };
        let length = pointwise(lower, [v], dtype, |[v]| v.abs())?;
        reduce(lower, op, length, axis, keep)
    } else {
        Err(Refusal::Attribute { arg: "p".into(), why: format!("the {p}-norm is not supported") })
    }
}

/// The norm of `x1 - x2 + eps` along the last axis.
fn pairwise_distance(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let ([a, b], common) = pair(lower, args)?;
    let eps = args.float("eps")?;
    let difference = pointwise(lower, [a, b], compute_type(common.dtype), |[a, b]| a - b + eps)?;
    let out = norm(lower, difference, args.float("p")?, args.flag("keepdim")?)?;
    one(lower.cast(out, common.dtype)?)
}

/// Elements of the table of differences that the direct form may hold.
const LARGEST: usize = 1 << 22;

/// The distance of every row of `x1[..., P, M]` to every row of `x2[..., R, M]`. Long lists of rows in the 2-norm use
/// `|a|^2 + |b|^2 - 2ab`, as the host does; the others the differences themselves.
fn cdist(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (float_tensor(lower, args, "x1")?, float_tensor(lower, args, "x2")?);
    let (ty, other) = (lower.ty(a).clone(), lower.ty(b).clone());
    if ty.rank() < 2 || other.rank() < 2 || ty.shape.last() != other.shape.last() {
        return Err(Refusal::Invalid("the rows differ in size".into()));
    }
    if ty.dtype != other.dtype || ty.dtype.size() < 4 {
        return Err(Refusal::Dtype { arg: "x2", found: other.dtype });
    }
    let (p, mode) = (args.float("p")?, args.opt_int(lower, "compute_mode")?.unwrap_or(0));
    let (rows, columns) = (ty.shape[ty.rank() - 2], other.shape[other.rank() - 2]);
    let long = rows > 25 || columns > 25;
    if p == 2.0 && (mode == 1 || (mode == 0 && long)) {
        return one(by_products(lower, a, b)?);
    }
    let a = lower.reshape(a, [&ty.shape[..ty.rank() - 1], &[1], &ty.shape[ty.rank() - 1..]].concat())?;
    let at = other.rank() - 2;
    let b = lower.reshape(b, [&other.shape[..at], &[1], &other.shape[at..]].concat())?;
    let table = lower.pointwise(Expr::binary(Binary::Sub), &[a, b])?;
    if lower.ty(table).elements() > LARGEST {
        let why = "the table of differences is too large".to_string();
        return Err(Refusal::Attribute { arg: "x1".into(), why });
    }
    // The host's maximum of differences passes over NaN.
    let table = match p {
        f64::INFINITY => pointwise(lower, [table], lower.dtype(table), |[d]| d.unary(Unary::IsNan).select(0.0, d))?,
        _ => table,
    };
    one(norm(lower, table, p, false)?)
}

fn by_products(lower: &mut Lower, a: ValueId, b: ValueId) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(a);
    let mut squares = |v: ValueId| {
        let square = pointwise(lower, [v], dtype, |[v]| v * v)?;
        reduce(lower, ReduceOp::Sum, square, lower.ty(v).rank() - 1, true)
    };
    let (of_a, of_b) = (squares(a)?, squares(b)?);
    let rank = lower.ty(of_b).rank();
    let row: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let of_b = lower.permute(of_b, row)?;
    let product = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[a, b])?;
    pointwise(lower, [product, of_a, of_b], dtype, |[ab, aa, bb]| {
        (ab * -2.0 + aa + bb).max(0.0).unary(Unary::Sqrt)
    })
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
    Def {
        schemas: &["aten::cdist(Tensor x1, Tensor x2, float p=2., int? compute_mode=None) -> Tensor"],
        lower: cdist,
    },
];
