//! Products of runs of rows with a matrix each: which matrix a row meets is known only when the offsets of the runs are.
//!
//! The matrices lie in panels one after the other. A band of rows is cut where a run ends, and each of its stretches is a product
//! like any other.

use super::ahead::Ahead;
use super::panels::{Panel, Panels};
use super::sweep::MOST_TERMS;
use super::tile::{self, ROWS, Tile};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use std::ops::Range;

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 100_000;

/// Where runs of rows end: i32 or i64 numbers, `[runs]`.
pub struct Offsets(View);

impl Offsets {
    /// The numbers there.
    pub fn new(view: View) -> Offsets {
        Offsets(view)
    }

    /// The slot that holds them.
    pub fn slot(&self) -> Slot {
        self.0.slot
    }

    /// Where they lie.
    pub fn address(&self, call: &Call) -> Address {
        call.of(&self.0)
    }

    /// # Safety
    /// The offsets are there.
    unsafe fn end(&self, at: Address, run: usize) -> i64 {
        let place = run as isize * self.0.strides[0];
        // SAFETY: an element of the tensor.
        unsafe {
            match self.0.dtype {
                DType::I32 => i64::from(*at.at::<i32>(place)),
                _ => *at.at::<i64>(place),
            }
        }
    }

    /// Calls `f` for each stretch of these rows that one run holds, or none.
    ///
    /// # Safety
    /// The offsets are at this address.
    pub unsafe fn each(
        &self,
        at: Address,
        rows: Range<usize>,
        mut f: impl FnMut(Option<usize>, Range<usize>),
    ) {
        let mut first = rows.start;
        while first < rows.end {
            let (mut holder, mut last, mut start) = (None, rows.end, 0);
            for run in 0..self.0.shape[0] {
                // SAFETY: the caller's promise.
                let end = unsafe { self.end(at, run) };
                if (start..end).contains(&(first as i64)) {
                    holder = Some(run);
                }
                // A row's run changes at offsets only.
                if end > first as i64 {
                    last = last.min(usize::try_from(end).unwrap_or(usize::MAX));
                }
                start = end;
            }
            f(holder, first..last);
            first = last;
        }
    }
}

/// `out[row] = x[row] w[run of row]` in f32; 0 where no run holds the row.
pub struct Runs {
    isa: Isa,
    x: View,
    /// The panels of all matrices.
    weights: (Slot, isize),
    panels: Panels,
    offsets: Offsets,
    out: View,
    /// Rows that are worked on together, and parts of the panels that are worked on apart.
    band: usize,
    shares: usize,
    /// Terms of a sum that are added in one go; the rest is added to the result later.
    terms: usize,
}

impl Runs {
    /// Emits the step. Neighbours along a row are neighbours in memory, in `x` and in `out`.
    pub fn emit(
        a: &mut Assembler,
        x: View,
        (panels, weights): (Panels, (Slot, isize)),
        offsets: Offsets,
        out: View,
    ) {
        let rows = out.shape[0];
        let is_long = panels.depth > MOST_TERMS && rows > ROWS && panels.list.iter().all(|p| p.vectors > 0);
        let parts = if is_long { panels.depth.div_ceil(MOST_TERMS) } else { 1 };
        let terms = panels.depth.div_ceil(parts);
        let fitting = (a.machine.cache / 8 * 3 / (4 * terms)).max(ROWS);
        let band = rows.div_ceil(rows.div_ceil(fitting));
        // A few rows are one band: threads share the matrices then.
        let shares = a.machine.threads.div_ceil(rows.div_ceil(band)).min(panels.list.len());
        let touches = [x.slot, weights.0, offsets.slot(), out.slot];
        a.emit(Runs { isa: a.machine.isa, x, weights, panels, offsets, out, band, shares, terms }, &touches);
    }

    /// # Safety
    /// As for [`Step::run`]; rows and panels are this thread's. `b` is the matrix of the rows.
    unsafe fn product(&self, [out, x, b]: [Address; 3], rows: Range<usize>, panels: &[Panel]) {
        let pitch = self.out.strides[0];
        let parts = (0..self.panels.depth).step_by(self.terms);
        for (begin, panel) in parts.flat_map(|begin| panels.iter().map(move |panel| (begin, panel))) {
            let b = b.at::<f32>((panel.offset + begin * self.panels.width(panel)) as isize);
            let kernels = self.panels.kernels(self.isa, panel);
            let mut row = rows.start;
            while row < rows.end {
                let (count, kernel) = tile::next(kernels, rows.end - row);
                let mut a =
                    [x.at::<f32>(row as isize * self.x.strides[0] + begin as isize).cast_const(); ROWS];
                for (m, a) in a.iter_mut().enumerate().take(count) {
                    *a = a.wrapping_offset(m as isize * self.x.strides[0]);
                }
                let out = out.at::<f32>(row as isize * pitch + panel.first as isize);
                let tile = Tile {
                    a,
                    rows: count,
                    taps: &[0],
                    run: self.terms.min(self.panels.depth - begin),
                    b,
                    bias: std::ptr::null(),
                    out,
                    pitch,
                    columns: panel.columns,
                    // Sums go on from what is there already.
                    residual: if begin > 0 { out.cast_const() } else { std::ptr::null() },
                    residual_pitch: pitch,
                    narrow: [false; 2],
                    clamp: None,
                    ahead: Ahead::NONE,
                };
                // SAFETY: rows of the operand and of the result, which are this thread's.
                unsafe { kernel(&tile) };
                row += count;
            }
        }
    }

    fn bands(&self) -> usize {
        self.out.shape[0].div_ceil(self.band)
    }
}

impl Step for Runs {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (offsets, out, x) = (self.offsets.address(call), call.of(&self.out), call.of(&self.x));
        let weights = call.place(self.weights.0, self.weights.1);
        let (rows, bands, all) = (self.out.shape[0], self.bands(), self.panels.list.len());
        let items = bands * self.shares;
        let work = self.out.elements() * self.panels.depth / items;
        call.team.split(items, GRAIN / work.max(1), |_, part| {
            for item in part {
                let (share, band) = (item / bands, item % bands);
                let panels = &self.panels.list[all * share / self.shares..all * (share + 1) / self.shares];
                let columns: usize = panels.iter().map(|p| p.columns).sum();
                let band = band * self.band..rows.min((band + 1) * self.band);
                let each = |run: Option<usize>, rows: Range<usize>| match run {
                    Some(run) => {
                        let b = weights.at::<f32>((run * self.panels.elements()) as isize);
                        // SAFETY: the caller gives all tensors; items are disjoint parts of the result.
                        unsafe { self.product([out, x, Address::new(b.cast())], rows, panels) };
                    }
                    None => {
                        for row in rows {
                            let row = row as isize * self.out.strides[0] + panels[0].first as isize;
                            // SAFETY: as above.
                            unsafe { out.at::<f32>(row).write_bytes(0, columns) };
                        }
                    }
                };
                // SAFETY: the caller gives the offsets.
                unsafe { self.offsets.each(offsets, band, each) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let (runs, depth) = (self.offsets.0.shape[0], self.panels.depth);
        format!("products of {runs} runs of {} rows: {depth}x{}", self.out.shape[0], self.out.shape[1])
    }
}
