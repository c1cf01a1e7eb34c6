//! Powers and squares.

use super::formula::Term;
use super::number::Number;
use super::promote::{Value, elementwise, result_type};
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};

/// `base ^ exponent` in the promoted type, to which numbers are rounded. Integers to a negative number are refused, as torch does.
fn power(lower: &mut Lower, base: Value, exponent: Value) -> Result<Vec<Item>, Refusal> {
    let operands = [base, exponent];
    let dtype = result_type(lower, &operands);
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    if let Value::Number(n) = exponent {
        if dtype.is_int() && n.as_i64() < 0 {
            return Err(Refusal::Invalid("integers to negative integer powers are not allowed".into()));
        }
        if let Some(short) = short_form(n.as_f64(), dtype, lower.device.0 == "cpu") {
            return one(elementwise(lower, &[base], dtype, |x| short(x[0]))?);
        }
    }
    let operands = Value::all_rounded(operands, lower, dtype)?;
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(Binary::Pow, x[1]))?)
}

/// The exponents for which torch's kernels do not call `pow` either. Those of f16 on the CPU do for roots, which matters for -0.0 and
/// negative infinity.
fn short_form(exponent: f64, dtype: DType, cpu: bool) -> Option<for<'f> fn(Term<'f>) -> Term<'f>> {
    let float = dtype.is_float();
    let roots = float && !(cpu && dtype == DType::F16);
    match exponent {
        1.0 => Some(|x| x),
        2.0 => Some(|x| x * x),
        3.0 => Some(|x| x * x * x),
        0.5 if roots => Some(|x| x.unary(Unary::Sqrt)),
        -0.5 if roots => Some(|x| x.unary(Unary::Rsqrt)),
        -1.0 if float => Some(|x| x.unary(Unary::Recip)),
        -2.0 if float => Some(|x| (x * x).unary(Unary::Recip)),
        _ => None,
    }
}

fn pow(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    power(lower, Value::of(args, "self")?, Value::of(args, "exponent")?)
}

fn square(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    power(lower, Value::of(args, "self")?, Value::Number(Number::Int(2)))
}

/// A power in f64, whatever the operands.
fn float_power(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "exponent"])?;
    one(elementwise(lower, &operands, DType::F64, |x| x[0].binary(Binary::Pow, x[1]))?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::pow.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
            "aten::pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
            "aten::pow.Scalar(Scalar self, Tensor exponent) -> Tensor",
        ],
        lower: pow,
    },
    Def { schemas: &["aten::square(Tensor self) -> Tensor"], lower: square },
    Def {
        schemas: &[
            "aten::float_power.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor",
            "aten::float_power.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor",
            "aten::float_power.Scalar(Scalar self, Tensor exponent) -> Tensor",
        ],
        lower: float_power,
    },
];
