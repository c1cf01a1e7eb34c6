//! The elements of one tensor put, in order, where a mask holds.

use super::formula::pointwise;
use super::promote::Value;
use super::update::chosen;
use super::{Def, one};
use crate::DType;
use crate::network::layer::{LayerKind, ScanOp};
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};

/// `self` and the mask broadcast; too few elements in `source` are a run-time error.
fn masked_scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, mask, source) = (args.tensor("self")?, args.tensor("mask")?, args.tensor("source")?);
    if lower.dtype(mask) != DType::Bool {
        return Err(Refusal::Dtype { arg: "mask", found: lower.dtype(mask) });
    }
    if lower.dtype(source) != lower.dtype(x) {
        return Err(Refusal::Dtype { arg: "source", found: lower.dtype(source) });
    }
    let shape = broadcast([lower.shape(x), lower.shape(mask)])
        .ok_or_else(|| Refusal::Invalid("'self' and 'mask' do not broadcast".into()))?;
    let (x, mask) = (lower.broadcast(x, shape.clone())?, lower.broadcast(mask, shape.clone())?);
    let (places, elements) = (lower.ty(x).elements(), lower.ty(source).elements());
    if places == 0 {
        return one(x);
    }
    if elements == 0 {
        let found = lower.ty(source).clone();
        return Err(Refusal::Shape { arg: "source", found, expected: "at least one element" });
    }
    let flat = lower.reshape(mask, [places])?;
    let ones = lower.cast(flat, DType::I64)?;
    let count = lower.add(LayerKind::Scan { op: ScanOp::Sum, axis: 0 }, &[ones])?;
    let at = pointwise(lower, [flat, count], DType::I64, |[here, count]| here.select(count - 1.0, 0.0))?;
    let source = lower.reshape(source, [elements])?;
    let picked = lower.add(LayerKind::Gather { axis: 0, elements: false }, &[source, at])?;
    let picked = lower.reshape(picked, shape)?;
    one(chosen(lower, mask, Value::Tensor(picked), x)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &["aten::masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor"],
    lower: masked_scatter,
}];
