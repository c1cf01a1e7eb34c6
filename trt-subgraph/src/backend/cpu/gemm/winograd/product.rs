//! The 16 matrix products of a block: rows are equally far apart and sums short, so that what a call of a tile's kernel costs
//! would be a good part of them.

use super::{VALUES, Winograd};
use crate::backend::cpu::gemm::ahead::Ahead;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::backend::cpu::gemm::panels::Panel;
use crate::backend::cpu::gemm::tile::CHAIN;

/// Inputs whose weights for a vector of outputs leave room for sums in 32 registers.
const HELD: usize = 16;

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
    /// The panel after this one.
    next: *const f32,
}

by_lanes! {
    /// `sums[value][tile, output] = sum over inputs of values[value][tile, input] * U[value][input, output]` for `count` tiles and
    /// the outputs of `panels`.
    ///
    /// # Safety
    /// As for [`Winograd::block`].
    pub unsafe fn products => all(w: &Winograd, weights: *const f32, values: *const f32, sums: *mut f32, count: usize, panels: &[Panel])
}

#[inline(always)]
unsafe fn all<L: Lanes>(
    w: &Winograd,
    weights: *const f32,
    values: *const f32,
    sums: *mut f32,
    count: usize,
    panels: &[Panel],
) {
    let [from_step, to_step] = w.steps();
    let (inputs, outputs, group) = (w.x.shape[3], w.padded(), w.panels.elements());
    for value in 0..VALUES {
        for (i, panel) in panels.iter().enumerate() {
            let next = panels.get(i + 1).map_or((value + 1, &panels[0]), |next| (value, next));
            let p = Product {
                from: values.wrapping_add(value * from_step),
                inputs,
                weights: weights.wrapping_add(value * group + panel.offset),
                to: sums.wrapping_add(value * to_step + panel.first),
                outputs,
                next: weights.wrapping_add(next.0 * group + next.1.offset),
            };
            // SAFETY: the caller's promise; the panel has that many vectors.
            unsafe {
                match (panel.vectors, L::COUNT == 16) {
                    (1, true) if inputs == HELD => held::<L>(p, count),
                    (1, _) => product::<L, 12, 1>(p, count, w.is_far),
                    (2, true) => product::<L, 12, 2>(p, count, w.is_far),
                    (2, false) => product::<L, 6, 2>(p, count, w.is_far),
                    (3, _) => product::<L, 8, 3>(p, count, w.is_far),
                    _ => product::<L, 6, 4>(p, count, w.is_far),
                }
            }
        }
    }
}

/// [`HELD`] inputs and a vector of outputs: the weights stay in registers from tile to tile.
#[inline(always)]
unsafe fn held<L: Lanes>(p: Product, count: usize) {
    const TILES: usize = 4;
    // SAFETY: the caller's promise.
    unsafe {
        let weights: [L; HELD] = std::array::from_fn(|i| L::load(p.weights.add(i * L::COUNT)));
        let whole = count / TILES * TILES;
        for first in (0..whole).step_by(TILES) {
            let from = p.from.add(first * HELD);
            let mut sums = [L::splat(0.0); TILES];
            for i in 0..HELD {
                for m in 0..TILES {
                    sums[m] = L::splat(*from.add(m * HELD + i)).mul_add(weights[i], sums[m]);
                }
            }
            for m in 0..TILES {
                sums[m].store(p.to.add((first + m) * p.outputs));
            }
        }
        for tile in whole..count {
            let mut sum = L::splat(0.0);
            for i in 0..HELD {
                sum = L::splat(*p.from.add(tile * HELD + i)).mul_add(weights[i], sum);
            }
            sum.store(p.to.add(tile * p.outputs));
        }
    }
}

/// `M` tiles at a time; the last ones overlap those before where there are enough. Weights of the next product are brought near
/// where they are far.
#[inline(always)]
unsafe fn product<L: Lanes, const M: usize, const V: usize>(p: Product, count: usize, is_far: bool) {
    let mut done = 0;
    // SAFETY: the caller's promise.
    unsafe {
        if is_far {
            let mut ahead = Ahead::new(p.next, p.inputs * V * L::COUNT, count / M, p.inputs);
            while done + M <= count {
                rows::<L, M, V, true>(p, done, ahead);
                ahead = ahead.after(p.inputs);
                done += M;
            }
        }
        while done + M <= count {
            rows::<L, M, V, false>(p, done, Ahead::NONE);
            done += M;
        }
        let left = count - done;
        if left > 4 && count >= M {
            return rows::<L, M, V, false>(p, count - M, Ahead::NONE);
        }
        while done < count {
            match (count - done, count) {
                (3.., 4..) => {
                    rows::<L, 4, V, false>(p, done.min(count - 4), Ahead::NONE);
                    done += 4;
                }
                (2.., _) => {
                    rows::<L, 2, V, false>(p, done, Ahead::NONE);
                    done += 2;
                }
                _ => {
                    rows::<L, 1, V, false>(p, done, Ahead::NONE);
                    done += 1;
                }
            }
        }
    }
}

/// The sums of `M` tiles from the `first` on. Long ones are gathered from shorter ones, which keeps their rounding errors apart.
#[inline(always)]
unsafe fn rows<L: Lanes, const M: usize, const V: usize, const AHEAD: bool>(
    p: Product,
    first: usize,
    mut ahead: Ahead,
) {
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
                if AHEAD {
                    ahead.term();
                }
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
