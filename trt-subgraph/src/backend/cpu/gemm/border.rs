//! Lines of an image brought together with the zeros around it.

use super::window::Window;
use crate::backend::cpu::step::Address;
use crate::backend::cpu::view::View;
use std::ops::Range;

/// Copies what these result lines of an image of `x`, of elements `T`, read, with the border: lines of `width` columns, each of
/// `room` elements of which the first are the channels and the rest, if there is any, 0.
///
/// # Safety
/// `at` is where `x` lies; `to` has room for the band.
pub unsafe fn copy<T: Copy + Default>(
    x: &View,
    w: &Window,
    at: Address,
    (image, band): (usize, Range<usize>),
    to: *mut T,
    (width, room): (usize, usize),
) {
    let (channels, image) = (x.shape[3], at.at::<T>(image as isize * x.strides[0]));
    let height = w.reach(0, band.len());
    let top = (band.start * w.stride[0]) as isize - w.before[0] as isize;
    let left = w.before[1].min(width);
    let middle = x.shape[2].min(width - left);
    for line in 0..height {
        // SAFETY: `to` has room for `height` lines; lines of the input are inside of the image.
        unsafe {
            let to = std::slice::from_raw_parts_mut(to.add(line * width * room), width * room);
            let source = top + line as isize;
            if source < 0 || source >= x.shape[1] as isize {
                to.fill(T::default());
                continue;
            }
            let from = image.wrapping_offset(source * x.strides[1]).cast_const();
            to[..left * room].fill(T::default());
            to[(left + middle) * room..].fill(T::default());
            let to = &mut to[left * room..(left + middle) * room];
            if x.strides[3] == 1 && x.strides[2] == channels as isize && room == channels {
                to.copy_from_slice(std::slice::from_raw_parts(from, middle * channels));
            } else if room == 1 && x.strides[2] == 1 {
                to.copy_from_slice(std::slice::from_raw_parts(from, middle));
            } else {
                for c in 0..channels {
                    let plane = from.wrapping_offset(c as isize * x.strides[3]);
                    for (i, cell) in to.chunks_exact_mut(room).enumerate() {
                        cell[c] = *plane.wrapping_offset(i as isize * x.strides[2]);
                    }
                }
                to.chunks_exact_mut(room).for_each(|cell| cell[channels..].fill(T::default()));
            }
        }
    }
}
