//! Cross products.

use super::formula::pointwise;
use super::promote::{Value, result_type};
use super::roll::rolled;
use super::{Def, one};
use crate::network::ValueId;
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};
use crate::DType;

/// `a * b` shifted crosswise along an axis of three; without `dim` the first such axis.
fn cross(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (args.tensor("self")?, args.tensor("other")?);
    let dtype = result_type(lower, &[Value::Tensor(a), Value::Tensor(b)]);
    let shape = broadcast([lower.shape(a), lower.shape(b)]).filter(|s| {
        dtype != DType::Bool && [a, b].iter().all(|&v| lower.shape(v).len() == s.len())
    });
    let shape = shape.ok_or_else(|| Refusal::Invalid("the vectors do not broadcast".into()))?;
    let axis = if args.has("dim") {
        Some(args.axis(lower, "dim", shape.len())?)
    } else {
        shape.iter().position(|&n| n == 3)
    };
    let axis = axis.filter(|&a| shape.get(a) == Some(&3));
    let axis = axis.ok_or_else(|| Refusal::Invalid("the axis of a cross product has size 3".into()))?;
    let mut turned = |v: ValueId, by: i64| -> Result<ValueId, Refusal> {
        let v = lower.cast(v, dtype)?;
        let v = lower.broadcast(v, shape.clone())?;
        rolled(lower, v, axis, by)
    };
    let operands = [turned(a, -1)?, turned(b, -2)?, turned(a, -2)?, turned(b, -1)?];
    one(pointwise(lower, operands, dtype, |[a1, b2, a2, b1]| a1 * b2 - a2 * b1)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::cross(Tensor self, Tensor other, int? dim=None) -> Tensor",
            "aten::linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
        ],
        lower: cross,
    },
];
