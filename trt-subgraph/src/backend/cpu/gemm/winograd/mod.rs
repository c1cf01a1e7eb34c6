//! Convolutions with windows of 3x3 by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, 2015): a 2x2 tile of the result
//! takes 16 multiplications for each pair of channels instead of 36.
//!
//! A block of tiles is transformed (`V = B'xB`, 16 values a tile), 16 matrix products with transformed weights (`U = GwG'`)
//! sum over channels, and the sums are transformed back (`A'MA`) with bias, residual and bounds on the way. All of a block stays
//! in the second-level cache.
//!
//! The transforms only add and subtract, so that errors stay those of a few more roundings. But where an element is infinite,
//! they subtract infinities; a block whose result is not finite is therefore computed again by the definition, with weights
//! that are got back from the transformed ones. NaN by itself would already come out where it should.

mod product;
mod transform;
mod weights;

use super::finish::Finish;
use super::panels::{Panel, Panels};
use super::tile::{self, ROWS};
use super::window;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::ValueId;
use product::products;
use std::ops::Range;
use transform::{back, forward};

/// Bytes of transformed input and sums of a block, about, where weights stay near from block to block.
const BLOCK: usize = 96 * 1024;
/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 200_000;
/// Elements of a cache line.
const LINE: usize = 16;
/// Transformed values of a tile.
const VALUES: usize = 16;

/// A step. Tensors are `[batch, lines, columns, channels]`.
pub struct Winograd {
    isa: Isa,
    x: View,
    out: View,
    before: [usize; 2],
    /// Of each of the 16 products.
    panels: Panels,
    weights: (Slot, isize),
    finish: Finish,
    pitch: isize,
    residual_pitch: isize,
    /// Tiles along lines and columns of an image.
    tiles: [usize; 2],
    /// Tiles of a block.
    block: usize,
    /// Parts of the panels that are worked on apart.
    shares: usize,
    /// Are weights too many to stay in the second-level cache from block to block?
    is_far: bool,
    scratch: Slot,
}

impl Winograd {
    /// Emits the convolution with `weights`, a static value `[outputs, inputs, 3, 3]`. `out` has a [`window::pitch`], and so
    /// has the residual; the finish has no formula; channels of `x` are neighbours.
    pub fn emit(
        a: &mut Assembler,
        (x, out): (View, View),
        before: [usize; 2],
        weights: ValueId,
        finish: Finish,
    ) -> Result<(), Fault> {
        let (inputs, outputs) = (x.shape[3], out.shape[3]);
        let panels = Panels::of_vectors(a.machine.isa, outputs, inputs);
        let weights = a.packed(weights, 4 * VALUES * panels.elements(), weights::packing(&panels, inputs))?;
        let tiles = [out.shape[1].div_ceil(2), out.shape[2].div_ceil(2)];
        let all = out.shape[0] * tiles[0] * tiles[1];
        let rows = tile::kernels(a.machine.isa, panels.list[0].vectors)[0].0;
        let padded = outputs.next_multiple_of(panels.lanes);
        let threads = a.machine.threads;
        let weight_bytes = 4 * VALUES * panels.elements();
        // Where weights are most of what is read, threads share them, and each transforms all input for itself.
        let by_panels = threads > 1 && weight_bytes > 4 * (x.elements() + out.elements());
        let shares = if by_panels && panels.list.len() >= threads { threads } else { 1 };
        let is_far = weight_bytes > a.machine.cache / 4;
        let room = if is_far { a.machine.cache / 16 * 3 } else { BLOCK };
        let fitting = room / (4 * VALUES * (inputs + padded));
        let each = if shares > 1 { all } else { all.div_ceil(threads) };
        let fewest = if is_far { 4 * rows } else { 2 * rows };
        let block = fitting.min(each).next_multiple_of(rows).clamp(fewest, 8 * ROWS).min(all);
        let scratch = a.scratch(a.machine.threads * 4 * VALUES * (block * (inputs + padded) + 2 * LINE));
        let mut touches = vec![x.slot, out.slot, weights.0, scratch];
        touches.extend(finish.touches());
        let positions = |v: &View| window::pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let pitch = positions(&out);
        let isa = a.machine.isa;
        let step = Winograd {
            isa,
            x,
            out,
            before,
            panels,
            weights,
            finish,
            pitch,
            residual_pitch,
            tiles,
            block,
            shares,
            is_far,
            scratch,
        };
        a.emit(step, &touches);
        Ok(())
    }

    fn padded(&self) -> usize {
        self.out.shape[3].next_multiple_of(self.panels.lanes)
    }

    /// Distances of a block's 16 values and of its 16 sums, in elements: a line apart from what would make them meet in the
    /// first-level cache.
    fn steps(&self) -> [usize; 2] {
        [self.x.shape[3], self.padded()].map(|channels| self.block * channels + LINE)
    }

    /// Image, line and column of the first result of a tile.
    fn corner(&self, tile: usize) -> [usize; 3] {
        let [h, w] = self.tiles;
        [tile / (h * w), 2 * (tile / w % h), 2 * (tile % w)]
    }

    /// The corner of the tile after that at a corner.
    #[inline(always)]
    fn next(&self, [image, line, column]: [usize; 3]) -> [usize; 3] {
        let [h, w] = self.tiles;
        match (line + 2 < 2 * h, column + 2 < 2 * w) {
            (_, true) => [image, line, column + 2],
            (true, false) => [image, line + 2, 0],
            _ => [image + 1, 0, 0],
        }
    }

    /// # Safety
    /// As for [`Step::run`]; channels of `panels` of tiles `first..last` are this thread's, which has `scratch`.
    unsafe fn block(&self, at: &Places, scratch: *mut f32, first: usize, last: usize, panels: &[Panel]) {
        let ([from_step, _], count) = (self.steps(), last - first);
        let (values, sums) = (scratch, scratch.wrapping_add(VALUES * from_step));
        // SAFETY: the scratch has room for the values and the sums of a block; the rest is the caller's promise.
        unsafe {
            forward(self.isa, self, at, values, first, last);
            products(self.isa, self, at.weights.at::<f32>(0), values, sums, count, panels);
            let channels = panels[0].first..panels.last().map_or(0, |p| p.first + p.columns);
            if !back(self.isa, self, at, sums, first, last, channels.clone()) {
                (first..last).for_each(|tile| self.define(at, tile, channels.clone()));
            }
        }
    }

    /// Some channels of the four results of a tile by the definition of a convolution.
    ///
    /// # Safety
    /// As for [`Winograd::block`].
    unsafe fn define(&self, at: &Places, tile: usize, channels: Range<usize>) {
        let [image, line, column] = self.corner(tile);
        let size = |axis: usize| self.x.shape[axis] as isize;
        for (h, w) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (h, w) = (line + h, column + w);
            if h >= self.out.shape[1] || w >= self.out.shape[2] {
                continue;
            }
            let position = ((image * self.out.shape[1] + h) * self.out.shape[2] + w) as isize;
            for o in channels.clone() {
                let mut sum = 0f32;
                for tap in 0..9 {
                    let r = (h + tap / 3) as isize - self.before[0] as isize;
                    let c = (w + tap % 3) as isize - self.before[1] as isize;
                    if r < 0 || c < 0 || r >= size(1) || c >= size(2) {
                        continue;
                    }
                    let pixel =
                        image as isize * self.x.strides[0] + r * self.x.strides[1] + c * self.x.strides[2];
                    for i in 0..self.x.shape[3] {
                        // SAFETY: an element of the input.
                        let x = unsafe { *at.x.at::<f32>(pixel + i as isize) };
                        sum += x * self.weight(at, tap, i, o);
                    }
                }
                let o = o as isize;
                // SAFETY: elements of bias, residual and result, where there are such.
                unsafe {
                    if self.finish.bias.is_some() {
                        sum += *at.bias.at::<f32>(o);
                    }
                    if self.finish.residual.is_some() {
                        sum += *at.residual.at::<f32>(position * self.residual_pitch + o);
                    }
                    if let Some((low, high)) = self.finish.clamp {
                        sum = if sum < low { low } else { sum };
                        sum = if sum > high { high } else { sum };
                    }
                    *at.out.at::<f32>(position * self.pitch + o) = sum;
                }
            }
        }
    }
}

/// Where a call's tensors lie.
struct Places {
    x: Address,
    out: Address,
    weights: Address,
    bias: Address,
    residual: Address,
}

impl Step for Winograd {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let [bias, residual] = self.finish.addresses(call.addresses);
        let weights = call.place(self.weights.0, self.weights.1);
        let at = Places { x: call.of(&self.x), out: call.of(&self.out), weights, bias, residual };
        let scratch = call.place(self.scratch, 0);
        let (inputs, padded) = (self.x.shape[3], self.padded());
        let all = self.out.shape[0] * self.tiles[0] * self.tiles[1];
        let work = self.block * VALUES * inputs * padded / self.shares;
        let (blocks, panels) = (all.div_ceil(self.block), self.panels.list.len());
        call.team.split(self.shares * blocks, GRAIN / work.max(1), |thread, part| {
            let mine = scratch.at::<f32>((thread * VALUES * self.steps().iter().sum::<usize>()) as isize);
            for item in part {
                let (share, block) = (item / blocks, item % blocks);
                let (first, last) = (block * self.block, all.min((block + 1) * self.block));
                let list =
                    &self.panels.list[panels * share / self.shares..panels * (share + 1) / self.shares];
                // SAFETY: the caller gives all tensors; panels of blocks are disjoint parts of the result.
                unsafe { self.block(&at, mine, first, last, list) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        let (inputs, finish) = (self.x.shape[3], self.finish.describe());
        format!("Winograd {}: {inputs} channels, blocks of {} tiles{finish}", shape.join("x"), self.block)
    }
}
