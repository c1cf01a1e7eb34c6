//! Parts of one axis.

use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::{LayerKind, Range};
use crate::source::{Args, Item, Lower, Refusal};

/// `range` of one axis, the whole of the others; `x` itself when that is all of it.
pub(super) fn part(lower: &mut Lower, x: ValueId, axis: usize, range: Range) -> Result<ValueId, Refusal> {
    let mut ranges: Vec<Range> = lower.shape(x).iter().map(|&n| Range::full(n)).collect();
    if ranges[axis] == range {
        return Ok(x);
    }
    ranges[axis] = range;
    lower.add(LayerKind::Slice { ranges }, &[x])
}

/// The tensor and an axis of it; a 0-d tensor is refused.
pub(super) fn axis_of(lower: &Lower, args: &Args, name: &str) -> Result<(ValueId, usize), Refusal> {
    let x = args.tensor("self")?;
    if lower.shape(x).is_empty() {
        return Err(Refusal::Invalid("a 0-d tensor has no axis to divide".into()));
    }
    Ok((x, args.axis(lower, name, lower.shape(x).len())?))
}

/// The positions of Python's `[start:end:step]` in an axis of `size`; `step` is positive.
pub(super) fn python_range(
    start: Option<i64>,
    end: Option<i64>,
    step: i64,
    size: usize,
) -> Result<Range, Refusal> {
    if step <= 0 {
        return Err(Refusal::Invalid(format!("a slice's step is {step}")));
    }
    let n = size as i64;
    let wrap = |v: i64| if v < 0 { v.saturating_add(n).max(0) } else { v.min(n) };
    let (start, end) = (wrap(start.unwrap_or(0)), wrap(end.unwrap_or(n)));
    let len = (end - start).max(0) as u64;
    Ok(Range { start: start as usize, step: step as isize, len: len.div_ceil(step as u64) as usize })
}

fn slice(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let step = args.opt_int(lower, "step")?.unwrap_or(1);
    let (start, end) = (args.opt_int(lower, "start")?, args.opt_int(lower, "end")?);
    let range = python_range(start, end, step, lower.shape(x)[axis])?;
    one(part(lower, x, axis, range)?)
}

/// One position of an axis, without the axis.
fn select(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let (index, n) = (args.int(lower, "index")?, lower.shape(x)[axis] as i64);
    if !(-n..n).contains(&index) {
        return Err(Refusal::Invalid(format!("index {index} is out of range for an axis of size {n}")));
    }
    one(pick(lower, x, axis, index.rem_euclid(n) as usize)?)
}

fn pick(lower: &mut Lower, x: ValueId, axis: usize, at: usize) -> Result<ValueId, Refusal> {
    let mut shape = lower.shape(x).to_vec();
    shape.remove(axis);
    let slice = lower.narrow(x, axis, at, 1)?;
    lower.reshape(slice, shape)
}

fn unbind(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    const MOST: usize = 1 << 12;
    let (x, axis) = axis_of(lower, args, "dim")?;
    if lower.shape(x)[axis] > MOST {
        return Err(Refusal::Attribute { arg: "dim".into(), why: format!("more than {MOST} pieces") });
    }
    let parts = (0..lower.shape(x)[axis]).map(|at| pick(lower, x, axis, at).map(Item::Tensor));
    Ok(vec![Item::List(parts.collect::<Result<_, _>>()?)])
}

/// `length` positions from `start` on; both have to be inside.
fn narrow(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let n = lower.shape(x)[axis] as i64;
    let (start, len) = (args.int(lower, "start")?, args.int(lower, "length")?);
    let start = if start < 0 { start.saturating_add(n) } else { start };
    if start < 0 || len < 0 || start > n || len > n - start {
        return Err(Refusal::Invalid(format!("{len} positions from {start} in an axis of size {n}")));
    }
    one(lower.narrow(x, axis, start as usize, len as usize)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor(a)",
        ],
        lower: slice,
    },
    Def {
        schemas: &["aten::select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)"],
        lower: select,
    },
    Def { schemas: &["aten::unbind.int(Tensor(a -> *) self, int dim=0) -> Tensor(a)[]"], lower: unbind },
    Def {
        schemas: &[
            "aten::narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)",
            "aten::narrow.Tensor(Tensor(a) self, int dim, Tensor start, SymInt length) -> Tensor(a)",
        ],
        lower: narrow,
    },
];

#[cfg(test)]
mod tests {
    use super::python_range;

    #[test]
    fn ranges_are_pythons() {
        let of = |a, b, step, n| python_range(a, b, step, n).map(|r| (r.start, r.len)).unwrap();
        assert_eq!(of(None, Some(i64::MAX), 1, 5), (0, 5));
        assert_eq!(of(Some(-2), None, 1, 5), (3, 2));
        assert_eq!(of(Some(1), Some(-1), 2, 6), (1, 2));
        assert_eq!(of(Some(9), None, 1, 5), (5, 0));
        assert_eq!(of(Some(i64::MIN), Some(2), 1, 5), (0, 2));
        assert!(python_range(None, None, 0, 5).is_err());
    }
}
