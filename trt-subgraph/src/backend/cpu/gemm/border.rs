//! Lines of an image brought together with the zeros around it.

use super::window::Window;
use crate::backend::cpu::step::Address;
use crate::backend::cpu::view::View;
use std::ops::Range;

/// Copies what these result lines of an image of `x` read, with the border: lines of `width` columns, channels innermost.
///
/// # Safety
/// `at` is where `x` lies; `to` has room for the band.
pub unsafe fn copy(
    x: &View,
    w: &Window,
    at: Address,
    (image, band): (usize, Range<usize>),
    to: *mut f32,
    width: usize,
) {
    let (channels, image) = (x.shape[3], at.at::<f32>(image as isize * x.strides[0]));
    let height = w.reach(0, band.len());
    let top = (band.start * w.stride[0]) as isize - w.before[0] as isize;
    let left = w.before[1].min(width);
    let middle = x.shape[2].min(width - left);
    for line in 0..height {
        // SAFETY: `to` has room for `height` lines; lines of the input are inside of the image.
        unsafe {
            let to = std::slice::from_raw_parts_mut(to.add(line * width * channels), width * channels);
            let source = top + line as isize;
            if source < 0 || source >= x.shape[1] as isize {
                to.fill(0.0);
                continue;
            }
            let from = image.wrapping_offset(source * x.strides[1]).cast_const();
            to[..left * channels].fill(0.0);
            to[(left + middle) * channels..].fill(0.0);
            let to = &mut to[left * channels..(left + middle) * channels];
            if x.strides[3] == 1 && x.strides[2] == channels as isize {
                to.copy_from_slice(std::slice::from_raw_parts(from, middle * channels));
            } else if channels == 1 && x.strides[2] == 1 {
                to.copy_from_slice(std::slice::from_raw_parts(from, middle));
            } else {
                for c in 0..channels {
                    let plane = from.wrapping_offset(c as isize * x.strides[3]);
                    for (i, cell) in to.chunks_exact_mut(channels).enumerate() {
                        cell[c] = *plane.wrapping_offset(i as isize * x.strides[2]);
                    }
                }
            }
        }
    }
}
