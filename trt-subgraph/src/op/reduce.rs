//! Sums, means, products and truths over axes.

use super::formula::pointwise;
use super::{Def, one};
use crate::DType;
use crate::network::layer::{LayerKind, ReduceOp};
use crate::network::expr::{Node, Unary};
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `op` over `axes`; nothing to do over none.
pub(super) fn over(
    lower: &mut Lower,
    x: ValueId,
    op: ReduceOp,
    axes: &[usize],
    keep: bool,
) -> Result<ValueId, Refusal> {
    if axes.is_empty() { Ok(x) } else { lower.add(LayerKind::Reduce { op, axes: axes.to_vec(), keep }, &[x]) }
}

/// The axes and the `keepdim` that the call names; all axes where it names none.
pub(super) fn axes_and_keep(lower: &Lower, args: &Args, x: ValueId) -> Result<(Vec<usize>, bool), Refusal> {
    Ok((args.axes(lower, "dim", lower.shape(x).len())?, args.flag("keepdim")?))
}

/// A sum or product in `dtype` if given; integers and `Bool` in i64.
fn accumulate(lower: &mut Lower, args: &Args, op: ReduceOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let x = accumulator(lower, args, x)?;
    one(over(lower, x, op, &axes, keep)?)
}

/// `x` in the type that sums of it have: `dtype` if given, i64 for integers and `Bool`.
pub(super) fn accumulator(lower: &mut Lower, args: &Args, x: ValueId) -> Result<ValueId, Refusal> {
    let own = if lower.dtype(x).is_float() { lower.dtype(x) } else { DType::I64 };
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(own);
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "dtype", found: dtype });
    }
    lower.cast(x, dtype)
}

/// A sum in which NaN counts as 0.
fn nansum(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let mut x = accumulator(lower, args, x)?;
    if lower.dtype(x).is_float() {
        let dtype = lower.dtype(x);
        x = pointwise(lower, [x], dtype, |[x]| x.unary(Unary::IsNan).select(0.0, x))?;
    }
    one(over(lower, x, ReduceOp::Sum, &axes, keep)?)
}

fn mean(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(lower.dtype(x));
    if !dtype.is_float() {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    let x = lower.cast(x, dtype)?;
    one(over(lower, x, ReduceOp::Mean, &axes, keep)?)
}

/// `any` or `all` of what is not 0; `Bool`, but u8 for u8. An empty list of axes reduces nothing, no list everything.
fn truth(lower: &mut Lower, args: &Args, op: ReduceOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (mut axes, keep) = axes_and_keep(lower, args, x)?;
    if *args.get("dim") == Item::List(Vec::new()) {
        axes.clear();
    }
    let result = if lower.dtype(x) == DType::U8 { DType::U8 } else { DType::Bool };
    let x = lower.cast(x, DType::Bool)?;
    let found = over(lower, x, op, &axes, keep)?;
    one(lower.cast(found, result)?)
}

fn count_nonzero(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, _) = axes_and_keep(lower, args, x)?;
    let nodes = vec![Node::Input(0), Node::Cast(DType::Bool, 0), Node::Cast(DType::I64, 1)];
    let ones = lower.pointwise(Expr { nodes }, &[x])?;
    one(over(lower, ones, ReduceOp::Sum, &axes, false)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::sum(Tensor self, *, ScalarType? dtype=None) -> Tensor",
            "aten::sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        ],
        lower: |l, a| accumulate(l, a, ReduceOp::Sum),
    },
    Def {
        schemas: &[
            "aten::nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        ],
        lower: nansum,
    },
    Def {
        schemas: &[
            "aten::prod(Tensor self, *, ScalarType? dtype=None) -> Tensor",
            "aten::prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        ],
        lower: |l, a| accumulate(l, a, ReduceOp::Prod),
    },
    Def {
        schemas: &[
            "aten::mean(Tensor self, *, ScalarType? dtype=None) -> Tensor",
            "aten::mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None) -> Tensor",
        ],
        lower: mean,
    },
    Def {
        schemas: &[
            "aten::any(Tensor self) -> Tensor",
            "aten::any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
            "aten::any.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| truth(l, a, ReduceOp::Any),
    },
    Def {
        schemas: &[
            "aten::all(Tensor self) -> Tensor",
            "aten::all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor",
            "aten::all.dims(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| truth(l, a, ReduceOp::All),
    },
    Def {
        schemas: &[
            "aten::count_nonzero(Tensor self, int? dim=None) -> Tensor",
            "aten::count_nonzero.dim_IntList(Tensor self, int[] dim) -> Tensor",
        ],
        lower: count_nonzero,
    },
];
