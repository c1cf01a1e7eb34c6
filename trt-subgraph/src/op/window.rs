//! Overlapping windows of an axis.

use super::create::{check_count, literal};
use super::{Def, one};
use crate::network::layer::LayerKind;
use crate::source::{Args, Item, Lower, Refusal};

/// Windows of `size` positions, `step` apart, along an axis: the axis counts windows, a new last axis their elements.
fn unfold(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let mut shape = lower.shape(x).to_vec();
    if shape.is_empty() {
        return Err(Refusal::Shape { arg: "self", found: lower.ty(x).clone(), expected: "1 dimension or more" });
    }
    let axis = args.axis(lower, "dimension", shape.len())?;
    let (size, step) = (args.int(lower, "size")?, args.int(lower, "step")?);
    let n = shape[axis] as i64;
    if !(0..=n).contains(&size) || step < 1 {
        return Err(Refusal::Invalid(format!("windows of {size}, {step} apart, in an axis of {n}")));
    }
    let count = (n - size) / step + 1;
    check_count((count * size) as usize)?;
    let index = (0..count).flat_map(|w| (0..size).map(move |i| w * step + i));
    let index = literal(lower, vec![(count * size) as usize], index);
    let rows = lower.add(LayerKind::Gather { axis, elements: false }, &[x, index])?;
    shape.splice(axis..=axis, [count as usize, size as usize]);
    let windows = lower.reshape(rows, shape)?;
    let mut order: Vec<usize> = (0..lower.shape(windows).len()).filter(|&i| i != axis + 1).collect();
    order.push(axis + 1);
    one(lower.permute(windows, order)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a)",
        "aten::unfold_copy(Tensor self, int dimension, int size, int step) -> Tensor",
    ],
    lower: unfold,
}];
