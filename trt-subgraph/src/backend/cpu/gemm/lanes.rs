//! Vectors of f32 as kernels with many accumulators need them: one type for each instruction set.
//!
//! The functions are inlined into callers that are compiled for the instruction set.

/// A vector register of f32.
pub trait Lanes: Copy {
    /// Elements of a vector.
    const COUNT: usize;

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
    let later = later && to.addr().is_multiple_of(size_of::<f32>() * L::COUNT);
    for at in (0..from.len()).step_by(L::COUNT) {
        // SAFETY: the caller's promise; streams go to aligned addresses.
        unsafe {
            let product = L::load(from.as_ptr().add(at)).mul(L::load(factors.as_ptr().add(at)));
            if later { product.stream(to.add(at)) } else { product.store(to.add(at)) }
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
                match isa {
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    /// The first `n` of 16 lanes.
    #[inline(always)]
    fn mask_512(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    /// The first `n` of 8 lanes.
    #[inline(always)]
    unsafe fn mask_256(n: usize) -> __m256i {
        const ONES_THEN_ZEROS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: `n` is at most 8; the machine has the instruction set.
        unsafe { _mm256_loadu_si256(ONES_THEN_ZEROS.as_ptr().add(8 - n).cast()) }
    }

    /// `x` where it is NaN, else `y`.
    #[inline(always)]
    unsafe fn keep_nan_512(x: __m512, y: __m512) -> __m512 {
        // SAFETY: the machine has the instruction set.
        unsafe { _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), x) }
    }

    /// `x` where it is NaN, else `y`.
    #[inline(always)]
    unsafe fn keep_nan_256(x: __m256, y: __m256) -> __m256 {
        // SAFETY: the machine has the instruction set.
        unsafe { _mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x)) }
    }

    /// [`Lanes::turn_eight`]: lanes change places in pairs, in fours, and in halves.
    ///
    /// # Safety
    /// As there; the machine has AVX2.
    #[inline(always)]
    unsafe fn turn(from: [*const f32; 8], to: *mut f32, pitch: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let r = from.map(|run| _mm256_loadu_ps(run));
            let pair = |i: usize| (_mm256_unpacklo_ps(r[i], r[i + 1]), _mm256_unpackhi_ps(r[i], r[i + 1]));
            let (p0, p1, p2, p3) = (pair(0), pair(2), pair(4), pair(6));
            let four = |a: (__m256, __m256), b: (__m256, __m256)| {
                [
                    _mm256_shuffle_ps::<0x44>(a.0, b.0),
                    _mm256_shuffle_ps::<0xee>(a.0, b.0),
                    _mm256_shuffle_ps::<0x44>(a.1, b.1),
                    _mm256_shuffle_ps::<0xee>(a.1, b.1),
                ]
            };
            let (low, high) = (four(p0, p1), four(p2, p3));
            for i in 0..4 {
                let (a, b) = (low[i], high[i]);
                _mm256_storeu_ps(to.add(i * pitch), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add((i + 4) * pitch), _mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }

    /// The machine's minimum and maximum give the second operand where one is NaN: that is the value here.
    macro_rules! lanes {
        ($T:ident, $count:literal, $set:ident, $load:ident, $store:ident, $stream:ident, $mask:ident, $load_first:expr, $store_first:ident, $fma:ident, $mul:ident, $add:ident, $sub:ident, $max:ident, $min:ident, $keep_nan:ident, $div:ident) => {
            impl Lanes for $T {
                const COUNT: usize = $count;

                #[inline(always)]
                unsafe fn splat(x: f32) -> $T {
                    // SAFETY: the caller's promise; so for all below.
                    unsafe { $set(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> $T {
                    // SAFETY: as above.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, to: *mut f32) {
                    // SAFETY: as above.
                    unsafe { $stream(to, self) }
                }
                #[inline(always)]
                unsafe fn load_first(from: *const f32, n: usize) -> $T {
                    // SAFETY: as above.
                    unsafe { $load_first($mask(n), from) }
                }
                #[inline(always)]
                unsafe fn store_first(self, to: *mut f32, n: usize) {
                    // SAFETY: as above.
                    unsafe { $store_first(to, $mask(n), self) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, b: $T, c: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $fma(self, b, c) }
                }
                #[inline(always)]
                unsafe fn mul(self, b: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $mul(self, b) }
                }
                #[inline(always)]
                unsafe fn turn_eight(from: [*const f32; 8], to: *mut f32, pitch: usize) {
                    // SAFETY: as above.
                    unsafe { turn(from, to, pitch) }
                }
                #[inline(always)]
                unsafe fn add(self, b: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $add(self, b) }
                }
                #[inline(always)]
                unsafe fn sub(self, b: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $sub(self, b) }
                }
                #[inline(always)]
                unsafe fn at_least(self, low: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $max(low, self) }
                }
                #[inline(always)]
                unsafe fn max(self, b: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $keep_nan(self, $max(self, b)) }
                }
                #[inline(always)]
                unsafe fn div(self, b: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $div(self, b) }
                }
                #[inline(always)]
                unsafe fn at_most(self, high: $T) -> $T {
                    // SAFETY: as above.
                    unsafe { $min(high, self) }
                }
            }
        };
    }
    lanes!(
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_stream_ps,
        mask_512,
        _mm512_maskz_loadu_ps,
        _mm512_mask_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_mul_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        keep_nan_512,
        _mm512_div_ps
    );
    lanes!(
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_stream_ps,
        mask_256,
        |mask, from| _mm256_maskload_ps(from, mask),
        _mm256_maskstore_ps,
        _mm256_fmadd_ps,
        _mm256_mul_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        keep_nan_256,
        _mm256_div_ps
    );
}
