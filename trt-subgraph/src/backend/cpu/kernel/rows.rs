//! Work on groups of elements along some axes: each group is brought together as a row, and its result spread out again.

use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call};
use crate::backend::cpu::view::{Slot, View};

/// Elements below which a second thread costs more than it gives, for a function of price 1.
const GRAIN: usize = 32 * 1024;

/// One value of several, those of the lower half joined with those of the upper one until one is left. `N` is a power of two.
#[inline(always)]
pub fn joined<const N: usize>(mut values: [f32; N], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = N / 2;
    while half > 0 {
        (0..half).for_each(|i| values[i] = join(values[i], values[i + half]));
        half /= 2;
    }
    values[0]
}

/// The groups of `x` along some axes and, of the same shape and type, the places of their results.
pub struct Rows {
    x: View,
    out: View,
    outer: Nest<2>,
    row: Nest<2>,
    len: usize,
    /// Are the elements of a row neighbours in `x`, in `out`?
    runs: [bool; 2],
    scratch: Slot,
    thread_bytes: usize,
}

impl Rows {
    /// Groups along `axes`; a group's elements are in row-major order.
    pub fn new(a: &mut Assembler, x: View, out: View, axes: &[usize]) -> Rows {
        let outer_order: Vec<usize> = x.order().into_iter().filter(|i| !axes.contains(i)).collect();
        let outer = Nest::new([&x, &out], &outer_order);
        let row = Nest::new([&x, &out], axes);
        let len = row.len();
        let run = |k: usize| len <= 1 || (row.loops.len() == 1 && row.loops[0].1[k] == 1);
        let runs = [run(0), run(1)];
        let size = x.dtype.size();
        let thread_bytes = 2 * (len * size).next_multiple_of(64);
        let scratch = a.scratch(if runs == [true; 2] { 0 } else { thread_bytes * a.machine.threads });
        Rows { x, out, outer, row, len, runs, scratch, thread_bytes }
    }

    /// What a step on these rows touches.
    pub fn touches(&self) -> [Slot; 3] {
        [self.x.slot, self.out.slot, self.scratch]
    }

    /// Elements of a row.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.x.dtype
    }

    /// Calls `f(row, result)` for every row. `price`: of one element, in vector operations.
    ///
    /// # Safety
    /// As for [`crate::backend::cpu::step::Step::run`]; `T` is the Rust type of the elements.
    pub unsafe fn each<T: Copy>(&self, call: &Call, price: usize, f: impl Fn(&[T], &mut [T]) + Sync) {
        let (x, out) = (call.of(&self.x), call.of(&self.out));
        let scratch = call.place(self.scratch, 0);
        let grain = GRAIN / (self.len * price).max(1);
        call.team.split(self.outer.len(), grain, |thread, part| {
            let mine = scratch.at::<u8>((thread * self.thread_bytes) as isize);
            let half = self.thread_bytes / 2;
            for i in part {
                let [from, to] = self.outer.offsets(i);
                let (mut row, mut result) = (x.at::<T>(from), out.at::<T>(to));
                if !self.runs[0] {
                    row = mine.cast();
                    // SAFETY: the row is part of `x`; the scratch is this thread's.
                    unsafe { self.gather(Address::new(x.at::<T>(from).cast()), row) };
                }
                if !self.runs[1] {
                    result = mine.wrapping_add(half).cast();
                }
                // SAFETY: both have `len` elements; nobody else touches the result, and `x` and `out` are apart.
                unsafe {
                    let row = std::slice::from_raw_parts(row.cast_const(), self.len);
                    f(row, std::slice::from_raw_parts_mut(result, self.len));
                }
                if !self.runs[1] {
                    // SAFETY: the row of `out` is this thread's.
                    unsafe { self.scatter(result.cast_const(), Address::new(out.at::<T>(to).cast())) };
                }
            }
        });
    }

    unsafe fn gather<T: Copy>(&self, from: Address, to: *mut T) {
        for i in 0..self.len {
            // SAFETY: element `i` of the row and of the scratch.
            unsafe { *to.add(i) = *from.at::<T>(self.row.offsets(i)[0]) };
        }
    }

    unsafe fn scatter<T: Copy>(&self, from: *const T, to: Address) {
        for i in 0..self.len {
            // SAFETY: element `i` of the scratch and of the row.
            unsafe { *to.at::<T>(self.row.offsets(i)[1]) = *from.add(i) };
        }
    }
}
