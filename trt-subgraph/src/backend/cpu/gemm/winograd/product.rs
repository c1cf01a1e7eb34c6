//! The 16 matrix products of a block: rows are equally far apart and sums short, so that what a call of a tile's kernel costs
//! would be a good part of them.

use super::{VALUES, Winograd};
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::backend::cpu::gemm::tile::CHAIN;

/// One of the products, with one panel of the weights.
#[derive(Clone, Copy)]
struct Product {
    /// `[tiles, inputs]`.
    from: *const f32,
    inputs: usize,
    /// `[inputs, vectors]`.
    weights: *const f32,
    /// `[tiles, outputs]`, of which the panel's are written.
    to: *mut f32,
    outputs: usize,
}

by_lanes! {
    /// `sums[value][tile, output] = sum over inputs of values[value][tile, input] * U[value][input, output]` for `count` tiles.
    ///
    /// # Safety
    /// As for [`Winograd::block`].
    pub unsafe fn products => all(w: &Winograd, weights: *const f32, values: *const f32, sums: *mut f32, count: usize)
}

#[inline(always)]
unsafe fn all<L: Lanes>(w: &Winograd, weights: *const f32, values: *const f32, sums: *mut f32, count: usize) {
    let [from_step, to_step] = w.steps();
    let (inputs, outputs, group) = (w.x.shape[3], w.padded(), w.panels.elements());
    for value in 0..VALUES {
        for panel in &w.panels.list {
            let p = Product {
                from: values.wrapping_add(value * from_step),
                inputs,
                weights: weights.wrapping_add(value * group + panel.offset),
                to: sums.wrapping_add(value * to_step + panel.first),
                outputs,
            };
            // SAFETY: the caller's promise; the panel has that many vectors.
            unsafe {
                match (panel.vectors, L::COUNT == 16) {
                    (1, _) => product::<L, 12, 1>(p, count),
                    (2, true) => product::<L, 12, 2>(p, count),
                    (2, false) => product::<L, 6, 2>(p, count),
                    (3, _) => product::<L, 8, 3>(p, count),
                    _ => product::<L, 6, 4>(p, count),
                }
            }
        }
    }
}

/// `M` tiles at a time; the last ones overlap those before where there are enough.
#[inline(always)]
unsafe fn product<L: Lanes, const M: usize, const V: usize>(p: Product, count: usize) {
    let mut done = 0;
    // SAFETY: the caller's promise.
    unsafe {
        while done + M <= count {
            rows::<L, M, V>(p, done);
            done += M;
        }
        let left = count - done;
        if left > 4 && count >= M {
            return rows::<L, M, V>(p, count - M);
        }
        while done < count {
            match (count - done, count) {
                (3.., 4..) => {
                    rows::<L, 4, V>(p, done.min(count - 4));
                    done += 4;
                }
                (2.., _) => {
                    rows::<L, 2, V>(p, done);
                    done += 2;
                }
                _ => {
                    rows::<L, 1, V>(p, done);
                    done += 1;
                }
            }
        }
    }
}

/// The sums of `M` tiles from the `first` on. Long ones are gathered from shorter ones, which keeps their rounding errors apart.
#[inline(always)]
unsafe fn rows<L: Lanes, const M: usize, const V: usize>(p: Product, first: usize) {
    let from = p.from.wrapping_add(first * p.inputs);
    let to = p.to.wrapping_add(first * p.outputs);
    let mut b = p.weights;
    let mut start = 0;
    loop {
        let end = p.inputs.min(start + CHAIN);
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[L::splat(0.0); V]; M];
            for i in start..end {
                let mut columns = [L::splat(0.0); V];
                for v in 0..V {
                    columns[v] = L::load(b.add(v * L::COUNT));
                }
                b = b.add(V * L::COUNT);
                for m in 0..M {
                    let x = L::splat(*from.add(m * p.inputs + i));
                    for v in 0..V {
                        sums[m][v] = x.mul_add(columns[v], sums[m][v]);
                    }
                }
            }
            for m in 0..M {
                for v in 0..V {
                    let to = to.add(m * p.outputs + v * L::COUNT);
                    let sum = if start == 0 { sums[m][v] } else { L::load(to).add(sums[m][v]) };
                    sum.store(to);
                }
            }
        }
        if end == p.inputs {
            return;
        }
        start = end;
    }
}
