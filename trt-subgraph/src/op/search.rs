//! Membership, and places in sorted sequences: every element against every candidate, so for short lists.

use super::formula::pointwise;
use super::promote::{Value, elementwise, result_type};
use super::reduce::over;
use super::view::with_axis;
use super::{Def, one};
use crate::DType;
use crate::network::ValueId;
use crate::network::expr::{Binary, Unary};
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};

/// A comparison of each element with each candidate, whose axis comes last. Refused where that is too much work.
fn against(
    lower: &mut Lower,
    elements: Value,
    candidates: Value,
    f: Binary,
    negated: bool,
) -> Result<ValueId, Refusal> {
    const MOST: usize = 1 << 24;
    let dtype = result_type(lower, &[elements, candidates]);
    let elements = match elements {
        Value::Tensor(v) => Value::Tensor(with_axis(lower, v, lower.shape(v).len())?),
        number => number,
    };
    let size = |v: Value| if let Value::Tensor(v) = v { lower.ty(v).elements() } else { 1 };
    if size(elements).saturating_mul(size(candidates)) > MOST {
        return Err(Refusal::Attribute { arg: "boundaries".into(), why: "too many comparisons".into() });
    }
    elementwise(lower, &[elements, candidates], dtype, |x| {
        let holds = x[0].binary(f, x[1]);
        if negated { holds.unary(Unary::Not) } else { holds }
    })
}

fn isin(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let name = |a, b| if args.has(a) { a } else { b };
    let elements = Value::of(args, name("elements", "element"))?;
    let tests = match Value::of(args, name("test_elements", "test_element"))? {
        Value::Tensor(v) => Value::Tensor(lower.reshape(v, [lower.ty(v).elements()])?),
        number => number,
    };
    let equal = against(lower, elements, tests, Binary::Eq, false)?;
    let last = lower.shape(equal).len() - 1;
    let found = over(lower, equal, ReduceOp::Any, &[last], false)?;
    one(if args.flag("invert")? {
        elementwise(lower, &[Value::Tensor(found)], DType::Bool, |x| x[0].unary(Unary::Not))?
    } else {
        found
    })
}

/// NaN, which is sorted last, as the largest number before it: what lies behind that lies behind both.
fn without_nan(lower: &mut Lower, sorted: ValueId) -> Result<ValueId, Refusal> {
    let (dtype, axis) = (lower.dtype(sorted), lower.shape(sorted).len() - 1);
    if !dtype.is_float() || lower.ty(sorted).elements() == 0 {
        return Ok(sorted);
    }
    let numbers =
        pointwise(lower, [sorted], dtype, |[s]| s.unary(Unary::IsNan).select(f64::NEG_INFINITY, s))?;
    let largest = over(lower, numbers, ReduceOp::Max, &[axis], true)?;
    pointwise(lower, [sorted, largest], dtype, |[s, l]| s.unary(Unary::IsNan).select(l, s))
}

/// How many entries of a sorted sequence lie before each element: those below it, with `right` also those equal.
fn place(lower: &mut Lower, args: &Args, sequence: &str) -> Result<Vec<Item>, Refusal> {
    if args.has("sorter") {
        return Err(Refusal::Attribute { arg: "sorter".into(), why: "an order of its own".into() });
    }
    let (x, sorted) = (args.tensor("self")?, args.tensor(sequence)?);
    let right = args.flag("right")? || args.opt_str("side")? == Some("right");
    let (lead, shape) = (lower.shape(sorted).to_vec(), lower.shape(x).to_vec());
    if lead.is_empty() {
        return Err(Refusal::Invalid("a 0-d tensor is no sequence".into()));
    }
    let sorted = without_nan(lower, sorted)?;
    let sorted = match lead.len() {
        1 => sorted,
        rank if shape.len() == rank && shape[..rank - 1] == lead[..rank - 1] => {
            with_axis(lower, sorted, rank - 1)?
        }
        _ => return Err(Refusal::Invalid("the sequences and the values differ in shape".into())),
    };
    let relation = if right { Binary::Lt } else { Binary::Le };
    let before = against(lower, Value::Tensor(x), Value::Tensor(sorted), relation, true)?;
    let ones = lower.cast(before, DType::I64)?;
    let count = over(lower, ones, ReduceOp::Sum, &[shape.len()], false)?;
    let dtype = if args.flag("out_int32")? { DType::I32 } else { DType::I64 };
    one(lower.cast(count, dtype)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::isin.Tensor_Tensor(Tensor elements, Tensor test_elements, *, bool assume_unique=False, bool invert=False) -> Tensor",
            "aten::isin.Tensor_Scalar(Tensor elements, Scalar test_element, *, bool assume_unique=False, bool invert=False) -> Tensor",
        ],
        lower: isin,
    },
    Def {
        schemas: &[
            "aten::bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False) -> Tensor",
        ],
        lower: |l, a| place(l, a, "boundaries"),
    },
    Def {
        schemas: &[
            "aten::searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False, bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
        ],
        lower: |l, a| place(l, a, "sorted_sequence"),
    },
];
