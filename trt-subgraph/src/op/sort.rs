//! Order along an axis. Equal elements keep their order; NaN counts as largest.

use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::LayerKind;
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// The first `k` of an axis in order, and their positions; a 0-d tensor is its own order.
fn ordered(
    lower: &mut Lower,
    x: ValueId,
    axis: usize,
    k: Option<usize>,
    largest: bool,
) -> Result<[ValueId; 2], Refusal> {
    if lower.shape(x).is_empty() {
        if k.is_some_and(|k| k != 1) {
            return Err(Refusal::Invalid("'k' of a 0-d tensor is 1".into()));
        }
        return Ok([x, lower.builder.constant(Literal::zeros(TensorType::new(DType::I64, [])))]);
    }
    let k = k.unwrap_or(lower.shape(x)[axis]);
    let out = lower.builder.layer(LayerKind::TopK { axis, k, largest }, &[x])?;
    Ok([out[0], out[1]])
}

/// The `k` largest or smallest; always sorted, also where the order is left open.
fn topk(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axis = args.axis(lower, "dim", lower.shape(x).len())?;
    if lower.dtype(x) == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: DType::Bool });
    }
    let k = args.sizes(lower, "k", 1, None)?[0];
    let pair = ordered(lower, x, axis, Some(k), args.flag("largest")?)?;
    Ok(pair.map(Item::Tensor).to_vec())
}

fn sorted(lower: &mut Lower, args: &Args) -> Result<[ValueId; 2], Refusal> {
    let x = args.tensor("self")?;
    let axis = args.axis(lower, "dim", lower.shape(x).len())?;
    ordered(lower, x, axis, None, args.flag("descending")?)
}

fn sort(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(sorted(lower, args)?.map(Item::Tensor).to_vec())
}

fn argsort(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    one(sorted(lower, args)?[1])
}

fn msort(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    one(ordered(lower, x, 0, None, false)?[0])
}

/// The `k`-th smallest along an axis (from 1) and its position.
fn kthvalue(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axis = args.axis(lower, "dim", lower.shape(x).len())?;
    let k = args.sizes(lower, "k", 1, None)?[0];
    if k == 0 {
        return Err(Refusal::Invalid("'k' counts from 1".into()));
    }
    let pair = ordered(lower, x, axis, Some(k), false)?;
    let mut shape = lower.shape(x).to_vec();
    if shape.is_empty() {
        return Ok(pair.map(Item::Tensor).to_vec());
    }
    if args.flag("keepdim")? {
        shape[axis] = 1;
    } else {
        shape.remove(axis);
    }
    pair.into_iter()
        .map(|v| {
            let last = lower.narrow(v, axis, k - 1, 1)?;
            lower.reshape(last, shape.clone()).map(Item::Tensor)
        })
        .collect()
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True) -> (Tensor values, Tensor indices)",
        ],
        lower: topk,
    },
    Def {
        schemas: &[
            "aten::sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
            "aten::sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)",
        ],
        lower: sort,
    },
    Def {
        schemas: &[
            "aten::argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor",
            "aten::argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor",
        ],
        lower: argsort,
    },
    Def {
        schemas: &[
            "aten::kthvalue(Tensor self, SymInt k, int dim=-1, bool keepdim=False) -> (Tensor values, Tensor indices)",
        ],
        lower: kthvalue,
    },
    Def { schemas: &["aten::msort(Tensor self) -> Tensor"], lower: msort },
];
