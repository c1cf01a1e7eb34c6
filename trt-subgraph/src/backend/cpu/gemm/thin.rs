//! Tiles of a few columns that would leave most of a vector empty: each column of the second operand lies by itself, and
//! vectors run along the sum.

use super::lanes::{Four, Lanes};
use super::tile::{Kernel, Tile};
use crate::backend::cpu::expr::Isa;

/// Rows of a tile, at most.
const ROWS: usize = 4;

/// The most columns for vectors of `lanes` elements.
pub fn most_columns(lanes: usize) -> usize {
    lanes / 4
}

/// Kernels for tiles of `columns` columns, as [`super::tile::kernels`] gives them for whole vectors. The tile's `b` has its
/// columns one after the other.
pub fn kernels(isa: Isa, columns: usize) -> &'static [(usize, Kernel)] {
    match (isa.min(Isa::Avx512), columns) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 1) => x86::AVX512[0],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 2) => x86::AVX512[1],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 3) => x86::AVX512[2],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, _) => x86::AVX512[3],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, 1) => x86::AVX2[0],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _) => x86::AVX2[1],
        _ => &[(ROWS, thin::<Four, ROWS, 1>), (1, thin::<Four, 1, 1>)],
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, ROWS, Tile, thin};
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn avx512<const M: usize, const C: usize>(t: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { thin::<__m512, M, C>(t) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const M: usize, const C: usize>(t: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { thin::<__m256, M, C>(t) }
    }

    /// By columns less one.
    pub static AVX512: [&[(usize, Kernel)]; 4] = [
        &[(ROWS, avx512::<ROWS, 1>), (1, avx512::<1, 1>)],
        &[(ROWS, avx512::<ROWS, 2>), (1, avx512::<1, 2>)],
        &[(ROWS, avx512::<ROWS, 3>), (1, avx512::<1, 3>)],
        &[(ROWS, avx512::<ROWS, 4>), (1, avx512::<1, 4>)],
    ];
    /// By columns less one.
    pub static AVX2: [&[(usize, Kernel)]; 2] =
        [&[(ROWS, avx2::<ROWS, 1>), (1, avx2::<1, 1>)], &[(ROWS, avx2::<ROWS, 2>), (1, avx2::<1, 2>)]];
}

/// # Safety
/// As for [`Kernel`]; `M` is at least the tile's rows, `C` its columns.
#[inline(always)]
unsafe fn thin<L: Lanes, const M: usize, const C: usize>(t: &Tile) {
    let depth = t.taps.len() * t.run;
    let whole = t.run / L::COUNT * L::COUNT;
    // SAFETY: the caller's promise: rows, taps, columns and results are there.
    unsafe {
        let mut sums = [[L::splat(0.0); C]; M];
        for (tap, &offset) in t.taps.iter().enumerate() {
            let b = t.b.add(tap * t.run);
            for i in (0..whole).step_by(L::COUNT) {
                add::<L, true, M, C>(&mut sums, t, offset + i as isize, b.add(i), depth, L::COUNT);
            }
            if whole < t.run {
                let at = offset + whole as isize;
                add::<L, false, M, C>(&mut sums, t, at, b.add(whole), depth, t.run - whole);
            }
        }
        for m in 0..M {
            for c in 0..C {
                let mut lanes = [0f32; 16];
                sums[m][c].store(lanes.as_mut_ptr());
                let sum: f32 = lanes[..L::COUNT].iter().sum();
                if m < t.rows {
                    finish(t, m, c, sum);
                }
            }
        }
    }
}

/// Adds the products of `n` terms, which start at `at` in each row.
///
/// # Safety
/// As for [`thin`].
#[inline(always)]
unsafe fn add<L: Lanes, const WHOLE: bool, const M: usize, const C: usize>(
    sums: &mut [[L; C]; M],
    t: &Tile,
    at: isize,
    b: *const f32,
    depth: usize,
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [L::splat(0.0); C];
        for c in 0..C {
            columns[c] = L::load_some::<WHOLE>(b.add(c * depth), n);
        }
        for m in 0..M {
            let x = L::load_some::<WHOLE>(t.a[m].wrapping_offset(at), n);
            for c in 0..C {
                sums[m][c] = x.mul_add(columns[c], sums[m][c]);
            }
        }
    }
}

/// Bias, residual, clamp and store of one element.
///
/// # Safety
/// As for [`thin`].
#[inline(always)]
unsafe fn finish(t: &Tile, m: usize, c: usize, sum: f32) {
    let mut y = sum;
    // SAFETY: the caller's promise.
    unsafe {
        if !t.bias.is_null() {
            y += *t.bias.add(c);
        }
        if !t.residual.is_null() {
            y += *t.residual.offset(m as isize * t.residual_pitch + c as isize);
        }
        if let Some((low, high)) = t.clamp {
            y = if y < low { low } else { y };
            y = if y > high { high } else { y };
        }
        *t.out.offset(m as isize * t.pitch + c as isize) = y;
    }
}
