//! Elements written along an axis where an index of the same rank says.

use super::formula::pointwise;
use super::places::{Merge, Places, checked};
use super::promote::{Value, elementwise};
use super::update::{chosen, replaced};
use super::{Def, one};
use crate::DType;
use crate::network::ValueId;
use crate::network::layer::{LayerKind, Range};
use crate::source::{Args, Item, Lower, Refusal};

/// One call: the part of `self` that the index can reach, and what is written there.
struct Call {
    /// `self`, then smaller and smaller parts of it, each with the axis that was cut for the next.
    cuts: Vec<(ValueId, usize)>,
    /// As large as the index in all axes but the written one.
    x: ValueId,
    axis: usize,
    places: Places,
    /// In the index' shape.
    source: Value,
}

impl Call {
    /// `None` where the index is empty: then nothing is written.
    fn of(lower: &mut Lower, args: &Args) -> Result<Option<Call>, Refusal> {
        let mut x = args.tensor("self")?;
        let axis = args.axis(lower, "dim", lower.shape(x).len())?;
        let mut index = args.tensor("index")?;
        if !matches!(lower.dtype(index), DType::I32 | DType::I64) {
            return Err(Refusal::Dtype { arg: "index", found: lower.dtype(index) });
        }
        let source = if args.has("value") { Value::of(args, "value")? } else { Value::of(args, "src")? };
        if let Value::Tensor(s) = source
            && lower.dtype(s) != lower.dtype(x)
        {
            return Err(Refusal::Dtype { arg: "src", found: lower.dtype(s) });
        }
        if lower.ty(index).elements() == 0 {
            return Ok(None);
        }
        x = vector(lower, x)?;
        index = vector(lower, index)?;
        let (wanted, shape) = (lower.shape(index).to_vec(), lower.shape(x).to_vec());
        let fits = |shape: &[usize], apart: Option<usize>| {
            let small = |i: usize| Some(i) == apart || wanted[i] <= shape[i];
            shape.len() == wanted.len() && (0..wanted.len()).all(small)
        };
        if !fits(&shape, Some(axis)) {
            let found = lower.ty(index).clone();
            return Err(Refusal::Shape { arg: "index", found, expected: "no more than self in its other axes" });
        }
        let source = match source {
            Value::Tensor(s) => {
                let mut s = vector(lower, s)?;
                if !fits(lower.shape(s), None) {
                    let found = lower.ty(s).clone();
                    return Err(Refusal::Shape { arg: "src", found, expected: "no less than the index" });
                }
                for (i, &n) in wanted.iter().enumerate() {
                    s = lower.narrow(s, i, 0, n)?;
                }
                Value::Tensor(s)
            }
            number => number,
        };
        let mut cuts = Vec::new();
        for i in (0..wanted.len()).filter(|&i| i != axis && wanted[i] < shape[i]) {
            cuts.push((x, i));
            x = lower.narrow(x, i, 0, wanted[i])?;
        }
        let index = checked(lower, index, shape[axis], false)?;
        let places = Places::of(lower, index, axis, shape[axis])?;
        Ok(Some(Call { cuts, x, axis, places, source }))
    }

    /// The whole of `self` with `part` in the place of what could be reached, in `self`'s shape.
    fn finish(self, lower: &mut Lower, args: &Args, mut part: ValueId) -> Result<Vec<Item>, Refusal> {
        for &(whole, axis) in self.cuts.iter().rev() {
            let len = lower.shape(part)[axis];
            part = replaced(lower, whole, part, axis, Range { start: 0, step: 1, len })?;
        }
        let shape = lower.shape(args.tensor("self")?).to_vec();
        one(lower.reshape(part, shape)?)
    }

    /// What is written as a tensor that broadcasts to the index' shape.
    fn source(&self, lower: &mut Lower) -> Result<ValueId, Refusal> {
        match self.source {
            Value::Tensor(s) => Ok(s),
            number => {
                let first = lower.reshape(self.x, [lower.ty(self.x).elements()])?;
                let first = lower.narrow(first, 0, 0, 1)?;
                let dtype = lower.dtype(self.x);
                let one = elementwise(lower, &[Value::Tensor(first), number], dtype, |t| t[1])?;
                lower.reshape(one, vec![1; lower.shape(self.x).len()])
            }
        }
    }
}

fn vector(lower: &mut Lower, x: ValueId) -> Result<ValueId, Refusal> {
    if lower.shape(x).is_empty() { lower.reshape(x, [1]) } else { Ok(x) }
}

/// The named positions set to one value, or each to the last element of `src` that falls on it.
fn scatter(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let Some(call) = Call::of(lower, args)? else { return one(args.tensor("self")?) };
    let part = match call.source {
        Value::Tensor(source) => {
            let last = call.places.last(lower)?;
            let at = pointwise(lower, [last], DType::I64, |[at]| at.max(0.0))?;
            let picked = lower.add(LayerKind::Gather { axis: call.axis, elements: true }, &[source, at])?;
            let named = call.places.named(lower)?;
            chosen(lower, named, Value::Tensor(picked), call.x)?
        }
        value => {
            let named = call.places.named(lower)?;
            chosen(lower, named, value, call.x)?
        }
    };
    call.finish(lower, args, part)
}

fn merged(lower: &mut Lower, args: &Args, merge: Merge, own: bool) -> Result<Vec<Item>, Refusal> {
    let Some(call) = Call::of(lower, args)? else { return one(args.tensor("self")?) };
    let source = call.source(lower)?;
    let part = merge.apply(lower, call.x, &call.places, source, own)?;
    call.finish(lower, args, part)
}

/// As `reduce` says, each element of `src` into the position that it falls on.
fn reduce(lower: &mut Lower, args: &Args, own: bool) -> Result<Vec<Item>, Refusal> {
    let name = args.opt_str("reduce")?.unwrap_or_default();
    merged(lower, args, Merge::named(name)?, own)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor",
            "aten::scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor",
        ],
        lower: scatter,
    },
    Def {
        schemas: &[
            "aten::scatter.reduce(Tensor self, int dim, Tensor index, Tensor src, *, str reduce) -> Tensor",
            "aten::scatter.value_reduce(Tensor self, int dim, Tensor index, Scalar value, *, str reduce) -> Tensor",
        ],
        lower: |l, a| reduce(l, a, true),
    },
    Def {
        schemas: &["aten::scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor"],
        lower: |l, a| merged(l, a, Merge::Sum, true),
    },
    Def {
        schemas: &[
            "aten::scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str reduce, *, bool include_self=True) -> Tensor",
        ],
        lower: |l, a| {
            let own = a.flag("include_self")?;
            reduce(l, a, own)
        },
    },
];
