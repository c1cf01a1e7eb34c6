//! A part of a tensor replaced: what writes through views become.

use super::create::positions;
use super::join::concat;
use super::promote::{Value, elementwise};
use super::slice::{axis_of, python_range};
use super::view::with_axis;
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Node};
use crate::network::layer::{LayerKind, Range, ReduceOp};
use crate::network::ty::broadcast;
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `x` with `range` of an axis replaced by `part`, which has the slice's shape.
fn replaced(
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
            let order = super::create::literal(lower, vec![n], order);
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

/// Which positions of an axis of size `n` an index names; its own axis of `count` entries is reduced. The index is checked as it
/// is read: one out of range is a run-time error.
fn named(lower: &mut Lower, index: ValueId, axis: usize, n: usize) -> Result<ValueId, Refusal> {
    const MOST: usize = 1 << 20;
    let all = positions(lower, 0, n, vec![n]);
    let index = lower.add(LayerKind::Gather { axis: 0, elements: false }, &[all, index])?;
    let shape = lower.shape(index).to_vec();
    let behind = vec![1; shape.len() - axis - 1];
    let place = positions(lower, 0, n, [&[n], &behind[..]].concat());
    if shape[axis] == 1 {
        return lower.pointwise(Expr::binary(Binary::Eq), &[index, place]);
    }
    if shape.iter().product::<usize>() * n > MOST {
        return Err(Refusal::Attribute { arg: "index".into(), why: "too many positions".into() });
    }
    let index = with_axis(lower, index, axis)?;
    let place = with_axis(lower, place, 1)?;
    let hits = lower.pointwise(Expr::binary(Binary::Eq), &[index, place])?;
    lower.add(LayerKind::Reduce { op: ReduceOp::Any, axes: vec![axis + 1], keep: false }, &[hits])
}

/// The positions that the index names set to one value.
fn index_fill(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let index = args.tensor("index")?;
    if lower.dtype(index) != DType::I64 {
        return Err(Refusal::Dtype { arg: "index", found: lower.dtype(index) });
    }
    let count = lower.ty(index).elements();
    let mut shape = vec![1; lower.shape(x).len()];
    shape[axis] = count;
    let index = lower.reshape(index, shape)?;
    let value = Value::of(args, "value")?;
    if let Value::Tensor(v) = value
        && !lower.shape(v).is_empty()
    {
        let found = lower.ty(v).clone();
        return Err(Refusal::Shape { arg: "value", found, expected: "a 0-d tensor" });
    }
    let mask = named(lower, index, axis, lower.shape(x)[axis])?;
    chosen(lower, mask, value, x)
}

/// `mask ? value : x` in the type of `x`.
fn chosen(lower: &mut Lower, mask: ValueId, value: Value, x: ValueId) -> Result<Vec<Item>, Refusal> {
    let dtype = lower.dtype(x);
    let value = match value {
        Value::Tensor(v) if lower.dtype(v).category() > dtype.category() => {
            return Err(Refusal::Dtype { arg: "value", found: lower.dtype(v) });
        }
        Value::Tensor(v) => lower.cast(v, dtype)?,
        number => elementwise(lower, &[Value::Tensor(x), number], dtype, |t| t[1])?,
    };
    let nodes = vec![Node::Input(0), Node::Input(1), Node::Input(2), Node::Select(0, 1, 2)];
    one(lower.pointwise(Expr { nodes }, &[mask, value, x])?)
}

/// Along an axis, `self` with the positions of the index set: to one value, or (one position a line) to the elements of `src`.
fn scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let index = args.tensor("index")?;
    let mut shape = lower.shape(x).to_vec();
    let n = shape[axis];
    shape[axis] = lower.shape(index).get(axis).copied().unwrap_or(0);
    if lower.shape(index) != shape || lower.dtype(index) != DType::I64 {
        let found = lower.ty(index).clone();
        return Err(Refusal::Shape { arg: "index", found, expected: "the other axes of self" });
    }
    if lower.ty(index).elements() == 0 {
        return one(x);
    }
    let value = if args.has("value") {
        Value::of(args, "value")?
    } else {
        let src = args.tensor("src")?;
        if shape[axis] != 1 || lower.shape(src) != shape || lower.dtype(src) != lower.dtype(x) {
            let found = lower.ty(src).clone();
            return Err(Refusal::Shape { arg: "src", found, expected: "one element along the axis" });
        }
        Value::Tensor(src)
    };
    let mask = named(lower, index, axis, n)?;
    chosen(lower, mask, value, x)
}

/// `self[mask] = values`: where the mask, which covers the first axes, holds, the values, which broadcast over the rest.
fn index_put(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, values) = (args.tensor("self")?, args.tensor("values")?);
    let mask = match args.get("indices") {
        Item::List(items) => match items[..] {
            [Item::Tensor(v)] if lower.dtype(v) == DType::Bool => v,
            _ => return Err(Refusal::Attribute { arg: "indices".into(), why: "not one mask".into() }),
        },
        _ => return Err(Refusal::Invalid("'indices' is not a list".into())),
    };
    let (shape, covered) = (lower.shape(x).to_vec(), lower.shape(mask).to_vec());
    let Some(rest) = shape.strip_prefix(&covered[..]) else {
        let found = lower.ty(mask).clone();
        return Err(Refusal::Shape { arg: "indices", found, expected: "the first axes of self" });
    };
    let values = match lower.shape(values).to_vec()[..] {
        [1, ref each @ ..] if each.len() == rest.len() => lower.reshape(values, each)?,
        _ => values,
    };
    let fits = broadcast([lower.shape(values), rest]).as_deref() == Some(rest);
    if !fits || args.flag("accumulate")? {
        let found = lower.ty(values).clone();
        return Err(Refusal::Shape { arg: "values", found, expected: "one value for every place, set" });
    }
    if lower.dtype(values) != lower.dtype(x) {
        return Err(Refusal::Dtype { arg: "values", found: lower.dtype(values) });
    }
    let mask = lower.reshape(mask, [&covered[..], &vec![1; rest.len()][..]].concat())?;
    chosen(lower, mask, Value::Tensor(values), x)
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
        schemas: &[
            "aten::index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
            "aten::index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
        ],
        lower: index_fill,
    },
    Def {
        schemas: &[
            "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
        ],
        lower: index_put,
    },
    Def {
        schemas: &[
            "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
            "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
        ],
        lower: scatter,
    },
];
