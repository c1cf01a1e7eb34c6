//! Elementary functions of f32 for loops that the compiler turns into vector code: no branches, no calls, no tables.
//!
//! The polynomials are weighted minimax fits made for these intervals. Errors stay within 2.5 units in the last place; special
//! values (NaN, infinities, zeros, denormal results) are those of IEEE 754. `FMA` says that the machine multiplies and adds in
//! one instruction.

use std::f32::consts::{LN_2, LOG2_E, LOG10_E};

/// High part of ln 2 (few digits: products with exponents are exact) and the rest.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// The same of log10 2.
const LOG10_2_HIGH: f32 = 0.301_025_4;
const LOG10_2_LOW: f32 = 4.605_039e-6;
/// Adding this to a small float leaves its nearest integer in the low bits.
const TO_INTEGER: f32 = 12_582_912.0;

/// `a * b + c`.
#[inline(always)]
pub fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

macro_rules! horner {
    ($fma:ident, $x:expr, $first:expr $(, $rest:expr)*) => {{
        let value: f32 = $first;
        $(let value = fma::<$fma>(value, $x, $rest);)*
        value
    }};
}

/// 2^n for `-126 <= n <= 127`.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}

/// The nearest integer of a number of magnitude below 2^21, as float and as integer.
#[inline(always)]
fn nearest(x: f32) -> (f32, i32) {
    let shifted = x + TO_INTEGER;
    (shifted - TO_INTEGER, (shifted.to_bits() as i32).wrapping_sub(TO_INTEGER.to_bits() as i32))
}

/// NaN stays NaN.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// `e^r - 1` for `|r| <= ln 2 / 2`.
#[inline(always)]
fn expm1_reduced<const FMA: bool>(r: f32) -> f32 {
    let p = horner!(FMA, r, 0.001_381_314_2, 0.008_369_419, 0.041_668_457, 0.166_665_15, 0.499_999_93);
    fma::<FMA>(r * r, p, r)
}

/// `m * 2^n` for `-252 <= n <= 254`, in two steps so that denormals round as they should.
#[inline(always)]
fn scale(m: f32, n: i32) -> f32 {
    let half = n >> 1;
    m * power_of_two(half) * power_of_two(n - half)
}

/// e^x.
#[inline(always)]
pub fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = clamp(x, -105.0, 90.0);
    let (nf, n) = nearest(x * LOG2_E);
    let r = fma::<FMA>(nf, -LN2_LOW, fma::<FMA>(nf, -LN2_HIGH, x));
    scale(1.0 + expm1_reduced::<FMA>(r), n)
}

/// 2^x.
#[inline(always)]
pub fn exp2<const FMA: bool>(x: f32) -> f32 {
    let x = clamp(x, -152.0, 130.0);
    let (nf, n) = nearest(x);
    scale(1.0 + expm1_reduced::<FMA>((x - nf) * LN_2), n)
}

/// e^x - 1, with the sign of `x`.
#[inline(always)]
pub fn expm1<const FMA: bool>(x: f32) -> f32 {
    let x = clamp(x, -30.0, 89.0);
    let (nf, n) = nearest(x * LOG2_E);
    let r = fma::<FMA>(nf, -LN2_LOW, fma::<FMA>(nf, -LN2_HIGH, x));
    let half = power_of_two(n - 1);
    (2.0 * fma::<FMA>(half, expm1_reduced::<FMA>(r), half - 0.5)).copysign(x)
}

/// `x = 2^e * (1 + f)` with `1 + f` in [sqrt 1/2, sqrt 2): gives (e, f). For positive finite `x`.
#[inline(always)]
fn split(x: f32) -> (f32, f32) {
    let tiny = x < f32::MIN_POSITIVE;
    let x = if tiny { x * 8_388_608.0 } else { x };
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let e = (bits as i32) >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    (e as f32 - if tiny { 23.0 } else { 0.0 }, m - 1.0)
}

/// ln(1 + f) for `1 + f` in [sqrt 1/2, sqrt 2).
#[inline(always)]
fn log1p_reduced<const FMA: bool>(f: f32) -> f32 {
    let p = horner!(
        FMA,
        f,
        0.067_466_01,
        -0.116_756_41,
        0.118_881_75,
        -0.124_055_914,
        0.142_195_51,
        -0.166_679_96,
        0.200_021_19,
        -0.250_000_1,
        0.333_333_13
    );
    let square = f * f;
    f + fma::<FMA>(square * f, p, -0.5 * square)
}

/// The value of a logarithm at the ends of its domain, `inside` elsewhere.
#[inline(always)]
fn ends(x: f32, inside: f32) -> f32 {
    let y = if x > 0.0 { inside } else { f32::NAN };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x == f32::INFINITY { f32::INFINITY } else { y }
}

/// Natural logarithm.
#[inline(always)]
pub fn log<const FMA: bool>(x: f32) -> f32 {
    let (e, f) = split(x);
    let l = fma::<FMA>(e, LN2_LOW, log1p_reduced::<FMA>(f));
    ends(x, fma::<FMA>(e, LN2_HIGH, l))
}

/// Logarithm to base 2.
#[inline(always)]
pub fn log2<const FMA: bool>(x: f32) -> f32 {
    let (e, f) = split(x);
    ends(x, fma::<FMA>(log1p_reduced::<FMA>(f), LOG2_E, e))
}

/// Logarithm to base 10.
#[inline(always)]
pub fn log10<const FMA: bool>(x: f32) -> f32 {
    let (e, f) = split(x);
    let l = fma::<FMA>(e, LOG10_2_LOW, log1p_reduced::<FMA>(f) * LOG10_E);
    ends(x, fma::<FMA>(e, LOG10_2_HIGH, l))
}

/// ln(1 + x): the logarithm of the rounded sum, and what the rounding lost.
#[inline(always)]
pub fn log1p<const FMA: bool>(x: f32) -> f32 {
    let u = 1.0 + x;
    let lost = (x - (u - 1.0)) / u;
    let y = log::<FMA>(u) + if u > 0.0 && u < f32::INFINITY { lost } else { 0.0 };
    if u == 1.0 { x } else { y }
}

/// Hyperbolic tangent.
#[inline(always)]
pub fn tanh<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let s = x * x;
    let p = horner!(FMA, s, -0.005_717_036_5, 0.020_650_58, -0.053_743_495, 0.133_314_91, -0.333_332_84);
    let small = fma::<FMA>(a * s, p, a);
    let large = 1.0 - 2.0 / (exp::<FMA>(2.0 * a) + 1.0);
    let y = if a < 0.625 { small } else { large };
    y.copysign(x)
}

/// Error function: `1 - 2^-t`, where `t / |x|` is a polynomial; both factors of what is small keep their digits.
#[inline(always)]
pub fn erf<const FMA: bool>(x: f32) -> f32 {
    let a = x.abs();
    let a = if a > 4.0 { 4.0 } else { a };
    let t = a * horner!(
        FMA,
        a,
        -1.335_395_9e-5,
        0.000_169_720_4,
        -0.000_912_990_3,
        0.002_405_011_6,
        -0.000_231_401_98,
        -0.027_632_032,
        0.148_277_06,
        0.918_447_6,
        1.627_907
    );
    let (nf, n) = nearest(-t);
    let f = -t - nf;
    // 2^f - 1
    let p = f * horner!(
        FMA,
        f,
        0.000_154_035_12,
        0.001_339_073_5,
        0.009_618_238,
        0.055_503_573,
        0.240_226_49,
        LN_2
    );
    let half = power_of_two(n - 1);
    (2.0 * fma::<FMA>(-half, p, 0.5 - half)).copysign(x)
}

/// `x` times the normal distribution function, rounded at every step.
#[inline(always)]
pub fn gelu<const FMA: bool>(x: f32) -> f32 {
    x * 0.5 * (erf::<FMA>(x * std::f32::consts::FRAC_1_SQRT_2) + 1.0)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error over `lo..hi` in units in the last place of the true value.
    fn worst(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, lo: f32, hi: f32) -> f64 {
        let steps = 100_000;
        let error = |i| {
            let x = lo + (hi - lo) * (i as f32 / steps as f32);
            let t = truth(x as f64);
            let ulp = (t.abs().max(f32::MIN_POSITIVE as f64).log2().floor() - 23.0).exp2();
            let e = (f(x) as f64 - t).abs() / ulp;
            if (t as f32).is_infinite() && f(x) == t as f32 { 0.0 } else { e }
        };
        (0..=steps).map(error).fold(0.0, f64::max)
    }

    macro_rules! check {
        ($f:ident, $truth:expr, $lo:expr, $hi:expr) => {
            for (fma, e) in
                [(true, worst($f::<true>, $truth, $lo, $hi)), (false, worst($f::<false>, $truth, $lo, $hi))]
            {
                assert!(e <= 2.5, "{} on {}..{} is {e} ulp off (fma {fma})", stringify!($f), $lo, $hi);
            }
        };
    }

    #[test]
    fn errors_are_small() {
        check!(exp, f64::exp, -104.0, 89.0);
        check!(exp2, f64::exp2, -149.0, 128.5);
        check!(expm1, f64::exp_m1, -20.0, 89.0);
        check!(expm1, f64::exp_m1, -0.01, 0.01);
        check!(log, f64::ln, 1e-3, 3.0);
        check!(log, f64::ln, 1.0, 1e9);
        check!(log2, f64::log2, 1e-3, 30.0);
        check!(log10, f64::log10, 1e-3, 30.0);
        check!(log1p, f64::ln_1p, -0.9, 3.0);
        check!(log1p, f64::ln_1p, -1e-3, 1e-3);
        check!(tanh, f64::tanh, -12.0, 12.0);
        check!(tanh, f64::tanh, -0.01, 0.7);
        check!(erf, libm::erf, -5.0, 5.0);
        check!(erf, libm::erf, -0.01, 1.2);
        check!(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 30.0);
    }

    #[test]
    fn special_values() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for f in [exp::<true>, exp2::<true>, expm1::<true>, log::<true>, log2::<true>, log10::<true>] {
            assert!(f(nan).is_nan() && f(inf) == inf);
        }
        for f in [log1p::<true>, tanh::<true>, erf::<true>, sigmoid::<true>, tanh::<false>, erf::<false>] {
            assert!(f(nan).is_nan());
        }
        assert_eq!((exp::<true>(-inf), exp2::<true>(-inf), expm1::<true>(-inf)), (0.0, 0.0, -1.0));
        assert_eq!(
            (exp::<true>(0.0), exp2::<true>(10.0), exp2::<false>(-149.0)),
            (1.0, 1024.0, f32::from_bits(1))
        );
        assert_eq!((log::<true>(0.0), log::<true>(1.0), log2::<true>(8.0)), (-inf, 0.0, 3.0));
        assert!(log::<true>(-1.0).is_nan() && log1p::<true>(-1.5).is_nan());
        assert_eq!((log1p::<true>(-1.0), log1p::<true>(inf)), (-inf, inf));
        assert_eq!(log::<true>(f32::from_bits(1)), f32::from_bits(1).ln());
        assert_eq!((tanh::<true>(inf), tanh::<true>(-inf), erf::<true>(-inf)), (1.0, -1.0, -1.0));
        for f in [tanh::<true>, erf::<true>, expm1::<true>, expm1::<false>] {
            assert!(f(-0.0).is_sign_negative() && f(0.0).is_sign_positive());
        }
        assert_eq!((sigmoid::<true>(inf), sigmoid::<true>(-inf)), (1.0, 0.0));
    }
}
