//! Reductions over any axes.
//!
//! Every element of the result is a sum, product or extremum over nested loops. Where the innermost kept axis is contiguous
//! in memory, or runs are short, a strip of neighbouring results is accumulated at once; otherwise one result at a time, over runs.
//! Floating-point sums and products accumulate in f64.

use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::{Isa, dispatch_by_type};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;
use crate::network::layer::ReduceOp;

/// Results that are accumulated at once.
const STRIP: usize = 64;
/// Elements of a run up to which many results at once take less time than one, whose accumulators have to be joined.
const SHORT: usize = 24;
/// Elements below which a second thread costs more than it gives.
const GRAIN: usize = 32 * 1024;

pub fn assemble(a: &mut Assembler, layer: &Layer, op: ReduceOp, axes: &[usize]) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let rank = a.network.ty(layer.outputs[0]).rank();
    let order: Vec<usize> = (0..rank).collect();
    let axes = axes.to_vec();
    a.result(layer, x.dtype, &order, |a, out| {
        let touches = [x.slot, out.slot];
        a.emit(Reduce::new(op, &axes, x, out, a.machine.isa), &touches);
        Ok(())
    })
}

/// A reduction step.
struct Reduce {
    op: ReduceOp,
    isa: Isa,
    x: View,
    out: View,
    /// Loops over the result. Steps: result, operand.
    kept: Nest<2>,
    /// The innermost loop over the result.
    strip: (usize, [isize; 2]),
    /// Loops over what one element of the result is made of.
    reduced: Nest<1>,
    /// The innermost of them.
    run: (usize, [isize; 1]),
}

impl Reduce {
    /// `out` has the kept axes of `x`, or all with the reduced ones at 1.
    fn new(op: ReduceOp, axes: &[usize], x: View, out: View, isa: Isa) -> Reduce {
        let kept_axes: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
        let keeps_all = out.rank() == x.rank();
        let place: Vec<usize> = if keeps_all { kept_axes.clone() } else { (0..kept_axes.len()).collect() };
        let as_kept = x.permute(&kept_axes);
        let out_kept = out.permute(&place);
        let mut kept = Nest::new([&out_kept, &as_kept], &as_kept.order());
        let strip = kept.pop();
        let over = x.permute(axes);
        let mut reduced = Nest::new([&over], &over.order());
        let run = reduced.pop();
        Reduce { op, isa, x, out, kept, strip, reduced, run }
    }

    /// Accumulates `width` neighbouring results from strip position `start` on.
    #[inline(always)]
    unsafe fn strip<T: std::marker::Copy, A: std::marker::Copy>(
        &self,
        to: Address,
        from: Address,
        (outer, start, width): (usize, usize, usize),
        first: A,
        step: impl Fn(A, T) -> A,
        last: impl Fn(A) -> T,
    ) {
        let [to_at, from_at] = self.kept.offsets(outer);
        let [to_step, from_step] = self.strip.1;
        let (to_at, from_at) = (to_at + start as isize * to_step, from_at + start as isize * from_step);
        let mut sums = [first; STRIP];
        for r in 0..self.reduced.len() {
            let [at] = self.reduced.offsets(r);
            for i in 0..self.run.0 {
                let row = from.at::<T>(from_at + at + i as isize * self.run.1[0]);
                if from_step == 1 {
                    // SAFETY: `width` neighbours of the operand.
                    let row = unsafe { std::slice::from_raw_parts(row, width) };
                    sums.iter_mut().zip(row).for_each(|(s, &x)| *s = step(*s, x));
                } else {
                    for (c, s) in sums[..width].iter_mut().enumerate() {
                        // SAFETY: an element of the operand.
                        *s = step(*s, unsafe { *row.wrapping_offset(c as isize * from_step) });
                    }
                }
            }
        }
        for (c, &s) in sums[..width].iter().enumerate() {
            // SAFETY: an element of the result that belongs to this thread.
            unsafe { *to.at::<T>(to_at + c as isize * to_step) = last(s) };
        }
    }

    /// One result over contiguous runs, in `STRIP` accumulators that `join` makes one.
    #[inline(always)]
    unsafe fn runs<T: std::marker::Copy, A: std::marker::Copy>(
        &self,
        (to, from): (Address, Address),
        index: usize,
        first: A,
        step: impl Fn(A, T) -> A,
        join: impl Fn(A, A) -> A,
        last: impl Fn(A) -> T,
    ) {
        let (outer, c) = (index / self.strip.0, (index % self.strip.0) as isize);
        let [to_at, from_at] = self.kept.offsets(outer);
        let mut sums = [first; STRIP];
        for r in 0..self.reduced.len() {
            let [at] = self.reduced.offsets(r);
            let run = from.at::<T>(from_at + at + c * self.strip.1[1]);
            // SAFETY: the innermost reduced loop is a run of the operand.
            let run = unsafe { std::slice::from_raw_parts(run, self.run.0) };
            let (whole, rest) = run.as_chunks::<STRIP>();
            for part in whole {
                sums.iter_mut().zip(part).for_each(|(s, &x)| *s = step(*s, x));
            }
            sums.iter_mut().zip(rest).for_each(|(s, &x)| *s = step(*s, x));
        }
        let mut width = STRIP;
        while width > 1 {
            width /= 2;
            for i in 0..width {
                sums[i] = join(sums[i], sums[i + width]);
            }
        }
        // SAFETY: an element of the result that belongs to this thread.
        unsafe { *to.at::<T>(to_at + c * self.strip.1[0]) = last(sums[0]) };
    }

    /// One strip, or one result, whichever suits the memory order.
    #[inline(always)]
    unsafe fn item<T: std::marker::Copy, A: std::marker::Copy>(
        &self,
        to: Address,
        from: Address,
        item: usize,
        first: A,
        functions: (impl Fn(A, T) -> A, impl Fn(A, A) -> A, impl Fn(A) -> T),
    ) {
        let (step, join, last) = functions;
        // SAFETY: the caller's promise.
        unsafe {
            if self.by_runs() {
                return self.runs((to, from), item, first, step, join, last);
            }
            let strips = self.strip.0.div_ceil(STRIP);
            let start = item % strips * STRIP;
            let width = STRIP.min(self.strip.0 - start);
            self.strip(to, from, (item / strips, start, width), first, step, last)
        }
    }

    fn by_runs(&self) -> bool {
        let is_short = self.run.0 <= SHORT && self.strip.0 >= SHORT;
        self.run.1[0] == 1 && (self.strip.1[1] != 1 || self.strip.0 == 1) && !is_short
    }

    fn items(&self) -> usize {
        let inner = if self.by_runs() { self.strip.0 } else { self.strip.0.div_ceil(STRIP) };
        self.kept.len() * inner
    }

    /// How many elements make one of the result.
    fn count(&self) -> usize {
        self.reduced.len() * self.run.0
    }
}

macro_rules! reduce_floats {
    ($T:ident, $name:ident) => {
        #[inline(always)]
        unsafe fn $name<const FMA: bool>(r: &Reduce, to: Address, from: Address, start: usize, end: usize) {
            // A sum is a mean over one element.
            let count = if r.op == ReduceOp::Mean { r.count() as f64 } else { 1.0 };
            let most = |a: $T, x: $T| if a < x || x.is_nan() { x } else { a };
            let least = |a: $T, x: $T| if x < a || x.is_nan() { x } else { a };
            for i in start..end {
                // SAFETY: the caller's promise.
                unsafe {
                    match r.op {
                        ReduceOp::Max => r.item(to, from, i, $T::NEG_INFINITY, (most, most, |a| a)),
                        ReduceOp::Min => r.item(to, from, i, $T::INFINITY, (least, least, |a| a)),
                        ReduceOp::Prod => {
                            r.item(to, from, i, 1.0, (|a, x: $T| a * x as f64, |a, b| a * b, |a| a as $T))
                        }
                        _ => r.item(
                            to,
                            from,
                            i,
                            0.0,
                            (|a, x: $T| a + x as f64, |a, b| a + b, |a| (a / count) as $T),
                        ),
                    }
                }
            }
        }
    };
}
reduce_floats!(f32, floats_f32);
reduce_floats!(f64, floats_f64);

macro_rules! reduce_ints {
    ($T:ident, $name:ident) => {
        #[inline(always)]
        unsafe fn $name<const FMA: bool>(r: &Reduce, to: Address, from: Address, start: usize, end: usize) {
            // Whether all are true is the least of them; of none it is true.
            let least = if r.op == ReduceOp::All { 1 } else { $T::MAX };
            for i in start..end {
                // SAFETY: the caller's promise.
                unsafe {
                    match r.op {
                        ReduceOp::Max | ReduceOp::Any => {
                            r.item(to, from, i, $T::MIN, ($T::max, $T::max, |a| a))
                        }
                        ReduceOp::Min | ReduceOp::All => {
                            r.item(to, from, i, least, ($T::min, $T::min, |a| a))
                        }
                        ReduceOp::Prod => r.item(to, from, i, 1, ($T::wrapping_mul, $T::wrapping_mul, |a| a)),
                        _ => r.item(to, from, i, 0, ($T::wrapping_add, $T::wrapping_add, |a| a)),
                    }
                }
            }
        }
    };
}
reduce_ints!(u8, ints_u8);
reduce_ints!(i8, ints_i8);
reduce_ints!(i16, ints_i16);
reduce_ints!(i32, ints_i32);
reduce_ints!(i64, ints_i64);

dispatch_by_type! {
    /// What reduces items `start..end`.
    ///
    /// # Safety
    /// `to` and `from` are the addresses of result and operand; the items belong to this thread.
    fn part(r: &Reduce, to: Address, from: Address, start: usize, end: usize) {
        f32 => floats_f32,
        f64 => floats_f64,
        u8 => ints_u8,
        i8 => ints_i8,
        i16 => ints_i16,
        i32 => ints_i32,
        i64 => ints_i64,
    }
}

impl Step for Reduce {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (to, from) = (call.of(&self.out), call.of(&self.x));
        let items = self.items();
        let grain = (GRAIN * items / self.x.elements().max(1)).max(1);
        let run = part(self.x.dtype);
        call.team.split(items, grain, |_, part| {
            // SAFETY: the caller gives both tensors; parts are disjoint.
            unsafe { run(self.isa, self, to, from, part.start, part.end) };
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("reduce {:?} of {} elements each", self.op, self.count())
    }
}
