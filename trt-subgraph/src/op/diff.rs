//! Differences of neighbours along an axis: `diff`.

use super::join::concat;
use super::{Def, one};
use crate::DType;
use crate::network::Expr;
use crate::network::expr::Binary;
use crate::source::{Args, Item, Lower, Refusal};

/// Each element from the next, `n` times over, of what the tensor and its extensions are together; of booleans whether they differ.
fn diff(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let ty = lower.ty(x).clone();
    if ty.rank() == 0 {
        return Err(Refusal::Shape { arg: "self", found: ty, expected: "at least one dimension" });
    }
    let axis = args.axis(lower, "dim", ty.rank())?;
    let times = args.int(lower, "n")?;
    if times < 0 {
        return Err(Refusal::Invalid(format!("'n' is {times}, less than 0")));
    }
    let mut parts = Vec::new();
    for (arg, part) in [("prepend", args.opt_tensor("prepend")?), ("self", Some(x)), ("append", args.opt_tensor("append")?)] {
        let Some(part) = part else { continue };
        let found = lower.ty(part).clone();
        if found.dtype != ty.dtype {
            return Err(Refusal::Dtype { arg, found: found.dtype });
        }
        let alike = |other: usize| other == axis || found.shape[other] == ty.shape[other];
        if found.rank() != ty.rank() || !(0..ty.rank()).all(alike) {
            return Err(Refusal::Shape { arg, found, expected: "the shape of 'self' but along 'dim'" });
        }
        parts.push(part);
    }
    let mut out = concat(lower, &parts, axis)?;
    let difference = if ty.dtype == DType::Bool { Binary::Ne } else { Binary::Sub };
    let size = lower.shape(out)[axis];
    for left in (size.saturating_sub(times as usize)..size).rev() {
        let (next, own) = (lower.narrow(out, axis, 1, left)?, lower.narrow(out, axis, 0, left)?);
        out = lower.pointwise(Expr::binary(difference), &[next, own])?;
    }
    one(out)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None) -> Tensor",
    ],
    lower: diff,
}];
