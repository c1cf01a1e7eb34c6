//! Functions of integer and boolean registers. Everything wraps at the lane's width.

use super::execute::{Instruction, Operation, dispatch};
use super::registers::{map, map2, operand, result};
use crate::network::expr::{Binary, Unary};

/// An integer lane.
pub trait Int: Copy + Ord {
    const BITS: i64;
    fn floor_div(self, by: Self) -> Self;
    fn trunc_div(self, by: Self) -> Self;
    fn rem(self, by: Self) -> Self;
    fn fmod(self, by: Self) -> Self;
    fn pow(self, exponent: Self) -> Self;
    fn shl(self, by: Self) -> Self;
    fn shr(self, by: Self) -> Self;
}

macro_rules! int {
    ($($T:ident $signed:literal),*) => { $(
        impl Int for $T {
            const BITS: i64 = $T::BITS as i64;
            #[inline(always)]
            fn floor_div(self, by: $T) -> $T {
                if by == 0 {
                    return 0;
                }
                let rounds_up = self.wrapping_rem(by) != 0 && $signed && ((self ^ by) >> (<$T>::BITS - 1)) != 0;
                self.wrapping_div(by).wrapping_sub(rounds_up as $T)
            }
            #[inline(always)]
            fn trunc_div(self, by: $T) -> $T {
                if by == 0 { 0 } else { self.wrapping_div(by) }
            }
            #[inline(always)]
            fn rem(self, by: $T) -> $T {
                let r = self.fmod(by);
                if r != 0 && $signed && ((r ^ by) >> (<$T>::BITS - 1)) != 0 { r.wrapping_add(by) } else { r }
            }
            #[inline(always)]
            fn fmod(self, by: $T) -> $T {
                if by == 0 { 0 } else { self.wrapping_rem(by) }
            }
            #[inline(always)]
            fn pow(self, exponent: $T) -> $T {
                let mut rest = exponent as i64;
                if rest < 0 {
                    let odd = rest & 1 != 0;
                    return if self == 1 || (self.wrapping_add(1) == 0 && !odd) {
                        1
                    } else if self.wrapping_add(1) == 0 {
                        self
                    } else {
                        0
                    };
                }
                let (mut out, mut square): ($T, $T) = (1, self);
                while rest > 0 {
                    if rest & 1 == 1 {
                        out = out.wrapping_mul(square);
                    }
                    square = square.wrapping_mul(square);
                    rest >>= 1;
                }
                out
            }
            #[inline(always)]
            fn shl(self, by: $T) -> $T {
                if (0..<Self as Int>::BITS).contains(&(by as i64)) { self << by } else { 0 }
            }
            #[inline(always)]
            fn shr(self, by: $T) -> $T {
                let inside = (0..<Self as Int>::BITS).contains(&(by as i64));
                if inside {
                    self >> by
                } else if $signed {
                    self >> (<$T>::BITS - 1)
                } else {
                    0
                }
            }
        }
    )* };
}
int!(u8 false, i8 true, i16 true, i32 true, i64 true);

macro_rules! int_step {
    ($name:ident, $any:ident, $T:ident, $neg:expr, $abs:expr, $sign:expr) => {
        dispatch! {
            /// One instruction on integer registers.
            ///
            /// # Safety
            /// The instruction's registers hold `n` elements of its lane at `at`; the result's is none of the operands'. `isa` is
            /// supported by the machine.
            narrow pub unsafe fn $name => $any(i: &Instruction, at: &[*mut u8], n: usize)
        }

        #[inline(always)]
        unsafe fn $any<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
            use Binary::*;
            use Unary::*;
            match i.operation {
                Operation::Unary(Neg) => map!($T => $T, i, at, n, |x| $neg(x)),
                Operation::Unary(Abs) => map!($T => $T, i, at, n, |x| $abs(x)),
                Operation::Unary(Sign) => map!($T => $T, i, at, n, |x| $sign(x)),
                Operation::Unary(Not) => map!($T => $T, i, at, n, |x| !x),
                Operation::Unary(Floor | Ceil | Round | Trunc) => map!($T => $T, i, at, n, |x| x),
                Operation::Unary(_) => unreachable!("a function of floats only"),
                Operation::Binary(f) => match f {
                    Add => map2!($T => $T, i, at, n, |x, y| x.wrapping_add(y)),
                    Sub => map2!($T => $T, i, at, n, |x, y| x.wrapping_sub(y)),
                    Mul => map2!($T => $T, i, at, n, |x, y| x.wrapping_mul(y)),
                    FloorDiv => map2!($T => $T, i, at, n, |x, y| x.floor_div(y)),
                    TruncDiv => map2!($T => $T, i, at, n, |x, y| x.trunc_div(y)),
                    Rem => map2!($T => $T, i, at, n, |x, y| Int::rem(x, y)),
                    Fmod => map2!($T => $T, i, at, n, |x, y| x.fmod(y)),
                    Pow => map2!($T => $T, i, at, n, |x, y| Int::pow(x, y)),
                    Max => map2!($T => $T, i, at, n, |x, y| x.max(y)),
                    Min => map2!($T => $T, i, at, n, |x, y| x.min(y)),
                    And => map2!($T => $T, i, at, n, |x, y| x & y),
                    Or => map2!($T => $T, i, at, n, |x, y| x | y),
                    Xor => map2!($T => $T, i, at, n, |x, y| x ^ y),
                    Shl => map2!($T => $T, i, at, n, |x, y| Int::shl(x, y)),
                    Shr => map2!($T => $T, i, at, n, |x, y| Int::shr(x, y)),
                    Eq => map2!($T => u8, i, at, n, |x, y| (x == y) as u8),
                    Ne => map2!($T => u8, i, at, n, |x, y| (x != y) as u8),
                    Lt => map2!($T => u8, i, at, n, |x, y| (x < y) as u8),
                    Le => map2!($T => u8, i, at, n, |x, y| (x <= y) as u8),
                    Gt => map2!($T => u8, i, at, n, |x, y| (x > y) as u8),
                    Ge => map2!($T => u8, i, at, n, |x, y| (x >= y) as u8),
                    Div | Atan2 => unreachable!("a function of floats only"),
                },
                _ => unreachable!("a function of one or two values"),
            }
        }
    };
}
int_step!(u8_step, any_u8, u8, u8::wrapping_neg, |x| x, |x: u8| (x > 0) as u8);
int_step!(i8_step, any_i8, i8, i8::wrapping_neg, i8::wrapping_abs, i8::signum);
int_step!(i16_step, any_i16, i16, i16::wrapping_neg, i16::wrapping_abs, i16::signum);
int_step!(i32_step, any_i32, i32, i32::wrapping_neg, i32::wrapping_abs, i32::signum);
int_step!(i64_step, any_i64, i64, i64::wrapping_neg, i64::wrapping_abs, i64::signum);

dispatch! {
    /// One instruction on boolean registers.
    ///
    /// # Safety
    /// The instruction's registers hold `n` bytes of 0 or 1 at `at`; the result's is none of the operands'. `isa` is supported by
    /// the machine.
    narrow pub unsafe fn bool_step => any_bool(i: &Instruction, at: &[*mut u8], n: usize)
}

#[inline(always)]
unsafe fn any_bool<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    use Binary::*;
    match i.operation {
        Operation::Unary(_) => map!(u8 => u8, i, at, n, |x| x ^ 1),
        Operation::Binary(Add | Or | Max) => map2!(u8 => u8, i, at, n, |x, y| x | y),
        Operation::Binary(Mul | And | Min) => map2!(u8 => u8, i, at, n, |x, y| x & y),
        Operation::Binary(Xor | Ne) => map2!(u8 => u8, i, at, n, |x, y| x ^ y),
        Operation::Binary(Eq) => map2!(u8 => u8, i, at, n, |x, y| x ^ y ^ 1),
        Operation::Binary(Lt) => map2!(u8 => u8, i, at, n, |x, y| (x < y) as u8),
        Operation::Binary(Le) => map2!(u8 => u8, i, at, n, |x, y| (x <= y) as u8),
        Operation::Binary(Gt) => map2!(u8 => u8, i, at, n, |x, y| (x > y) as u8),
        Operation::Binary(Ge) => map2!(u8 => u8, i, at, n, |x, y| (x >= y) as u8),
        _ => unreachable!("not a function of booleans"),
    }
}
