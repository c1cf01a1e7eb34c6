//! The largest and the smallest, and where they are.

use super::reduce::{axes_and_keep, over};
use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// The extremum over the named axes, or over all.
fn amax(lower: &mut Lower, args: &Args, op: ReduceOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    one(over(lower, x, op, &axes, keep)?)
}

/// The extremum along one axis and its position, the first among equals.
fn with_indices(lower: &mut Lower, args: &Args, op: ReduceOp, at: ReduceOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    let values = over(lower, x, op, &axes, keep)?;
    let indices = position(lower, x, at, &axes, keep)?;
    Ok(vec![Item::Tensor(values), Item::Tensor(indices)])
}

/// The position along `axes`, which is one axis, or none of a 0-d tensor.
fn position(lower: &mut Lower, x: ValueId, op: ReduceOp, axes: &[usize], keep: bool) -> Result<ValueId, Refusal> {
    if axes.is_empty() {
        return Ok(lower.builder.constant(Literal::zeros(TensorType::new(DType::I64, []))));
    }
    over(lower, x, op, axes, keep)
}

/// The position along `dim`, or in the flattened tensor.
fn arg(lower: &mut Lower, args: &Args, op: ReduceOp) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.dtype(x) == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: DType::Bool });
    }
    let (axes, keep) = axes_and_keep(lower, args, x)?;
    if args.has("dim") {
        return one(position(lower, x, op, &axes, keep)?);
    }
    let rank = if keep { lower.shape(x).len() } else { 0 };
    let flat = lower.reshape(x, [lower.ty(x).elements()])?;
    let found = over(lower, flat, op, &[0], false)?;
    one(lower.reshape(found, vec![1; rank])?)
}

fn aminmax(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let least = amax(lower, args, ReduceOp::Min)?;
    Ok([least, amax(lower, args, ReduceOp::Max)?].concat())
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::max(Tensor self) -> Tensor",
            "aten::amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| amax(l, a, ReduceOp::Max),
    },
    Def {
        schemas: &[
            "aten::min(Tensor self) -> Tensor",
            "aten::amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor",
        ],
        lower: |l, a| amax(l, a, ReduceOp::Min),
    },
    Def {
        schemas: &[
            "aten::max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        ],
        lower: |l, a| with_indices(l, a, ReduceOp::Max, ReduceOp::ArgMax),
    },
    Def {
        schemas: &[
            "aten::min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)",
        ],
        lower: |l, a| with_indices(l, a, ReduceOp::Min, ReduceOp::ArgMin),
    },
    Def {
        schemas: &["aten::argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"],
        lower: |l, a| arg(l, a, ReduceOp::ArgMax),
    },
    Def {
        schemas: &["aten::argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"],
        lower: |l, a| arg(l, a, ReduceOp::ArgMin),
    },
    Def {
        schemas: &[
            "aten::aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)",
        ],
        lower: aminmax,
    },
];
