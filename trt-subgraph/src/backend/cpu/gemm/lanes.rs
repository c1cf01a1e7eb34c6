//! Vectors of f32 as kernels with many accumulators need them: one type for each instruction set.
//!
//! The functions are inlined into callers that are compiled for the instruction set.

#[cfg(target_arch = "x86_64")]
mod pairs;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "x86_64")]
pub use pairs::Pairs;

/// A vector register of f32.
pub trait Lanes: Copy {
    /// Elements of a vector.
    const COUNT: usize;

    /// Are there loads and stores of bf16?
    const NARROW: bool = false;

    /// Are the factors of [`Lanes::mul_add`] pairs of bf16?
    const PAIRS: bool = false;

    /// # Safety
    /// The machine has the instruction set; so for all functions.
    unsafe fn splat(x: f32) -> Self;

    /// # Safety
    /// `from` has [`Lanes::COUNT`] elements.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// `to` has room for [`Lanes::COUNT`] elements.
    unsafe fn store(self, to: *mut f32);

    /// Stores past the cache, for who reads it much later; [`fence`] ends a run of such stores.
    ///
    /// # Safety
    /// `to` has room for [`Lanes::COUNT`] elements and is aligned to as many.
    unsafe fn stream(self, to: *mut f32);

    /// The first `n` elements; the others are 0.
    ///
    /// # Safety
    /// `from` has `n` elements, fewer than [`Lanes::COUNT`].
    unsafe fn load_first(from: *const f32, n: usize) -> Self;

    /// Stores the first `n` elements.
    ///
    /// # Safety
    /// `to` has room for `n` elements, fewer than [`Lanes::COUNT`].
    unsafe fn store_first(self, to: *mut f32, n: usize);

    /// The first `n` elements, or all where `WHOLE`.
    ///
    /// # Safety
    /// `from` has that many elements; `n` is at most [`Lanes::COUNT`], which it is where `WHOLE`.
    #[inline(always)]
    unsafe fn load_some<const WHOLE: bool>(from: *const f32, n: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { if WHOLE { Self::load(from) } else { Self::load_first(from, n) } }
    }

    /// Stores the first `n` elements, or all where `WHOLE`.
    ///
    /// # Safety
    /// `to` has room for that many elements; else as for [`Lanes::load_some`].
    #[inline(always)]
    unsafe fn store_some<const WHOLE: bool>(self, to: *mut f32, n: usize) {
        // SAFETY: the caller's promise.
        unsafe { if WHOLE { self.store(to) } else { self.store_first(to, n) } }
    }

    /// The first `n` elements, of bf16; the others are 0. Only where [`Lanes::NARROW`].
    ///
    /// # Safety
    /// `from` has `n` elements, at most [`Lanes::COUNT`].
    #[inline(always)]
    unsafe fn load_bf16(_from: *const u16, _n: usize) -> Self {
        unreachable!("loads of bf16 without instructions for them")
    }

    /// Stores the first `n` elements rounded to bf16. Only where [`Lanes::NARROW`].
    ///
    /// # Safety
    /// `to` has room for `n` elements, at most [`Lanes::COUNT`].
    #[inline(always)]
    unsafe fn store_bf16(self, _to: *mut u16, _n: usize) {
        unreachable!("stores of bf16 without instructions for them")
    }

    /// `self * b + c`, rounded once where the machine can.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;

    /// `self * b`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn mul(self, b: Self) -> Self;

    /// Eight runs of eight neighbours become columns: `to[i * pitch + r] = from[r][i]`.
    ///
    /// # Safety
    /// The runs are there, and so is the room.
    #[inline(always)]
    unsafe fn turn_eight(from: [*const f32; 8], to: *mut f32, pitch: usize) {
        for (r, run) in from.into_iter().enumerate() {
            for i in 0..8 {
                // SAFETY: the caller's promise.
                unsafe { *to.add(i * pitch + r) = *run.add(i) };
            }
        }
    }

    /// `self + b`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add(self, b: Self) -> Self;

    /// `self - b`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn sub(self, b: Self) -> Self;

    /// The larger of `self` and `low`, which is no NaN; NaN where `self` is.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn at_least(self, low: Self) -> Self;

    /// The larger; NaN where either is.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn max(self, b: Self) -> Self;

    /// `self / b`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn div(self, b: Self) -> Self;

    /// The smaller of `self` and `high`, which is no NaN; NaN where `self` is.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn at_most(self, high: Self) -> Self;
}

/// Products of whole vectors, where `later` to memory that is read much later: past the cache, which would read it before it is written.
///
/// # Safety
/// The machine has the instruction set; there are as many factors, and there is room.
#[inline(always)]
pub unsafe fn multiply<L: Lanes>(from: &[f32], factors: &[f32], to: *mut f32, later: bool) {
    // SAFETY: the caller's promise.
    unsafe { put::<L>(from, to, later, |v, at| v.mul(L::load(factors.as_ptr().add(at)))) }
}

/// Whole vectors as they are, whatever their bits say; else as [`multiply`].
///
/// # Safety
/// The machine has the instruction set; there is room.
#[inline(always)]
pub unsafe fn copy<L: Lanes>(from: &[f32], to: *mut f32, later: bool) {
    // SAFETY: the caller's promise.
    unsafe { put::<L>(from, to, later, |v, _| v) }
}

/// # Safety
/// As for [`multiply`].
#[inline(always)]
unsafe fn put<L: Lanes>(from: &[f32], to: *mut f32, later: bool, change: impl Fn(L, usize) -> L) {
    let later = later && to.addr().is_multiple_of(size_of::<f32>() * L::COUNT);
    for at in (0..from.len()).step_by(L::COUNT) {
        // SAFETY: the caller's promise; streams go to aligned addresses.
        unsafe {
            let vector = change(L::load(from.as_ptr().add(at)), at);
            if later { vector.stream(to.add(at)) } else { vector.store(to.add(at)) }
        }
    }
}

/// Makes what this thread streamed visible to whoever sees what it writes from now on.
#[inline(always)]
pub fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every machine of this architecture has it.
    unsafe {
        std::arch::x86_64::_mm_sfence()
    }
}

/// Defines `$name(isa, ...)` that runs `$body::<L>(...)` with the vectors of an instruction set, compiled for it.
macro_rules! by_lanes {
    ($(#[$m:meta])* $vis:vis unsafe fn $name:ident => $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)?) => {
        $(#[$m])*
        $vis unsafe fn $name(isa: $crate::backend::cpu::expr::Isa, $($arg: $ty),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) $(-> $out)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) $(-> $out)? {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m256>($($arg),*) }
            }
            // SAFETY: the caller's promise; `isa` is what the machine has.
            unsafe {
                match isa.min($crate::backend::cpu::expr::Isa::Avx512) {
                    #[cfg(target_arch = "x86_64")]
                    $crate::backend::cpu::expr::Isa::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::backend::cpu::expr::Isa::Avx2 => avx2($($arg),*),
                    _ => $body::<$crate::backend::cpu::gemm::lanes::Four>($($arg),*),
                }
            }
        }
    };
}
pub(in crate::backend::cpu) use by_lanes;

/// Four lanes in plain code, which compilers put into the vectors that every machine of an architecture has.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub struct Four([f32; 4]);

impl Four {
    #[inline(always)]
    fn zip(self, b: Four, f: impl Fn(f32, f32) -> f32) -> Four {
        Four(std::array::from_fn(|i| f(self.0[i], b.0[i])))
    }
}

impl Lanes for Four {
    const COUNT: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Four {
        Four([x; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Four {
        // SAFETY: the caller's promise.
        Four(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { self.store(to) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Four {
        // SAFETY: the caller's promise.
        Four(std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 }))
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        for (i, &x) in self.0.iter().enumerate().take(n) {
            // SAFETY: the caller's promise.
            unsafe { *to.add(i) = x };
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, b: Four, c: Four) -> Four {
        self.zip(b, |a, b| a * b).zip(c, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn mul(self, b: Four) -> Four {
        self.zip(b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn add(self, b: Four) -> Four {
        self.zip(b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, b: Four) -> Four {
        self.zip(b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn at_least(self, low: Four) -> Four {
        self.zip(low, |x, low| if x < low { low } else { x })
    }
    #[inline(always)]
    unsafe fn max(self, b: Four) -> Four {
        self.zip(b, |x, y| if x < y || y.is_nan() { y } else { x })
    }
    #[inline(always)]
    unsafe fn div(self, b: Four) -> Four {
        self.zip(b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn at_most(self, high: Four) -> Four {
        self.zip(high, |x, high| if x > high { high } else { x })
    }
}
