//! Picking elements by an index tensor.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::element::for_size;
use crate::backend::cpu::nest::Nest;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::{Layer, ValueId};
use std::sync::OnceLock;

/// Bytes below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

pub fn assemble(a: &mut Assembler, layer: &Layer, axis: usize, elements: bool) -> Result<(), Fault> {
    let value = layer.outputs[0];
    let picked = Picked::of(a, layer, axis, elements);
    if !elements && !a.postpones && !a.is_bound(value) && picked.rows.elements() > 0 {
        a.picked.insert(value, picked);
        return Ok(());
    }
    copied(a, value, picked);
    Ok(())
}

/// Emits the copy of what is picked into the room of a value.
pub fn copied(a: &mut Assembler, value: ValueId, picked: Picked) -> View {
    let order: Vec<usize> = (0..a.network.ty(value).rank()).collect();
    let out = a.room(value, &order);
    if out.elements() > 0 {
        let mut outer = Nest::new([&out, &picked.rows, &picked.index], &order);
        let inner = outer.pop();
        let touches = [picked.rows.slot, picked.index.slot, out.slot];
        a.emit(Gather { outer, inner, picked, out: out.clone() }, &touches);
    }
    a.define(value, out.clone());
    out
}

/// What an index picks, where it lies.
#[derive(Clone, Debug)]
pub struct Picked {
    /// The operand, of the result's shape, as if every index were 0.
    pub rows: View,
    /// The index, of the result's shape.
    pub index: View,
    /// Indices below this one are in range.
    size: usize,
    /// Elements of the operand from one index to the next.
    step: isize,
    origin: String,
}

impl Picked {
    fn of(a: &mut Assembler, layer: &Layer, axis: usize, elements: bool) -> Picked {
        let (x, index) = (a.view(layer.inputs[0]), a.view(layer.inputs[1]));
        let shape = &a.network.ty(layer.outputs[0]).shape;
        let (mut rows, mut at) = (View { shape: shape.clone(), ..x.clone() }, index.clone());
        if elements {
            rows.strides[axis] = 0;
        } else {
            let inner = vec![0; index.rank()];
            rows.strides = [&x.strides[..axis], &inner[..], &x.strides[axis + 1..]].concat();
            at.strides = [&vec![0; axis][..], &index.strides, &vec![0; x.rank() - axis - 1][..]].concat();
        }
        at.shape.clone_from(shape);
        let origin = layer.origin.clone();
        Picked { rows, index: at, size: x.shape[axis], step: x.strides[axis], origin }
    }

    /// Is the innermost loop over a tensor with axes in this memory order one over elements side by side, all of the same index?
    pub fn has_rows(&self, order: &[usize]) -> bool {
        let innermost = order.iter().rev().find(|&&axis| self.rows.shape[axis] != 1);
        innermost.is_some_and(|&axis| self.rows.strides[axis] == 1 && self.index.strides[axis] == 0)
    }

    /// How far what the index at this place picks is from what 0 picks, in elements; `None` where the index is out of range.
    ///
    /// # Safety
    /// `index` is the index tensor, and has an element at `at`.
    #[inline(always)]
    pub unsafe fn offset(&self, index: Address, at: isize) -> Option<isize> {
        // SAFETY: the caller's promise.
        let given = unsafe { self.given(index, at) };
        let wrapped = if given < 0 { given.saturating_add(self.size as i64) } else { given };
        (0..self.size as i64).contains(&wrapped).then(|| wrapped as isize * self.step)
    }

    /// The error for an index that is out of range.
    ///
    /// # Safety
    /// As for [`Picked::offset`].
    #[cold]
    pub unsafe fn outside(&self, index: Address, at: isize) -> RunError {
        // SAFETY: the caller's promise.
        let given = unsafe { self.given(index, at) };
        RunError::Index { layer: self.origin.clone(), index: given, size: self.size }
    }

    #[inline(always)]
    unsafe fn given(&self, index: Address, at: isize) -> i64 {
        // SAFETY: the caller's promise.
        unsafe {
            match self.index.dtype {
                DType::I32 => *index.at::<i32>(at) as i64,
                _ => *index.at::<i64>(at),
            }
        }
    }
}

struct Gather {
    /// Loops over the result. Steps: result, operand, index.
    outer: Nest<3>,
    inner: (usize, [isize; 3]),
    picked: Picked,
    out: View,
}

impl Gather {
    /// Fails with the place of an index that is out of range.
    unsafe fn row<T: Copy>(&self, [out, x, index]: [Address; 3], row: usize) -> Result<(), isize> {
        let [to, from, at] = self.outer.offsets(row);
        let (n, [to_step, from_step, at_step]) = self.inner;
        if at_step == 0 {
            // SAFETY: the caller gives the index tensor.
            let from = from + unsafe { self.picked.offset(index, at) }.ok_or(at)?;
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
                let at = at + i * at_step;
                let from = from + i * from_step + self.picked.offset(index, at).ok_or(at)?;
                *out.at::<T>(to + i * to_step) = *x.at::<T>(from);
            }
        }
        Ok(())
    }
}

impl Step for Gather {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let addresses = [call.of(&self.out), call.of(&self.picked.rows), call.of(&self.picked.index)];
        let size = self.out.dtype.size();
        let wrong = OnceLock::new();
        call.team.split(self.outer.len(), GRAIN / (self.inner.0 * size), |_, part| {
            for row in part {
                // SAFETY: the caller gives all tensors; parts are disjoint.
                let done = for_size!(size, T => unsafe { self.row::<T>(addresses, row) });
                if let Err(at) = done {
                    // SAFETY: as above. Another thread's error is as good.
                    let _ = wrong.set(unsafe { self.picked.outside(addresses[2], at) });
                    return;
                }
            }
        });
        wrong.into_inner().map_or(Ok(()), Err)
    }

    fn describe(&self) -> String {
        "gather".to_string()
    }
}
