//! Variance and standard deviation, alone and with the mean.

use super::formula::pointwise;
use super::promote::number_or;
use super::reduce::{axes_and_keep, over};
use super::{Def, float_tensor};
use super::number::Number;
use crate::DType;
use crate::network::expr::Unary;
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};

/// Squared distances from the mean, summed and divided by their number less the correction (1 unless said otherwise, never
/// below 0); its root when `root`. The mean is the second result. All is computed in f64, of which f16 needs no more than f32: neither a
/// mean far from 0 nor squares that f32 does not hold are lost.
fn moments(lower: &mut Lower, args: &Args, root: bool) -> Result<[Item; 2], Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let correction = if args.has("unbiased") {
        args.flag("unbiased")? as i64 as f64
    } else {
        number_or(args, "correction", Number::Int(1))?.as_f64()
    };
    let dtype = lower.dtype(x);
    let work = if dtype == DType::F16 { DType::F32 } else { DType::F64 };
    let x = lower.cast(x, work)?;
    let count: usize = axes.iter().map(|&a| lower.shape(x)[a]).product();
    let divisor = (count as f64 - correction).max(0.0);
    let center = over(lower, x, ReduceOp::Mean, &axes, true)?;
    let squares = pointwise(lower, [x, center], work, |[x, m]| (x - m) * (x - m))?;
    let sum = over(lower, squares, ReduceOp::Sum, &axes, keep)?;
    let spread = pointwise(lower, [sum], work, |[s]| {
        let variance = s / divisor;
        if root { variance.unary(Unary::Sqrt) } else { variance }
    })?;
    let spread = lower.cast(spread, dtype)?;
    let shape = lower.shape(spread).to_vec();
    let mean = lower.reshape(center, shape)?;
    Ok([Item::Tensor(spread), Item::Tensor(lower.cast(mean, dtype)?)])
}

fn spread(lower: &mut Lower, args: &Args, root: bool) -> Result<Vec<Item>, Refusal> {
    moments(lower, args, root).map(|[spread, _]| vec![spread])
}

fn with_mean(lower: &mut Lower, args: &Args, root: bool) -> Result<Vec<Item>, Refusal> {
    moments(lower, args, root).map(Vec::from)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::var(Tensor self, bool unbiased=True) -> Tensor",
            "aten::var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
            "aten::var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| spread(l, a, false),
    },
    Def {
        schemas: &[
            "aten::std(Tensor self, bool unbiased=True) -> Tensor",
            "aten::std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor",
            "aten::std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| spread(l, a, true),
    },
    Def {
        schemas: &[
            "aten::var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
            "aten::var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
            "aten::var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)",
        ],
        lower: |l, a| with_mean(l, a, false),
    },
    Def {
        schemas: &[
            "aten::std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)",
            "aten::std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> (Tensor, Tensor)",
            "aten::std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False) -> (Tensor, Tensor)",
        ],
        lower: |l, a| with_mean(l, a, true),
    },
];
