//! Softmax and its logarithm along one axis.

use super::formula::pointwise;
use super::{Def, one};
use crate::DType;
use crate::network::layer::ReduceOp;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// The operand in the type asked for, and the axis; a 0-d tensor counts as one element along axis 0.
fn operand(lower: &mut Lower, args: &Args) -> Result<(ValueId, usize), Refusal> {
    let x = args.tensor("self")?;
    let dtype = match args.opt_dtype(lower, "dtype")? {
        Some(dtype) => dtype,
        None if args.flag("half_to_float")? => DType::F32,
        None => lower.dtype(x),
    };
    if !dtype.is_float() {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    let axis = args.axis(lower, "dim", lower.ty(x).rank())?;
    let x = lower.cast(x, dtype)?;
    let x = if lower.ty(x).rank() == 0 { lower.reshape(x, [1])? } else { x };
    Ok((x, axis))
}

fn softmax(lower: &mut Lower, args: &Args, log: bool) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("self")?).to_vec();
    let (x, axis) = operand(lower, args)?;
    let out = lower.add(LayerKind::Softmax { axis, log }, &[x])?;
    one(lower.reshape(out, shape)?)
}

/// Softmax that gives zeros where every element is minus infinity.
fn safe_softmax(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("self")?).to_vec();
    let (x, axis) = operand(lower, args)?;
    let out = lower.add(LayerKind::Softmax { axis, log: false }, &[x])?;
    let out = zero_if_masked(lower, out, x, axis)?;
    one(lower.reshape(out, shape)?)
}

/// `v` with zeros where `x` is minus infinity all along `axis`; `x` broadcasts to `v`.
pub(super) fn zero_if_masked(
    lower: &mut Lower,
    v: ValueId,
    x: ValueId,
    axis: usize,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(v);
    let largest = lower.add(LayerKind::Reduce { op: ReduceOp::Max, axes: vec![axis], keep: true }, &[x])?;
    pointwise(lower, [v, largest], dtype, |[v, m]| m.same(f64::NEG_INFINITY).select(0.0, v))
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
            "aten::special_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
            "aten::_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
        ],
        lower: |l, a| softmax(l, a, false),
    },
    Def {
        schemas: &[
            "aten::log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor",
            "aten::special_log_softmax(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor",
            "aten::_log_softmax(Tensor self, int dim, bool half_to_float) -> Tensor",
        ],
        lower: |l, a| softmax(l, a, true),
    },
    Def {
        schemas: &["aten::_safe_softmax(Tensor self, int dim, ScalarType? dtype=None) -> Tensor"],
        lower: safe_softmax,
    },
];
