//! Functions of one element that take several scalar steps.

use super::formula::Term;
use super::number::{Number, largest};
use super::promote::{Value, elementwise, float_result_type};
use super::{Def, float_tensor, one};
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};
use std::f64::consts::PI;

/// `f` in the operand's floating-point type; integers compute in f32.
fn float(
    lower: &mut Lower,
    args: &Args,
    f: impl for<'f> FnOnce(Term<'f>) -> Term<'f>,
) -> Result<Vec<Item>, Refusal> {
    let x = Value::of(args, "self")?;
    let dtype = float_result_type(lower, &[x]);
    one(elementwise(lower, &[x], dtype, |x| f(x[0]))?)
}

/// The part behind the point, with the operand's sign; floating-point only.
fn frac(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    float_tensor(lower, args, "self")?;
    float(lower, args, |x| x - x.unary(Unary::Trunc))
}

/// `log(x / (1 - x))`, where `eps` given clamps `x` to [eps, 1 - eps].
fn logit(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let eps = if args.has("eps") { Some(args.float("eps")?) } else { None };
    float(lower, args, |x| {
        let clamped = |eps: f64| x.lt(eps).select(eps, x.gt(1.0 - eps).select(1.0 - eps, x));
        let x = eps.map_or(x, clamped);
        (x / (1.0 - x)).unary(Unary::Log)
    })
}

/// Rounded (half to even) to a number of decimal places; negative ones round to tens, hundreds, ...
fn round_decimals(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let places = args.int(lower, "decimals")?;
    let x = float_tensor(lower, args, "self")?;
    if !(-38..=38).contains(&places) || lower.dtype(x).size() < 4 {
        return Err(Refusal::Attribute { arg: "decimals".into(), why: format!("{places} places") });
    }
    let power = 10f64.powi(places.unsigned_abs() as i32);
    float(lower, args, |x| match places {
        0 => x.unary(Unary::Round),
        1.. => (x * power).unary(Unary::Round) / power,
        _ => (x / power).unary(Unary::Round) * power,
    })
}

/// NaN and infinities replaced: by 0 and the type's largest values, or by what is given.
fn nan_to_num(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let dtype = lower.dtype(x);
    if !dtype.is_float() {
        return one(x);
    }
    let or = |name, default| if args.has(name) { args.float(name) } else { Ok(default) };
    let top = largest(dtype);
    let given = [or("nan", 0.0)?, or("posinf", top)?, or("neginf", -top)?].map(|v| Value::Number(Number::Float(v)));
    one(elementwise(lower, &[Value::Tensor(x), given[0], given[1], given[2]], dtype, |x| {
        let (x, nan, high, low) = (x[0], x[1], x[2], x[3]);
        let above = x.binary(Binary::Eq, f64::INFINITY);
        let below = x.binary(Binary::Eq, f64::NEG_INFINITY);
        x.unary(Unary::IsNan).select(nan, above.select(high, below.select(low, x)))
    })?)
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::frac(Tensor self) -> Tensor"], lower: frac },
    Def {
        schemas: &["aten::logit(Tensor self, float? eps=None) -> Tensor"],
        lower: logit,
    },
    Def {
        schemas: &[
            "aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor",
        ],
        lower: nan_to_num,
    },
    Def {
        schemas: &["aten::round.decimals(Tensor self, *, int decimals) -> Tensor"],
        lower: round_decimals,
    },
    Def {
        schemas: &["aten::deg2rad(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, |x| x * (PI / 180.0)),
    },
    Def {
        schemas: &["aten::rad2deg(Tensor self) -> Tensor"],
        lower: |l, a| float(l, a, |x| x * (180.0 / PI)),
    },
];
