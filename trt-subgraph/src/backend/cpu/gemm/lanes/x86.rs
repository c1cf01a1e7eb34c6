//! The vectors of AVX2 and AVX-512.

use super::Lanes;
use std::arch::x86_64::*;

/// The first `n` of 16 lanes, at most all.
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
    ($T:ident, $count:literal, $set:ident, $load:ident, $store:ident, $stream:ident, $mask:ident, $load_first:expr, $store_first:ident, $fma:ident, $mul:ident, $add:ident, $sub:ident, $max:ident, $min:ident, $keep_nan:ident, $div:ident, { $($more:item)* }) => {
        impl Lanes for $T {
            const COUNT: usize = $count;
            $($more)*

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
    _mm512_div_ps,
    {
        const NARROW: bool = true;

        #[inline(always)]
        unsafe fn load_bf16(from: *const u16, n: usize) -> __m512 {
            // SAFETY: the caller's promise.
            unsafe {
                let halves = _mm256_maskz_loadu_epi16(mask_512(n), from.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            }
        }
        #[inline(always)]
        unsafe fn store_bf16(self, to: *mut u16, n: usize) {
            // SAFETY: the caller's promise.
            unsafe {
                let bits = _mm512_castps_si512(self);
                let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
                let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self, self);
                let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000));
                let halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
                _mm256_mask_storeu_epi16(to.cast(), mask_512(n), halves);
            }
        }
    }
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
    _mm256_div_ps,
    {}
);
