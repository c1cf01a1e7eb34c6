//! Borders: constant, mirrored, repeated, circular.

use super::number::Number;
use super::promote::number_or;
use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::{LayerKind, PadMode, Range};
use crate::source::{Args, Item, Lower, Refusal};

/// (before, after) of each axis from torch's list: pairs from the last axis on; missing axes have no border.
fn borders(lower: &Lower, args: &Args, name: &str, rank: usize) -> Result<Vec<(i64, i64)>, Refusal> {
    let list = args.ints(lower, name)?;
    if list.iter().any(|&n| i32::try_from(n).is_err()) {
        return Err(Refusal::Invalid(format!("'{name}' is {list:?}")));
    }
    if list.len() % 2 != 0 || list.len() > 2 * rank {
        return Err(Refusal::Invalid(format!("'{name}' has {} entries for {rank} dimensions", list.len())));
    }
    let mut out = vec![(0, 0); rank];
    for (axis, pair) in out.iter_mut().rev().zip(list.chunks_exact(2)) {
        *axis = (pair[0], pair[1]);
    }
    Ok(out)
}

/// A border of one value; a negative one cuts.
fn constant(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let value = number_or(args, "value", Number::Int(0))?;
    let value = value.literal(lower.dtype(x), "value")?.as_f64();
    let borders = borders(lower, args, "pad", lower.shape(x).len())?;
    let mut ranges = Vec::new();
    for (&(before, after), &n) in borders.iter().zip(lower.shape(x)) {
        let (cut, end) = (before.min(0).unsigned_abs() as usize, after.min(0).unsigned_abs() as usize);
        let len = n.checked_sub(cut + end);
        let len = len.ok_or_else(|| Refusal::Invalid("a negative border exceeds the axis".into()))?;
        ranges.push(Range { start: cut, step: 1, len });
    }
    let whole = ranges.iter().zip(lower.shape(x)).all(|(r, &n)| *r == Range::full(n));
    let cut = if whole { x } else { lower.add(LayerKind::Slice { ranges }, &[x])? };
    let border = borders.iter().map(|&(b, a)| (b.max(0) as usize, a.max(0) as usize)).collect();
    one(bordered(lower, cut, border, PadMode::Constant(value))?)
}

fn bordered(
    lower: &mut Lower,
    x: ValueId,
    border: Vec<(usize, usize)>,
    mode: PadMode,
) -> Result<ValueId, Refusal> {
    let none = border.iter().all(|&b| b == (0, 0));
    if none { Ok(x) } else { lower.add(LayerKind::Pad { border, mode }, &[x]) }
}

/// A border made of the tensor itself, on the axes behind the channels.
fn mirrored(lower: &mut Lower, args: &Args, name: &str, mode: PadMode) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    let spatial = args.ints(lower, name)?.len() / 2;
    if !(spatial + 1..=spatial + 2).contains(&rank) || lower.ty(x).elements() == 0 {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "channels, perhaps a batch, and padded axes" });
    }
    let mut border = Vec::new();
    for (before, after) in borders(lower, args, name, rank)? {
        match (usize::try_from(before), usize::try_from(after)) {
            (Ok(before), Ok(after)) => border.push((before, after)),
            _ => return Err(Refusal::Attribute { arg: name.into(), why: "a negative border".into() }),
        }
    }
    one(bordered(lower, x, border, mode)?)
}

fn pad(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    match args.opt_str("mode")? {
        Some("constant") | None => constant(lower, args),
        Some("reflect") => mirrored(lower, args, "pad", PadMode::Reflect),
        Some("replicate") => mirrored(lower, args, "pad", PadMode::Replicate),
        Some("circular") => mirrored(lower, args, "pad", PadMode::Circular),
        Some(other) => Err(Refusal::Invalid(format!("'mode' is {other}"))),
    }
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor"],
        lower: constant,
    },
    Def {
        schemas: &[
            "aten::pad(Tensor self, SymInt[] pad, str mode=\"constant\", float? value=None) -> Tensor",
        ],
        lower: pad,
    },
    Def {
        schemas: &[
            "aten::reflection_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
            "aten::reflection_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
            "aten::reflection_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
        ],
        lower: |l, a| mirrored(l, a, "padding", PadMode::Reflect),
    },
    Def {
        schemas: &[
            "aten::replication_pad1d(Tensor self, SymInt[2] padding) -> Tensor",
            "aten::replication_pad2d(Tensor self, SymInt[4] padding) -> Tensor",
            "aten::replication_pad3d(Tensor self, SymInt[6] padding) -> Tensor",
        ],
        lower: |l, a| mirrored(l, a, "padding", PadMode::Replicate),
    },
    Def {
        schemas: &["aten::_pad_circular(Tensor self, SymInt[] pad) -> Tensor"],
        lower: |l, a| mirrored(l, a, "pad", PadMode::Circular),
    },
];
