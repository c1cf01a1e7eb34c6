//! How two tensors differ, in the numbers that people ask for.

use super::super::spec::kind_name;
use serde::Serialize;
use tch::{Kind, Tensor};

/// What may differ.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Tolerance {
    /// Relative to the expected element; `None` is that of the element type.
    pub(crate) rtol: Option<f64>,
    /// Absolute; `None` is a tenth of `rtol` times the largest finite magnitude that is expected.
    pub(crate) atol: Option<f64>,
    /// What float32 values may have been rounded to on the way, TF32 counting as float16, which is as coarse.
    #[serde(skip)]
    pub(crate) narrow: Option<Kind>,
}

/// The relative tolerance of an element type where the user gives none; 0 for those that are compared exactly.
fn usual_rtol(kind: Kind, narrow: Option<Kind>) -> f64 {
    let kind = match (kind, narrow) {
        (Kind::Float | Kind::ComplexFloat, Some(narrow)) => narrow,
        _ => kind,
    };
    match kind {
        Kind::Double | Kind::ComplexDouble => 1e-9,
        Kind::Float | Kind::ComplexFloat => 1e-4,
        Kind::Half | Kind::ComplexHalf => 1e-2,
        Kind::BFloat16 => 8e-2,
        _ => 0.0,
    }
}

/// One output, found against expected. Elements where either is not finite count in `nan` and `inf` alone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    /// `f32[1,1000]`.
    pub(crate) expected: String,
    pub(crate) found: String,
    /// The largest difference, and where it is, as a row-major position.
    pub(crate) max_abs: f64,
    pub(crate) max_abs_at: usize,
    /// The largest difference relative to the expected element, over expected elements that are not 0.
    pub(crate) max_rel: f64,
    pub(crate) mean_abs: f64,
    /// Cosine of the angle between them as vectors; 1 where both are 0.
    pub(crate) cosine: f64,
    /// NaN elements found and expected.
    pub(crate) nan: [i64; 2],
    /// Infinite elements found and expected.
    pub(crate) inf: [i64; 2],
    /// Part of the elements that are equal, for integers and booleans.
    pub(crate) agreement: Option<f64>,
    /// Elements that differ by more than the tolerance, or in NaN or infinity.
    pub(crate) mismatches: i64,
    /// The tolerance that it was held to: relative, and absolute; 0 where elements have to be equal.
    pub(crate) rtol: f64,
    pub(crate) atol: f64,
    pub(crate) passed: bool,
}

/// Compares two tensors of any kinds and shapes. `agreement` is the part of equal elements that integers need.
pub(crate) fn compare(
    name: &str,
    found: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
    agreement: f64,
) -> Result<Comparison, tch::TchError> {
    let mut out = Comparison {
        name: name.to_string(),
        expected: describe(expected),
        found: describe(found),
        max_abs: 0.0,
        max_abs_at: 0,
        max_rel: 0.0,
        mean_abs: 0.0,
        cosine: 1.0,
        nan: [0, 0],
        inf: [0, 0],
        agreement: None,
        mismatches: 0,
        rtol: 0.0,
        atol: 0.0,
        passed: false,
    };
    if found.size() != expected.size() {
        out.mismatches = expected.numel() as i64;
        return Ok(out);
    }
    let same_kind = found.kind() == expected.kind() || expected.kind() == Kind::Double;
    let exact = !expected.is_floating_point() && !expected.is_complex();
    let equal = found.f_eq_tensor(expected)?;
    if exact {
        out.agreement = Some(part(&equal)?);
    }
    let (a, b) = (flat(found)?, flat(expected)?);
    if a.numel() == 0 {
        out.passed = same_kind;
        return Ok(out);
    }
    let sum = |t: &Tensor| Ok::<_, tch::TchError>(t.f_sum(Kind::Int64)?.int64_value(&[]));
    out.nan = [sum(&a.f_isnan()?)?, sum(&b.f_isnan()?)?];
    out.inf = [sum(&a.f_isinf()?)?, sum(&b.f_isinf()?)?];
    let both = a.f_isfinite()?.f_logical_and(&b.f_isfinite()?)?;
    let zero = Tensor::from(0.0);
    let (fa, fb) = (a.f_where_self(&both, &zero)?, b.f_where_self(&both, &zero)?);
    let off = fa.f_sub(&fb)?.f_abs()?;
    let size = fb.f_abs()?;
    let finite = sum(&both)?;
    let number = |t: Tensor| t.double_value(&[]);
    out.max_abs = number(off.f_max()?);
    out.max_abs_at = off.f_argmax(None, false)?.int64_value(&[]) as usize;
    out.mean_abs = if finite > 0 { number(off.f_sum(Kind::Double)?) / finite as f64 } else { 0.0 };
    let relative = off.f_div(&size)?.f_where_self(&size.f_gt(0.0)?, &zero)?;
    out.max_rel = number(relative.f_max()?);
    let norms = number(fa.f_norm()?) * number(fb.f_norm()?);
    out.cosine =
        if norms > 0.0 { (number(fa.f_dot(&fb)?) / norms).min(1.0) } else { f64::from(fa.equal(&fb)) };

    let rtol = tolerance.rtol.unwrap_or_else(|| usual_rtol(found.kind(), tolerance.narrow));
    let atol = tolerance.atol.unwrap_or_else(|| 0.1 * rtol * size.max().double_value(&[]));
    if !exact {
        (out.rtol, out.atol) = (rtol, atol);
    }
    let close = off.f_le_tensor(&(&size * rtol).f_add_scalar(atol)?)?.f_logical_and(&both)?;
    let both_nan = a.f_isnan()?.f_logical_and(&b.f_isnan()?)?;
    let close = close.f_logical_or(&a.f_eq_tensor(&b)?)?.f_logical_or(&both_nan)?;
    let close = if exact { equal.f_flatten(0, -1)? } else { close };
    out.mismatches = close.numel() as i64 - sum(&close)?;
    out.passed = same_kind && (out.mismatches == 0 || out.agreement.is_some_and(|part| part >= agreement));
    Ok(out)
}

/// `f32[1,1000]`.
pub(crate) fn describe(t: &Tensor) -> String {
    let sizes: Vec<String> = t.size().iter().map(i64::to_string).collect();
    format!("{}[{}]", kind_name(t.kind()), sizes.join(","))
}

/// All elements in row-major order as f64; complex ones as pairs.
fn flat(t: &Tensor) -> Result<Tensor, tch::TchError> {
    let dense = if t.is_complex() { t.f_resolve_conj()?.f_view_as_real()? } else { t.shallow_clone() };
    let quantised = matches!(dense.kind(), Kind::QInt8 | Kind::QUInt8 | Kind::QInt32);
    let dense = if quantised { dense.f_dequantize()? } else { dense };
    dense.f_to_kind(Kind::Double)?.f_contiguous()?.f_view(-1)
}

fn part(mask: &Tensor) -> Result<f64, tch::TchError> {
    let all = mask.numel();
    Ok(if all == 0 { 1.0 } else { mask.f_sum(Kind::Int64)?.int64_value(&[]) as f64 / all as f64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(found: &[f32], expected: &[f32]) -> Comparison {
        let (a, b) = (Tensor::from_slice(found), Tensor::from_slice(expected));
        compare("x", &a, &b, Tolerance::default(), 1.0).unwrap()
    }

    #[test]
    fn the_numbers_are_those_of_their_definitions() {
        let c = compared(&[1.0, 2.5, -3.0], &[1.0, 2.0, -4.0]);
        assert!((c.max_abs - 1.0).abs() < 1e-12 && c.max_abs_at == 2 && (c.max_rel - 0.25).abs() < 1e-12);
        assert!((c.mean_abs - 0.5).abs() < 1e-12 && c.mismatches == 2 && !c.passed);
        let cosine = (1.0 + 5.0 + 12.0) / (16.25f64.sqrt() * 21f64.sqrt());
        assert!((c.cosine - cosine).abs() < 1e-9, "{}", c.cosine);
        assert_eq!((c.rtol, c.atol), (1e-4, 0.1 * 1e-4 * 4.0));
    }

    #[test]
    fn what_is_not_finite_has_to_be_alike() {
        let odd = [f32::NAN, f32::INFINITY, 1.0];
        let same = compared(&odd, &odd);
        assert!(same.passed && same.nan == [1, 1] && same.inf == [1, 1] && same.max_abs == 0.0);
        assert!(!compared(&[0.0, f32::INFINITY, 1.0], &odd).passed);
        assert!(!compared(&[f32::NAN, f32::NEG_INFINITY, 1.0], &odd).passed);
        assert!(!compared(&[f32::NAN, 3e38, 1.0], &odd).passed);
    }

    #[test]
    fn integers_agree_or_not() {
        let (a, b) =
            (Tensor::from_slice(&[1i64, 2, 3, i64::MAX]), Tensor::from_slice(&[1i64, 2, 4, i64::MAX - 1]));
        let strict = compare("x", &a, &b, Tolerance::default(), 1.0).unwrap();
        assert!(strict.agreement == Some(0.5) && !strict.passed && strict.mismatches == 2);
        assert!(compare("x", &a, &b, Tolerance::default(), 0.5).unwrap().passed);
    }

    #[test]
    fn types_shapes_and_emptiness_count() {
        let f = |n: i64, kind| Tensor::zeros([n], (kind, tch::Device::Cpu));
        let passed = |a: &Tensor, b: &Tensor| compare("x", a, b, Tolerance::default(), 1.0).unwrap().passed;
        assert!(
            !passed(&f(2, Kind::Float), &f(3, Kind::Float)) && !passed(&f(2, Kind::Float), &f(2, Kind::Half))
        );
        assert!(passed(&f(0, Kind::Float), &f(0, Kind::Float)));
        assert!(passed(&f(1, Kind::Float), &f(1, Kind::Double)), "the judge computes in float64");
    }
}
