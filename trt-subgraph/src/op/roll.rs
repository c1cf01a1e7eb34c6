//! Elements moved along axes: `flip`, `roll`, `rot90`.

use super::join::concat;
use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::{LayerKind, Range};
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

/// The axes of a list, each named once.
fn axes(lower: &Lower, args: &Args, name: &str, rank: usize) -> Result<Vec<usize>, Refusal> {
    args.ints(lower, name)?.iter().map(|&d| wrap_axis(name, d, rank)).collect()
}

fn flipped(lower: &mut Lower, x: ValueId, axes: &[usize]) -> Result<ValueId, Refusal> {
    let mut ranges: Vec<Range> = lower.shape(x).iter().map(|&n| Range::full(n)).collect();
    for &axis in axes {
        if let Some(range) = ranges.get_mut(axis) {
            *range = Range { start: range.len.saturating_sub(1), step: -1, len: range.len };
        }
    }
    if lower.ty(x).elements() < 2 { Ok(x) } else { lower.add(LayerKind::Slice { ranges }, &[x]) }
}

fn flip(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axes = axes(lower, args, "dims", lower.shape(x).len())?;
    let twice = axes.iter().enumerate().any(|(i, a)| axes[..i].contains(a));
    if twice {
        return Err(Refusal::Invalid("'dims' names an axis twice".into()));
    }
    one(flipped(lower, x, &axes)?)
}

/// Flips the axis `axis` of a tensor of enough dimensions.
fn flip_one(lower: &mut Lower, args: &Args, axis: usize) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.shape(x).len() <= axis {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "more dimensions" });
    }
    one(flipped(lower, x, &[axis])?)
}

/// `x` with its elements moved by `shift` along an axis; those that leave at one end come in at the other.
pub(super) fn rolled(lower: &mut Lower, x: ValueId, axis: usize, shift: i64) -> Result<ValueId, Refusal> {
    let n = lower.shape(x).get(axis).copied().unwrap_or(0);
    if n == 0 {
        return Ok(x);
    }
    let shift = shift.rem_euclid(n as i64) as usize;
    if shift == 0 {
        return Ok(x);
    }
    let tail = lower.narrow(x, axis, n - shift, shift)?;
    let head = lower.narrow(x, axis, 0, n - shift)?;
    concat(lower, &[tail, head], axis)
}

/// Along the named axes, or the flattened tensor without any.
fn roll(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let shape = lower.shape(x).to_vec();
    let shifts = args.ints(lower, "shifts")?;
    let named = axes(lower, args, "dims", shape.len())?;
    let flat = named.is_empty() && shifts.len() == 1;
    if !flat && named.len() != shifts.len() {
        return Err(Refusal::Invalid("'shifts' and 'dims' differ in length".into()));
    }
    let start = if flat { lower.reshape(x, [shape.iter().product()])? } else { x };
    let axes = if flat { &[0][..] } else { &named };
    let moved = axes.iter().zip(&shifts).try_fold(start, |v, (&axis, &by)| rolled(lower, v, axis, by))?;
    one(lower.reshape(moved, shape)?)
}

/// Quarter turns in the plane of two axes.
fn rot90(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    let plane = axes(lower, args, "dims", rank)?;
    let (&[a, b], true) = (plane.as_slice(), rank >= 2) else {
        return Err(Refusal::Invalid("a rotation has two axes".into()));
    };
    if a == b {
        return Err(Refusal::Invalid("the axes of a rotation differ".into()));
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(a, b);
    one(match args.int(lower, "k")?.rem_euclid(4) {
        0 => x,
        2 => flipped(lower, x, &[a, b])?,
        k => {
            let turned = flipped(lower, x, &[if k == 1 { b } else { a }])?;
            lower.permute(turned, order)?
        }
    })
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::flip(Tensor self, int[] dims) -> Tensor"], lower: flip },
    Def { schemas: &["aten::flipud(Tensor self) -> Tensor"], lower: |l, a| flip_one(l, a, 0) },
    Def { schemas: &["aten::fliplr(Tensor self) -> Tensor"], lower: |l, a| flip_one(l, a, 1) },
    Def { schemas: &["aten::roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor"], lower: roll },
    Def { schemas: &["aten::rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor"], lower: rot90 },
];
