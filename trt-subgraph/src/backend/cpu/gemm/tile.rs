//! The inner kernel of convolutions and matrix products: a few rows of the result by a few vectors of its columns, kept in
//! registers over the whole sum.
//!
//! A row of the first operand is a pointer; the sum runs over *taps* (offsets from that pointer that all rows share) and over a
//! *run* of neighbours at each tap. A matrix product has one tap; a convolution has one for each line of its window.

use super::ahead::{Ahead, fetch};
use super::lanes::{Four, Lanes};
use crate::backend::cpu::expr::Isa;

/// The most rows of a tile.
pub const ROWS: usize = 12;
/// Terms that are added one after the other.
pub const CHAIN: usize = 256;
/// Further sums of a single row.
const OTHERS: usize = 3;
/// Elements of the largest tile: 6 rows of 4, or 12 of 2 vectors of 16.
const GATHERED: usize = 24 * 16;

/// One tile.
pub struct Tile<'a> {
    /// Where each row starts, on any address; those from `rows` on are read but not used, and have to be readable.
    pub a: [*const f32; ROWS],
    /// Rows of the result.
    pub rows: usize,
    /// Offsets of the taps from a row's start, in elements.
    pub taps: &'a [isize],
    /// Elements at each tap.
    pub run: usize,
    /// The second operand: for each tap and element of the run, the tile's vectors.
    pub b: *const f32,
    /// What sums start with, the same in every row: the tile's vectors, or null for zeros.
    pub bias: *const f32,
    /// Row 0, column 0 of the result.
    pub out: *mut f32,
    /// Distance of rows of the result, in elements.
    pub pitch: isize,
    /// Columns that the result has.
    pub columns: usize,
    /// Added to the result: its row 0, column 0, or null.
    pub residual: *const f32,
    /// Distance of rows of the residual.
    pub residual_pitch: isize,
    /// Are result and residual of bf16 instead? Only where factors are.
    pub narrow: [bool; 2],
    /// The result is held between these, in the end, where given. NaN stays.
    pub clamp: Option<(f32, f32)>,
    /// What is brought near meanwhile.
    pub ahead: Ahead,
}

impl Tile<'_> {
    /// A product alone: one run of `run` elements, sums that start with zeros, nothing added or done to the result, whose rows lie `pitch`
    /// elements apart.
    pub fn of_run(
        a: [*const f32; ROWS],
        rows: usize,
        run: usize,
        b: *const f32,
        out: *mut f32,
        pitch: isize,
        columns: usize,
    ) -> Tile<'static> {
        Tile {
            a,
            rows,
            taps: &[0],
            run,
            b,
            bias: std::ptr::null(),
            out,
            pitch,
            columns,
            residual: std::ptr::null(),
            residual_pitch: 0,
            narrow: [false; 2],
            clamp: None,
            ahead: Ahead::NONE,
        }
    }
}

/// A kernel for tiles of one size.
///
/// # Safety
/// Every element that the tile names is there; the result overlaps nothing that is read, but the residual may be the result
/// itself. The machine has the instruction set.
pub type Kernel = unsafe fn(&Tile);

/// Elements of a vector.
pub fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 | Isa::Avx512Bf16 => 16,
        Isa::Avx2 => 8,
        Isa::Portable => 4,
    }
}

/// The most vectors of a tile.
pub fn most_vectors(isa: Isa) -> usize {
    if isa >= Isa::Avx512 { 4 } else { 2 }
}

/// Kernels for tiles of `vectors` vectors, by rows, most rows first: one pass over a range of rows takes the first one while it
/// lasts, then the smallest that covers the rest.
pub fn kernels(isa: Isa, vectors: usize) -> &'static [(usize, Kernel)] {
    match (isa.min(Isa::Avx512), vectors) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 1) => x86::AVX512_1,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 2) => x86::AVX512_2,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, 3) => x86::AVX512_3,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, _) => x86::AVX512_4,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, 1) => x86::AVX2_1,
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, _) => x86::AVX2_2,
        (_, 1) => &[(12, tile::<Four, 12, 1>), (4, tile::<Four, 4, 1>), (1, tile::<Four, 1, 1>)],
        _ => &[(6, tile::<Four, 6, 2>), (2, tile::<Four, 2, 2>), (1, tile::<Four, 1, 2>)],
    }
}

/// The same for tiles whose operands are pairs of bf16, each pair as the bits of one f32: neighbours along the sum.
pub fn pair_kernels(vectors: usize) -> &'static [(usize, Kernel)] {
    match vectors {
        #[cfg(target_arch = "x86_64")]
        1 => x86::BF16_1,
        #[cfg(target_arch = "x86_64")]
        2 => x86::BF16_2,
        #[cfg(target_arch = "x86_64")]
        3 => x86::BF16_3,
        #[cfg(target_arch = "x86_64")]
        4 => x86::BF16_4,
        _ => unreachable!("only a machine that has such products packs pairs, in at most 4 vectors"),
    }
}

/// How many of `left` rows the next tile takes, and its kernel.
#[inline]
pub fn next(kernels: &[(usize, Kernel)], left: usize) -> (usize, Kernel) {
    let (most, kernel) = kernels[0];
    if left >= most {
        return (most, kernel);
    }
    let fitting = kernels.iter().rev().find(|k| k.0 >= left);
    (left, fitting.unwrap_or(&kernels[0]).1)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::lanes::Pairs;
    use super::{Kernel, Tile, tile};
    use std::arch::x86_64::{__m256, __m512};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn avx512<const M: usize, const V: usize>(t: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { tile::<__m512, M, V>(t) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<const M: usize, const V: usize>(t: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { tile::<__m256, M, V>(t) }
    }

    pub static AVX512_1: &[(usize, Kernel)] = &[
        (12, avx512::<12, 1>),
        (8, avx512::<8, 1>),
        (4, avx512::<4, 1>),
        (2, avx512::<2, 1>),
        (1, avx512::<1, 1>),
    ];
    pub static AVX512_2: &[(usize, Kernel)] = &[
        (12, avx512::<12, 2>),
        (8, avx512::<8, 2>),
        (4, avx512::<4, 2>),
        (2, avx512::<2, 2>),
        (1, avx512::<1, 2>),
    ];
    pub static AVX512_3: &[(usize, Kernel)] =
        &[(8, avx512::<8, 3>), (4, avx512::<4, 3>), (2, avx512::<2, 3>), (1, avx512::<1, 3>)];
    pub static AVX512_4: &[(usize, Kernel)] =
        &[(6, avx512::<6, 4>), (4, avx512::<4, 4>), (2, avx512::<2, 4>), (1, avx512::<1, 4>)];
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn bf16<const M: usize, const V: usize>(t: &Tile) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Pairs, M, V>(t) }
    }

    pub static BF16_1: &[(usize, Kernel)] =
        &[(12, bf16::<12, 1>), (8, bf16::<8, 1>), (4, bf16::<4, 1>), (2, bf16::<2, 1>), (1, bf16::<1, 1>)];
    pub static BF16_2: &[(usize, Kernel)] =
        &[(12, bf16::<12, 2>), (8, bf16::<8, 2>), (4, bf16::<4, 2>), (2, bf16::<2, 2>), (1, bf16::<1, 2>)];
    pub static BF16_3: &[(usize, Kernel)] =
        &[(8, bf16::<8, 3>), (4, bf16::<4, 3>), (2, bf16::<2, 3>), (1, bf16::<1, 3>)];
    pub static BF16_4: &[(usize, Kernel)] =
        &[(6, bf16::<6, 4>), (4, bf16::<4, 4>), (2, bf16::<2, 4>), (1, bf16::<1, 4>)];
    pub static AVX2_1: &[(usize, Kernel)] = &[(12, avx2::<12, 1>), (4, avx2::<4, 1>), (1, avx2::<1, 1>)];
    pub static AVX2_2: &[(usize, Kernel)] = &[(6, avx2::<6, 2>), (2, avx2::<2, 2>), (1, avx2::<1, 2>)];
}

/// # Safety
/// As for [`Kernel`]; `M` is at least the tile's rows, and the tile has `V` vectors.
#[inline(always)]
unsafe fn tile<L: Lanes, const M: usize, const V: usize>(t: &Tile) {
    // SAFETY: the caller's promise: rows, taps, vectors and results are there.
    unsafe {
        let mut sums = [[L::splat(0.0); V]; M];
        if !t.bias.is_null() {
            for v in 0..V {
                let bias = L::load(t.bias.add(v * L::COUNT));
                for m in 0..M {
                    sums[m][v] = bias;
                }
            }
        }
        let depth = t.taps.len() * t.run;
        let narrow = t.narrow.map(|narrow| L::PAIRS && narrow);
        let near = |from: *const f32, pitch: isize, narrow: bool| {
            let size = if narrow { 2 } else { 4 };
            for m in 0..t.rows {
                let line = from.wrapping_byte_offset(m as isize * pitch * size as isize);
                for v in 0..V {
                    fetch::<1>(line.wrapping_byte_add(v * L::COUNT * size));
                }
            }
        };
        if !t.residual.is_null() {
            near(t.residual, t.residual_pitch, narrow[1]);
        }
        // Results far away would hold up the end of a tile, and long sums give them the time to come.
        if depth > CHAIN && t.residual != t.out.cast_const() {
            near(t.out.cast_const(), t.pitch, narrow[0]);
        }
        // Long sums are gathered from shorter ones, which keeps their rounding errors apart.
        let mut gathered = std::mem::MaybeUninit::<[f32; GATHERED]>::uninit();
        let gathered = std::hint::black_box(gathered.as_mut_ptr().cast::<f32>());
        if depth > CHAIN {
            gathered.write_bytes(0, M * V * L::COUNT);
        }
        let (mut b, mut done, mut chain) = (t.b, 0, 0);
        let mut others = [[L::splat(0.0); V]; OTHERS];
        let mut ahead = t.ahead;
        for &tap in t.taps {
            let mut rows = [std::ptr::null::<f32>(); M];
            for m in 0..M {
                rows[m] = t.a[m].wrapping_offset(tap);
            }
            for first in (0..t.run).step_by(CHAIN) {
                let last = t.run.min(first + CHAIN);
                let mut i = first;
                while M == 1 && i + OTHERS < last {
                    // One row alone would wait for each sum: further ones go on meanwhile.
                    for (u, other) in others.iter_mut().enumerate() {
                        let x = L::splat(rows[0].add(i + 1 + u).read_unaligned());
                        for v in 0..V {
                            let column = L::load(b.add(((u + 1) * V + v) * L::COUNT));
                            other[v] = x.mul_add(column, other[v]);
                        }
                    }
                    let x = L::splat(rows[0].add(i).read_unaligned());
                    for v in 0..V {
                        sums[0][v] = x.mul_add(L::load(b.add(v * L::COUNT)), sums[0][v]);
                    }
                    b = b.add((OTHERS + 1) * V * L::COUNT);
                    i += OTHERS + 1;
                }
                while i < last {
                    let mut columns = [L::splat(0.0); V];
                    for v in 0..V {
                        columns[v] = L::load(b.add(v * L::COUNT));
                    }
                    b = b.add(V * L::COUNT);
                    ahead.term();
                    for m in 0..M {
                        let x = L::splat(rows[m].add(i).read_unaligned());
                        for v in 0..V {
                            sums[m][v] = x.mul_add(columns[v], sums[m][v]);
                        }
                    }
                    i += 1;
                }
                done += last - first;
                chain += last - first;
                if chain >= CHAIN && done < depth {
                    chain = 0;
                    for m in 0..M {
                        for v in 0..V {
                            let to = gathered.add((m * V + v) * L::COUNT);
                            L::load(to).add(sums[m][v]).store(to);
                            sums[m][v] = L::splat(0.0);
                        }
                    }
                }
            }
        }
        if M == 1 {
            for v in 0..V {
                let more = others[1][v].add(others[2][v]);
                sums[0][v] = sums[0][v].add(others[0][v]).add(more);
            }
        }
        if depth > CHAIN {
            for m in 0..M {
                for v in 0..V {
                    sums[m][v] = sums[m][v].add(L::load(gathered.add((m * V + v) * L::COUNT)));
                }
            }
        }
        let bare = t.residual.is_null() && t.clamp.is_none() && !narrow[0];
        if bare && t.rows == M && t.columns == V * L::COUNT {
            for m in 0..M {
                for v in 0..V {
                    sums[m][v].store(t.out.offset(m as isize * t.pitch).add(v * L::COUNT));
                }
            }
            return;
        }
        // Loops of known length keep the sums in registers; what follows may index them freely.
        let mut results = [[L::splat(0.0); V]; M];
        for m in 0..M {
            for v in 0..V {
                results[m][v] = sums[m][v];
            }
        }
        finish::<L, M, V>(t, &results);
    }
}

/// Residual, clamp, store.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn finish<L: Lanes, const M: usize, const V: usize>(t: &Tile, sums: &[[L; V]; M]) {
    let narrow = t.narrow.map(|narrow| L::PAIRS && narrow);
    for (m, row) in sums.iter().enumerate().take(t.rows) {
        for (v, &sum) in row.iter().enumerate() {
            let at = v * L::COUNT;
            let n = t.columns.saturating_sub(at).min(L::COUNT);
            // SAFETY: the caller's promise.
            unsafe {
                let mut y = sum;
                if !t.residual.is_null() {
                    let to = m as isize * t.residual_pitch + at as isize;
                    let r = t.residual.wrapping_offset(to);
                    y = y.add(match narrow[1] {
                        true => L::load_bf16(t.residual.cast::<u16>().wrapping_offset(to), n),
                        false if n == L::COUNT => L::load(r),
                        false => L::load_first(r, n),
                    });
                }
                if let Some((low, high)) = t.clamp {
                    y = y.at_least(L::splat(low)).at_most(L::splat(high));
                }
                let to = m as isize * t.pitch + at as isize;
                let out = t.out.wrapping_offset(to);
                match narrow[0] {
                    true => y.store_bf16(t.out.cast::<u16>().wrapping_offset(to), n),
                    false if n == L::COUNT => y.store(out),
                    false => y.store_first(out, n),
                }
            }
        }
    }
}
