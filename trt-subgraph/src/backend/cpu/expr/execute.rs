//! Running the instructions of a chunk, in the widest vectors of the machine.

use super::Isa;
use super::lane::Lane;
use super::registers::{map, operand, result};
use super::{floats, integers};
use crate::network::expr::{Binary, Unary};
use crate::truncate::Truncate;
use half::{bf16, f16};

/// What an instruction computes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Operation {
    /// `f(a)`.
    Unary(Unary),
    /// `f(a, b)`.
    Binary(Binary),
    /// `a ? b : c`; the instruction's lane is that of `b` and `c`.
    Select,
    /// `a` in another lane.
    Convert(Lane),
    /// `a * 0.5 * (erf(a / sqrt(2)) + 1)`, in f32.
    Gelu,
    /// `a` rounded to f16, in f32.
    RoundF16,
    /// `a` rounded to bf16, in f32.
    RoundBF16,
}

/// One instruction: registers `a`, `b`, `c` to register `to`. `lane` is that of the operands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Instruction {
    pub operation: Operation,
    pub lane: Lane,
    pub to: u16,
    pub a: u16,
    pub b: u16,
    pub c: u16,
}

/// Defines `$name(isa, ...)` that runs `$body::<FMA>(...)` compiled for each instruction set.
///
/// With `narrow` before the name AVX-512 machines run what is compiled for AVX2: for loops that are seldom waited for, since each
/// copy is compiled, and compilers are slow at it.
macro_rules! dispatch {
    ($(#[$m:meta])* $vis:vis unsafe fn $name:ident => $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$m])*
        $vis unsafe fn $name(isa: $crate::backend::cpu::expr::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<true>($($arg),*) }
            }
            $crate::backend::cpu::expr::dispatch! {
                narrow unsafe fn narrower => $body($($arg: $ty),*)
            }
            // SAFETY: the caller's promise; `isa` is what the machine has.
            unsafe {
                match isa.min($crate::backend::cpu::expr::Isa::Avx512) {
                    #[cfg(target_arch = "x86_64")]
                    $crate::backend::cpu::expr::Isa::Avx512 => avx512($($arg),*),
                    _ => narrower(isa, $($arg),*),
                }
            }
        }
    };
    ($(#[$m:meta])* narrow $vis:vis unsafe fn $name:ident => $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$m])*
        $vis unsafe fn $name(isa: $crate::backend::cpu::expr::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<true>($($arg),*) }
            }
            // SAFETY: the caller's promise; `isa` is what the machine has.
            unsafe {
                match isa.min($crate::backend::cpu::expr::Isa::Avx2) {
                    #[cfg(target_arch = "x86_64")]
                    $crate::backend::cpu::expr::Isa::Avx2 => avx2($($arg),*),
                    _ => $body::<false>($($arg),*),
                }
            }
        }
    };
}
pub(in crate::backend::cpu) use dispatch;

/// Defines `$name(dtype)`, which gives the function that `dispatch!` makes of the body for the elements that such a tensor is computed
/// in. All but those of f32 are narrow.
macro_rules! dispatch_by_type {
    (
        $(#[$m:meta])*
        fn $name:ident($($arg:ident: $ty:ty),* $(,)?) {
            f32 => $f32:ident,
            f64 => $f64:ident,
            u8 => $u8:ident,
            i8 => $i8:ident,
            i16 => $i16:ident,
            i32 => $i32:ident,
            i64 => $i64:ident $(,)?
        }
    ) => {
        $(#[$m])*
        fn $name(dtype: $crate::DType) -> unsafe fn($crate::backend::cpu::expr::Isa, $($ty),*) {
            use $crate::backend::cpu::expr::dispatch;
            dispatch! { unsafe fn f32 => $f32($($arg: $ty),*) }
            dispatch! { narrow unsafe fn f64 => $f64($($arg: $ty),*) }
            dispatch! { narrow unsafe fn u8 => $u8($($arg: $ty),*) }
            dispatch! { narrow unsafe fn i8 => $i8($($arg: $ty),*) }
            dispatch! { narrow unsafe fn i16 => $i16($($arg: $ty),*) }
            dispatch! { narrow unsafe fn i32 => $i32($($arg: $ty),*) }
            dispatch! { narrow unsafe fn i64 => $i64($($arg: $ty),*) }
            match dtype {
                $crate::DType::F64 => f64,
                $crate::DType::F32 | $crate::DType::F16 | $crate::DType::BF16 => f32,
                $crate::DType::Bool | $crate::DType::U8 => u8,
                $crate::DType::I8 => i8,
                $crate::DType::I16 => i16,
                $crate::DType::I32 => i32,
                $crate::DType::I64 => i64,
            }
        }
    };
}
pub(in crate::backend::cpu) use dispatch_by_type;

/// Runs `code` on `n` elements. `at` has the address of each register.
///
/// # Safety
/// Every register that is read holds `n` elements of its lane; every register that is written has room for them, and no
/// instruction writes a register that it reads. `isa` is supported by the machine.
pub unsafe fn execute(isa: Isa, code: &[Instruction], at: &[*mut u8], n: usize) {
    for i in code {
        // SAFETY: the caller's promise, for each instruction.
        unsafe {
            match (i.operation, i.lane) {
                (Operation::Select, _) => select(isa, i, at, n),
                (Operation::Convert(_), _) => convert(isa, i, at, n),
                (Operation::RoundF16 | Operation::RoundBF16, _) => round(isa, i, at, n),
                (_, Lane::F32) => floats::f32_step(isa, i, at, n),
                (_, Lane::F64) => floats::f64_step(isa, i, at, n),
                (_, Lane::Bool) => integers::bool_step(isa, i, at, n),
                (_, Lane::U8) => integers::u8_step(isa, i, at, n),
                (_, Lane::I8) => integers::i8_step(isa, i, at, n),
                (_, Lane::I16) => integers::i16_step(isa, i, at, n),
                (_, Lane::I32) => integers::i32_step(isa, i, at, n),
                (_, Lane::I64) => integers::i64_step(isa, i, at, n),
            }
        }
    }
}

dispatch! {
    /// # Safety
    /// As for [`execute`].
    unsafe fn select => select_any(i: &Instruction, at: &[*mut u8], n: usize)
}

dispatch! {
    /// # Safety
    /// As for [`execute`].
    unsafe fn round => round_any(i: &Instruction, at: &[*mut u8], n: usize)
}

dispatch! {
    /// # Safety
    /// As for [`execute`].
    unsafe fn convert => convert_any(i: &Instruction, at: &[*mut u8], n: usize)
}

#[inline(always)]
unsafe fn round_any<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    match i.operation {
        Operation::RoundF16 => map!(f32 => f32, i, at, n, |x| f16::from_f32(x).to_f32()),
        _ => map!(f32 => f32, i, at, n, |x| bf16::from_f32(x).to_f32()),
    }
}

#[inline(always)]
unsafe fn select_any<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    // SAFETY: the caller's promise. Moved bit by bit, so that only the size of a lane counts.
    unsafe {
        match i.lane.size() {
            1 => select_of::<u8>(i, at, n),
            2 => select_of::<u16>(i, at, n),
            4 => select_of::<u32>(i, at, n),
            _ => select_of::<u64>(i, at, n),
        }
    }
}

#[inline(always)]
unsafe fn select_of<T: Copy>(i: &Instruction, at: &[*mut u8], n: usize) {
    // SAFETY: the caller's promise: `a` holds booleans, the others lanes of `T`.
    let (a, b, c, to) = unsafe {
        (operand::<u8>(at, i.a, n), operand::<T>(at, i.b, n), operand::<T>(at, i.c, n), result::<T>(i, at, n))
    };
    for (((to, &a), &b), &c) in to.iter_mut().zip(a).zip(b).zip(c) {
        *to = if a != 0 { b } else { c };
    }
}

macro_rules! convert_from {
    ($T:ident, $zero:literal, $to:ident, $i:ident, $at:ident, $n:ident, |$x:ident| $narrow:expr, $wide:expr) => {
        match $to {
            Lane::Bool => map!($T => u8, $i, $at, $n, |$x| ($x != $zero) as u8),
            Lane::U8 => map!($T => u8, $i, $at, $n, |$x| $wide as u8),
            Lane::I8 => map!($T => i8, $i, $at, $n, |$x| $narrow as i8),
            Lane::I16 => map!($T => i16, $i, $at, $n, |$x| $narrow as i16),
            Lane::I32 => map!($T => i32, $i, $at, $n, |$x| $narrow as i32),
            Lane::I64 => map!($T => i64, $i, $at, $n, |$x| $wide as i64),
            Lane::F32 => map!($T => f32, $i, $at, $n, |$x| $x as f32),
            Lane::F64 => map!($T => f64, $i, $at, $n, |$x| $x as f64),
        }
    };
}

/// Floats become integers by way of i32 and i64, as [`crate::truncate`] says.
#[inline(always)]
unsafe fn convert_any<const FMA: bool>(i: &Instruction, at: &[*mut u8], n: usize) {
    let Operation::Convert(to) = i.operation else {
        unreachable!("a conversion");
    };
    match i.lane {
        Lane::Bool | Lane::U8 => convert_from!(u8, 0, to, i, at, n, |x| x, x),
        Lane::I8 => convert_from!(i8, 0, to, i, at, n, |x| x, x),
        Lane::I16 => convert_from!(i16, 0, to, i, at, n, |x| x, x),
        Lane::I32 => convert_from!(i32, 0, to, i, at, n, |x| x, x),
        Lane::I64 => convert_from!(i64, 0, to, i, at, n, |x| x, x),
        Lane::F32 => convert_from!(f32, 0.0, to, i, at, n, |x| x.to_i32(), x.to_i64()),
        Lane::F64 => convert_from!(f64, 0.0, to, i, at, n, |x| x.to_i32(), x.to_i64()),
    }
}
