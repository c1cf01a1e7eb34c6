//! Picking elements by an index tensor.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::element::for_size;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Bytes below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

pub fn assemble(a: &mut Assembler, layer: &Layer, axis: usize, elements: bool) -> Result<(), Fault> {
    let (x, index, value) = (a.view(layer.inputs[0]), a.view(layer.inputs[1]), layer.outputs[0]);
    let rank = a.network.ty(value).rank();
    let order: Vec<usize> = (0..rank).collect();
    let out = a.room(value, &order);
    if out.elements() > 0 {
        // Views of the shape of the result: where an index is read, and where `x` starts for it.
        let (mut base, mut at) = (View { shape: out.shape.clone(), ..x.clone() }, index.clone());
        if elements {
            base.strides[axis] = 0;
        } else {
            let inner = vec![0; index.rank()];
            base.strides = [&x.strides[..axis], &inner[..], &x.strides[axis + 1..]].concat();
            at.strides = [&vec![0; axis][..], &index.strides, &vec![0; x.rank() - axis - 1][..]].concat();
        }
        at.shape = out.shape.clone();
        let mut outer = Nest::new([&out, &base, &at], &order);
        let inner = outer.pop();
        let touches = [x.slot, index.slot, out.slot];
        let (size, step) = (x.shape[axis], x.strides[axis]);
        let origin = layer.origin.clone();
        a.emit(Gather { outer, inner, size, step, x, index, out: out.clone(), origin }, &touches);
    }
    a.define(value, out);
    Ok(())
}

struct Gather {
    /// Loops over the result. Steps: result, operand, index.
    outer: Nest<3>,
    inner: (usize, [isize; 3]),
    size: usize,
    step: isize,
    x: View,
    index: View,
    out: View,
    origin: String,
}

impl Gather {
    /// The operand's offset for the index at `at`, or the index that is out of range.
    #[inline(always)]
    unsafe fn pick(&self, index: Address, at: isize) -> Result<isize, i64> {
        // SAFETY: an element of the index tensor.
        let given = unsafe {
            match self.index.dtype {
                DType::I32 => *index.at::<i32>(at) as i64,
                _ => *index.at::<i64>(at),
            }
        };
        let wrapped = if given < 0 { given.saturating_add(self.size as i64) } else { given };
        if (0..self.size as i64).contains(&wrapped) { Ok(wrapped as isize * self.step) } else { Err(given) }
    }

    unsafe fn row<T: Copy>(&self, [out, x, index]: [Address; 3], row: usize) -> Result<(), i64> {
        let [to, from, at] = self.outer.offsets(row);
        let (n, [to_step, from_step, at_step]) = self.inner;
        if at_step == 0 {
            // SAFETY: the caller gives the index tensor.
            let from = from + unsafe { self.pick(index, at) }?;
            if (to_step, from_step) == (1, 1) {
                // SAFETY: as below; a result overlaps no operand.
                unsafe { std::ptr::copy_nonoverlapping(x.at::<T>(from).cast_const(), out.at::<T>(to), n) };
                return Ok(());
            }
            for i in 0..n as isize {
                // SAFETY: elements of the operand, and of the result that belong to this thread.
                unsafe { *out.at::<T>(to + i * to_step) = *x.at::<T>(from + i * from_step) };
            }
            return Ok(());
        }
        for i in 0..n as isize {
            // SAFETY: as above.
            unsafe {
                let from = from + i * from_step + self.pick(index, at + i * at_step)?;
                *out.at::<T>(to + i * to_step) = *x.at::<T>(from);
            }
        }
        Ok(())
    }
}

impl Step for Gather {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let addresses = [call.of(&self.out), call.of(&self.x), call.of(&self.index)];
        let size = self.x.dtype.size();
        let (failed, wrong) = (AtomicBool::new(false), AtomicI64::new(0));
        call.team.split(self.outer.len(), GRAIN / (self.inner.0 * size), |_, part| {
            for row in part {
                // SAFETY: the caller gives all tensors; parts are disjoint.
                let done = for_size!(size, T => unsafe { self.row::<T>(addresses, row) });
                if let Err(index) = done {
                    wrong.store(index, Ordering::Relaxed);
                    failed.store(true, Ordering::Release);
                    return;
                }
            }
        });
        if failed.load(Ordering::Acquire) {
            let (layer, index) = (self.origin.clone(), wrong.load(Ordering::Relaxed));
            return Err(RunError::Index { layer, index, size: self.size });
        }
        Ok(())
    }

    fn describe(&self) -> String {
        "gather".to_string()
    }
}
