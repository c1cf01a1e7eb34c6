//! Work on groups of elements along some axes, a strip of neighbouring groups at once: each lane of a vector has a group of its own.
//!
//! That suits groups whose elements lie apart where those of neighbouring groups lie side by side (the channels of a pixel in an image
//! with planes), and groups so short that joining a vector's lanes costs more than all else. [`super::rows`] has the other groups.

use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call};
use crate::backend::cpu::view::{Slot, View};

/// Groups of a strip.
pub const LANES: usize = 32;
/// An element of each group of a strip.
pub type Lanes = [f32; LANES];

/// Elements of a group that is short though its elements are neighbours.
const SHORT: usize = 48;
/// Most elements of a group: sums are in f32, and strips should stay in cache.
const MOST: usize = 2048;
/// Elements below which a second thread costs more than it gives, for a function of price 1.
const GRAIN: usize = 32 * 1024;
/// Elements of a group whose sum is taken in one go.
const STRETCH: usize = 64;

/// The sum, in each lane, of a function of each element: of stretches first, so that long sums lose few digits.
#[inline(always)]
pub fn sums<const N: usize>(strip: &[Lanes], of: impl Fn(usize, f32) -> [f32; N]) -> [Lanes; N] {
    let mut total = [[0f32; LANES]; N];
    for stretch in strip.chunks(STRETCH) {
        let mut part = [[0f32; LANES]; N];
        for element in stretch {
            for (lane, &v) in element.iter().enumerate() {
                let values = of(lane, v);
                (0..N).for_each(|n| part[n][lane] += values[n]);
            }
        }
        for n in 0..N {
            total[n].iter_mut().zip(part[n]).for_each(|(t, p)| *t += p);
        }
    }
    total
}

/// The groups of `x` along some axes and, of the same shape, the places of their results.
pub struct Strips {
    x: View,
    out: View,
    /// Loops over strips' loops, and the innermost one, which is cut into strips. Steps: `x`, `out`.
    outer: Nest<2>,
    inner: (usize, [isize; 2]),
    row: Nest<2>,
    len: usize,
    scratch: Slot,
}

impl Strips {
    /// Groups along `axes`, where they suit; a group's elements are in row-major order.
    pub fn new(a: &mut Assembler, x: &View, out: &View, axes: &[usize]) -> Option<Strips> {
        let order: Vec<usize> = x.order().into_iter().filter(|i| !axes.contains(i)).collect();
        let mut outer = Nest::new([x, out], &order);
        let inner = outer.pop();
        let row = Nest::new([x, out], axes);
        let len = row.len();
        let is_apart = row.loops.last().is_some_and(|l| l.1[0] != 1) && inner.1[0] == 1;
        let suits = x.dtype == DType::F32
            && inner.0 >= LANES / 2
            && (is_apart && len <= MOST || len <= SHORT)
            && len > 1;
        suits.then(|| {
            let scratch = a.scratch(len * size_of::<Lanes>() * a.machine.threads);
            Strips { x: x.clone(), out: out.clone(), outer, inner, row, len, scratch }
        })
    }

    /// What a step on these groups touches.
    pub fn touches(&self) -> [Slot; 3] {
        [self.x.slot, self.out.slot, self.scratch]
    }

    /// Elements of a group.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has `f` replace each strip's elements by their results. Lanes beyond the last group hold zeros. `price`: of one element, in vector
    /// operations.
    ///
    /// # Safety
    /// As for [`crate::backend::cpu::step::Step::run`].
    pub unsafe fn each(&self, call: &Call, price: usize, f: impl Fn(&mut [Lanes]) + Sync) {
        let (x, out) = (call.of(&self.x), call.of(&self.out));
        let scratch = call.place(self.scratch, 0);
        let strips = self.inner.0.div_ceil(LANES);
        let grain = GRAIN / (self.len * LANES * price).max(1);
        call.team.split(self.outer.len() * strips, grain, |thread, part| {
            let mine = scratch.at::<Lanes>((thread * self.len) as isize);
            // SAFETY: the scratch is this thread's and has room for a strip.
            let strip = unsafe { std::slice::from_raw_parts_mut(mine, self.len) };
            for i in part {
                let offsets = self.outer.offsets(i / strips);
                let first = i % strips * LANES;
                let width = LANES.min(self.inner.0 - first);
                let [from, to] = [0, 1].map(|k| offsets[k] + first as isize * self.inner.1[k]);
                // SAFETY: the strip is part of `x`.
                unsafe { self.bring(x, from, width, strip) };
                f(strip);
                // SAFETY: the strip of `out` is this thread's.
                unsafe { self.store(strip, out, to, width) };
            }
        });
    }

    unsafe fn bring(&self, x: Address, from: isize, width: usize, strip: &mut [Lanes]) {
        let step = self.inner.1[0];
        for (i, lanes) in strip.iter_mut().enumerate() {
            let at = x.at::<f32>(from + self.row.offsets(i)[0]).cast_const();
            lanes[width..].fill(0.0);
            if step == 1 {
                // SAFETY: neighbours of the strip.
                lanes[..width].copy_from_slice(unsafe { std::slice::from_raw_parts(at, width) });
                continue;
            }
            for (lane, value) in lanes[..width].iter_mut().enumerate() {
                // SAFETY: an element of the strip.
                *value = unsafe { *at.wrapping_offset(lane as isize * step) };
            }
        }
    }

    unsafe fn store(&self, strip: &[Lanes], out: Address, to: isize, width: usize) {
        let step = self.inner.1[1];
        for (i, lanes) in strip.iter().enumerate() {
            let at = out.at::<f32>(to + self.row.offsets(i)[1]);
            if step == 1 {
                // SAFETY: neighbours of the strip of `out`.
                unsafe { std::slice::from_raw_parts_mut(at, width) }.copy_from_slice(&lanes[..width]);
                continue;
            }
            for (lane, &value) in lanes[..width].iter().enumerate() {
                // SAFETY: an element of the strip.
                unsafe { *at.wrapping_offset(lane as isize * step) = value };
            }
        }
    }
}
