//! A part of a tensor replaced: what writes through views become.

use super::create::{literal, positions};
use super::diagonal::offset;
use super::join::concat;
use super::promote::{Value, elementwise};
use super::slice::{axis_of, python_range};
use super::view::with_axis;
use super::{Def, one};
use crate::network::expr::{Binary, Node};
use crate::network::layer::{LayerKind, Range};
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `x` with `range` of an axis replaced by `part`, which has the slice's shape.
pub(super) fn replaced(
    lower: &mut Lower,
    x: ValueId,
    part: ValueId,
    axis: usize,
    range: Range,
) -> Result<ValueId, Refusal> {
    let mut shape = lower.shape(x).to_vec();
    let n = shape[axis];
    shape[axis] = range.len;
    if lower.shape(part) != shape {
        let found = lower.ty(part).clone();
        return Err(Refusal::Shape { arg: "src", found, expected: "the shape of the replaced part" });
    }
    let part = lower.cast(part, lower.dtype(x))?;
    match (range.len, range.step) {
        (0, _) => Ok(x),
        (len, _) if len == n => Ok(part),
        (len, 1) => {
            let end = range.start + len;
            let (before, after) = (lower.narrow(x, axis, 0, range.start)?, lower.narrow(x, axis, end, n - end)?);
            let all = [before, part, after];
            let pieces: Vec<ValueId> = all.into_iter().filter(|&v| lower.shape(v)[axis] > 0).collect();
            concat(lower, &pieces, axis)
        }
        (len, step) => {
            let both = concat(lower, &[x, part], axis)?;
            let mut order: Vec<i64> = (0..n as i64).collect();
            for i in 0..len {
                order[range.start + i * step as usize] = (n + i) as i64;
            }
            let order = literal(lower, vec![n], order);
            lower.add(LayerKind::Gather { axis, elements: false }, &[both, order])
        }
    }
}

fn slice_scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let step = args.opt_int(lower, "step")?.unwrap_or(1);
    let (start, end) = (args.opt_int(lower, "start")?, args.opt_int(lower, "end")?);
    let range = python_range(start, end, step, lower.shape(x)[axis])?;
    let part = args.tensor("src")?;
    one(replaced(lower, x, part, axis, range)?)
}

fn select_scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let (index, n) = (args.int(lower, "index")?, lower.shape(x)[axis] as i64);
    if !(-n..n).contains(&index) || lower.shape(args.tensor("src")?).len() + 1 != lower.shape(x).len() {
        return Err(Refusal::Invalid(format!("element {index} of an axis of {n}")));
    }
    let part = with_axis(lower, args.tensor("src")?, axis)?;
    let range = Range { start: index.rem_euclid(n) as usize, step: 1, len: 1 };
    one(replaced(lower, x, part, axis, range)?)
}

/// The diagonal of the plane of two axes replaced by `src`, along whose last axis it lies.
fn diagonal_scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, src) = (args.tensor("self")?, args.tensor("src")?);
    let shape = lower.shape(x).to_vec();
    let rank = shape.len();
    let (a, b) = (args.axis(lower, "dim1", rank)?, args.axis(lower, "dim2", rank)?);
    if rank < 2 || a == b {
        return Err(Refusal::Invalid("the axes of a diagonal differ".into()));
    }
    let offset = offset(lower, args, "offset")?;
    let (right, down) = (offset.max(0) as usize, offset.min(0).unsigned_abs() as usize);
    let (rows, columns) = (shape[a], shape[b]);
    let len = rows.saturating_sub(down).min(columns.saturating_sub(right));
    let mut order: Vec<usize> = (0..rank).filter(|&i| i != a && i != b).collect();
    let expected: Vec<usize> = order.iter().map(|&i| shape[i]).chain([len]).collect();
    if lower.shape(src) != expected {
        let found = lower.ty(src).clone();
        return Err(Refusal::Shape { arg: "src", found, expected: "the shape of the diagonal" });
    }
    if len == 0 {
        return one(x);
    }
    // For each row the element on the diagonal; rows that it does not cross repeat its ends.
    let src = lower.cast(src, lower.dtype(x))?;
    let at = (0..rows as i64).map(|i| (i - down as i64).clamp(0, len as i64 - 1));
    let at = literal(lower, vec![rows], at);
    let each = lower.add(LayerKind::Gather { axis: rank - 2, elements: false }, &[src, at])?;
    let each = with_axis(lower, each, rank - 1)?;
    let (row, column) = (positions(lower, offset, rows, vec![rows, 1]), positions(lower, 0, columns, vec![columns]));
    let mask = lower.pointwise(Expr::binary(Binary::Eq), &[row, column])?;
    order.extend([a, b]);
    let back = (0..rank).map(|i| order.iter().position(|&o| o == i).expect("a permutation")).collect();
    let moved = lower.permute(x, order)?;
    let written = chosen(lower, mask, Value::Tensor(each), moved)?;
    one(lower.permute(written, back)?)
}

/// `mask ? value : x` in the type of `x`.
pub(super) fn chosen(
    lower: &mut Lower,
    mask: ValueId,
    value: Value,
    x: ValueId,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let value = match value {
        Value::Tensor(v) if lower.dtype(v).category() > dtype.category() => {
            return Err(Refusal::Dtype { arg: "value", found: lower.dtype(v) });
        }
        Value::Tensor(v) => lower.cast(v, dtype)?,
        number => elementwise(lower, &[Value::Tensor(x), number], dtype, |t| t[1])?,
    };
    let nodes = vec![Node::Input(0), Node::Input(1), Node::Input(2), Node::Select(0, 1, 2)];
    lower.pointwise(Expr { nodes }, &[mask, value, x])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1) -> Tensor",
        ],
        lower: slice_scatter,
    },
    Def {
        schemas: &["aten::select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor"],
        lower: select_scatter,
    },
    Def {
        schemas: &["aten::diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1) -> Tensor"],
        lower: diagonal_scatter,
    },
];
