//! Functions of f32 that are computed in f64, for loops that the compiler turns into vector code: no branches, no calls, no tables.
//!
//! The polynomials are interpolations at Chebyshev's points of these intervals, with relative errors below 1e-11: results are those of
//! exact arithmetic, rounded once, but where that lies within 1e-4 units of the middle between two numbers. Special values are those
//! of C's functions. `FMA` says that the machine multiplies and adds in one instruction.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E, PI, SQRT_2};

/// Sines, cosines and tangents are for magnitudes up to this.
pub const FARTHEST: f32 = 1e6;
/// High part of pi / 2 (few digits: products with up to 2^20 are exact) and the rest.
const QUARTER_HIGH: f64 = 1.570_796_326_734_125_6;
const QUARTER_LOW: f64 = 6.077_100_506_506_192e-11;
/// Adding this to a number leaves its nearest integer in the low bits.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

macro_rules! horner {
    ($fma:ident, $x:expr, $first:expr $(, $rest:expr)*) => {{
        let value: f64 = $first;
        $(let value = if $fma { value.mul_add($x, $rest) } else { value * $x + $rest };)*
        value
    }};
}

/// Sine and cosine of what is left of `x` when `n` quarters of a turn are taken away, and bits of which the lowest two are those of `n`.
#[inline(always)]
fn turned<const FMA: bool>(x: f32) -> (f64, f64, u64) {
    let x = f64::from(x);
    let shifted = x * FRAC_2_PI + TO_INTEGER;
    let n = shifted - TO_INTEGER;
    let r = (x - n * QUARTER_HIGH) - n * QUARTER_LOW;
    let z = r * r;
    let sine = horner!(
        FMA,
        z,
        2.716_582_764_592_104e-6,
        -0.000_198_391_190_174_247_4,
        0.008_333_328_504_709_645,
        -0.166_666_666_287_058_15,
        0.999_999_999_995_223_3
    );
    let cosine = horner!(
        FMA,
        z,
        -2.716_577_199_102_042e-7,
        2.479_882_101_965_861_3e-5,
        -0.001_388_887_986_870_781_4,
        0.041_666_666_533_584_286,
        -0.499_999_999_992_806_5,
        0.999_999_999_999_936_5
    );
    (r * sine, cosine, shifted.to_bits())
}

/// Sine of a number up to [`FARTHEST`].
#[inline(always)]
pub fn sin<const FMA: bool>(x: f32) -> f32 {
    let (sine, cosine, n) = turned::<FMA>(x);
    let y = if n & 1 == 0 { sine } else { cosine };
    (if n & 2 == 0 { y } else { -y }) as f32
}

/// Cosine of a number up to [`FARTHEST`].
#[inline(always)]
pub fn cos<const FMA: bool>(x: f32) -> f32 {
    let (sine, cosine, n) = turned::<FMA>(x);
    let y = if n & 1 == 0 { cosine } else { sine };
    (if n.wrapping_add(1) & 2 == 0 { y } else { -y }) as f32
}

/// Tangent of a number up to [`FARTHEST`].
#[inline(always)]
pub fn tan<const FMA: bool>(x: f32) -> f32 {
    let (sine, cosine, n) = turned::<FMA>(x);
    (if n & 1 == 0 { sine / cosine } else { -cosine / sine }) as f32
}

/// Arc tangent of a number that is not negative.
#[inline(always)]
fn arc<const FMA: bool>(a: f64) -> f64 {
    let (steep, middle) = (a > SQRT_2 + 1.0, a > SQRT_2 - 1.0);
    let over = if steep {
        -1.0
    } else if middle {
        a - 1.0
    } else {
        a
    };
    let under = if steep {
        a
    } else if middle {
        a + 1.0
    } else {
        1.0
    };
    let base = if steep {
        FRAC_PI_2
    } else if middle {
        FRAC_PI_4
    } else {
        0.0
    };
    let t = over / under;
    let p = horner!(
        FMA,
        t * t,
        -0.037_452_641_888_771_517,
        0.069_628_186_761_871_4,
        -0.089_900_539_580_959_45,
        0.111_031_864_757_583_98,
        -0.142_853_716_405_349_22,
        0.199_999_926_653_467_27,
        -0.333_333_332_731_725_8,
        0.999_999_999_999_186_4
    );
    base + t * p
}

/// Arc tangent.
#[inline(always)]
pub fn atan<const FMA: bool>(x: f32) -> f32 {
    (arc::<FMA>(f64::from(x.abs())) as f32).copysign(x)
}

/// The angle of the point `(x, y)`.
#[inline(always)]
pub fn atan2<const FMA: bool>(y: f32, x: f32) -> f32 {
    let (a, b) = (f64::from(x.abs()), f64::from(y.abs()));
    let (small, large) = (if b > a { a } else { b }, if b > a { b } else { a });
    // Both zero, or both infinite, are as if they had been so alone, or the same.
    let equal = if large == 0.0 { 0.0 } else { 1.0 };
    let r = arc::<FMA>(if small == large { equal } else { small / large });
    let r = if b > a { FRAC_PI_2 - r } else { r };
    let r = if x.is_sign_negative() { PI - r } else { r };
    (r as f32).copysign(y)
}

/// For magnitudes up to 1/2 their arc sine; beyond, half of what it lacks of a right angle, and `true`.
#[inline(always)]
fn arc_sine<const FMA: bool>(a: f64) -> (f64, bool) {
    let far = a > 0.5;
    let z = if far { (1.0 - a) * 0.5 } else { a * a };
    let t = if far { z.sqrt() } else { a };
    let p = horner!(
        FMA,
        z,
        0.031_943_511_962_890_62,
        -0.002_853_918_075_561_524_5,
        0.018_636_369_705_200_19,
        0.016_473_569_627_851_244,
        0.022_472_455_875_322_345,
        0.030_375_067_287_923_226,
        0.044_643_125_557_637_116,
        0.074_999_994_719_747_15,
        0.166_666_666_706_644_5,
        0.999_999_999_999_950_7
    );
    (t * p, far)
}

/// Arc sine.
#[inline(always)]
pub fn asin<const FMA: bool>(x: f32) -> f32 {
    let (p, far) = arc_sine::<FMA>(f64::from(x.abs()));
    ((if far { FRAC_PI_2 - 2.0 * p } else { p }) as f32).copysign(x)
}

/// Arc cosine.
#[inline(always)]
pub fn acos<const FMA: bool>(x: f32) -> f32 {
    let (p, far) = arc_sine::<FMA>(f64::from(x.abs()));
    let p = if far { 2.0 * p } else { FRAC_PI_2 - p };
    (if x < 0.0 { PI - p } else { p }) as f32
}

/// 2^x, of magnitudes beyond 300 as of 300.
#[inline(always)]
fn power_of_two<const FMA: bool>(x: f64) -> f64 {
    let x = if x < -300.0 { -300.0 } else { x };
    let x = if x > 300.0 { 300.0 } else { x };
    let shifted = x + TO_INTEGER;
    let n = shifted.to_bits().wrapping_sub(TO_INTEGER.to_bits());
    let r = (x - (shifted - TO_INTEGER)) * LN_2;
    let p = horner!(
        FMA,
        r,
        2.487_607_225_224_408_8e-5,
        0.000_199_162_658_538_033_6,
        0.001_388_882_208_118_716_4,
        0.008_333_265_377_406_831,
        0.041_666_666_886_586_84,
        0.166_666_668_946_602_54,
        0.499_999_999_998_114_34,
        0.999_999_999_979_350_4,
        0.999_999_999_999_999_8
    );
    p * f64::from_bits(n.wrapping_add(1023) << 52)
}

/// Hyperbolic sine.
#[inline(always)]
pub fn sinh<const FMA: bool>(x: f32) -> f32 {
    let a = f64::from(x.abs());
    let e = power_of_two::<FMA>(a * LOG2_E);
    let p = horner!(
        FMA,
        a * a,
        2.553_815_647_843_294e-8,
        2.755_183_534_948_931_5e-6,
        0.000_198_412_983_207_996_2,
        0.008_333_333_266_493_251,
        0.166_666_666_672_408_15,
        0.999_999_999_999_919_5
    );
    ((if a < 1.0 { a * p } else { (e - 1.0 / e) * 0.5 }) as f32).copysign(x)
}

/// Hyperbolic cosine.
#[inline(always)]
pub fn cosh<const FMA: bool>(x: f32) -> f32 {
    let e = power_of_two::<FMA>(f64::from(x.abs()) * LOG2_E);
    ((e + 1.0 / e) * 0.5) as f32
}

/// Binary logarithm of a number that is not negative.
#[inline(always)]
fn logarithm<const FMA: bool>(a: f64) -> f64 {
    const LEAST: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const BIAS: u64 = 1024;
    const TO_FLOAT: f64 = 4_503_599_627_370_496.0;
    let bits = a.to_bits().wrapping_sub(LEAST).wrapping_add(BIAS << 52);
    let exponent = f64::from_bits((bits >> 52) | TO_FLOAT.to_bits()) - (TO_FLOAT + BIAS as f64);
    let m = f64::from_bits((bits & ((1 << 52) - 1)).wrapping_add(LEAST));
    let s = (m - 1.0) / (m + 1.0);
    let p = horner!(
        FMA,
        s * s,
        0.283_101_981_266_146_7,
        0.319_892_083_934_348_9,
        0.412_209_572_729_072,
        0.577_077_939_283_06,
        0.961_796_694_123_909_1,
        2.885_390_081_777_844
    );
    let finite = if a < f64::INFINITY { exponent + s * p } else { a };
    if a == 0.0 { f64::NEG_INFINITY } else { finite }
}

/// `x` to the power of `y`.
#[inline(always)]
pub fn pow<const FMA: bool>(x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x.abs()), f64::from(y));
    let power = power_of_two::<FMA>(b * logarithm::<FMA>(a));
    let one = (a == 1.0) | (b == 0.0);
    let power = if one { 1.0 } else { power };
    let integer = b.trunc() == b;
    let odd = integer & ((b * 0.5).trunc() != b * 0.5);
    let power = if odd & x.is_sign_negative() { -power } else { power };
    (if (x < 0.0) & (a < f64::INFINITY) & !integer { f64::NAN } else { power }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    /// Units in the last place of the true value between it and what is found.
    fn error(found: f32, truth: f64) -> f64 {
        let near = truth as f32;
        if found == near || (found.is_nan() && near.is_nan()) {
            return 0.0;
        }
        let unit = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
        (f64::from(found) - truth).abs() / unit
    }

    fn check(name: &str, f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, low: f32, high: f32) {
        const STEPS: usize = 100_000;
        for i in 0..=STEPS {
            let x = low + (high - low) * i as f32 / STEPS as f32;
            let e = error(f(x), truth(f64::from(x)));
            assert!(e <= 0.501, "{name}({x}) is {}, {e} units off", f(x));
        }
    }

    macro_rules! check {
        ($f:ident, $truth:expr $(, $low:expr => $high:expr)+) => {
            $(
                check(stringify!($f), $f::<true>, $truth, $low, $high);
                check(stringify!($f), $f::<false>, $truth, $low, $high);
            )+
        };
    }

    #[test]
    fn results_are_rounded_once() {
        check!(sin, f64::sin, -10.0 => 10.0, -1e6 => 1e6, -1e-3 => 1e-3, 3.1 => 3.2);
        check!(cos, f64::cos, -10.0 => 10.0, -1e6 => 1e6, 1.57 => 1.571);
        check!(tan, f64::tan, -10.0 => 10.0, -1e6 => 1e6, 1.57 => 1.571);
        check!(atan, f64::atan, -10.0 => 10.0, -1e6 => 1e6, -1e-3 => 1e-3);
        check!(asin, f64::asin, -1.1 => 1.1, -1e-3 => 1e-3, 0.999 => 1.0);
        check!(acos, f64::acos, -1.1 => 1.1, 0.999 => 1.0, -1.0 => -0.999);
        check!(sinh, f64::sinh, -91.0 => 91.0, -2.0 => 2.0, -1e-3 => 1e-3);
        check!(cosh, f64::cosh, -91.0 => 91.0, -2.0 => 2.0);
    }

    const SPECIAL: [f32; 22] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        -2.0,
        3.0,
        -3.0,
        1.5,
        -1.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        16_777_216.0,
        -16_777_217.0,
    ];

    #[test]
    fn of_two_numbers_too() {
        let mut random = Random::new(3);
        let mut some = || {
            let plain = random.unit() * 8.0 - 4.0;
            match random.below(4) {
                0 => *random.pick(&SPECIAL),
                1 => (plain as f32).round(),
                2 => (plain * 3.0).exp2() as f32,
                _ => plain as f32,
            }
        };
        for _ in 0..300_000 {
            let (x, y) = (some(), some());
            let (a, b) = (f64::from(x), f64::from(y));
            for (name, found, truth) in [
                ("pow", [pow::<true>(x, y), pow::<false>(x, y)], a.powf(b)),
                ("atan2", [atan2::<true>(x, y), atan2::<false>(x, y)], a.atan2(b)),
            ] {
                for found in found {
                    let e = error(found, truth);
                    assert!(e <= 0.501, "{name}({x}, {y}) is {found}, not {truth}: {e} units off");
                    let zero = found == 0.0 && !truth.is_nan();
                    assert!(
                        !zero || found.is_sign_negative() == truth.is_sign_negative(),
                        "{name}({x}, {y})"
                    );
                }
            }
        }
    }

    #[test]
    fn special_values_are_those_of_c() {
        for x in SPECIAL.into_iter().filter(|x| x.is_nan() || x.abs() <= FARTHEST) {
            let a = f64::from(x);
            for (found, truth) in [
                (sin::<true>(x), a.sin()),
                (tan::<true>(x), a.tan()),
                (atan::<true>(x), a.atan()),
                (asin::<true>(x), a.asin()),
                (sinh::<true>(x), a.sinh()),
            ] {
                let truth = truth as f32;
                assert!(found == truth || (found.is_nan() && truth.is_nan()), "{x}: {found}, not {truth}");
                let same = found.is_sign_negative() == truth.is_sign_negative();
                assert!(found.is_nan() || same, "{x}: the sign of {found}");
            }
        }
        let inf = f32::INFINITY;
        assert_eq!(
            (sinh::<true>(-inf), cosh::<true>(-inf), atan::<true>(inf)),
            (-inf, inf, FRAC_PI_2 as f32)
        );
        assert!(asin::<true>(inf).is_nan() && acos::<true>(-inf).is_nan() && cosh::<true>(f32::NAN).is_nan());
    }
}
