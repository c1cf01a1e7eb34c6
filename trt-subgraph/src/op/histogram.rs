//! How many elements fall into each of some bins of equal width.

use super::formula::pointwise;
use super::number::{Number, rounded};
use super::places::Places;
use super::promote::number_or;
use super::resample::bounded;
use super::{Def, one};
use crate::DType;
use crate::network::expr::Binary;
use crate::source::{Args, Item, Lower, Refusal};

/// Bins from `min` to `max`, which both belong to the outer ones; what lies outside, and NaN, is not counted. The bin is found by the
/// host's arithmetic, in its order, so that what lies near an edge falls on the same side. (Integers, which the host has on GPUs only,
/// are divided as integers.)
fn histogram(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let dtype = lower.dtype(x);
    // In halves, counts would stop at the first number that has no successor.
    let computed = match dtype {
        DType::F32 | DType::F64 => dtype,
        DType::I32 | DType::I64 => DType::I64,
        found => return Err(Refusal::Dtype { arg: "self", found }),
    };
    let bins = args.sizes(lower, "bins", 1, None)?[0];
    bounded("bins", &[bins])?;
    let bound = |name: &str| number_or(args, name, Number::Int(0)).map(|n| rounded(n.as_f64(), dtype));
    let (min, max) = (bound("min")?, bound("max")?);
    if bins == 0 || min > max || !(max - min).is_finite() {
        return Err(Refusal::Invalid(format!("{bins} bins between {min} and {max}")));
    }
    if min == max {
        return Err(Refusal::Attribute { arg: "max".into(), why: "a range that the elements decide".into() });
    }
    if dtype.is_int() && [min, max].iter().any(|b| b.fract() != 0.0) {
        return Err(Refusal::Attribute { arg: "max".into(), why: "fractions between integers".into() });
    }
    let x = lower.reshape(x, [lower.ty(x).elements()])?;
    let bin = pointwise(lower, [x], computed, |[x]| {
        let bin = ((x - min) * bins as f64).binary(Binary::TruncDiv, rounded(max - min, dtype));
        x.le(max).select(x.lt(min).select(-1.0, bin.min(bins as f64 - 1.0)), -1.0)
    })?;
    let bin = lower.cast(bin, DType::I64)?;
    one(Places::of(lower, bin, 0, bins)?.count(lower, dtype)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &["aten::histc(Tensor self, int bins=100, Scalar min=0, Scalar max=0) -> Tensor"],
    lower: histogram,
}];

#[cfg(test)]
mod tests {
    use crate::backend::reference::evaluate;
    use crate::source::case::{Case, Lowered};

    /// On whole numbers, which the host's CPU does not take as integers, both arithmetics agree.
    #[test]
    fn integers_fall_where_floats_do() {
        let counts = |dtype: &str, bins: usize, range: &str| {
            let values = "{-3, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10, 11, 40}";
            let line = format!("aten::histc({dtype}[16]{values}, {bins}, {range})");
            let case = Case::parse(&line).expect("a case");
            let Lowered { network, parameters, inputs, .. } = case.lower().expect("supported");
            evaluate(&network, &parameters, &inputs).expect("runs")[0].to_f64()
        };
        for (bins, range) in [(4, "0, 3"), (8, "0, 8"), (5, "-3, 11"), (3, "1, 11"), (40, "0, 40")] {
            assert_eq!(counts("i32", bins, range), counts("f32", bins, range), "{bins} bins of {range}");
            assert_eq!(counts("i64", bins, range), counts("f64", bins, range), "{bins} bins of {range}");
        }
    }
}
