//! Comparisons, and the larger or smaller of two.

use super::promote::{Value, elementwise, float_result_type, result_type};
use super::{Def, one};
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};

/// A comparison in the promoted type, to which a number is rounded first.
fn compare(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    let operands = Value::all_rounded(operands, lower, dtype)?;
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(f, x[1]))?)
}

/// `max` or `min` of two tensors; NaN if either is NaN.
fn extremum(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(f, x[1]))?)
}

/// `fmax` or `fmin`: a NaN loses.
fn number_extremum(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    if !dtype.is_float() {
        return extremum(lower, args, f);
    }
    one(elementwise(lower, &operands, dtype, |x| {
        let larger = x[1].unary(Unary::IsNan).select(x[0], x[0].binary(f, x[1]));
        x[0].unary(Unary::IsNan).select(x[1], larger)
    })?)
}

/// The angle of the point (`other`, `self`); integers compute in f32.
fn atan2(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = float_result_type(lower, &operands);
    let operands = Value::all_rounded(operands, lower, dtype)?;
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(Binary::Atan2, x[1]))?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::eq.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::eq.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Eq),
    },
    Def {
        schemas: &[
            "aten::ne.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::ne.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::not_equal.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::not_equal.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Ne),
    },
    Def {
        schemas: &[
            "aten::lt.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::lt.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::less.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::less.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Lt),
    },
    Def {
        schemas: &[
            "aten::le.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::le.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::less_equal.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::less_equal.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Le),
    },
    Def {
        schemas: &[
            "aten::gt.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::gt.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::greater.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::greater.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Gt),
    },
    Def {
        schemas: &[
            "aten::ge.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::ge.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::greater_equal.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::greater_equal.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| compare(l, a, Binary::Ge),
    },
    Def {
        schemas: &[
            "aten::maximum(Tensor self, Tensor other) -> Tensor",
            "aten::max.other(Tensor self, Tensor other) -> Tensor",
        ],
        lower: |l, a| extremum(l, a, Binary::Max),
    },
    Def {
        schemas: &[
            "aten::minimum(Tensor self, Tensor other) -> Tensor",
            "aten::min.other(Tensor self, Tensor other) -> Tensor",
        ],
        lower: |l, a| extremum(l, a, Binary::Min),
    },
    Def {
        schemas: &["aten::fmax(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| number_extremum(l, a, Binary::Max),
    },
    Def {
        schemas: &["aten::fmin(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| number_extremum(l, a, Binary::Min),
    },
    Def {
        schemas: &[
            "aten::atan2(Tensor self, Tensor other) -> Tensor",
            "aten::arctan2(Tensor self, Tensor other) -> Tensor",
        ],
        lower: atan2,
    },
];
