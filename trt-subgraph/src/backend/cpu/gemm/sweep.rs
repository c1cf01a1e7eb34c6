//! The step that walks the result of a convolution or matrix product in tiles.
//!
//! A matrix product is a convolution with a window of one cell over a column of positions. Tensors have four axes here:
//! batch, lines, columns, channels; a line of the window and its channels are one run where they are neighbours.
//!
//! Operands of f32 are walked element by element, those of bf16 in pairs of channels: a *cell* is the one or the other, four bytes that tiles
//! multiply at once.
//!
//! Where the window reaches over the border, or channels are no neighbours, a band of lines is first copied into working
//! memory with its border of zeros: that costs a load and a store for each element of the input, which takes part in a whole
//! window of sums for each result channel.

use super::ahead::Ahead;
use super::border;
use super::finish::Finish;
use super::formula::{Formula, Part, Sums};
use super::panels::Panels;
use super::tile::{self, ROWS, Tile};
use super::window::{Window, pitch};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::bands::{Band, Images, Lines};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step, place};
use crate::backend::cpu::view::{Slot, View};
use std::ops::Range;

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 200_000;
/// Terms of a sum beyond which rows of the input, panels of weights and those after them no longer fit the second-level cache.
pub(super) const MOST_TERMS: usize = 1280;

/// A step.
pub struct Sweep {
    isa: Isa,
    window: Window,
    /// `[batch, lines, columns, channels]`.
    x: View,
    out: View,
    /// Cells of a position of `x`, as it is walked.
    cells: usize,
    /// Distances of images, lines and columns of `x` in cells, where it is walked in place.
    strides: [isize; 3],
    /// Sums of a band and a panel, where a formula wants them apart: each thread's place.
    apart: Option<(usize, Slot)>,
    panels: Panels,
    weights: (Slot, isize),
    finish: Finish,
    /// Distances of result positions in the result and in the residual, in elements.
    pitch: isize,
    residual_pitch: isize,
    /// The band that is copied: its lines, columns, and each thread's place.
    copied: Option<(usize, usize, Slot)>,
    taps: Vec<isize>,
    run: usize,
    /// Result lines of a band; bands of a copied input do not cross images.
    band: usize,
    bands: usize,
    /// Parts of the panels that are worked on apart.
    shares: usize,
    /// Terms of a sum that are added in one go, over all positions of a band; the rest is added to the result later.
    terms: usize,
}

impl Sweep {
    /// Emits the step. `out` has a [`pitch`], and so has the residual; `weights` are in `panels`, which are of pairs where `x` is of bf16;
    /// each group then has pairs of channels.
    pub fn emit(
        a: &mut Assembler,
        window: Window,
        x: View,
        out: View,
        (panels, weights): (Panels, (Slot, isize)),
        finish: Finish,
    ) {
        let (isa, threads) = (a.machine.isa, a.machine.threads);
        let [lines, columns] = [out.shape[1], out.shape[2]];
        let reach = |axis, count| window.reach(axis, count);
        let inside = (0..2).all(|axis| {
            let needed = reach(axis, out.shape[axis + 1]);
            window.before[axis] == 0 && needed <= x.shape[axis + 1]
        });
        let unit = if panels.pairs { 2 } else { 1 };
        let channels = x.shape[3].div_ceil(unit);
        let whole = x.shape[3].is_multiple_of(unit)
            && (0..3).all(|axis| x.shape[axis] == 1 || x.strides[axis] % unit as isize == 0);
        let in_place = inside && whole && (x.shape[3] == 1 || x.strides[3] == 1);
        let steps = [0, 1, 2].map(|axis| x.strides[axis] / unit as isize);
        let is_apart = finish.formula.as_ref().is_some_and(Formula::is_apart);

        // Bands: as many lines as fit the cache, or fewer so that every thread has some.
        let images = out.shape[0];
        let is_long = window == Window::ONE
            && in_place
            && channels > MOST_TERMS
            && out.dtype == DType::F32
            && images * lines * columns > ROWS
            && panels.list.iter().all(|p| p.vectors > 0);
        let parts = if is_long { channels.div_ceil(MOST_TERMS) } else { 1 };
        let terms = channels.div_ceil(parts);
        let widest = panels.list.iter().map(|p| panels.width(p)).max().unwrap_or(0);
        let apart_bytes = if is_apart { 4 * widest * columns } else { 0 };
        let line_bytes = 4 * terms * reach(1, columns) * window.stride[0] + apart_bytes;
        let band_bytes = a.machine.cache / 8 * 3;
        let fitting = (band_bytes / line_bytes.max(1)).max(1);
        let weight_bytes = 4 * panels.elements() * window.groups;
        let moved_bytes = x.dtype.size() * x.elements() + out.dtype.size() * out.elements();
        let wide = panels.list.iter().filter(|p| p.vectors > 0).count();
        let by_panels = threads > 1 && window.groups == 1 && weight_bytes > moved_bytes && wide >= threads;
        let shares = if by_panels { threads } else { 1 };
        let all = if in_place { images * lines } else { lines };
        let mut bands = all.div_ceil(fitting);
        let around = if in_place { 1 } else { images };
        if !by_panels && (around * bands < 8 * threads) {
            while around * bands % threads != 0 && bands < all {
                bands += 1;
            }
        }
        let mut band = all.div_ceil(bands);
        // Whole tiles, where that makes a band little longer.
        let rows = panels.kernels(isa, &panels.list[0])[0].0;
        let whole = (1..=rows).map(|n| band.next_multiple_of(n)).find(|n| n * columns % rows == 0);
        if let Some(whole) = whole.filter(|&whole| in_place && whole <= band + band / 8) {
            band = whole;
        }
        let bands = all.div_ceil(band);

        let copied = (!in_place).then(|| {
            let (h, w) = (reach(0, band), reach(1, columns));
            (h, w, a.scratch(threads * bytes(h * w * channels)))
        });
        let strides = match copied {
            Some((_, w, _)) => [(w * channels) as isize, channels as isize],
            None => [steps[1], steps[2]],
        };
        let apart = is_apart.then(|| {
            let bytes = bytes(band * columns * widest);
            (bytes, a.scratch(threads * bytes))
        });
        let merged = window.groups == 1 && window.dilation[1] == 1 && strides[1] == channels as isize;
        let mut taps = Vec::new();
        for h in 0..window.size[0] {
            for w in 0..if merged { 1 } else { window.size[1] } {
                taps.push(
                    (h * window.dilation[0]) as isize * strides[0]
                        + (w * window.dilation[1]) as isize * strides[1],
                );
            }
        }
        let run = panels.depth / taps.len();
        let mut touches = vec![x.slot, out.slot, weights.0];
        touches.extend(finish.touches());
        touches.extend(copied.map(|c| c.2));
        touches.extend(apart.map(|a| a.1));
        let positions = |v: &View| pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let pitch = positions(&out);
        let step = Sweep {
            isa,
            window,
            x,
            out,
            cells: channels,
            strides: steps,
            apart,
            panels,
            weights,
            finish,
            pitch,
            residual_pitch,
            copied,
            taps,
            run,
            band,
            bands,
            shares,
            terms: if is_long { terms } else { usize::MAX },
        };
        a.emit(step, &touches);
    }

    /// Work on one band of lines and one share of the panels.
    ///
    /// # Safety
    /// As for [`Step::run`]; the item belongs to this thread, which is number `thread`.
    unsafe fn item(&self, addresses: &[Address], at: &Places, thread: usize, item: usize) {
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
    unsafe fn band(
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

    fn places(&self, addresses: &[Address], [x, out]: [Address; 2]) -> Places {
        let [bias, residual] = self.finish.addresses(addresses);
        let weights = place(addresses, self.weights.0, self.weights.1);
        let scratch = self.copied.map_or(x, |c| place(addresses, c.2, 0));
        let apart = self.apart.map_or(x, |a| place(addresses, a.1, 0));
        Places { x, out, weights, scratch, apart, bias, residual }
    }

    fn items(&self) -> usize {
        self.shares * self.bands * if self.copied.is_some() { self.out.shape[0] } else { 1 }
    }
}

/// Where a call's tensors lie.
struct Places {
    x: Address,
    out: Address,
    weights: Address,
    scratch: Address,
    apart: Address,
    bias: Address,
    residual: Address,
}

/// Bytes of `elements` elements that start on a cache line.
fn bytes(elements: usize) -> usize {
    (4 * elements).next_multiple_of(64)
}

impl Lines for Sweep {
    fn images(&self) -> Images<'_> {
        Images {
            x: &self.x,
            out: &self.out,
            window: &self.window,
            weights: 4 * self.panels.elements() * self.window.groups,
        }
    }

    unsafe fn lines(&self, addresses: &[Address], thread: usize, places: [Address; 2], band: Band) {
        let (at, lines) = (self.places(addresses, places), band.lines);
        let (image, first) = match self.copied {
            Some(_) => (band.image, 0),
            None => (0, band.image * self.out.shape[1]),
        };
        for from in lines.clone().step_by(self.band) {
            let some = first + from..first + lines.end.min(from + self.band);
            // SAFETY: the caller's promise.
            unsafe { self.band(addresses, &at, thread, (image, some), (0, 1)) };
        }
    }
}

impl Step for Sweep {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = self.places(call.addresses, [&self.x, &self.out].map(|v| call.of(v)));
        let (items, addresses) = (self.items(), call.addresses);
        let work = self.out.elements() * self.panels.depth / items;
        call.team.split(items, GRAIN / work.max(1), |thread, part| {
            for item in part {
                // SAFETY: the caller gives all tensors; items are disjoint parts of the result.
                unsafe { self.item(addresses, &at, thread, item) };
            }
        });
        Ok(())
    }

    fn by_lines(&self) -> Option<&dyn Lines> {
        (self.terms == usize::MAX).then_some(self)
    }

    fn describe(&self) -> String {
        let [h, w] = self.window.size;
        let copied = if self.copied.is_some() { ", copied band" } else { "" };
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        let (depth, tile) = (self.panels.depth, self.panels.width(&self.panels.list[0]));
        let finish = self.finish.describe();
        let kind = if self.panels.pairs { "tiles of bf16" } else { "tiles" };
        let depth = if self.panels.pairs { 2 * depth } else { depth };
        format!("{kind} {}: window {h}x{w}, sums of {depth}{copied}, {tile} columns{finish}", shape.join("x"))
    }
}
