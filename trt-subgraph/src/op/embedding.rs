//! Rows of a table by index.

use super::formula::pointwise;
use super::places::no_negative;
use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::layer::ReduceOp;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// The rows `indices` of `table`, which has two dimensions. A negative index fails at run time, as it does on the host.
fn rows(lower: &mut Lower, table: ValueId, indices: ValueId) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(indices);
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(Refusal::Dtype { arg: "indices", found: dtype });
    }
    let ty = lower.ty(table).clone();
    if ty.rank() != 2 || ty.elements() == 0 {
        return Err(Refusal::Shape { arg: "weight", found: ty, expected: "two dimensions that are not empty" });
    }
    let checked = no_negative(lower, indices, ty.shape[0])?;
    lower.add(LayerKind::Gather { axis: 0, elements: false }, &[table, checked])
}

fn embedding(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    one(rows(lower, args.tensor("weight")?, args.tensor("indices")?)?)
}

/// The size of every bag, where the offsets are known and the bags equal.
fn bag_size(lower: &Lower, args: &Args, indices: usize) -> Result<usize, Refusal> {
    let offsets = args.tensor("offsets")?;
    let known = lower.known(offsets).ok_or_else(|| Refusal::NotConstant { arg: "offsets".into() })?;
    let last = args.flag("include_last_offset")?;
    let mut bounds: Vec<i64> = (0..known.ty().elements()).map(|i| known.i64_at(i)).collect();
    if !last {
        bounds.push(indices as i64);
    }
    let size = bounds.windows(2).map(|w| w[1].saturating_sub(w[0])).next().unwrap_or(0);
    let even = bounds[0] == 0 && bounds.windows(2).all(|w| w[1].saturating_sub(w[0]) == size);
    if size > 0 && even && bounds.last() == Some(&(indices as i64)) {
        Ok(size as usize)
    } else {
        Err(Refusal::Attribute { arg: "offsets".into(), why: "the bags differ in size".into() })
    }
}

/// Sum, mean or maximum of the rows of each bag. Bags of one known size only. The bookkeeping results are for the gradient: `None`.
fn embedding_bag(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (table, indices) = (float_tensor(lower, args, "weight")?, args.tensor("indices")?);
    let ty = lower.ty(indices).clone();
    if ty.rank() != 1 {
        return Err(Refusal::Shape { arg: "indices", found: ty, expected: "one dimension" });
    }
    if args.opt_int(lower, "padding_idx")?.is_some_and(|i| i >= 0) {
        return Err(Refusal::Attribute { arg: "padding_idx".into(), why: "rows are not left out".into() });
    }
    let size = bag_size(lower, args, ty.elements())?;
    let mode = args.int(lower, "mode")?;
    let op = *[ReduceOp::Sum, ReduceOp::Mean, ReduceOp::Max]
        .get(mode as usize)
        .ok_or_else(|| Refusal::Invalid(format!("'mode' is {mode}")))?;
    let mut picked = rows(lower, table, indices)?;
    if let Some(weights) = args.opt_tensor("per_sample_weights")? {
        if op != ReduceOp::Sum || lower.shape(weights) != ty.shape {
            return Err(Refusal::Invalid("'per_sample_weights' needs mode sum and one for each index".into()));
        }
        let column = lower.reshape(weights, [ty.elements(), 1])?;
        let dtype = lower.dtype(picked);
        picked = pointwise(lower, [picked, column], dtype, |[row, w]| row * w)?;
    }
    let width = lower.shape(picked)[1];
    let bags = lower.reshape(picked, [ty.elements() / size, size, width])?;
    let out = lower.add(LayerKind::Reduce { op, axes: vec![1], keep: false }, &[bags])?;
    Ok(vec![Item::Tensor(out), Item::None, Item::None, Item::None])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
        ],
        lower: embedding,
    },
    Def {
        schemas: &[
            "aten::embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False, int mode=0, bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False) -> (Tensor, Tensor, Tensor, Tensor)",
            "aten::embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq, int mode, bool sparse, Tensor? per_sample_weights, bool include_last_offset, int? padding_idx) -> (Tensor, Tensor, Tensor, Tensor)",
        ],
        lower: embedding_bag,
    },
];
