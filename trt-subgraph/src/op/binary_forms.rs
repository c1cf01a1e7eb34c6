//! Functions of two elements that take several scalar steps.

use super::formula::Term;
use super::promote::{Value, elementwise, float_result_type, result_type};
use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::expr::{Binary, Unary};
use crate::source::{Args, Item, Lower, Refusal};

/// `f(self, other)` in the promoted floating-point type; integers compute in f32.
fn float(
    lower: &mut Lower,
    args: &Args,
    f: impl for<'f> FnOnce(Term<'f>, Term<'f>) -> Term<'f>,
) -> Result<Vec<Item>, Refusal> {
    let values = Value::all(args, ["self", "other"])?;
    let dtype = float_result_type(lower, &values);
    one(elementwise(lower, &values, dtype, |x| f(x[0], x[1]))?)
}

/// [`float`] of two floating-point tensors.
fn floats_only(
    lower: &mut Lower,
    args: &Args,
    f: impl for<'f> FnOnce(Term<'f>, Term<'f>) -> Term<'f>,
) -> Result<Vec<Item>, Refusal> {
    float_tensor(lower, args, "self")?;
    float_tensor(lower, args, "other")?;
    float(lower, args, f)
}

/// `self * log(other)`: 0 where `self` is 0, unless `other` is NaN. As on the host, numbers and the logarithm are rounded to the result's
/// type first.
fn xlogy(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let values = Value::all(args, ["self", "other"])?;
    let dtype = float_result_type(lower, &values);
    let values = Value::all_rounded(values, lower, dtype)?;
    one(elementwise(lower, &values, dtype, |v| {
        let (x, y) = (v[0], v[1]);
        let product = x.same(0.0).select(0.0, x * y.unary(Unary::Log).kept_in(dtype));
        y.unary(Unary::IsNan).select(y, product)
    })?)
}

/// `log(e^a + e^b)`; of two equal infinities that infinity.
fn logaddexp<'f>(a: Term<'f>, b: Term<'f>) -> Term<'f> {
    let sum = a.max(b) + (-(a - b).abs()).exp().ln_1p();
    a.unary(Unary::IsInf).binary(Binary::And, a.binary(Binary::Eq, b)).select(a, sum)
}

/// 0 below, 1 above, `values` at zero.
fn heaviside(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let values = Value::all(args, ["self", "values"])?;
    let types = values.map(|v| result_type(lower, &[v]));
    if types[0] != types[1] || types[0] == DType::Bool {
        return Err(Refusal::Dtype { arg: "values", found: types[1] });
    }
    one(elementwise(lower, &values, types[0], |x| {
        x[0].binary(Binary::Eq, 0.0).select(x[1], x[0].gt(0.0).select(1.0, 0.0))
    })?)
}

/// `|self - other| <= atol + rtol * |other|`, equal infinities too; floating-point of one type.
fn isclose(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let values = Value::all(args, ["self", "other"])?;
    let types = values.map(|v| result_type(lower, &[v]));
    if types[0] != types[1] || !types[0].is_float() {
        return Err(Refusal::Dtype { arg: "other", found: types[1] });
    }
    let (rtol, atol, nan) = (args.float("rtol")?, args.float("atol")?, args.flag("equal_nan")?);
    one(elementwise(lower, &values, types[0], |x| {
        let (a, b) = (x[0], x[1]);
        let distance = (a - b).abs();
        let near = distance.le((b * rtol).abs() + atol).binary(Binary::And, distance.lt(f64::INFINITY));
        let close = a.binary(Binary::Eq, b).binary(Binary::Or, near);
        let both = a.unary(Unary::IsNan).binary(Binary::And, b.unary(Unary::IsNan));
        if nan { close.binary(Binary::Or, both) } else { close }
    })?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::xlogy.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::xlogy.Scalar_Other(Tensor self, Scalar other) -> Tensor",
            "aten::xlogy.Scalar_Self(Scalar self, Tensor other) -> Tensor",
            "aten::special_xlogy(Tensor self, Tensor other) -> Tensor",
        ],
        lower: xlogy,
    },
    Def {
        schemas: &["aten::logaddexp(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| floats_only(l, a, logaddexp),
    },
    Def { schemas: &["aten::heaviside(Tensor self, Tensor values) -> Tensor"], lower: heaviside },
    Def {
        schemas: &[
            "aten::isclose(Tensor self, Tensor other, float rtol=1.0000000000000001e-05, float atol=1e-08, bool equal_nan=False) -> Tensor",
        ],
        lower: isclose,
    },
];

#[cfg(test)]
mod tests {
    use crate::backend::reference::evaluate;
    use crate::source::case::{Case, Lowered};
    use half::bf16;

    #[test]
    fn halves_round_the_logarithm_of_xlogy() {
        let case = Case::parse("aten::xlogy.Tensor(bf16[300]{0..2}, bf16[300]{0..2})").expect("a case");
        let Lowered { network, parameters, inputs, .. } = case.lower().expect("supported");
        let found = evaluate(&network, &parameters, &inputs).expect("runs")[0].to_f64();
        let steps = |(x, y): (f64, f64)| {
            let log = bf16::from_f32((y as f32).ln()).to_f32();
            bf16::from_f32(x as f32 * log).to_f64()
        };
        let expected: Vec<f64> = inputs[0].to_f64().into_iter().zip(inputs[1].to_f64()).map(steps).collect();
        assert_eq!(found, expected);
    }
}
