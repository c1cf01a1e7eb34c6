//! The step for windows that reach far over the border, as widely dilated ones do: each cell of the window is a matrix product of its
//! own, over those positions of the result for which it lies inside of the input. Nothing is copied, and no zeros are multiplied.

use super::ahead::Ahead;
use super::finish::Finish;
use super::formula::Part;
use super::panels::Panels;
use super::sweep::MOST_TERMS;
use super::tile::{self, ROWS, Tile};
use super::window::{Window, pitch};
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use std::ops::Range;

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 200_000;
/// The fewest input channels for which sums of one cell are long enough.
const FEWEST_CHANNELS: usize = 64;
/// What one product costs more than in [`super::sweep::Sweep`], whose sums stay in registers for all cells.
const APART: f64 = 1.15;
/// The part of the products of a window of neighbours that lies inside at least where bands are as good.
const NEAR: f64 = 0.7;
/// Products that take as long as copying an element into a band does.
const COPY: f64 = 35.0;

/// A cell of a window.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// Its number in the window.
    number: usize,
    /// Lines and columns of the result for which it lies inside of the input.
    lines: Range<usize>,
    columns: Range<usize>,
    /// Where it lies for line 0 and column 0, relative to the input's first line and column.
    from: [isize; 2],
}

/// The cells of a window that ever lie inside of the input, the one that always does last; `None` where
/// [`super::sweep::Sweep`] takes less time, or no cell always does. `x` and `out` are `[batch, lines, columns, channels]`.
pub fn cells(window: &Window, x: &View, out: &View, cache: usize) -> Option<Vec<Cell>> {
    if window.groups != 1 || x.shape[3] < FEWEST_CHANNELS || x.strides[3] != 1 {
        return None;
    }
    let along = |axis: usize, at: usize| {
        let (size, stride) = (x.shape[axis + 1] as isize, window.stride[axis] as isize);
        let from = (at * window.dilation[axis]) as isize - window.before[axis] as isize;
        let end = (size - from + stride - 1).div_euclid(stride).clamp(0, out.shape[axis + 1] as isize);
        let start = (stride - 1 - from).div_euclid(stride).clamp(0, end);
        (start as usize..end as usize, from)
    };
    let mut found = Vec::new();
    for h in 0..window.size[0] {
        for w in 0..window.size[1] {
            let ((lines, top), (columns, left)) = (along(0, h), along(1, w));
            if !lines.is_empty() && !columns.is_empty() {
                let number = h * window.size[1] + w;
                found.push(Cell { number, lines, columns, from: [top, left] });
            }
        }
    }
    let is_whole = |c: &Cell| c.lines.len() == out.shape[1] && c.columns.len() == out.shape[2];
    let whole = found.iter().position(is_whole)?;
    let last = found.remove(whole);
    found.push(last);
    let positions = out.shape[1] * out.shape[2];
    let all = (window.size[0] * window.size[1] * positions) as f64;
    let is_near = window.dilation == [1, 1];
    let inside = found.iter().map(|c| c.lines.len() * c.columns.len()).sum::<usize>() as f64;
    if inside == all || is_near && inside > NEAR * all {
        return None;
    }
    let reach = |axis, count| window.reach(axis, count);
    let line_bytes = 4 * x.shape[3] * reach(1, out.shape[2]) * window.stride[0];
    let band = (cache / 8 * 3 / line_bytes).clamp(1, out.shape[1]);
    let copied = out.shape[1].div_ceil(band) * reach(0, band) * reach(1, out.shape[2]);
    let in_bands = all + COPY * copied as f64 / out.shape[3] as f64;
    (APART * inside < in_bands).then_some(found)
}

/// A step.
pub struct Cells {
    isa: Isa,
    window: Window,
    x: View,
    out: View,
    panels: Panels,
    weights: (Slot, isize),
    finish: Finish,
    /// Distances of result positions in the result and in the residual, in elements.
    pitch: isize,
    residual_pitch: isize,
    cells: Vec<Cell>,
    /// Result lines of a band, of all images.
    band: usize,
    bands: usize,
    /// Parts of the panels that are worked on apart.
    shares: usize,
    /// Terms that are added in one go.
    terms: usize,
}

impl Cells {
    /// Emits the step. `out` has a [`pitch`], and so has the residual; `weights` are in `panels`.
    pub fn emit(
        a: &mut Assembler,
        (window, cells): (Window, Vec<Cell>),
        x: View,
        out: View,
        (panels, weights): (Panels, (Slot, isize)),
        finish: Finish,
    ) {
        let (isa, threads) = (a.machine.isa, a.machine.threads);
        let wide = panels.list.iter().filter(|p| p.vectors > 0).count();
        let by_panels = threads > 1 && wide >= threads && panels.elements() > x.elements() + out.elements();
        let shares = if by_panels { threads } else { 1 };
        let lines = out.shape[0] * out.shape[1];
        let bands = if by_panels { 1 } else { lines.min(threads) };
        let band = lines.div_ceil(bands);
        let channels = x.shape[3];
        let terms = channels.div_ceil(channels.div_ceil(MOST_TERMS));
        let mut touches = vec![x.slot, out.slot, weights.0];
        touches.extend(finish.touches());
        let positions = |v: &View| pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let pitch = positions(&out);
        let bands = lines.div_ceil(band);
        let step = Cells {
            isa,
            window,
            x,
            out,
            panels,
            weights,
            finish,
            pitch,
            residual_pitch,
            cells,
            band,
            bands,
            shares,
            terms,
        };
        a.emit(step, &touches);
    }

    /// Work on one band of lines and one share of the panels.
    ///
    /// # Safety
    /// As for [`Step::run`]; the item belongs to this thread, which is number `thread`.
    unsafe fn item(&self, addresses: &[Address], at: &Places, thread: usize, item: usize) {
        let (share, band) = (item / self.bands, item % self.bands);
        let panels = self.panels.list.len();
        let panels = &self.panels.list[panels * share / self.shares..panels * (share + 1) / self.shares];
        let Some(end) = panels.last().map(|p| p.first + p.columns) else { return };
        let first = panels[0].first;
        let lines = band * self.band..((band + 1) * self.band).min(self.out.shape[0] * self.out.shape[1]);
        let positions = lines.start * self.out.shape[2]..lines.end * self.out.shape[2];
        // SAFETY: this part of the result is this thread's.
        unsafe { self.begin(at, positions.clone(), first..end) };
        let channels = self.x.shape[3];
        for (i, cell) in self.cells.iter().enumerate() {
            for begin in (0..channels).step_by(self.terms) {
                let terms = self.terms.min(channels - begin);
                let is_last = i + 1 == self.cells.len() && begin + terms == channels;
                for panel in panels {
                    let weights = panel.offset + (cell.number * channels + begin) * self.panels.width(panel);
                    let product = Product {
                        cell,
                        begin,
                        terms,
                        first: panel.first,
                        columns: panel.columns,
                        weights,
                        is_last,
                    };
                    let kernels = self.panels.kernels(self.isa, panel);
                    // SAFETY: the caller's promise.
                    unsafe { self.product(at, lines.clone(), &product, kernels) };
                }
            }
        }
        if let Some(formula) = &self.finish.formula {
            let part = Part {
                thread,
                positions: (positions.start, positions.len()),
                columns: (first, end - first),
                pitch: self.pitch,
                sums: None,
            };
            // SAFETY: the part is this thread's, and complete.
            unsafe { formula.apply(addresses, at.out, &part) };
        }
    }

    /// What sums start with: bias and residual.
    ///
    /// # Safety
    /// This part of the result is the thread's.
    unsafe fn begin(&self, at: &Places, positions: Range<usize>, columns: Range<usize>) {
        for position in positions {
            let line = position as isize;
            let out = at.out.at::<f32>(line * self.pitch);
            let residual = at.residual.at::<f32>(line * self.residual_pitch);
            for column in columns.clone().map(|c| c as isize) {
                // SAFETY: the caller's promise; bias and residual have as many columns.
                unsafe {
                    let mut start = 0.0;
                    if self.finish.bias.is_some() {
                        start = *at.bias.at::<f32>(column);
                    }
                    if self.finish.residual.is_some() {
                        start += *residual.wrapping_offset(column);
                    }
                    *out.wrapping_offset(column) = start;
                }
            }
        }
    }

    /// Adds one product to the result.
    ///
    /// # Safety
    /// As for [`Cells::item`].
    unsafe fn product(
        &self,
        at: &Places,
        lines: Range<usize>,
        p: &Product,
        kernels: &[(usize, tile::Kernel)],
    ) {
        let [height, width] = [self.out.shape[1], self.out.shape[2]];
        let strides = &self.x.strides;
        let step = |axis: usize| (self.window.stride[axis] as isize) * strides[axis + 1];
        let is_dense = p.cell.columns.len() == width && step(0) == step(1) * width as isize;
        let mut line = lines.start;
        while line < lines.end {
            let (image, h) = (line / height, line % height);
            if !p.cell.lines.contains(&h) {
                line += 1;
                continue;
            }
            // Lines without gaps between them are as one.
            let together = if is_dense { (lines.end - line).min(p.cell.lines.end - h) } else { 1 };
            let from = (p.cell.from[0] * strides[1] + h as isize * step(0))
                + (p.cell.from[1] * strides[2] + p.cell.columns.start as isize * step(1))
                + (image as isize * strides[0] + p.begin as isize);
            let row = at.x.at::<f32>(from).cast_const();
            let (count, first) = (together * p.cell.columns.len(), line * width + p.cell.columns.start);
            let mut done = 0;
            while done < count {
                let (rows, kernel) = tile::next(kernels, count - done);
                let mut a = [row.wrapping_offset(done as isize * step(1)); ROWS];
                for (m, a) in a.iter_mut().enumerate().take(rows) {
                    *a = row.wrapping_offset((done + m) as isize * step(1));
                }
                let out = at.out.at::<f32>((first + done) as isize * self.pitch + p.first as isize);
                let tile = Tile {
                    a,
                    rows,
                    taps: &[0],
                    run: p.terms,
                    b: at.weights.at::<f32>(p.weights as isize),
                    bias: std::ptr::null(),
                    out,
                    pitch: self.pitch,
                    columns: p.columns,
                    residual: out.cast_const(),
                    residual_pitch: self.pitch,
                    narrow: [false; 2],
                    clamp: self.finish.clamp.filter(|_| p.is_last),
                    ahead: Ahead::NONE,
                };
                // SAFETY: rows lie in the input, where the cell is; the rest in what the step was made for.
                unsafe { kernel(&tile) };
                done += rows;
            }
            line += together;
        }
    }
}

/// Some terms of a cell for one panel.
struct Product<'a> {
    cell: &'a Cell,
    /// Terms of the cell, from `begin` on.
    begin: usize,
    terms: usize,
    /// Columns of the panel, from `first` on.
    first: usize,
    columns: usize,
    /// Where its weights are, in elements.
    weights: usize,
    /// Is the sum complete then?
    is_last: bool,
}

/// Where a call's tensors lie.
struct Places {
    x: Address,
    out: Address,
    weights: Address,
    bias: Address,
    residual: Address,
}

impl Step for Cells {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let [bias, residual] = self.finish.addresses(call.addresses);
        let weights = call.place(self.weights.0, self.weights.1);
        let at = Places { x: call.of(&self.x), out: call.of(&self.out), weights, bias, residual };
        let (items, addresses) = (self.shares * self.bands, call.addresses);
        let work = self.out.elements() * self.x.shape[3] * self.cells.len() / items;
        call.team.split(items, GRAIN / work.max(1), |thread, part| {
            for item in part {
                // SAFETY: the caller gives all tensors; items are disjoint parts of the result.
                unsafe { self.item(addresses, &at, thread, item) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        let ([h, w], [down, across]) = (self.window.size, self.window.dilation);
        let (cells, channels, finish) = (self.cells.len(), self.x.shape[3], self.finish.describe());
        let shape = shape.join("x");
        format!("{cells} cells of {h}x{w} {down}x{across} apart, {shape}, sums of {channels} each{finish}")
    }
}
