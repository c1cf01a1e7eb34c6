//! Slices of an axis written where a vector of positions says, and `self[indices] = values`.

use super::formula::pointwise;
use super::index::{joint_index, picked};
use super::places::{Merge, Places, checked};
use super::promote::{Value, number_or};
use super::number::Number;
use super::update::chosen;
use super::{Def, one};
use crate::DType;
use crate::network::ValueId;
use crate::network::layer::LayerKind;
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};

/// `self`, at least a vector, the axis, and the index as a vector.
struct Target {
    x: ValueId,
    axis: usize,
    index: ValueId,
}

impl Target {
    fn of(lower: &mut Lower, args: &Args, short: bool) -> Result<Target, Refusal> {
        let x = args.tensor("self")?;
        let axis = args.axis(lower, "dim", lower.shape(x).len())?;
        let index = args.tensor("index")?;
        match lower.dtype(index) {
            DType::I64 => {}
            DType::I32 if short => {}
            found => return Err(Refusal::Dtype { arg: "index", found }),
        }
        if lower.shape(index).len() > 1 {
            let found = lower.ty(index).clone();
            return Err(Refusal::Shape { arg: "index", found, expected: "at most 1 dimension" });
        }
        let index = lower.reshape(index, [lower.ty(index).elements()])?;
        let x = if lower.shape(x).is_empty() { lower.reshape(x, [1])? } else { x };
        Ok(Target { x, axis, index })
    }

    /// `source`, which has `self`'s shape but for one element along the axis for each entry.
    fn source(&self, lower: &mut Lower, args: &Args, scalar: bool) -> Result<ValueId, Refusal> {
        let source = args.tensor("source")?;
        if lower.dtype(source) != lower.dtype(self.x) {
            return Err(Refusal::Dtype { arg: "source", found: lower.dtype(source) });
        }
        let mut shape = lower.shape(self.x).to_vec();
        shape[self.axis] = lower.ty(self.index).elements();
        let alone = lower.shape(source).is_empty() && (scalar || lower.shape(args.tensor("self")?).is_empty());
        if lower.shape(source) != shape && !(alone && shape == [1]) {
            let found = lower.ty(source).clone();
            return Err(Refusal::Shape { arg: "source", found, expected: "a slice of self for each entry" });
        }
        lower.reshape(source, shape)
    }

    fn places(&self, lower: &mut Lower, wraps: bool) -> Result<Places, Refusal> {
        let n = lower.shape(self.x)[self.axis];
        let index = checked(lower, self.index, n, wraps)?;
        let mut shape = vec![1; lower.shape(self.x).len()];
        shape[self.axis] = lower.ty(index).elements();
        let index = lower.reshape(index, shape)?;
        Places::of(lower, index, self.axis, n)
    }

    /// Each named slice replaced by the last one of `source` that falls on it.
    fn copied(&self, lower: &mut Lower, places: &Places, source: ValueId) -> Result<ValueId, Refusal> {
        let last = places.last(lower)?;
        let last = lower.reshape(last, [lower.ty(last).elements()])?;
        let at = pointwise(lower, [last], DType::I64, |[at]| at.max(0.0))?;
        let picked = lower.add(LayerKind::Gather { axis: self.axis, elements: false }, &[source, at])?;
        let named = places.named(lower)?;
        chosen(lower, named, Value::Tensor(picked), self.x)
    }

    /// Is nothing written?
    fn is_idle(&self, lower: &Lower) -> bool {
        lower.ty(self.index).elements() == 0 || lower.ty(self.x).elements() == 0
    }
}

/// A result in `self`'s shape.
fn shaped(lower: &mut Lower, args: &Args, v: ValueId) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("self")?).to_vec();
    one(lower.reshape(v, shape)?)
}

/// The named slices set to one value.
fn index_fill(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let target = Target::of(lower, args, false)?;
    let value = Value::of(args, "value")?;
    if let Value::Tensor(v) = value
        && !lower.shape(v).is_empty()
    {
        let found = lower.ty(v).clone();
        return Err(Refusal::Shape { arg: "value", found, expected: "a 0-d tensor" });
    }
    if target.is_idle(lower) {
        return one(args.tensor("self")?);
    }
    let places = target.places(lower, true)?;
    let named = places.named(lower)?;
    let filled = chosen(lower, named, value, target.x)?;
    shaped(lower, args, filled)
}

fn index_copy(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let target = Target::of(lower, args, false)?;
    let source = target.source(lower, args, true)?;
    if target.is_idle(lower) {
        return one(args.tensor("self")?);
    }
    let places = target.places(lower, false)?;
    let copied = target.copied(lower, &places, source)?;
    shaped(lower, args, copied)
}

/// `alpha` times each slice of `source` added to the one that it falls on.
fn index_add(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let target = Target::of(lower, args, true)?;
    let source = target.source(lower, args, false)?;
    let dtype = lower.dtype(source);
    let alpha = number_or(args, "alpha", Number::Int(1))?;
    alpha.literal(dtype, "alpha")?;
    if target.is_idle(lower) {
        return one(args.tensor("self")?);
    }
    let places = target.places(lower, false)?;
    let factor = alpha.as_f64();
    let source =
        if factor == 1.0 { source } else { pointwise(lower, [source], dtype, |[s]| s * factor)? };
    let sum = Merge::Sum.apply(lower, target.x, &places, source, true)?;
    shaped(lower, args, sum)
}

fn index_reduce(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let target = Target::of(lower, args, true)?;
    let source = target.source(lower, args, false)?;
    let merge = Merge::named(args.opt_str("reduce")?.unwrap_or_default())?;
    if merge == Merge::Sum {
        return Err(Refusal::Invalid("'reduce' is 'sum'".into()));
    }
    if target.is_idle(lower) {
        return one(args.tensor("self")?);
    }
    let places = target.places(lower, false)?;
    let merged = merge.apply(lower, target.x, &places, source, args.flag("include_self")?)?;
    shaped(lower, args, merged)
}

/// `self[indices] = values`, or `+=`: one mask that covers the first axes, or positions of adjacent axes.
fn index_put(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, values) = (args.tensor("self")?, args.tensor("values")?);
    let Item::List(items) = args.get("indices") else {
        return Err(Refusal::Invalid("'indices' is not a list".into()));
    };
    if lower.dtype(values) != lower.dtype(x) {
        return Err(Refusal::Dtype { arg: "values", found: lower.dtype(values) });
    }
    match items[..] {
        [Item::Tensor(mask)] if lower.dtype(mask) == DType::Bool => masked(lower, args, x, mask, values),
        _ => positioned(lower, args, x, items, values),
    }
}

/// Where the mask holds, the values, which broadcast over the rest.
fn masked(
    lower: &mut Lower,
    args: &Args,
    x: ValueId,
    mask: ValueId,
    values: ValueId,
) -> Result<Vec<Item>, Refusal> {
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
    let mask = lower.reshape(mask, [&covered[..], &vec![1; rest.len()][..]].concat())?;
    one(chosen(lower, mask, Value::Tensor(values), x)?)
}

/// Values, which broadcast to what the positions name, written one after the other.
fn positioned(
    lower: &mut Lower,
    args: &Args,
    x: ValueId,
    items: &[Item],
    values: ValueId,
) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(x).to_vec();
    let picked = picked(lower, items, &shape)?;
    let adjacent = picked.windows(2).all(|w| w[0].0 + 1 == w[1].0);
    let (Some(&(first, one_index)), true) = (picked.first(), adjacent) else {
        return Err(Refusal::Attribute { arg: "indices".into(), why: "not positions of adjacent axes".into() });
    };
    let (sizes, after) = (&shape[first..first + picked.len()], &shape[first + picked.len()..]);
    let index = match picked.len() {
        1 => one_index,
        _ => joint_index(lower, &picked.iter().map(|p| p.1).collect::<Vec<_>>(), sizes)?,
    };
    let (entries, n) = (lower.ty(index).elements(), sizes.iter().product::<usize>());
    let whole = [&shape[..first], lower.shape(index), after].concat();
    if broadcast([lower.shape(values), &whole]).as_ref() != Some(&whole) {
        let found = lower.ty(values).clone();
        return Err(Refusal::Shape { arg: "values", found, expected: "what the positions name" });
    }
    let values = lower.broadcast(values, whole)?;
    let source = lower.reshape(values, [&shape[..first], &[entries], after].concat())?;
    let x = lower.reshape(x, [&shape[..first], &[n], after].concat())?;
    let index = lower.reshape(index, [entries])?;
    let target = Target { x, axis: first, index };
    if target.is_idle(lower) {
        return shaped(lower, args, x);
    }
    let places = target.places(lower, true)?;
    let written = match args.flag("accumulate")? {
        true => Merge::Sum.apply(lower, x, &places, source, true)?,
        false => target.copied(lower, &places, source)?,
    };
    shaped(lower, args, written)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
            "aten::index_fill.int_Tensor(Tensor self, int dim, Tensor index, Tensor value) -> Tensor",
        ],
        lower: index_fill,
    },
    Def {
        schemas: &["aten::index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor"],
        lower: index_copy,
    },
    Def {
        schemas: &[
            "aten::index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor",
        ],
        lower: index_add,
    },
    Def {
        schemas: &[
            "aten::index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *, bool include_self=True) -> Tensor",
        ],
        lower: index_reduce,
    },
    Def {
        schemas: &[
            "aten::index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor",
            "aten::index_put.hacked_twin(Tensor self, Tensor[] indices, Tensor values, bool accumulate=False) -> Tensor",
        ],
        lower: index_put,
    },
];
