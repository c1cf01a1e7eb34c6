//! The step of attention: scores of a few lines of queries with all keys, their softmax, and the sum of values by it, while all
//! of that is in cache. Keys and values are brought into panels by the thread that needs them.

use super::batch::Batch;
use super::change::{Change, Changer};
use super::pack::pack_even;
use super::panels::Panels;
use super::tile::{self, ROWS, Tile};
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::kernel::softmax_in_place;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 100_000;
/// Lines of queries that are worked on at once: whole tiles of each height.
const BLOCK: usize = 2 * ROWS;

/// What scores are made of: `[.., m, d]` and `[.., d, n]`, neighbours along `d` in the first one being neighbours in memory.
#[derive(Clone, Debug)]
pub struct Scores {
    pub x: View,
    pub b: View,
    pub factor: f32,
    /// What is done to them before their softmax, and to that.
    pub before: Option<Change>,
    pub after: Option<Change>,
}

/// `out[.., m, e] = softmax over n of (scores[.., m, n]) * v[.., n, e]` for all leading axes, which all tensors have.
pub struct Attend {
    isa: Isa,
    scores: Scores,
    v: View,
    out: View,
    items: Nest<4>,
    keys: Panels,
    values: Panels,
    /// Elements of a line of scores, whole vectors.
    pitch: usize,
    /// Parts of the lines that are worked on apart.
    parts: usize,
    /// What is done before the softmax, and after it.
    changes: [Option<Changer>; 2],
    scratch: Slot,
}

impl Attend {
    /// Emits the step.
    pub fn emit(a: &mut Assembler, scores: Scores, v: View, out: View) {
        let rank = out.rank();
        let (lines, columns, n) = (out.shape[rank - 2], out.shape[rank - 1], v.shape[rank - 2]);
        let depth = scores.x.shape[rank - 1];
        let leading: Vec<usize> = (0..rank - 2).collect();
        let items = Nest::new([&out, &scores.x, &scores.b, &v], &leading);
        let isa = a.machine.isa;
        let keys = Panels::of_vectors(isa, n, depth);
        let values = Panels::new(isa, columns, n, n);
        let threads = a.machine.threads;
        let parts = Batch::parts(items.len(), threads, lines);
        let pitch = n.next_multiple_of(tile::lanes(isa));
        let elements = Attend::elements(&keys, &values, pitch);
        let scratch = a.scratch(threads * 4 * elements);
        let shape = [&out.shape[..rank - 1], &[n]].concat();
        let changes = [&scores.before, &scores.after].map(|c| c.as_ref().map(|c| Changer::new(a, c, &shape)));
        let mut touches = vec![scores.x.slot, scores.b.slot, v.slot, out.slot, scratch];
        touches.extend(changes.iter().flatten().flat_map(Changer::touches));
        let step = Attend { isa, scores, v, out, items, keys, values, pitch, parts, changes, scratch };
        a.emit(step, &touches);
    }

    /// Of a thread's working memory.
    fn elements(keys: &Panels, values: &Panels, pitch: usize) -> usize {
        (keys.elements() + values.elements()).next_multiple_of(16) + BLOCK * pitch
    }

    /// # Safety
    /// As for [`Step::run`]; the item is this thread's, and so is `mine`, with room for all panels and a block of scores.
    unsafe fn item(
        &self,
        addresses: &[Address],
        [out, x, b, v]: [Address; 4],
        (thread, mine): (usize, *mut f32),
        item: usize,
    ) {
        let r = self.out.rank();
        let [to, from, second, third] = self.items.offsets(item / self.parts);
        let (lines, part) = (self.out.shape[r - 2], item % self.parts);
        let (first, last) = (lines * part / self.parts, lines * (part + 1) / self.parts);
        let n = self.v.shape[r - 2];
        let packed = [mine, mine.wrapping_add(self.keys.elements())];
        let scores = mine.wrapping_add((self.keys.elements() + self.values.elements()).next_multiple_of(16));
        let sides = [(&self.keys, &self.scores.b, b, second), (&self.values, &self.v, v, third)];
        for ((panels, view, address, offset), place) in sides.into_iter().zip(packed) {
            let steps = [view.strides[r - 2], view.strides[r - 1]];
            for panel in &panels.list {
                let from = address.at::<f32>(offset + panel.first as isize * steps[1]).cast_const();
                // SAFETY: the panel's part of the operand; the scratch has room for it.
                unsafe {
                    pack_even(self.isa, panel, from, steps, place.wrapping_add(panel.offset), panels.depth)
                };
            }
        }
        if self.scores.factor != 1.0 {
            // SAFETY: what was just packed.
            let keys = unsafe { std::slice::from_raw_parts_mut(packed[0], self.keys.elements()) };
            keys.iter_mut().for_each(|v| *v *= self.scores.factor);
        }
        let (x_pitch, pitch) = (self.scores.x.strides[r - 2], self.pitch as isize);
        for line in (first..last).step_by(BLOCK) {
            let count = BLOCK.min(last - line);
            let queries = x.at::<f32>(from + line as isize * x_pitch).cast_const();
            let whose = item / self.parts;
            let reach = match &self.changes {
                // SAFETY: these lines are there.
                [Some(before), None] => unsafe { before.reach(addresses, whose, (line, count), n) },
                _ => n,
            };
            let change = |changer: &Option<Changer>| {
                if let Some(changer) = changer {
                    let block = (scores, self.pitch, reach);
                    // SAFETY: the block is this thread's, so many scores in each line.
                    unsafe { changer.apply(addresses, (thread, whose), (line, count), block) };
                }
            };
            // SAFETY: lines of the queries, all keys, and this thread's block; lines of the result, which are this thread's.
            unsafe {
                let terms = self.keys.depth;
                self.product(
                    &self.keys,
                    packed[0],
                    (queries, x_pitch, terms),
                    (scores, pitch, true),
                    count,
                    reach,
                );
                change(&self.changes[0]);
                for row in 0..count {
                    let row = std::slice::from_raw_parts_mut(scores.add(row * self.pitch), n);
                    softmax_in_place(self.isa, &mut row[..reach]);
                    row[reach..].fill(0.0);
                }
                change(&self.changes[1]);
                let result = out.at::<f32>(to + line as isize * self.out.strides[r - 2]);
                let result = (result, self.out.strides[r - 2], false);
                let columns = self.out.shape[r - 1];
                self.product(
                    &self.values,
                    packed[1],
                    (scores.cast_const(), pitch, reach),
                    result,
                    count,
                    columns,
                );
            }
        }
    }

    /// The product of `count` lines of so many terms with the panels that begin before column `reach`. `whole`: the result has room for whole
    /// vectors.
    ///
    /// # Safety
    /// All of it is there; the result is this thread's.
    unsafe fn product(
        &self,
        panels: &Panels,
        packed: *const f32,
        (a, a_pitch, terms): (*const f32, isize, usize),
        (out, pitch, whole): (*mut f32, isize, bool),
        count: usize,
        reach: usize,
    ) {
        for panel in panels.list.iter().filter(|p| p.first < reach) {
            // Columns that lie one after the other are as long as all terms.
            let terms = if panel.vectors == 0 { panels.depth } else { terms };
            let kernels = panels.kernels(self.isa, panel);
            let mut line = 0;
            while line < count {
                let (rows, kernel) = tile::next(kernels, count - line);
                let mut lines = [a.wrapping_offset(line as isize * a_pitch); ROWS];
                for (m, from) in lines.iter_mut().enumerate().take(rows) {
                    *from = from.wrapping_offset(m as isize * a_pitch);
                }
                let out = out.wrapping_offset(line as isize * pitch + panel.first as isize);
                let columns = if whole { panels.width(panel) } else { panel.columns };
                let b = packed.wrapping_add(panel.offset);
                let tile = Tile::of_run(lines, rows, terms, b, out, pitch, columns);
                // SAFETY: the caller's promise.
                unsafe { kernel(&tile) };
                line += rows;
            }
        }
    }
}

impl Step for Attend {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = [call.of(&self.out), call.of(&self.scores.x), call.of(&self.scores.b), call.of(&self.v)];
        let scratch = call.place(self.scratch, 0);
        let items = self.items.len() * self.parts;
        let n = self.keys.list.iter().map(|p| p.columns).sum::<usize>();
        let work = self.out.elements() / self.out.shape[self.out.rank() - 1].max(1)
            * n
            * (self.keys.depth + self.out.shape[self.out.rank() - 1])
            / items.max(1);
        let elements = Attend::elements(&self.keys, &self.values, self.pitch);
        call.team.split(items, GRAIN / work.max(1), |thread, part| {
            let mine = scratch.at::<f32>((thread * elements) as isize);
            for item in part {
                // SAFETY: the caller gives all tensors; items are disjoint parts of the result.
                unsafe { self.item(call.addresses, at, (thread, mine), item) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let r = self.out.rank();
        let (m, e) = (self.out.shape[r - 2], self.out.shape[r - 1]);
        let (d, n) = (self.keys.depth, self.values.depth);
        let [before, after] = self.changes.each_ref().map(|c| if c.is_some() { " masked," } else { "" });
        format!("{} times attention: {m}x{d}x{n},{before} softmax,{after} {m}x{n}x{e}", self.items.len())
    }
}
