//! Where a tensor lies: a slot of the call's address table, an offset, and one stride for each axis.
//!
//! Movement is mostly a new view of the same bytes: permuting, slicing, stretching and most reshapes copy nothing.

use crate::network::layer::Range;
use crate::{DType, TensorType};

/// Position in the table of addresses that a call works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub u32);

/// A strided tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    /// What it lies in.
    pub slot: Slot,
    /// Bytes from the slot's address to element 0.
    pub offset: isize,
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Vec<usize>,
    /// Distance of neighbours along each axis, in elements; 0 where the axis is stretched.
    pub strides: Vec<isize>,
}

impl View {
    /// A dense tensor whose memory order is `order` (axes, outermost first).
    pub fn dense(slot: Slot, ty: &TensorType, order: &[usize]) -> View {
        let mut strides = vec![0; ty.rank()];
        let mut step = 1isize;
        for &axis in order.iter().rev() {
            strides[axis] = step;
            step *= ty.shape[axis] as isize;
        }
        View { slot, offset: 0, dtype: ty.dtype, shape: ty.shape.clone(), strides }
    }

    /// A dense row-major tensor.
    pub fn row_major(slot: Slot, ty: &TensorType) -> View {
        View::dense(slot, ty, &(0..ty.rank()).collect::<Vec<_>>())
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.clone())
    }

    /// First and one past the last byte of its elements, from the slot's start.
    pub fn reach(&self) -> (isize, isize) {
        let size = self.dtype.size() as isize;
        let (mut low, mut high) = (self.offset, self.offset);
        if self.elements() == 0 {
            return (low, high);
        }
        for (&n, &s) in self.shape.iter().zip(&self.strides) {
            let reach = (n - 1) as isize * s * size;
            if reach < 0 { low += reach } else { high += reach }
        }
        (low, high + size)
    }

    /// Are the elements dense in row-major order?
    pub fn is_row_major(&self) -> bool {
        self.is_dense_in(&(0..self.rank()).collect::<Vec<_>>())
    }

    /// Are the elements dense with this memory order (axes, outermost first)? Axes of size 1 do not matter.
    pub fn is_dense_in(&self, order: &[usize]) -> bool {
        let mut step = 1isize;
        for &axis in order.iter().rev() {
            if self.shape[axis] != 1 && self.strides[axis] != step {
                return false;
            }
            step *= self.shape[axis] as isize;
        }
        true
    }

    /// The axes by distance in memory, farthest first. Axes of size 1 stay where row-major order has them.
    pub fn order(&self) -> Vec<usize> {
        let mut real: Vec<usize> = (0..self.rank()).filter(|&a| self.shape[a] != 1).collect();
        let places = real.clone();
        real.sort_by_key(|&a| std::cmp::Reverse(self.strides[a].unsigned_abs()));
        let mut out: Vec<usize> = (0..self.rank()).collect();
        for (place, axis) in places.into_iter().zip(real) {
            out[place] = axis;
        }
        out
    }

    /// Axis `i` of the result is axis `axes[i]`.
    pub fn permute(&self, axes: &[usize]) -> View {
        View {
            shape: axes.iter().map(|&a| self.shape[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            ..self.clone()
        }
    }

    /// A strided part of every axis. A part without elements starts where the whole does.
    pub fn slice(&self, ranges: &[Range]) -> View {
        let mut out = self.clone();
        let is_empty = ranges.iter().any(|r| r.len == 0);
        for (axis, r) in ranges.iter().enumerate() {
            if !is_empty {
                out.offset += self.strides[axis] * (r.start * self.dtype.size()) as isize;
            }
            out.shape[axis] = r.len;
            out.strides[axis] = self.strides[axis] * r.step;
        }
        out
    }

    /// `len` positions of one axis, from `start` on.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> View {
        let mut ranges: Vec<Range> = self.shape.iter().map(|&n| Range::full(n)).collect();
        ranges[axis] = Range { start, step: 1, len };
        self.slice(&ranges)
    }

    /// Stretched to `shape`, aligned at the last axis.
    pub fn stretch(&self, shape: &[usize]) -> View {
        let missing = shape.len() - self.rank();
        let strides = (0..shape.len())
            .map(|a| if a < missing || self.shape[a - missing] == 1 { 0 } else { self.strides[a - missing] })
            .collect();
        View { shape: shape.to_vec(), strides, ..self.clone() }
    }

    /// The same elements in row-major order under another shape, where strides can say it.
    pub fn reshape(&self, shape: &[usize]) -> Option<View> {
        let ty = TensorType::new(self.dtype, shape);
        if self.elements() == 0 {
            return Some(View { offset: self.offset, ..View::row_major(self.slot, &ty) });
        }
        // Runs of axes that are one axis in memory: (size, stride of its innermost).
        let mut runs: Vec<(usize, isize)> = Vec::new();
        for (&n, &s) in self.shape.iter().zip(&self.strides).filter(|&(&n, _)| n != 1) {
            match runs.last_mut() {
                Some((size, stride)) if *stride == s * n as isize => (*size, *stride) = (*size * n, s),
                _ => runs.push((n, s)),
            }
        }
        let mut strides = vec![0; shape.len()];
        let mut run = runs.pop().unwrap_or((1, 1));
        let mut filled = 1;
        for axis in (0..shape.len()).rev().filter(|&a| shape[a] != 1) {
            if filled == run.0 {
                run = runs.pop()?;
                filled = 1;
            }
            strides[axis] = run.1 * filled as isize;
            filled *= shape[axis];
            if !run.0.is_multiple_of(filled) {
                return None;
            }
        }
        Some(View { shape: shape.to_vec(), strides, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(shape: &[usize]) -> View {
        View::row_major(Slot(0), &TensorType::new(DType::F32, shape))
    }

    #[test]
    fn reshape_splits_and_joins_runs() {
        let x = base(&[4, 6, 5]);
        assert_eq!(x.reshape(&[2, 2, 30]).unwrap().strides, [60, 30, 1]);
        let permuted = x.permute(&[1, 0, 2]);
        assert_eq!(permuted.reshape(&[2, 3, 4, 5]).unwrap().strides, [15, 5, 30, 1]);
        assert!(permuted.reshape(&[24, 5]).is_none());
        assert_eq!(x.narrow(0, 1, 2).reshape(&[12, 5]).unwrap().offset, 120);
        assert!(x.narrow(1, 0, 3).reshape(&[12, 5]).is_none());
        assert_eq!(base(&[]).reshape(&[1, 1]).unwrap().shape, [1, 1]);
        assert_eq!(base(&[0, 3]).reshape(&[3, 0]).unwrap().shape, [3, 0]);
        assert_eq!(base(&[1]).stretch(&[3, 4]).reshape(&[12]).unwrap().strides, [0]);
    }

    #[test]
    fn order_ignores_axes_of_one() {
        let ty = TensorType::new(DType::F32, [1, 8, 4, 4]);
        let x = View::dense(Slot(0), &ty, &[0, 2, 3, 1]);
        assert_eq!(x.order(), [0, 2, 3, 1]);
        assert!(x.is_dense_in(&[0, 2, 3, 1]) && !x.is_row_major());
        assert_eq!(base(&[1, 2, 1, 3]).order(), [0, 1, 2, 3]);
        assert!(base(&[2, 1, 3]).is_dense_in(&[0, 2, 1]));
    }

    #[test]
    fn slices_walk_backwards() {
        let x = base(&[5]).slice(&[Range { start: 4, step: -2, len: 3 }]);
        assert_eq!((x.offset, x.strides[0], x.shape[0]), (16, -2, 3));
    }

    #[test]
    fn parts_of_nothing_stay_inside() {
        let ty = TensorType::new(DType::F64, [5, 4, 0, 10]);
        let x = View::dense(Slot(0), &ty, &[2, 3, 0, 1]);
        assert_eq!(x.narrow(3, 5, 5).reach(), (0, 0));
        assert_eq!(base(&[4, 6]).narrow(0, 2, 2).narrow(1, 6, 0).offset, 48);
        assert_eq!(base(&[0, 6]).narrow(1, 3, 3).offset, 0);
    }
}
