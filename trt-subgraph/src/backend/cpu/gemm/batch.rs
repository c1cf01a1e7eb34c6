//! Matrix products whose second operand is no weight: a batch of them, each with its second operand brought into panels by the
//! thread that needs it.

use super::pack::pack_even;
use super::panels::Panels;
use super::tile::{self, ROWS, Tile};
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 100_000;

/// `out[.., m, n] = sum over k of x[.., m, k] * b[.., k, n] * factor` for all leading axes, which all tensors have.
pub struct Batch {
    isa: Isa,
    x: View,
    b: View,
    /// What the second operand is multiplied with while it is packed.
    factor: f32,
    out: View,
    items: Nest<3>,
    panels: Panels,
    /// Parts of the lines of each product that are worked on apart.
    parts: usize,
    scratch: Slot,
}

impl Batch {
    /// Emits the step. Neighbours along `k` in `x` and along `n` in `out` are neighbours in memory.
    pub fn emit(a: &mut Assembler, x: View, (b, factor): (View, f32), out: View) {
        let rank = out.rank();
        let (lines, columns, depth) = (out.shape[rank - 2], out.shape[rank - 1], x.shape[rank - 1]);
        let items = Nest::new([&out, &x, &b], &(0..rank - 2).collect::<Vec<_>>());
        let panels = Panels::new(a.machine.isa, columns, depth, depth);
        let threads = a.machine.threads;
        let parts = Batch::parts(items.len(), threads, lines);
        let scratch = a.scratch(threads * 4 * panels.elements());
        let touches = [x.slot, b.slot, out.slot, scratch];
        a.emit(Batch { isa: a.machine.isa, x, b, factor, out, items, panels, parts, scratch }, &touches);
    }

    /// Into how many parts the lines of each of `items` products are cut. Each packs anew, which pays while it has many lines.
    pub fn parts(items: usize, threads: usize, lines: usize) -> usize {
        if items >= threads { 1 } else { threads.min(lines.div_ceil(4 * ROWS)) }
    }

    /// # Safety
    /// As for [`Step::run`]; the item is this thread's, and so is `packed`, with room for all panels.
    unsafe fn item(&self, [out, x, b]: [Address; 3], packed: *mut f32, item: usize) {
        let r = self.out.rank();
        let [to, from, second] = self.items.offsets(item / self.parts);
        let (lines, part) = (self.out.shape[r - 2], item % self.parts);
        let (first, last) = (lines * part / self.parts, lines * (part + 1) / self.parts);
        let depth = self.panels.depth;
        let (term_step, column_step) = (self.b.strides[r - 2], self.b.strides[r - 1]);
        let pitch = self.out.strides[r - 2];
        for panel in &self.panels.list {
            let b = b.at::<f32>(second + panel.first as isize * column_step).cast_const();
            let place = packed.wrapping_add(panel.offset);
            // SAFETY: the panel's part of the operand; the scratch has room for it.
            unsafe { pack_even(self.isa, panel, b, [term_step, column_step], place, depth) };
            if self.factor != 1.0 {
                let elements = self.panels.width(panel) * depth;
                // SAFETY: what was just packed.
                let packed = unsafe { std::slice::from_raw_parts_mut(place, elements) };
                packed.iter_mut().for_each(|v| *v *= self.factor);
            }
            let kernels = self.panels.kernels(self.isa, panel);
            let mut line = first;
            while line < last {
                let (rows, kernel) = tile::next(kernels, last - line);
                let mut a = [x.at::<f32>(from + line as isize * self.x.strides[r - 2]).cast_const(); ROWS];
                for (m, a) in a.iter_mut().enumerate().take(rows) {
                    *a = a.wrapping_offset(m as isize * self.x.strides[r - 2]);
                }
                let out = out.at::<f32>(to + line as isize * pitch + panel.first as isize);
                let tile = Tile::of_run(a, rows, depth, place, out, pitch, panel.columns);
                // SAFETY: lines of the operand and of the result, which are this thread's.
                unsafe { kernel(&tile) };
                line += rows;
            }
        }
    }
}

impl Step for Batch {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = [call.of(&self.out), call.of(&self.x), call.of(&self.b)];
        let scratch = call.place(self.scratch, 0);
        let items = self.items.len() * self.parts;
        let work = self.out.elements() * self.panels.depth / items;
        call.team.split(items, GRAIN / work.max(1), |thread, part| {
            let packed = scratch.at::<f32>((thread * self.panels.elements()) as isize);
            for item in part {
                // SAFETY: the caller gives all tensors; items are disjoint parts of the result.
                unsafe { self.item(at, packed, item) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let r = self.out.rank();
        let (m, n, k) = (self.out.shape[r - 2], self.out.shape[r - 1], self.panels.depth);
        let factor = if self.factor == 1.0 { String::new() } else { format!(" * {}", self.factor) };
        format!("{} products {m}x{k}x{n}{factor}", self.items.len())
    }
}
