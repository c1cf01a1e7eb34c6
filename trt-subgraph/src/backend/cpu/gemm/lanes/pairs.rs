//! Vectors whose sums take two products of bf16 at a time.

use super::Lanes;
use std::arch::x86_64::*;

/// Sixteen f32, whose factors in [`Lanes::mul_add`] are pairs of bf16 instead, each as the bits of one f32. Numbers below the
/// smallest normal one count as 0 there.
#[derive(Clone, Copy)]
pub struct Pairs(__m512);

/// The functions of f32 as they are.
macro_rules! as_f32 {
    ($($name:ident),*) => {
        $(
            #[inline(always)]
            unsafe fn $name(self, b: Pairs) -> Pairs {
                // SAFETY: the caller's promise.
                Pairs(unsafe { Lanes::$name(self.0, b.0) })
            }
        )*
    };
}

impl Lanes for Pairs {
    const COUNT: usize = 16;
    const NARROW: bool = true;
    const PAIRS: bool = true;

    as_f32!(mul, add, sub, at_least, max, div, at_most);

    #[inline(always)]
    unsafe fn splat(x: f32) -> Pairs {
        // SAFETY: the caller's promise; so for all below.
        Pairs(unsafe { __m512::splat(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Pairs {
        // SAFETY: as above.
        Pairs(unsafe { __m512::load(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { self.0.store(to) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { self.0.stream(to) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Pairs {
        // SAFETY: as above.
        Pairs(unsafe { __m512::load_first(from, n) })
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        // SAFETY: as above.
        unsafe { self.0.store_first(to, n) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Pairs, c: Pairs) -> Pairs {
        // SAFETY: as above; vectors of 512 bits are of any type.
        unsafe {
            let pairs = |v: __m512| std::mem::transmute::<__m512, __m512bh>(v);
            Pairs(_mm512_dpbf16_ps(c.0, pairs(self.0), pairs(b.0)))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16, n: usize) -> Pairs {
        // SAFETY: as above.
        Pairs(unsafe { __m512::load_bf16(from, n) })
    }
    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut u16, n: usize) {
        // SAFETY: as above.
        unsafe { self.0.store_bf16(to, n) }
    }
}
