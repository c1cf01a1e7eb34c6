//! Tensors put together along an axis.

use super::promote::{Value, result_type};
use super::view::{at_least, with_axis};
use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::LayerKind;
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

/// The tensors one after the other along `axis`, all of one type and rank.
pub(super) fn concat(lower: &mut Lower, parts: &[ValueId], axis: usize) -> Result<ValueId, Refusal> {
    if let [only] = parts { Ok(*only) } else { lower.add(LayerKind::Concat { axis }, parts) }
}

/// The tensors in their promoted type; none is an error.
fn promoted(lower: &mut Lower, args: &Args) -> Result<Vec<ValueId>, Refusal> {
    let tensors = args.tensors("tensors")?;
    if tensors.is_empty() {
        return Err(Refusal::Invalid("an empty list of tensors".into()));
    }
    let operands: Vec<Value> = tensors.iter().map(|&v| Value::Tensor(v)).collect();
    let dtype = result_type(lower, &operands);
    tensors.into_iter().map(|v| lower.cast(v, dtype)).collect()
}

/// Concatenation; 1-d tensors of no elements are left out, whatever the rank of the others.
fn cat(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let all = promoted(lower, args)?;
    let parts: Vec<ValueId> = all.iter().copied().filter(|&v| *lower.shape(v) != [0]).collect();
    let Some(&first) = parts.first() else { return one(all[0]) };
    let rank = lower.shape(first).len();
    if rank == 0 {
        let found = lower.ty(first).clone();
        return Err(Refusal::Shape { arg: "tensors", found, expected: "1 dimension or more" });
    }
    let axis = wrap_axis("dim", args.int(lower, "dim")?, rank)?;
    one(concat(lower, &parts, axis)?)
}

/// Tensors of one shape along a new axis.
fn stack(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let parts = promoted(lower, args)?;
    let axis = args.axis(lower, "dim", lower.shape(parts[0]).len() + 1)?;
    if parts.iter().any(|&v| lower.shape(v) != lower.shape(parts[0])) {
        return Err(Refusal::Invalid("the tensors differ in shape".into()));
    }
    let parts = parts.into_iter().map(|v| with_axis(lower, v, axis)).collect::<Result<Vec<_>, _>>()?;
    one(concat(lower, &parts, axis)?)
}

/// Each tensor raised to `rank`, then joined along `axis`.
fn raised(lower: &mut Lower, args: &Args, rank: usize, axis: usize) -> Result<Vec<Item>, Refusal> {
    let parts = promoted(lower, args)?;
    let parts = parts.into_iter().map(|v| at_least(lower, v, rank)).collect::<Result<Vec<_>, _>>()?;
    let axis = if rank == 1 && lower.shape(parts[0]).len() == 1 { 0 } else { axis };
    one(concat(lower, &parts, axis)?)
}

/// Vectors become columns; then joined along axis 1.
fn column_stack(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let parts = promoted(lower, args)?;
    let column = |v| {
        let n = lower.ty(v).elements();
        if lower.shape(v).len() < 2 { lower.reshape(v, [n, 1]) } else { Ok(v) }
    };
    let parts = parts.into_iter().map(column).collect::<Result<Vec<_>, _>>()?;
    one(concat(lower, &parts, 1)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::cat(Tensor[] tensors, int dim=0) -> Tensor",
            "aten::concat(Tensor[] tensors, int dim=0) -> Tensor",
            "aten::concatenate(Tensor[] tensors, int dim=0) -> Tensor",
        ],
        lower: cat,
    },
    Def { schemas: &["aten::stack(Tensor[] tensors, int dim=0) -> Tensor"], lower: stack },
    Def { schemas: &["aten::hstack(Tensor[] tensors) -> Tensor"], lower: |l, a| raised(l, a, 1, 1) },
    Def {
        schemas: &[
            "aten::vstack(Tensor[] tensors) -> Tensor",
            "aten::row_stack(Tensor[] tensors) -> Tensor",
        ],
        lower: |l, a| raised(l, a, 2, 0),
    },
    Def { schemas: &["aten::dstack(Tensor[] tensors) -> Tensor"], lower: |l, a| raised(l, a, 3, 2) },
    Def { schemas: &["aten::column_stack(Tensor[] tensors) -> Tensor"], lower: column_stack },
];
