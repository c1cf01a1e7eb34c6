//! How a step walks its result: band by band, panel by panel, tile by tile.

use super::{Sweep, bytes};
use crate::DType;
use crate::backend::cpu::gemm::ahead::Ahead;
use crate::backend::cpu::gemm::border;
use crate::backend::cpu::gemm::formula::{Part, Sums};
use crate::backend::cpu::gemm::tile::{self, ROWS, Tile};
use crate::backend::cpu::step::{Address, place};
use std::ops::Range;

impl Sweep {
    /// Work on one band of lines and one share of the panels.
    ///
    /// # Safety
    /// As for [`Step::run`]; the item belongs to this thread, which is number `thread`.
    pub(super) unsafe fn item(&self, addresses: &[Address], at: &Places, thread: usize, item: usize) {
        let (share, item) = (item / (self.items() / self.shares), item % (self.items() / self.shares));
        let lines = self.out.shape[1];
        let (image, band, all) = match self.copied {
            Some(_) => (item / self.bands, item % self.bands, lines),
            None => (0, item, self.out.shape[0] * lines),
        };
        let lines = band * self.band..all.min((band + 1) * self.band);
        // SAFETY: the caller's promise.
        unsafe { self.band(addresses, at, thread, (image, lines), (share, self.shares)) };
    }

    /// A band of lines of an image, or of all images where nothing is copied, by one of so many shares of the panels.
    ///
    /// # Safety
    /// As for [`Step::run`]; a band of [`Sweep::band`] lines at most, which is this thread's.
    pub(super) unsafe fn band(
        &self,
        addresses: &[Address],
        at: &Places,
        thread: usize,
        (image, band): (usize, Range<usize>),
        (share, shares): (usize, usize),
    ) {
        let lines = self.out.shape[1];
        let channels = self.cells;
        let (first, last) = (band.start, band.end);
        let (base, strides) = match self.copied {
            Some((h, w, _)) => {
                let to = at.scratch.at::<f32>((thread * bytes(h * w * channels) / 4) as isize);
                // SAFETY: the scratch is this thread's and has room for a band.
                unsafe {
                    match self.panels.pairs {
                        false => border::copy(&self.x, &self.window, at.x, (image, band), to, (w, channels)),
                        true => {
                            let to = to.cast::<u16>();
                            border::copy(&self.x, &self.window, at.x, (image, band), to, (w, 2 * channels));
                        }
                    }
                }
                (to.cast_const(), [0, (w * channels) as isize, channels as isize])
            }
            None => (at.x.at::<f32>(0).cast_const(), self.strides),
        };
        let size = |narrow: bool| if narrow { 2 } else { 4 };
        let narrow = [self.out.dtype, self.finish.residual.as_ref().map_or(DType::F32, |r| r.dtype)];
        let narrow = narrow.map(|dtype| dtype == DType::BF16);
        let sums = self.apart.map(|(bytes, _)| at.apart.at::<u8>((thread * bytes) as isize).cast::<f32>());
        let [sh, sw] = [0, 1].map(|i| strides[i + 1] * self.window.stride[i] as isize);
        let columns = self.out.shape[2];
        let origin = if self.copied.is_some() { first } else { 0 };
        let start = |line: usize| {
            let (n, h) = (line / lines, line % lines);
            base.wrapping_offset(n as isize * strides[0] + (h as isize - origin as isize) * sh)
        };
        let from = (image * lines + first) * columns;
        let count = (last - first) * columns;
        let panels = self.panels.list.len();
        let panels = &self.panels.list[panels * share / shares..panels * (share + 1) / shares];
        let outputs = self.out.shape[3] / self.window.groups;
        let depth = self.panels.depth;
        let parts = (0..depth.max(1)).step_by(self.terms.min(depth.max(1)));
        let parts =
            parts.flat_map(|begin| panels.iter().enumerate().map(move |(i, panel)| (i, panel, begin)));
        for group in 0..self.window.groups {
            let channel = group * (channels / self.window.groups);
            for (i, panel, begin) in parts.clone() {
                let end = depth.min(begin.saturating_add(self.terms));
                let (is_first, is_last, tap) = (begin == 0, end == depth, [begin as isize]);
                // A part of a matrix product's sum, or all taps.
                let (taps, run) = match is_first && is_last {
                    true => (&self.taps[..], self.run),
                    false => (&tap[..], end - begin),
                };
                let kernels = self.panels.kernels(self.isa, panel);
                let column = (group * outputs + panel.first) as isize;
                let width = self.panels.width(panel);
                let b = group * self.panels.elements() + panel.offset + begin * width;
                let (mut line, mut cell) = (first, 0);
                let mut row = start(line).wrapping_add(channel);
                let mut done = 0;
                // The weights after these: of the next panel, or of the first one's next terms.
                let next = match panels.get(i + 1) {
                    Some(next) => Some((next, begin)),
                    None if !is_last => Some((&panels[0], end)),
                    None => None,
                };
                let mut ahead = next.map_or(Ahead::NONE, |(next, begin)| {
                    let width = self.panels.width(next);
                    let offset = group * self.panels.elements() + next.offset + begin * width;
                    let terms = self.terms.min(depth - begin);
                    let tiles = count.div_ceil(kernels[0].0);
                    Ahead::new(at.weights.at::<f32>(offset as isize), width * terms, tiles, taps.len() * run)
                });
                while done < count {
                    let (rows, kernel) = tile::next(kernels, count - done);
                    let mut a = [row; ROWS];
                    for (m, a) in a.iter_mut().enumerate() {
                        if m < rows {
                            *a = row.wrapping_offset(cell as isize * sw);
                            cell += 1;
                            if cell == columns {
                                (line, cell) = (line + 1, 0);
                                row = start(line).wrapping_add(channel);
                            }
                        }
                    }
                    let position = (from + done) as isize;
                    let place = (position * self.pitch + column) * size(narrow[0]);
                    let out = at.out.at::<u8>(place).cast::<f32>();
                    let null = std::ptr::null();
                    // Sums go on from what is there already.
                    let (residual, residual_pitch) = match (is_first, &self.finish.residual) {
                        (false, _) => (out.cast_const(), self.pitch),
                        (true, Some(_)) => {
                            let pitch = self.residual_pitch;
                            let place = (position * pitch + column) * size(narrow[1]);
                            (at.residual.at::<u8>(place).cast_const().cast(), pitch)
                        }
                        (true, None) => (null, 0),
                    };
                    let (out, pitch, narrow) = match sums {
                        Some(sums) => (sums.wrapping_add(done * width), width as isize, [false, narrow[1]]),
                        None => (out, self.pitch, narrow),
                    };
                    let has_bias = is_first && self.finish.bias.is_some();
                    let tile = Tile {
                        a,
                        rows,
                        taps,
                        run,
                        b: at.weights.at::<f32>(b as isize),
                        bias: if has_bias { at.bias.at::<f32>(column) } else { null },
                        out,
                        pitch,
                        columns: panel.columns,
                        residual,
                        residual_pitch,
                        narrow,
                        clamp: self.finish.clamp.filter(|_| is_last),
                        ahead,
                    };
                    ahead = ahead.after(taps.len() * run);
                    // SAFETY: rows lie in the input or the copied band, the rest in what the step was made for; parts of the
                    // result are this thread's.
                    unsafe { kernel(&tile) };
                    done += rows;
                }
                if let Some(formula) = self.finish.formula.as_ref().filter(|_| is_last) {
                    let columns = (group * outputs + panel.first, panel.columns);
                    let sums = sums.map(|first| Sums(first, width as isize));
                    let part = Part { thread, positions: (from, count), columns, pitch: self.pitch, sums };
                    // SAFETY: the part is this thread's, and complete.
                    unsafe { formula.apply(addresses, at.out, &part) };
                }
            }
        }
    }

    pub(super) fn places(&self, addresses: &[Address], [x, out]: [Address; 2]) -> Places {
        let [bias, residual] = self.finish.addresses(addresses);
        let weights = place(addresses, self.weights.0, self.weights.1);
        let scratch = self.copied.map_or(x, |c| place(addresses, c.2, 0));
        let apart = self.apart.map_or(x, |a| place(addresses, a.1, 0));
        Places { x, out, weights, scratch, apart, bias, residual }
    }

    pub(super) fn items(&self) -> usize {
        self.shares * self.bands * if self.copied.is_some() { self.out.shape[0] } else { 1 }
    }
}

/// Where a call's tensors lie.
pub(super) struct Places {
    x: Address,
    out: Address,
    weights: Address,
    scratch: Address,
    apart: Address,
    bias: Address,
    residual: Address,
}
