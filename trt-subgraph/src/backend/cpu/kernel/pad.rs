//! Borders.

use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::element::{Element, for_element, for_size};
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;
use crate::network::layer::PadMode;

/// Bytes below which a second thread costs more than it gives.
const GRAIN: usize = 128 * 1024;

pub fn assemble(
    a: &mut Assembler,
    layer: &Layer,
    border: &[(usize, usize)],
    mode: PadMode,
) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let order: Vec<usize> = if a.is_bound(value) { (0..x.rank()).collect() } else { x.order() };
    let out = a.room(value, &order);
    if out.elements() > 0 {
        match mode {
            PadMode::Constant(with) => {
                a.emit(Fill { out: out.clone(), with }, &[out.slot]);
                let mut inside = out.clone();
                for (axis, &(before, _)) in border.iter().enumerate() {
                    inside = inside.narrow(axis, before, x.shape[axis]);
                }
                a.copy(&x, inside);
            }
            _ => {
                let touches = [x.slot, out.slot];
                let sources = (0..x.rank()).map(|i| source(x.shape[i], border[i], mode)).collect();
                a.emit(Border { sources, order, x, out: out.clone() }, &touches);
            }
        }
    }
    a.define(value, out);
    Ok(())
}

/// The position along an axis of `n` elements that each position of the padded axis shows.
fn source(n: usize, (before, after): (usize, usize), mode: PadMode) -> Vec<usize> {
    let (n, before) = (n as isize, before as isize);
    let at = |i: isize| match mode {
        PadMode::Reflect if i < 0 => -i,
        PadMode::Reflect if i >= n => 2 * (n - 1) - i,
        PadMode::Circular => i.rem_euclid(n),
        _ => i.clamp(0, n - 1),
    };
    (-before..n + after as isize).map(|i| at(i) as usize).collect()
}

/// One value everywhere. The tensor is dense.
struct Fill {
    out: View,
    with: f64,
}

impl Step for Fill {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let to = call.of(&self.out);
        let size = self.out.dtype.size();
        call.team.split(self.out.elements(), GRAIN / size, |_, part| {
            for_element!(self.out.dtype, T => {
                // SAFETY: the caller gives the tensor; parts are disjoint.
                let to = unsafe { std::slice::from_raw_parts_mut(to.at::<T>(part.start as isize), part.len()) };
                let bool = self.out.dtype == crate::DType::Bool;
                let with = if bool { (self.with != 0.0) as u8 as f64 } else { self.with };
                to.fill(<T as Element>::from_f64(with));
            });
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "fill".to_string()
    }
}

/// Every element from where its axes' tables say.
struct Border {
    sources: Vec<Vec<usize>>,
    order: Vec<usize>,
    x: View,
    out: View,
}

impl Border {
    unsafe fn row<T: Copy>(&self, call: [crate::backend::cpu::step::Address; 2], mut row: usize) {
        let [out, x] = call;
        let Some((&inner, around)) = self.order.split_last() else { return };
        let (mut to, mut from) = (0, 0);
        for &axis in around.iter().rev() {
            let i = row % self.out.shape[axis];
            row /= self.out.shape[axis];
            to += i as isize * self.out.strides[axis];
            from += self.sources[axis][i] as isize * self.x.strides[axis];
        }
        for (i, &source) in self.sources[inner].iter().enumerate() {
            let to = out.at::<T>(to + i as isize * self.out.strides[inner]);
            // SAFETY: an element of the operand, and of the result that belongs to this thread.
            unsafe { *to = *x.at::<T>(from + source as isize * self.x.strides[inner]) };
        }
    }
}

impl Step for Border {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let addresses = [call.of(&self.out), call.of(&self.x)];
        let size = self.x.dtype.size();
        let width = self.order.last().map_or(1, |&axis| self.out.shape[axis]);
        if self.order.is_empty() {
            // SAFETY: both are one element.
            unsafe { addresses[0].at::<u8>(0).copy_from_nonoverlapping(addresses[1].at::<u8>(0), size) };
            return Ok(());
        }
        call.team.split(self.out.elements() / width, GRAIN / (width * size), |_, part| {
            for row in part {
                // SAFETY: the caller gives both tensors; parts are disjoint.
                for_size!(size, T => unsafe { self.row::<T>(addresses, row) });
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "border".to_string()
    }
}
