//! The step that walks the result of a convolution or matrix product in tiles.
//!
//! A matrix product is a convolution with a window of one cell over a column of positions. Tensors have four axes here:
//! batch, lines, columns, channels; a line of the window and its channels are one run where they are neighbours.
//!
//! Where the window reaches over the border, or channels are no neighbours, a band of lines is first copied into working
//! memory with its border of zeros: that costs a load and a store for each element of the input, which takes part in a whole
//! window of sums for each result channel.

use super::finish::Finish;
use super::formula::Part;
use super::panels::Panels;
use super::tile::{self, ROWS, Tile};
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 200_000;
/// Bytes of input that a thread works on at a time: they stay in its second-level cache.
const BAND: usize = 192 * 1024;

/// The window of a convolution along lines and columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub size: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Zeros before the first line and column.
    pub before: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl Window {
    /// One cell: a matrix product.
    pub const ONE: Window =
        Window { size: [1; 2], stride: [1; 2], dilation: [1; 2], before: [0; 2], groups: 1 };
}

/// A step.
pub struct Sweep {
    isa: Isa,
    window: Window,
    /// `[batch, lines, columns, channels]`.
    x: View,
    out: View,
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
}

/// The distance of neighbouring positions, where all positions of a tensor `[batch, lines, columns, channels]` are equally far
/// apart and channels are neighbours.
pub fn pitch(view: &View) -> Option<isize> {
    if view.shape[3] > 1 && view.strides[3] != 1 {
        return None;
    }
    let mut pitch = None;
    let mut count = 1isize;
    for axis in (0..3).rev().filter(|&a| view.shape[a] > 1) {
        let unit = *pitch.get_or_insert(view.strides[axis]);
        if view.strides[axis] != unit * count {
            return None;
        }
        count *= view.shape[axis] as isize;
    }
    Some(pitch.unwrap_or(view.shape[3] as isize))
}

impl Sweep {
    /// Emits the step. `out` has a [`pitch`], and so has the residual; `weights` are in `panels`.
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
        let reach = |axis: usize, count: usize| {
            (count - 1) * window.stride[axis] + (window.size[axis] - 1) * window.dilation[axis] + 1
        };
        let inside = (0..2).all(|axis| {
            let needed = reach(axis, out.shape[axis + 1]);
            window.before[axis] == 0 && needed <= x.shape[axis + 1]
        });
        let channels = x.shape[3];
        let in_place = inside && (channels == 1 || x.strides[3] == 1);

        // Bands: as many lines as fit the cache, or fewer so that every thread has some.
        let images = out.shape[0];
        let line_bytes = 4 * channels * reach(1, columns) * window.stride[0];
        let fitting = (BAND / line_bytes.max(1)).max(1);
        let weight_bytes = 4 * panels.elements() * window.groups;
        let moved_bytes = 4 * (x.elements() + out.elements());
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
        let band = all.div_ceil(bands);
        let bands = all.div_ceil(band);

        let copied = (!in_place).then(|| {
            let (h, w) = (reach(0, band), reach(1, columns));
            (h, w, a.scratch(threads * bytes(h * w * channels)))
        });
        let strides = match copied {
            Some((_, w, _)) => [(w * channels) as isize, channels as isize],
            None => [x.strides[1], x.strides[2]],
        };
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
        let positions = |v: &View| pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let pitch = positions(&out);
        let step = Sweep {
            isa,
            window,
            x,
            out,
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
        let channels = self.x.shape[3];
        let (image, first, last, base, strides) = match self.copied {
            Some((h, w, _)) => {
                let (image, band) = (item / self.bands, item % self.bands);
                let (first, last) = (band * self.band, lines.min((band + 1) * self.band));
                let to = at.scratch.at::<f32>((thread * bytes(h * w * channels) / 4) as isize);
                // SAFETY: the scratch is this thread's and has room for a band.
                unsafe { self.copy(at.x.at::<f32>(image as isize * self.x.strides[0]), first, last, to, w) };
                (image, first, last, to.cast_const(), [0, (w * channels) as isize, channels as isize])
            }
            None => {
                let (first, last) =
                    (item * self.band, (self.out.shape[0] * lines).min((item + 1) * self.band));
                let strides = [self.x.strides[0], self.x.strides[1], self.x.strides[2]];
                (0, first, last, at.x.at::<f32>(0).cast_const(), strides)
            }
        };
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
        let panels = &self.panels.list[panels * share / self.shares..panels * (share + 1) / self.shares];
        let outputs = self.out.shape[3] / self.window.groups;
        for group in 0..self.window.groups {
            let channel = group * (channels / self.window.groups);
            for panel in panels {
                let kernels = self.panels.kernels(self.isa, panel);
                let column = (group * outputs + panel.first) as isize;
                let b = group * self.panels.elements() + panel.offset;
                let (mut line, mut cell) = (first, 0);
                let mut row = start(line).wrapping_add(channel);
                let mut done = 0;
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
                    let residual = at.residual.at::<f32>(position * self.residual_pitch + column);
                    let bias = at.bias.at::<f32>(column);
                    let null = std::ptr::null();
                    let tile = Tile {
                        a,
                        rows,
                        taps: &self.taps,
                        run: self.run,
                        b: at.weights.at::<f32>(b as isize),
                        bias: if self.finish.bias.is_some() { bias } else { null },
                        out: at.out.at::<f32>(position * self.pitch + column),
                        pitch: self.pitch,
                        columns: panel.columns,
                        residual: if self.finish.residual.is_some() { residual } else { null },
                        residual_pitch: self.residual_pitch,
                        clamp: self.finish.clamp,
                    };
                    // SAFETY: rows lie in the input or the copied band, the rest in what the step was made for; parts of the
                    // result are this thread's.
                    unsafe { kernel(&tile) };
                    done += rows;
                }
            }
        }
        if let (Some(formula), Some(end)) = (&self.finish.formula, panels.last()) {
            let left = panels[0].first;
            let columns = match self.window.groups {
                1 => (left, end.first + end.columns - left),
                groups => (0, groups * outputs),
            };
            let part = Part { thread, positions: (from, count), columns, pitch: self.pitch };
            // SAFETY: the part is this thread's, and complete.
            unsafe { formula.apply(addresses, at.out, &part) };
        }
    }

    /// Copies what result lines `first..last` of an image read, with the border.
    ///
    /// # Safety
    /// `image` is an image of the input; `to` has room for the band.
    unsafe fn copy(&self, image: *mut f32, first: usize, last: usize, to: *mut f32, width: usize) {
        let (x, w, channels) = (&self.x, &self.window, self.x.shape[3]);
        let height = (last - first - 1) * w.stride[0] + (w.size[0] - 1) * w.dilation[0] + 1;
        let top = (first * w.stride[0]) as isize - w.before[0] as isize;
        let left = w.before[1].min(width);
        let middle = x.shape[2].min(width - left);
        for line in 0..height {
            // SAFETY: `to` has room for `height` lines; lines of the input are inside of the image.
            unsafe {
                let to = std::slice::from_raw_parts_mut(to.add(line * width * channels), width * channels);
                let source = top + line as isize;
                if source < 0 || source >= x.shape[1] as isize {
                    to.fill(0.0);
                    continue;
                }
                let from = image.wrapping_offset(source * x.strides[1]).cast_const();
                to[..left * channels].fill(0.0);
                to[(left + middle) * channels..].fill(0.0);
                let to = &mut to[left * channels..(left + middle) * channels];
                if x.strides[3] == 1 && x.strides[2] == channels as isize {
                    to.copy_from_slice(std::slice::from_raw_parts(from, middle * channels));
                } else if channels == 1 && x.strides[2] == 1 {
                    to.copy_from_slice(std::slice::from_raw_parts(from, middle));
                } else {
                    for c in 0..channels {
                        let plane = from.wrapping_offset(c as isize * x.strides[3]);
                        for (i, cell) in to.chunks_exact_mut(channels).enumerate() {
                            cell[c] = *plane.wrapping_offset(i as isize * x.strides[2]);
                        }
                    }
                }
            }
        }
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
    bias: Address,
    residual: Address,
}

/// Bytes of `elements` elements that start on a cache line.
fn bytes(elements: usize) -> usize {
    (4 * elements).next_multiple_of(64)
}

impl Step for Sweep {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (x, out) = (call.of(&self.x), call.of(&self.out));
        let [bias, residual] = self.finish.addresses(call);
        let weights = call.place(self.weights.0, self.weights.1);
        let scratch = self.copied.map_or(x, |c| call.place(c.2, 0));
        let at = Places { x, out, weights, scratch, bias, residual };
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

    fn describe(&self) -> String {
        let [h, w] = self.window.size;
        let copied = if self.copied.is_some() { ", copied band" } else { "" };
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        let (depth, tile) = (self.panels.depth, self.panels.width(&self.panels.list[0]));
        let finish = self.finish.describe();
        format!("tiles {}: window {h}x{w}, sums of {depth}{copied}, {tile} columns{finish}", shape.join("x"))
    }
}
