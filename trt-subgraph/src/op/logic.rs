//! Logical and bitwise operators, and the classes of floating-point values.

use super::formula::Term;
use super::promote::{Value, elementwise, result_type};
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};

/// A logical operator; any operand counts as `!= 0`, NaN as true, once it is of the common type: of i8 and a 0-d i32 that is i8, where 256 is 0.
fn logical(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    let mut common = Vec::new();
    for operand in operands {
        common.push(match operand {
            Value::Tensor(v) => Value::Tensor(lower.cast(v, dtype)?),
            number => number,
        });
    }
    let operands = common;
    one(elementwise(lower, &operands, DType::Bool, |x| x[0].binary(f, x[1]))?)
}

fn logical_not(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = Value::of(args, "self")?;
    one(elementwise(lower, &[x], DType::Bool, |x| x[0].unary(Unary::Not))?)
}

/// A bitwise operator of integers, or a logical one of two `Bool`s.
fn bitwise(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = integral(result_type(lower, &operands))?;
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(f, x[1]))?)
}

fn bitwise_not(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = Value::of(args, "self")?;
    let dtype = integral(result_type(lower, &[x]))?;
    one(elementwise(lower, &[x], dtype, |x| x[0].unary(Unary::Not))?)
}

fn integral(dtype: DType) -> Result<DType, Refusal> {
    if dtype.is_float() { Err(Refusal::Dtype { arg: "self", found: dtype }) } else { Ok(dtype) }
}

/// A shift of integers by a number from 0 to below their width.
fn shift(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    if !dtype.is_int() {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    let Value::Number(n) = operands[1] else {
        return Err(Refusal::NotConstant { arg: "other".into() });
    };
    if !(0..8 * dtype.size() as i64).contains(&n.as_i64()) {
        return Err(Refusal::Attribute { arg: "other".into(), why: "a shift past the type's width".into() });
    }
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(f, x[1]))?)
}

/// A test of one value; integers and `Bool` are finite numbers.
fn class(
    lower: &mut Lower,
    args: &Args,
    f: impl for<'f> FnOnce(Term<'f>) -> Term<'f>,
    integers: Binary,
) -> Result<Vec<Item>, Refusal> {
    let v = args.tensor("self")?;
    let dtype = lower.dtype(v);
    one(elementwise(lower, &[Value::Tensor(v)], dtype, |x| {
        if dtype.is_float() { f(x[0]) } else { x[0].binary(integers, x[0]) }
    })?)
}

fn is_finite(x: Term<'_>) -> Term<'_> {
    x.unary(Unary::IsNan).binary(Binary::Or, x.unary(Unary::IsInf)).unary(Unary::Not)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::logical_and(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| logical(l, a, Binary::And),
    },
    Def {
        schemas: &["aten::logical_or(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| logical(l, a, Binary::Or),
    },
    Def {
        schemas: &["aten::logical_xor(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| logical(l, a, Binary::Xor),
    },
    Def { schemas: &["aten::logical_not(Tensor self) -> Tensor"], lower: logical_not },
    Def {
        schemas: &[
            "aten::bitwise_and.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::bitwise_and.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::bitwise_and.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
            "aten::__and__.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::__and__.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| bitwise(l, a, Binary::And),
    },
    Def {
        schemas: &[
            "aten::bitwise_or.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::bitwise_or.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::bitwise_or.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
            "aten::__or__.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::__or__.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| bitwise(l, a, Binary::Or),
    },
    Def {
        schemas: &[
            "aten::bitwise_xor.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::bitwise_xor.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::bitwise_xor.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
            "aten::__xor__.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::__xor__.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| bitwise(l, a, Binary::Xor),
    },
    Def { schemas: &["aten::bitwise_not(Tensor self) -> Tensor"], lower: bitwise_not },
    Def {
        schemas: &[
            "aten::bitwise_left_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::__lshift__.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| shift(l, a, Binary::Shl),
    },
    Def {
        schemas: &[
            "aten::bitwise_right_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::__rshift__.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| shift(l, a, Binary::Shr),
    },
    Def {
        schemas: &["aten::isnan(Tensor self) -> Tensor"],
        lower: |l, a| class(l, a, |x| x.unary(Unary::IsNan), Binary::Ne),
    },
    Def {
        schemas: &["aten::isinf(Tensor self) -> Tensor"],
        lower: |l, a| class(l, a, |x| x.unary(Unary::IsInf), Binary::Ne),
    },
    Def {
        schemas: &["aten::isfinite(Tensor self) -> Tensor"],
        lower: |l, a| class(l, a, is_finite, Binary::Eq),
    },
    Def {
        schemas: &["aten::isposinf(Tensor self) -> Tensor"],
        lower: |l, a| class(l, a, |x| x.binary(Binary::Eq, f64::INFINITY), Binary::Ne),
    },
    Def {
        schemas: &["aten::isneginf(Tensor self) -> Tensor"],
        lower: |l, a| class(l, a, |x| x.binary(Binary::Eq, f64::NEG_INFINITY), Binary::Ne),
    },
];
