//! Rows of a table by index.

use super::formula::pointwise;
use super::{Def, one};
use crate::DType;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// The rows `indices` of `table`, which has two dimensions. A negative index fails at run time, as it does on the host.
fn rows(lower: &mut Lower, table: ValueId, indices: ValueId) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(indices);
    if !matches!(dtype, DType::I32 | DType::I64) {
        return Err(Refusal::Dtype { arg: "indices", found: dtype });
    }
    let ty = lower.ty(table).clone();
    if ty.rank() != 2 {
        return Err(Refusal::Shape { arg: "weight", found: ty, expected: "two dimensions" });
    }
    let beyond = ty.shape[0] as f64;
    let checked = pointwise(lower, [indices], dtype, |[i]| i.lt(0.0).select(beyond, i))?;
    lower.add(LayerKind::Gather { axis: 0, elements: false }, &[table, checked])
}

fn embedding(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    one(rows(lower, args.tensor("weight")?, args.tensor("indices")?)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, bool sparse=False) -> Tensor",
    ],
    lower: embedding,
}];
