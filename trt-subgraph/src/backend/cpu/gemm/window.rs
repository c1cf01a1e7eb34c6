//! What a convolution sees of its input at once, and tensors `[batch, lines, columns, channels]` as tiles walk them.

use crate::backend::cpu::view::View;

/// The window of a convolution along lines and columns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub size: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Zeros before the first line and column.
    pub before: [usize; 2],
    /// Channel groups.
    pub groups: usize,
}

impl Window {
    /// One cell: a matrix product.
    pub const ONE: Window =
        Window { size: [1; 2], stride: [1; 2], dilation: [1; 2], before: [0; 2], groups: 1 };

    /// How many lines, or columns, `count` neighbouring ones of the result see.
    pub fn reach(&self, axis: usize, count: usize) -> usize {
        (count - 1) * self.stride[axis] + (self.size[axis] - 1) * self.dilation[axis] + 1
    }
}

/// The distance of neighbouring positions, where all positions of a tensor `[batch, lines, columns, channels]` are equally far
/// apart and channels are neighbours.
pub fn pitch(view: &View) -> Option<isize> {
    if view.shape[3] > 1 && view.strides[3] != 1 {
        return None;
    }
    let mut pitch = None;
    let mut count = 1isize;
    for axis in (0..3).rev().filter(|&a| view.shape[a] > 1) {
        let unit = *pitch.get_or_insert(view.strides[axis]);
        if view.strides[axis] != unit * count {
            return None;
        }
        count *= view.shape[axis] as isize;
    }
    Some(pitch.unwrap_or(view.shape[3] as isize))
}
