//! Division in all its roundings, and remainders.

use super::promote::{Value, elementwise, float_result_type, result_type};
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};

/// `self / other`: true division (integers compute in f32), or rounded down or towards zero as `rounding_mode` says.
fn div(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    match args.opt_str("rounding_mode")? {
        None => {
            let operands = Value::all(args, ["self", "other"])?;
            let dtype = float_result_type(lower, &operands);
            one(elementwise(lower, &operands, dtype, |x| x[0].binary(Binary::Div, x[1]))?)
        }
        Some("floor") => rounded(lower, args, Binary::FloorDiv),
        Some("trunc") => rounded(lower, args, Binary::TruncDiv),
        Some(other) => Err(Refusal::Invalid(format!("'rounding_mode' is {other}"))),
    }
}

/// A quotient or remainder in the promoted type, to which torch's kernels round numbers for the remainders; an integer divisor has to be known and not
/// zero.
fn rounded(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    if dtype.is_int() {
        check_divisor(lower, operands[1])?;
    }
    let remains = matches!(f, Binary::Rem | Binary::Fmod);
    let operands = if remains { Value::all_rounded(operands, lower, dtype)? } else { operands };
    one(elementwise(lower, &operands, dtype, |x| {
        if f == Binary::TruncDiv && dtype.is_float() {
            (x[0] / x[1]).unary(Unary::Trunc)
        } else {
            x[0].binary(f, x[1])
        }
    })?)
}

fn check_divisor(lower: &Lower, divisor: Value) -> Result<(), Refusal> {
    let zero = match divisor {
        Value::Number(n) => n.as_i64() == 0,
        Value::Tensor(v) => {
            let known = lower.known(v).ok_or(Refusal::NotConstant { arg: "other".to_string() })?;
            (0..known.ty().elements()).any(|i| known.i64_at(i) == 0)
        }
    };
    if zero { Err(Refusal::Invalid("integer division by zero".into())) } else { Ok(()) }
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::div.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::div.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
            "aten::div.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
            "aten::divide.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::divide.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::divide.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor",
            "aten::divide.Scalar_mode(Tensor self, Scalar other, *, str? rounding_mode) -> Tensor",
            "aten::true_divide.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::true_divide.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: div,
    },
    Def {
        schemas: &[
            "aten::floor_divide(Tensor self, Tensor other) -> Tensor",
            "aten::floor_divide.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| rounded(l, a, Binary::FloorDiv),
    },
    Def {
        schemas: &[
            "aten::remainder.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::remainder.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::remainder.Scalar_Tensor(Scalar self, Tensor other) -> Tensor",
        ],
        lower: |l, a| rounded(l, a, Binary::Rem),
    },
    Def {
        schemas: &[
            "aten::fmod.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::fmod.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: |l, a| rounded(l, a, Binary::Fmod),
    },
];
