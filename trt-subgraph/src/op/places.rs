//! Where the entries of an index fall on an axis that is written.

use super::create::positions;
use super::formula::{compute_type, pointwise};
use super::view::with_axis;
use crate::DType;
use crate::network::layer::{LayerKind, ReduceOp};
use crate::network::{Expr, ValueId, expr::Binary};
use crate::source::{Lower, Refusal};

/// Hits and candidates have at most this many elements.
const MOST: usize = 1 << 20;

/// An index whose entries below zero, which would count from the end, name no position of an axis of this size.
pub(super) fn no_negative(lower: &mut Lower, index: ValueId, size: usize) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(index);
    pointwise(lower, [index], dtype, |[i]| i.lt(0.0).select(size as f64, i))
}

/// An index in i64, checked when it runs: an entry that names no position of an axis of size `n` is a run-time error. Those below
/// zero count from the end, or name none.
pub(super) fn checked(lower: &mut Lower, index: ValueId, n: usize, wraps: bool) -> Result<ValueId, Refusal> {
    let index = lower.cast(index, DType::I64)?;
    let index = match wraps {
        true => index,
        false => no_negative(lower, index, n)?,
    };
    let all = positions(lower, 0, n, vec![n]);
    lower.add(LayerKind::Gather { axis: 0, elements: false }, &[all, index])
}

/// The entries of an index against the positions of the written axis.
pub(super) struct Places {
    /// `bool[.., position, entry, ..]`: does the entry name the position?
    hits: ValueId,
    axis: usize,
    entries: usize,
}

impl Places {
    /// `index` is checked; its own axis `axis` is that of the entries, which fall on an axis of size `n`.
    pub(super) fn of(lower: &mut Lower, index: ValueId, axis: usize, n: usize) -> Result<Places, Refusal> {
        let shape = lower.shape(index).to_vec();
        if shape[axis] > 1 {
            fits(shape.iter().product::<usize>().saturating_mul(n))?;
        }
        let behind = vec![1; shape.len() - axis];
        let place = positions(lower, 0, n, [&[n], &behind[..]].concat());
        let index = with_axis(lower, index, axis)?;
        let hits = lower.pointwise(Expr::binary(Binary::Eq), &[index, place])?;
        Ok(Places { hits, axis, entries: shape[axis] })
    }

    fn reduced(&self, lower: &mut Lower, op: ReduceOp, x: ValueId) -> Result<ValueId, Refusal> {
        lower.add(LayerKind::Reduce { op, axes: vec![self.axis + 1], keep: false }, &[x])
    }

    /// Which positions are named.
    pub(super) fn named(&self, lower: &mut Lower) -> Result<ValueId, Refusal> {
        self.reduced(lower, ReduceOp::Any, self.hits)
    }

    /// How often each position is named, in `dtype`.
    pub(super) fn count(&self, lower: &mut Lower, dtype: DType) -> Result<ValueId, Refusal> {
        let hits = lower.cast(self.hits, dtype)?;
        self.reduced(lower, ReduceOp::Sum, hits)
    }

    /// The last entry that names each position, else -1.
    pub(super) fn last(&self, lower: &mut Lower) -> Result<ValueId, Refusal> {
        let behind = vec![1; lower.shape(self.hits).len() - self.axis - 2];
        let order = positions(lower, 0, self.entries, [&[self.entries], &behind[..]].concat());
        let entry = pointwise(lower, [self.hits, order], DType::I64, |[hit, at]| hit.select(at, -1.0))?;
        self.reduced(lower, ReduceOp::Max, entry)
    }

    /// `op` over the elements of `source` whose entries name a position, in their compute type; `neutral` where none does.
    pub(super) fn combined(
        &self,
        lower: &mut Lower,
        source: ValueId,
        op: ReduceOp,
        neutral: f64,
    ) -> Result<ValueId, Refusal> {
        let dtype = compute_type(lower.dtype(source));
        let n = lower.shape(self.hits)[self.axis];
        if self.entries > 1 {
            fits(lower.ty(source).elements().saturating_mul(n))?;
        }
        let source = with_axis(lower, source, self.axis)?;
        let candidates = pointwise(lower, [self.hits, source], dtype, |[hit, s]| hit.select(s, neutral))?;
        self.reduced(lower, op, candidates)
    }
}

fn fits(elements: usize) -> Result<(), Refusal> {
    if elements <= MOST {
        return Ok(());
    }
    Err(Refusal::Attribute { arg: "index".into(), why: "too many positions".into() })
}

/// What several elements for one position come to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Sum,
    Prod,
    Mean,
    Max,
    Min,
}

impl Merge {
    /// By torch's name.
    pub(super) fn named(name: &str) -> Result<Merge, Refusal> {
        Ok(match name {
            "sum" | "add" => Merge::Sum,
            "prod" | "multiply" => Merge::Prod,
            "mean" => Merge::Mean,
            "amax" => Merge::Max,
            "amin" => Merge::Min,
            other => return Err(Refusal::Invalid(format!("'reduce' is '{other}'"))),
        })
    }

    /// `x` with the elements of `source` merged into the positions that they fall on; with `own`, `x`'s elements count too.
    pub(super) fn apply(
        self,
        lower: &mut Lower,
        x: ValueId,
        places: &Places,
        source: ValueId,
        own: bool,
    ) -> Result<ValueId, Refusal> {
        let dtype = lower.dtype(x);
        if dtype == DType::Bool {
            return Err(Refusal::Dtype { arg: "self", found: dtype });
        }
        let (op, neutral) = match self {
            Merge::Sum | Merge::Mean => (ReduceOp::Sum, 0.0),
            Merge::Prod => (ReduceOp::Prod, 1.0),
            Merge::Max => (ReduceOp::Max, bound(dtype, false)),
            Merge::Min => (ReduceOp::Min, bound(dtype, true)),
        };
        let all = places.combined(lower, source, op, neutral)?;
        let named = places.named(lower)?;
        if self == Merge::Mean {
            let count = places.count(lower, compute_type(dtype))?;
            let divide = if dtype.is_float() { Binary::Div } else { Binary::FloorDiv };
            return pointwise(lower, [named, x, all, count], dtype, |[named, x, all, count]| {
                let (sum, count) = if own { (x + all, count + 1.0) } else { (all, count) };
                // A divisor of zero belongs to a position that keeps what it has.
                named.select(sum.binary(divide, named.select(count, 1.0)), x)
            });
        }
        pointwise(lower, [named, x, all], dtype, |[named, x, all]| {
            let merged = match self {
                _ if !own => all,
                Merge::Prod => x * all,
                Merge::Max => x.max(all),
                Merge::Min => x.min(all),
                Merge::Sum | Merge::Mean => x + all,
            };
            named.select(merged, x)
        })
    }
}

/// The largest or the least number of a type.
fn bound(dtype: DType, largest: bool) -> f64 {
    let bits = 8 * dtype.size() as i32;
    match (dtype, largest) {
        (d, true) if d.is_float() => f64::INFINITY,
        (d, false) if d.is_float() => f64::NEG_INFINITY,
        (DType::U8, true) => 255.0,
        (DType::U8, false) => 0.0,
        // Saturates to the largest i64.
        (DType::I64, true) => 2f64.powi(63),
        (_, true) => 2f64.powi(bits - 1) - 1.0,
        (_, false) => -2f64.powi(bits - 1),
    }
}
