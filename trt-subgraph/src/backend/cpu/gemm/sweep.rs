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

mod walk;

use super::finish::Finish;
use super::formula::Formula;
use super::panels::Panels;
use super::tile::ROWS;
use super::window::{Window, pitch};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::bands::{Band, Images, Lines};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};

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
