//! Access to registers: slices over their addresses, and loops from register to register.

use super::execute::Instruction;

/// The elements of register `r`.
///
/// # Safety
/// Register `r` has `n` elements of type `T` at `at[r]`, which nobody writes while the slice lives.
#[inline(always)]
pub unsafe fn operand<'a, T>(at: &[*mut u8], r: u16, n: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(at[r as usize].cast::<T>().cast_const(), n) }
}

/// The place of the result of an instruction.
///
/// # Safety
/// It has room for `n` elements of type `T`, which nobody else touches while the slice lives.
#[inline(always)]
pub unsafe fn result<'a, T>(i: &Instruction, at: &[*mut u8], n: usize) -> &'a mut [T] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(at[i.to as usize].cast::<T>(), n) }
}

/// `to = f(a)` for every element.
macro_rules! map {
    ($T:ty => $U:ty, $i:ident, $at:ident, $n:ident, |$x:ident| $value:expr) => {{
        // SAFETY: the enclosing function's promise.
        #[allow(unused_unsafe)]
        let (a, to) = unsafe { (operand::<$T>($at, $i.a, $n), result::<$U>($i, $at, $n)) };
        for (to, &$x) in to.iter_mut().zip(a) {
            *to = $value;
        }
    }};
}
pub(super) use map;

/// `to = f(a, b)` for every element.
macro_rules! map2 {
    ($T:ty => $U:ty, $i:ident, $at:ident, $n:ident, |$x:ident, $y:ident| $value:expr) => {{
        // SAFETY: the enclosing function's promise.
        let (a, b) = unsafe { (operand::<$T>($at, $i.a, $n), operand::<$T>($at, $i.b, $n)) };
        // SAFETY: the enclosing function's promise.
        let to = unsafe { result::<$U>($i, $at, $n) };
        for ((to, &$x), &$y) in to.iter_mut().zip(a).zip(b) {
            *to = $value;
        }
    }};
}
pub(super) use map2;
