//! Products of runs of rows with a matrix each: tiles for f32, plain loops for f64 and for sums of no terms.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::gemm::panels::Panels;
use crate::backend::cpu::gemm::runs::{Offsets, Runs};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;
use std::ops::{AddAssign, Mul, Range};

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

pub fn assemble(a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let offsets = Offsets::new(a.view(layer.inputs[2]));
    let shape = a.network.ty(layer.inputs[1]).shape.clone();
    let (runs, inner, columns) = (shape[0], shape[1], shape[2]);
    if x.dtype != DType::F32 || shape.contains(&0) {
        let w = a.computing(layer.inputs[1])?;
        return a.result(layer, x.dtype, &[0, 1], |a, out| {
            let touches = [x.slot, w.slot, offsets.slot(), out.slot];
            a.emit(Plain { x, w, offsets, out }, &touches);
            Ok(())
        });
    }
    let x = if inner == 1 || x.strides[1] == 1 { x } else { a.ordered(x, &[0, 1]) };
    let panels = Panels::new(a.machine.isa, columns, inner, inner);
    let packing = panels.packing("matrices", View::clone);
    let weights = a.packed(layer.inputs[1], 4 * runs * panels.elements(), packing)?;
    a.result(layer, DType::F32, &[0, 1], |a, out| {
        Runs::emit(a, x, (panels, weights), offsets, out);
        Ok(())
    })
}

/// Any strides, any sizes.
struct Plain {
    x: View,
    w: View,
    offsets: Offsets,
    out: View,
}

impl Plain {
    /// # Safety
    /// As for [`Step::run`]; the tensors are of `T`.
    unsafe fn each<T: Copy + Default + AddAssign + Mul<Output = T>>(&self, call: &Call) {
        let [out, x, w]: [Address; 3] = [&self.out, &self.x, &self.w].map(|v| call.of(v));
        let (n, k) = (self.out.shape[1] as isize, self.x.shape[1] as isize);
        let at = |v: &View, r: usize, i: isize, j: isize| i * v.strides[r - 2] + j * v.strides[r - 1];
        let product = |run: Option<usize>, rows: Range<usize>| {
            let b = run.map(|run| run as isize * self.w.strides[0]);
            for (row, column) in rows.flat_map(|row| (0..n).map(move |column| (row as isize, column))) {
                let mut sum = T::default();
                for (b, i) in b.iter().flat_map(|b| (0..k).map(move |i| (b, i))) {
                    // SAFETY: elements of the operands.
                    let (x, w) = unsafe {
                        (*x.at::<T>(at(&self.x, 2, row, i)), *w.at::<T>(b + at(&self.w, 3, i, column)))
                    };
                    sum += x * w;
                }
                // SAFETY: an element of the result that belongs to this thread.
                unsafe { *out.at::<T>(at(&self.out, 2, row, column)) = sum };
            }
        };
        let offsets = self.offsets.address(call);
        call.team.split(self.out.shape[0], GRAIN / ((n * k) as usize).max(1), |_, rows| {
            // SAFETY: the caller gives the offsets.
            unsafe { self.offsets.each(offsets, rows, product) };
        });
    }
}

impl Step for Plain {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        // SAFETY: the caller's promise; tensors are read as their type.
        unsafe {
            match self.out.dtype {
                DType::F64 => self.each::<f64>(call),
                _ => self.each::<f32>(call),
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("products of runs of rows in plain loops of {}", self.out.dtype)
    }
}
