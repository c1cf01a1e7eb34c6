//! Functions of one element that take several scalar steps.

use super::formula::{Term, compute_type};
use super::number::{Number, largest, rounded};
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

/// `log(x / (1 - x))`, where `eps`, unless it is negative, clamps `x` to [eps, 1 - eps].
fn logit(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = Value::of(args, "self")?;
    let dtype = float_result_type(lower, &[x]);
    // torch's kernels round each step to the type itself on a CPU, and not on a GPU.
    let kept = if lower.device.0 == "cpu" { dtype } else { compute_type(dtype) };
    let eps = if args.has("eps") { args.float("eps")? } else { -1.0 };
    let low = rounded(eps, kept);
    let high = rounded(1.0 - low, kept);
    one(elementwise(lower, &[x], dtype, |x| {
        let clamped = x[0].lt(low).select(low, x[0].gt(high).select(high, x[0]));
        let x = if eps < 0.0 { x[0] } else { clamped };
        (x / (1.0 - x).kept_in(kept)).kept_in(kept).unary(Unary::Log)
    })?)
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

#[cfg(test)]
mod tests {
    use crate::backend::reference::evaluate;
    use crate::source::case::{Case, Lowered};
    use half::f16;

    #[test]
    fn halves_round_each_step_of_logit() {
        let case = Case::parse("aten::logit(f16[300]{0..1}, 0.1)").expect("a case");
        let Lowered { network, parameters, inputs, .. } = case.lower().expect("supported");
        let found = evaluate(&network, &parameters, &inputs).expect("runs")[0].to_f64();
        let half = |v: f32| f16::from_f32(v).to_f32();
        let steps = |x: f64| {
            let x = (x as f32).clamp(half(0.1), half(1.0 - half(0.1)));
            f64::from(half(half(x / half(1.0 - x)).ln()))
        };
        let expected: Vec<f64> = inputs[0].to_f64().into_iter().map(steps).collect();
        assert_eq!(found, expected);
    }
}
