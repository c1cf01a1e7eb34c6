//! Functions of floating-point registers.

use super::Isa;
use super::execute::{Instruction, Operation, dispatch};
use super::math;
use super::registers::{map, map2, operand, result};
use super::wide;
use crate::network::expr::{Binary, Unary};

/// One instruction on f32 registers.
///
/// # Safety
/// The instruction's registers hold `n` elements of its lane at `at`; the result's is none of the operands'. `isa` is supported by
/// the machine.
pub unsafe fn f32_step(isa: Isa, i: &Instruction, at: &[*mut u8], n: usize) {
    use Unary::*;
    // SAFETY: the caller's promise.
    unsafe {
        match i.operation {
            Operation::Gelu
            | Operation::Unary(Exp | Exp2 | Expm1 | Log | Log2 | Log10 | Log1p | Tanh | Erf | Sigmoid) => {
                math_f32(isa, i, at, n)
            }
            Operation::Unary(Sin | Cos | Tan | Asin | Acos | Atan | Sinh | Cosh)
            | Operation::Binary(Binary::Pow | Binary::Atan2) => wide_f32(isa, i, at, n),
            Operation::Unary(_) => unary_f32(isa, i, at, n),
            _ => binary_f32(isa, i, at, n),
        }
    }
}

/// One instruction on f64 registers.
///
/// # Safety
/// As for [`f32_step`].
pub unsafe fn f64_step(isa: Isa, i: &Instruction, at: &[*mut u8], n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match i.operation {
            Operation::Unary(_) => unary_f64(isa, i, at, n),
            _ => binary_f64(isa, i, at, n),
        }
    }
}

dispatch! {
    /// # Safety
    /// As for [`f32_step`].
    unsafe fn math_f32 => vectors(i: &Instruction, at: &[*mut u8], n: usize)
}

/// Functions that we have in vectors.
#[inline(always)]
unsafe fn vectors<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    use Unary::*;
    let f = match i.operation {
        Operation::Unary(f) => f,
        Operation::Gelu => return map!(f32 => f32, i, at, n, |x| math::gelu::<FMA>(x)),
        _ => unreachable!("a function of one value"),
    };
    match f {
        Exp => map!(f32 => f32, i, at, n, |x| math::exp::<FMA>(x)),
        Exp2 => map!(f32 => f32, i, at, n, |x| math::exp2::<FMA>(x)),
        Expm1 => map!(f32 => f32, i, at, n, |x| math::expm1::<FMA>(x)),
        Log => map!(f32 => f32, i, at, n, |x| math::log::<FMA>(x)),
        Log2 => map!(f32 => f32, i, at, n, |x| math::log2::<FMA>(x)),
        Log10 => map!(f32 => f32, i, at, n, |x| math::log10::<FMA>(x)),
        Log1p => map!(f32 => f32, i, at, n, |x| math::log1p::<FMA>(x)),
        Tanh => map!(f32 => f32, i, at, n, |x| math::tanh::<FMA>(x)),
        Erf => map!(f32 => f32, i, at, n, |x| math::erf::<FMA>(x)),
        _ => map!(f32 => f32, i, at, n, |x| math::sigmoid::<FMA>(x)),
    }
}

dispatch! {
    /// # Safety
    /// As for [`f32_step`].
    unsafe fn wide_f32 => wider(i: &Instruction, at: &[*mut u8], n: usize)
}

/// Functions that we have in vectors of f64.
#[inline(always)]
unsafe fn wider<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    use Unary::*;
    match i.operation {
        Operation::Unary(Sin) => map!(f32 => f32, i, at, n, |x| wide::sin::<FMA>(x)),
        Operation::Unary(Cos) => map!(f32 => f32, i, at, n, |x| wide::cos::<FMA>(x)),
        Operation::Unary(Tan) => map!(f32 => f32, i, at, n, |x| wide::tan::<FMA>(x)),
        Operation::Unary(Asin) => map!(f32 => f32, i, at, n, |x| wide::asin::<FMA>(x)),
        Operation::Unary(Acos) => map!(f32 => f32, i, at, n, |x| wide::acos::<FMA>(x)),
        Operation::Unary(Atan) => map!(f32 => f32, i, at, n, |x| wide::atan::<FMA>(x)),
        Operation::Unary(Sinh) => map!(f32 => f32, i, at, n, |x| wide::sinh::<FMA>(x)),
        Operation::Unary(_) => map!(f32 => f32, i, at, n, |x| wide::cosh::<FMA>(x)),
        Operation::Binary(Binary::Pow) => map2!(f32 => f32, i, at, n, |x, y| wide::pow::<FMA>(x, y)),
        _ => map2!(f32 => f32, i, at, n, |y, x| wide::atan2::<FMA>(y, x)),
    }
    let Operation::Unary(f @ (Sin | Cos | Tan)) = i.operation else { return };
    // SAFETY: the caller's promise.
    let (a, to) = unsafe { (operand::<f32>(at, i.a, n), result::<f32>(i, at, n)) };
    let is_far = |x: f32| x.abs() > wide::FARTHEST;
    if a.iter().fold(false, |far, &x| far | is_far(x)) {
        for (to, &x) in to.iter_mut().zip(a).filter(|(_, x)| is_far(**x)) {
            *to = match f {
                Sin => x.sin(),
                Cos => x.cos(),
                _ => x.tan(),
            };
        }
    }
}

macro_rules! float_steps {
    ($unary:ident, $binary:ident, $T:ident, $libm:ident) => {
        #[inline(always)]
        unsafe fn $unary<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
            use Unary::*;
            let Operation::Unary(f) = i.operation else {
                unreachable!("a function of one value");
            };
            match f {
                Neg => map!($T => $T, i, at, n, |x| -x),
                Abs => map!($T => $T, i, at, n, |x| x.abs()),
                Sign => map!($T => $T, i, at, n, |x| (x > 0.0) as i32 as $T - (x < 0.0) as i32 as $T),
                Floor => map!($T => $T, i, at, n, |x| x.floor()),
                Ceil => map!($T => $T, i, at, n, |x| x.ceil()),
                Round => map!($T => $T, i, at, n, |x| x.round_ties_even()),
                Trunc => map!($T => $T, i, at, n, |x| x.trunc()),
                Sqrt => map!($T => $T, i, at, n, |x| x.sqrt()),
                Rsqrt => map!($T => $T, i, at, n, |x| 1.0 / x.sqrt()),
                Recip => map!($T => $T, i, at, n, |x| 1.0 / x),
                Exp => map!($T => $T, i, at, n, |x| x.exp()),
                Exp2 => map!($T => $T, i, at, n, |x| x.exp2()),
                Expm1 => map!($T => $T, i, at, n, |x| x.exp_m1()),
                Log => map!($T => $T, i, at, n, |x| x.ln()),
                Log2 => map!($T => $T, i, at, n, |x| x.log2()),
                Log10 => map!($T => $T, i, at, n, |x| x.log10()),
                Log1p => map!($T => $T, i, at, n, |x| x.ln_1p()),
                Sin => map!($T => $T, i, at, n, |x| x.sin()),
                Cos => map!($T => $T, i, at, n, |x| x.cos()),
                Tan => map!($T => $T, i, at, n, |x| x.tan()),
                Asin => map!($T => $T, i, at, n, |x| x.asin()),
                Acos => map!($T => $T, i, at, n, |x| x.acos()),
                Atan => map!($T => $T, i, at, n, |x| x.atan()),
                Sinh => map!($T => $T, i, at, n, |x| x.sinh()),
                Cosh => map!($T => $T, i, at, n, |x| x.cosh()),
                Tanh => map!($T => $T, i, at, n, |x| x.tanh()),
                Asinh => map!($T => $T, i, at, n, |x| libm::asinh(x as f64) as $T),
                Acosh => map!($T => $T, i, at, n, |x| libm::acosh(x as f64) as $T),
                Atanh => map!($T => $T, i, at, n, |x| libm::atanh(x as f64) as $T),
                Erf => map!($T => $T, i, at, n, |x| libm::erf(x as f64) as $T),
                Sigmoid => map!($T => $T, i, at, n, |x| 1.0 / (1.0 + (-x).exp())),
                IsNan => map!($T => u8, i, at, n, |x| x.is_nan() as u8),
                IsInf => map!($T => u8, i, at, n, |x| x.is_infinite() as u8),
                Not => unreachable!("floats have no negation of bits"),
            }
        }

        #[inline(always)]
        unsafe fn $binary<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
            use Binary::*;
            let Operation::Binary(f) = i.operation else {
                unreachable!("a function of one or two values");
            };
            match f {
                Add => map2!($T => $T, i, at, n, |x, y| x + y),
                Sub => map2!($T => $T, i, at, n, |x, y| x - y),
                Mul => map2!($T => $T, i, at, n, |x, y| x * y),
                Div => map2!($T => $T, i, at, n, |x, y| x / y),
                FloorDiv => map2!($T => $T, i, at, n, |x, y| $libm::floor_div(x, y)),
                TruncDiv => map2!($T => $T, i, at, n, |x, y| (x / y).trunc()),
                Rem => map2!($T => $T, i, at, n, |x, y| $libm::rem(x, y)),
                Fmod => map2!($T => $T, i, at, n, |x, y| x % y),
                Pow => map2!($T => $T, i, at, n, |x, y| x.powf(y)),
                Atan2 => map2!($T => $T, i, at, n, |x, y| x.atan2(y)),
                Max => map2!($T => $T, i, at, n, |x, y| if x < y || y.is_nan() { y } else { x }),
                Min => map2!($T => $T, i, at, n, |x, y| if y < x || y.is_nan() { y } else { x }),
                Eq => map2!($T => u8, i, at, n, |x, y| (x == y) as u8),
                Ne => map2!($T => u8, i, at, n, |x, y| (x != y) as u8),
                Lt => map2!($T => u8, i, at, n, |x, y| (x < y) as u8),
                Le => map2!($T => u8, i, at, n, |x, y| (x <= y) as u8),
                Gt => map2!($T => u8, i, at, n, |x, y| (x > y) as u8),
                Ge => map2!($T => u8, i, at, n, |x, y| (x >= y) as u8),
                And | Or | Xor | Shl | Shr => unreachable!("floats have no bits"),
            }
        }

        mod $libm {
            /// The dividend's remainder with the divisor's sign.
            #[inline(always)]
            pub fn rem(a: $T, b: $T) -> $T {
                let r = a % b;
                if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
            }

            /// The quotient rounded down, by way of the exact remainder.
            #[inline(always)]
            pub fn floor_div(a: $T, b: $T) -> $T {
                if b == 0.0 {
                    return a / b;
                }
                let rest = a % b;
                let mut quotient = (a - rest) / b;
                if rest != 0.0 && (b < 0.0) != (rest < 0.0) {
                    quotient -= 1.0;
                }
                if quotient == 0.0 {
                    return (0.0 as $T).copysign(a / b);
                }
                let floor = quotient.floor();
                if quotient - floor > 0.5 { floor + 1.0 } else { floor }
            }
        }
    };
}

float_steps!(any_unary_f32, any_binary_f32, f32, division_f32);
float_steps!(any_unary_f64, any_binary_f64, f64, division_f64);

dispatch! {
    /// # Safety
    /// As for [`f32_step`].
    unsafe fn unary_f32 => any_unary_f32(i: &Instruction, at: &[*mut u8], n: usize)
}

dispatch! {
    /// # Safety
    /// As for [`f32_step`].
    unsafe fn binary_f32 => any_binary_f32(i: &Instruction, at: &[*mut u8], n: usize)
}

dispatch! {
    /// # Safety
    /// As for [`f64_step`].
    narrow unsafe fn unary_f64 => any_unary_f64(i: &Instruction, at: &[*mut u8], n: usize)
}

dispatch! {
    /// # Safety
    /// As for [`f64_step`].
    narrow unsafe fn binary_f64 => any_binary_f64(i: &Instruction, at: &[*mut u8], n: usize)
}
