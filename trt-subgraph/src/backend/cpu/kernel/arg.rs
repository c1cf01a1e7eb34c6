//! Positions of extrema.

use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::element::{Element, for_element};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;

/// Elements below which a second thread costs more than it gives.
const GRAIN: usize = 16 * 1024;

pub fn assemble(a: &mut Assembler, layer: &Layer, largest: bool, axis: usize) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let order: Vec<usize> = (0..a.network.ty(value).rank()).collect();
    let out = a.room(value, &order);
    if out.elements() > 0 {
        let kept: Vec<usize> = (0..x.rank()).filter(|&i| i != axis).collect();
        let place: Vec<usize> = if out.rank() == x.rank() { kept.clone() } else { (0..kept.len()).collect() };
        let x_kept = x.permute(&kept);
        let outer = Nest::new([&out.permute(&place), &x_kept], &x_kept.order());
        let touches = [x.slot, out.slot];
        let step = Arg { largest, outer, len: x.shape[axis], step: x.strides[axis], x, out: out.clone() };
        a.emit(step, &touches);
    }
    a.define(value, out);
    Ok(())
}

struct Arg {
    largest: bool,
    x: View,
    out: View,
    outer: Nest<2>,
    len: usize,
    step: isize,
}

impl Arg {
    unsafe fn part<T: Element>(&self, to: Address, from: Address, part: std::ops::Range<usize>) {
        // The smallest has the largest complement; NaN, which integers have none of, wins either way.
        let floats = self.x.dtype.is_float();
        let score = |x: T| match (x.rank(), self.largest) {
            (rank, true) => rank,
            (u64::MAX, false) if floats => u64::MAX,
            (rank, false) => !rank,
        };
        for i in part {
            let [to_at, from_at] = self.outer.offsets(i);
            // SAFETY: an element of the operand; the axis is not empty.
            let at = |k: usize| score(unsafe { *from.at::<T>(from_at + k as isize * self.step) });
            let (mut best, mut most) = (0, at(0));
            for k in 1..self.len {
                let s = at(k);
                if s > most {
                    (best, most) = (k, s);
                }
            }
            // SAFETY: an element of the result that belongs to this thread.
            unsafe { *to.at::<i64>(to_at) = best as i64 };
        }
    }
}

impl Step for Arg {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (to, from) = (call.of(&self.out), call.of(&self.x));
        call.team.split(self.outer.len(), GRAIN / self.len.max(1), |_, part| {
            // SAFETY: the caller gives both tensors; parts are disjoint.
            for_element!(self.x.dtype, T => unsafe { self.part::<T>(to, from, part.clone()) });
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("position of the {} of {}", if self.largest { "largest" } else { "smallest" }, self.len)
    }
}
