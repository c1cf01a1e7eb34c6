//! The first elements in sorted order, and sorting.

use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::element::{Element, for_element};
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use crate::network::Layer;

/// Elements below which a second thread costs more than it gives.
const GRAIN: usize = 2 * 1024;

/// An element's place in the order, then its position: ties keep theirs.
type Entry = (u64, u64);

pub fn assemble(a: &mut Assembler, layer: &Layer, axis: usize, k: usize, largest: bool) -> Result<(), Fault> {
    let x = a.view(layer.inputs[0]);
    let order: Vec<usize> = (0..x.rank()).collect();
    let values = a.room(layer.outputs[0], &order);
    let positions = a.room(layer.outputs[1], &order);
    if values.elements() > 0 {
        let kept: Vec<usize> = (0..x.rank()).filter(|&i| i != axis).collect();
        let outer = Nest::new([&values, &positions, &x], &kept);
        let len = x.shape[axis];
        let scratch = a.scratch(a.machine.threads * len * size_of::<Entry>());
        let touches = [x.slot, values.slot, positions.slot, scratch];
        let steps = [values.strides[axis], positions.strides[axis], x.strides[axis]];
        let step = TopK {
            largest,
            k,
            len,
            outer,
            steps,
            x,
            values: values.clone(),
            positions: positions.clone(),
            scratch,
        };
        a.emit(step, &touches);
    }
    a.define(layer.outputs[0], values);
    a.define(layer.outputs[1], positions);
    Ok(())
}

struct TopK {
    largest: bool,
    k: usize,
    len: usize,
    outer: Nest<3>,
    steps: [isize; 3],
    x: View,
    values: View,
    positions: View,
    scratch: Slot,
}

impl TopK {
    unsafe fn row<T: Element>(&self, addresses: [Address; 3], entries: &mut [Entry], row: usize) {
        let [values, positions, x] = addresses;
        let at = self.outer.offsets(row);
        // SAFETY: an element of the operand.
        let element = |i: u64| unsafe { *x.at::<T>(at[2] + i as isize * self.steps[2]) };
        for (i, entry) in entries.iter_mut().enumerate() {
            let rank = element(i as u64).rank();
            *entry = (if self.largest { !rank } else { rank }, i as u64);
        }
        if self.k < entries.len() {
            entries.select_nth_unstable(self.k - 1);
        }
        entries[..self.k].sort_unstable();
        for (i, entry) in entries[..self.k].iter().enumerate() {
            let i = i as isize;
            // SAFETY: elements of the results that belong to this thread.
            unsafe {
                *values.at::<T>(at[0] + i * self.steps[0]) = element(entry.1);
                *positions.at::<i64>(at[1] + i * self.steps[1]) = entry.1 as i64;
            }
        }
    }
}

impl Step for TopK {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let addresses = [call.of(&self.values), call.of(&self.positions), call.of(&self.x)];
        let scratch = call.place(self.scratch, 0);
        call.team.split(self.outer.len(), GRAIN / self.len.max(1), |thread, part| {
            let mine = scratch.at::<Entry>((thread * self.len) as isize);
            // SAFETY: each thread has `len` entries of its own, of plain numbers.
            let entries = unsafe {
                mine.write_bytes(0, self.len);
                std::slice::from_raw_parts_mut(mine, self.len)
            };
            for row in part {
                // SAFETY: the caller gives all tensors; parts are disjoint.
                for_element!(self.x.dtype, T => unsafe { self.row::<T>(addresses, entries, row) });
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("first {} of {} in order", self.k, self.len)
    }
}
