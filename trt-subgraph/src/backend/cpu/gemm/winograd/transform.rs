//! The transforms of input and sums.

use super::{Places, VALUES, Winograd};
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use std::array::from_fn;
use std::ops::Range;

by_lanes! {
    /// Transforms the input of tiles `first..last` to `values[16][block][inputs]`.
    ///
    /// # Safety
    /// As for [`Winograd::block`].
    pub unsafe fn forward => transform(w: &Winograd, at: &Places, values: *mut f32, first: usize, last: usize)
}

#[inline(always)]
unsafe fn transform<L: Lanes>(w: &Winograd, at: &Places, values: *mut f32, first: usize, last: usize) {
    let channels = w.x.shape[3];
    let [step, _] = w.steps();
    let zeros = [0f32; 16];
    let whole = channels / L::COUNT * L::COUNT;
    let [lines, columns] = [w.x.shape[1], w.x.shape[2]].map(|n| n as isize);
    let [down, right] = [w.x.strides[1], w.x.strides[2]];
    let mut corner = w.corner(first);
    for tile in 0..last - first {
        let [image, line, column] = corner;
        corner = w.next(corner);
        let image = at.x.at::<f32>(image as isize * w.x.strides[0]).cast_const();
        let (line, column) = (line as isize - w.before[0] as isize, column as isize - w.before[1] as isize);
        let to = values.wrapping_add(tile * channels);
        let pixel = image.wrapping_offset(line * down + column * right);
        if line >= 0 && column >= 0 && line + 4 <= lines && column + 4 <= columns && whole == channels {
            for channel in (0..whole).step_by(L::COUNT) {
                let pixel = pixel.wrapping_add(channel);
                // SAFETY: all pixels are inside of the image and have all channels; the block has room.
                unsafe {
                    let load =
                        |i: usize, j: usize| L::load(pixel.offset(i as isize * down + j as isize * right));
                    values_of::<L, true>(load, to.wrapping_add(channel), step, L::COUNT);
                }
            }
            continue;
        }
        // A pixel, and 1, or zeros, and 0: what its channels are counted in.
        let are_columns: [bool; 4] = from_fn(|j| (0..columns).contains(&(column + j as isize)));
        let pixels: [[(*const f32, usize); 4]; 4] = from_fn(|i| {
            let is_line = (0..lines).contains(&(line + i as isize));
            from_fn(|j| match is_line & are_columns[j] {
                true => (pixel.wrapping_offset(i as isize * down + j as isize * right), 1),
                false => (zeros.as_ptr(), 0),
            })
        });
        for channel in (0..channels).step_by(L::COUNT) {
            let place = |i: usize, j: usize| pixels[i][j].0.wrapping_add(channel * pixels[i][j].1);
            let to = to.wrapping_add(channel);
            // SAFETY: pixels inside of the image have all channels; the block has room.
            unsafe {
                if channel < whole {
                    values_of::<L, true>(|i, j| L::load(place(i, j)), to, step, L::COUNT);
                } else {
                    let left = channels - whole;
                    values_of::<L, false>(|i, j| L::load_first(place(i, j), left), to, step, left);
                }
            }
        }
    }
}

/// `B'xB` of a vector of channels; `load` gives that of a pixel by line and column.
///
/// # Safety
/// As for [`forward`].
#[inline(always)]
unsafe fn values_of<L: Lanes, const WHOLE: bool>(
    load: impl Fn(usize, usize) -> L,
    to: *mut f32,
    step: usize,
    n: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut t = [L::splat(0.0); VALUES];
        for j in 0..4 {
            let [a, b, c, d] = [load(0, j), load(1, j), load(2, j), load(3, j)];
            t[j] = a.sub(c);
            t[4 + j] = b.add(c);
            t[8 + j] = c.sub(b);
            t[12 + j] = b.sub(d);
        }
        for i in 0..4 {
            let [a, b, c, d] = [t[4 * i], t[4 * i + 1], t[4 * i + 2], t[4 * i + 3]];
            let to = to.wrapping_add(4 * i * step);
            a.sub(c).store_some::<WHOLE>(to, n);
            b.add(c).store_some::<WHOLE>(to.wrapping_add(step), n);
            c.sub(b).store_some::<WHOLE>(to.wrapping_add(2 * step), n);
            b.sub(d).store_some::<WHOLE>(to.wrapping_add(3 * step), n);
        }
    }
}

by_lanes! {
    /// Transforms `channels` of `sums[16][block][padded outputs]` of tiles `first..last` back and finishes them. Is all of it
    /// finite? The first channel starts a vector.
    ///
    /// # Safety
    /// As for [`Winograd::block`].
    pub unsafe fn back => inverse(w: &Winograd, at: &Places, sums: *mut f32, first: usize, last: usize, channels: Range<usize>) -> bool
}

#[inline(always)]
unsafe fn inverse<L: Lanes>(
    w: &Winograd,
    at: &Places,
    sums: *mut f32,
    first: usize,
    last: usize,
    channels: Range<usize>,
) -> bool {
    let padded = w.padded();
    let whole = channels.end / L::COUNT * L::COUNT;
    let mut corner = w.corner(first);
    // SAFETY: the caller's promise.
    unsafe {
        // 0 as long as all results are finite, else NaN somewhere.
        let mut odd = L::splat(0.0);
        for tile in 0..last - first {
            let from = sums.wrapping_add(tile * padded).cast_const();
            for channel in (channels.start..whole).step_by(L::COUNT) {
                odd = results_of::<L, true>(w, at, corner, from, channel, L::COUNT, odd);
            }
            if whole < channels.end {
                odd = results_of::<L, false>(w, at, corner, from, whole, channels.end - whole, odd);
            }
            corner = w.next(corner);
        }
        let mut lanes = [0f32; 16];
        odd.store(lanes.as_mut_ptr());
        lanes[..L::COUNT].iter().all(|&v| v == 0.0)
    }
}

/// `A'MA` of a vector of channels, finished; gives `odd + 0 * results`.
///
/// # Safety
/// As for [`back`]; sums have whole vectors, and so has the bias.
#[inline(always)]
unsafe fn results_of<L: Lanes, const WHOLE: bool>(
    w: &Winograd,
    at: &Places,
    [image, line, column]: [usize; 3],
    from: *const f32,
    channel: usize,
    n: usize,
    mut odd: L,
) -> L {
    let [_, step] = w.steps();
    let [lines, columns] = [w.out.shape[1], w.out.shape[2]];
    let position = ((image * lines + line) * columns + column) as isize;
    let c = channel as isize;
    // SAFETY: the caller's promise.
    unsafe {
        let zero = L::splat(0.0);
        let load = |i: usize| L::load(from.wrapping_add(i * step + channel));
        let mut t = [zero; 8];
        for j in 0..4 {
            let [a, b, c, d] = [load(j), load(4 + j), load(8 + j), load(12 + j)];
            t[j] = a.add(b).add(c);
            t[4 + j] = b.sub(c).sub(d);
        }
        let bias = if w.finish.bias.is_some() { L::load(at.bias.at::<f32>(c)) } else { zero };
        let results = [
            t[0].add(t[1]).add(t[2]),
            t[1].sub(t[2]).sub(t[3]),
            t[4].add(t[5]).add(t[6]),
            t[5].sub(t[6]).sub(t[7]),
        ];
        for i in 0..4 {
            let (down, right) = (i / 2, i % 2);
            if line + down < lines && column + right < columns {
                odd = results[i].mul_add(zero, odd);
                let mut y = results[i].add(bias);
                let position = position + (down * columns + right) as isize;
                if w.finish.residual.is_some() {
                    let r = at.residual.at::<f32>(position * w.residual_pitch + c);
                    y = y.add(L::load_some::<WHOLE>(r, n));
                }
                if let Some((low, high)) = w.finish.clamp {
                    y = y.at_least(L::splat(low)).at_most(L::splat(high));
                }
                y.store_some::<WHOLE>(at.out.at::<f32>(position * w.pitch + c), n);
            }
        }
        odd
    }
}
