//! Convolutions of every channel by itself: vectors of channels, a few neighbouring results at a time.

use super::finish::Finish;
use super::formula::{Formula, Part, Sums};
use super::lanes::{Lanes, by_lanes};
use super::window::{self, Window};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::bands::{Band, Images, Lines};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step, place};
use crate::backend::cpu::view::{Slot, View};
use std::ops::Range;

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 50_000;
/// Neighbouring results that share the loads of weights: as many as keep the multipliers busy, and fewer at the end of a line.
const NEIGHBOURS: [usize; 2] = [8, 4];

/// A step. Tensors are `[batch, lines, columns, channels]`, of f32 or, but for weights and bias, of bf16 where vectors can load it.
pub struct Depthwise {
    isa: Isa,
    window: Window,
    x: View,
    out: View,
    /// `[taps, channels]`.
    weights: (Slot, isize),
    finish: Finish,
    pitch: isize,
    residual_pitch: isize,
    /// Sums of a line, where a formula wants them apart: each thread's place.
    apart: Option<(usize, Slot)>,
}

impl Depthwise {
    /// Emits the step. `out` has a [`window::pitch`], and so has the residual; channels of `x` are neighbours.
    pub fn emit(
        a: &mut Assembler,
        window: Window,
        x: View,
        out: View,
        weights: (Slot, isize),
        finish: Finish,
    ) {
        let mut touches = vec![x.slot, out.slot, weights.0];
        touches.extend(finish.touches());
        let is_apart = finish.formula.as_ref().is_some_and(Formula::is_apart);
        let apart = is_apart.then(|| {
            let bytes = (4 * out.shape[2] * out.shape[3]).next_multiple_of(64);
            (bytes, a.scratch(a.machine.threads * bytes))
        });
        touches.extend(apart.map(|a| a.1));
        let positions = |v: &View| window::pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let (isa, pitch) = (a.machine.isa, positions(&out));
        a.emit(Depthwise { isa, window, x, out, weights, finish, pitch, residual_pitch, apart }, &touches);
    }

    fn places(&self, addresses: &[Address], [x, out]: [Address; 2]) -> Places {
        let [bias, residual] = self.finish.addresses(addresses);
        Places { x, out, weights: place(addresses, self.weights.0, self.weights.1), bias, residual }
    }

    /// Some lines, counted over all images.
    ///
    /// # Safety
    /// As for [`Step::run`]; the lines are this thread's.
    unsafe fn some(&self, addresses: &[Address], at: &Places, thread: usize, lines: Range<usize>) {
        let columns = self.out.shape[2];
        let place = |(bytes, slot)| place(addresses, slot, (thread * bytes) as isize).at::<f32>(0);
        let sums = self.apart.map(place).map(|first| Sums(first.cast_const(), self.out.shape[3] as isize));
        for i in lines {
            // SAFETY: the caller's promise; the sums are this thread's.
            unsafe {
                line(self.isa, self, at, i, sums);
                if let Some(formula) = &self.finish.formula {
                    let (positions, columns) = ((i * columns, columns), (0, self.out.shape[3]));
                    let part = Part { thread, positions, columns, pitch: self.pitch, sums };
                    formula.apply(addresses, at.out, &part);
                }
            }
        }
    }

    /// The taps along an axis that are inside of the input for result `i`.
    fn inside(&self, axis: usize, i: usize) -> (usize, usize) {
        let w = &self.window;
        let start = (i * w.stride[axis]) as isize - w.before[axis] as isize;
        let (step, size) = (w.dilation[axis] as isize, self.x.shape[axis + 1] as isize);
        let until = |end: isize| ((end - start + step - 1).max(0) / step).min(w.size[axis] as isize) as usize;
        (until(0), until(size))
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

by_lanes! {
    /// One line of results: `line` counts over all images.
    ///
    /// # Safety
    /// As for [`Step::run`]; the line is this thread's, and so is the room for its sums, where they lie apart.
    unsafe fn line => of_line(d: &Depthwise, at: &Places, line: usize, sums: Option<Sums>)
}

#[inline(always)]
unsafe fn of_line<L: Lanes>(d: &Depthwise, at: &Places, line: usize, sums: Option<Sums>) {
    let narrow = |v: &View| L::NARROW && v.dtype == DType::BF16;
    let first = (line * d.out.shape[2]) as isize;
    let to = match sums {
        None => To { at: at.out.at::<u8>(0), first: 0, pitch: d.pitch, narrow: narrow(&d.out) },
        Some(Sums(at, pitch)) => To { at: at.cast_mut().cast(), first, pitch, narrow: false },
    };
    // SAFETY: the caller's promise.
    unsafe {
        match narrow(&d.x) {
            false => windows::<L, false>(d, at, line, &to),
            // Nothing is compiled for vectors without such loads.
            true if L::NARROW => windows::<L, true>(d, at, line, &to),
            true => unreachable!("loads of bf16 without instructions for them"),
        }
    }
}

/// Where results go.
struct To {
    at: *mut u8,
    /// The position that is there.
    first: isize,
    /// Distance of positions, in elements.
    pitch: isize,
    /// Of bf16?
    narrow: bool,
}

/// The same with an input of bf16, or of f32.
///
/// # Safety
/// As for [`line`].
#[inline(always)]
unsafe fn windows<L: Lanes, const NARROW: bool>(d: &Depthwise, at: &Places, line: usize, to: &To) {
    let (lines, columns) = (d.out.shape[1], d.out.shape[2]);
    let (image, h) = (line / lines, line % lines);
    let rows = d.inside(0, h);
    let whole = |w: usize| w < columns && d.inside(1, w) == (0, d.window.size[1]);
    let all = |w: usize, n: usize| whole(w) && whole(w + n - 1);
    let [many, few] = NEIGHBOURS;
    let mut w = 0;
    while w < columns {
        let place = (image, h, w);
        // SAFETY: the caller's promise; all taps of neighbours whose windows are whole are inside.
        unsafe {
            if all(w, many) {
                neighbours::<L, NARROW, { NEIGHBOURS[0] }>(d, at, to, place, rows);
                w += many;
            } else if all(w, few) {
                neighbours::<L, NARROW, { NEIGHBOURS[1] }>(d, at, to, place, rows);
                w += few;
            } else {
                results::<L, NARROW, 1, 0>(d, at, to, place, rows, d.inside(1, w));
                w += 1;
            }
        }
    }
}

/// `N` neighbouring results, of the taps `rows` and all columns of the window.
///
/// # Safety
/// As for [`results`].
#[inline(always)]
unsafe fn neighbours<L: Lanes, const NARROW: bool, const N: usize>(
    d: &Depthwise,
    at: &Places,
    to: &To,
    place: (usize, usize, usize),
    rows: (usize, usize),
) {
    let columns = (0, d.window.size[1]);
    // SAFETY: the caller's promise.
    unsafe {
        match d.window.size[1] {
            3 => results::<L, NARROW, N, 3>(d, at, to, place, rows, columns),
            5 => results::<L, NARROW, N, 5>(d, at, to, place, rows, columns),
            7 => results::<L, NARROW, N, 7>(d, at, to, place, rows, columns),
            _ => results::<L, NARROW, N, 0>(d, at, to, place, rows, columns),
        }
    }
}

/// `N` neighbouring results, of the taps `rows` and `columns` of the window; these are `0..K` unless `K` is 0.
///
/// # Safety
/// As for [`line`]; the taps are inside of the input.
#[inline(always)]
unsafe fn results<L: Lanes, const NARROW: bool, const N: usize, const K: usize>(
    d: &Depthwise,
    at: &Places,
    to: &To,
    place: (usize, usize, usize),
    rows: (usize, usize),
    columns: (usize, usize),
) {
    let channels = d.x.shape[3];
    let whole = channels / L::COUNT * L::COUNT;
    for c in (0..whole).step_by(L::COUNT) {
        // SAFETY: the caller's promise; a whole vector of channels.
        unsafe { vector::<L, NARROW, N, K, true>(d, at, to, place, rows, columns, (c as isize, L::COUNT)) };
    }
    if whole < channels {
        // SAFETY: as above; what is left of them.
        unsafe {
            vector::<L, NARROW, N, K, false>(
                d,
                at,
                to,
                place,
                rows,
                columns,
                (whole as isize, channels - whole),
            )
        };
    }
}

/// The same for a vector of channels: the first one, and how many.
///
/// # Safety
/// As for [`results`]; these are channels, as many as a vector has where `WHOLE`.
#[inline(always)]
unsafe fn vector<L: Lanes, const NARROW: bool, const N: usize, const K: usize, const WHOLE: bool>(
    d: &Depthwise,
    at: &Places,
    to: &To,
    (image, h, w): (usize, usize, usize),
    rows: (usize, usize),
    columns: (usize, usize),
    (c, n): (isize, usize),
) {
    let (x, window, channels) = (&d.x, &d.window, d.x.shape[3] as isize);
    let start = |axis: usize, i: usize| (i * window.stride[axis]) as isize - window.before[axis] as isize;
    let corner = image as isize * x.strides[0] + start(0, h) * x.strides[1] + start(1, w) * x.strides[2];
    let steps = [0, 1].map(|axis| window.dilation[axis] as isize * x.strides[axis + 1]);
    let neighbour = window.stride[1] as isize * x.strides[2];
    let position = ((image * d.out.shape[1] + h) * d.out.shape[2] + w) as isize;
    // SAFETY: channels of taps inside of the input, of weights, bias, residual and result.
    unsafe {
        let load = |from: *const f32| L::load_some::<WHOLE>(from, n);
        let bias = if d.finish.bias.is_some() { L::load(at.bias.at::<f32>(c)) } else { L::splat(0.0) };
        let mut sums = [bias; N];
        let mut tap = |r: usize, k: usize| {
            let weight = load(at.weights.at::<f32>((r * window.size[1] + k) as isize * channels + c));
            let from = corner + r as isize * steps[0] + k as isize * steps[1] + c;
            for (i, sum) in sums.iter_mut().enumerate() {
                let from = from + i as isize * neighbour;
                let x = if NARROW { L::load_bf16(at.x.at(from), n) } else { load(at.x.at(from)) };
                *sum = x.mul_add(weight, *sum);
            }
        };
        for r in rows.0..rows.1 {
            match K {
                0 => (columns.0..columns.1).for_each(|k| tap(r, k)),
                _ => (0..K).for_each(|k| tap(r, k)),
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            let (mut y, position) = (sum, position + i as isize);
            if let Some(residual) = &d.finish.residual {
                let from = position * d.residual_pitch + c;
                y = y.add(match residual.dtype {
                    DType::BF16 if NARROW => L::load_bf16(at.residual.at(from), n),
                    _ => load(at.residual.at(from)),
                });
            }
            if let Some((low, high)) = d.finish.clamp {
                y = y.at_least(L::splat(low)).at_most(L::splat(high));
            }
            let place = (position - to.first) * to.pitch + c;
            if NARROW && to.narrow {
                y.store_bf16(to.at.cast::<u16>().wrapping_offset(place), n);
            } else {
                y.store_some::<WHOLE>(to.at.cast::<f32>().wrapping_offset(place), n);
            }
        }
    }
}

impl Lines for Depthwise {
    fn images(&self) -> Images<'_> {
        Images {
            x: &self.x,
            out: &self.out,
            window: &self.window,
            weights: 4 * self.x.shape[3] * self.window.size[0] * self.window.size[1],
        }
    }

    unsafe fn lines(&self, addresses: &[Address], thread: usize, places: [Address; 2], band: Band) {
        let (at, lines, first) = (self.places(addresses, places), band.lines, band.image * self.out.shape[1]);
        // SAFETY: the caller's promise.
        unsafe { self.some(addresses, &at, thread, first + lines.start..first + lines.end) };
    }
}

impl Step for Depthwise {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = self.places(call.addresses, [&self.x, &self.out].map(|v| call.of(v)));
        let lines = self.out.shape[0] * self.out.shape[1];
        let work = self.out.shape[2] * self.out.shape[3] * self.window.size[0] * self.window.size[1];
        call.team.split(lines, GRAIN / work.max(1), |thread, part| {
            // SAFETY: the caller gives all tensors; lines are disjoint parts of the result.
            unsafe { self.some(call.addresses, &at, thread, part) };
        });
        Ok(())
    }

    fn by_lines(&self) -> Option<&dyn Lines> {
        Some(self)
    }

    fn describe(&self) -> String {
        let [h, w] = self.window.size;
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        format!("depthwise {}: window {h}x{w}{}", shape.join("x"), self.finish.describe())
    }
}
