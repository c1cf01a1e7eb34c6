//! Convolutions in plain loops, for types and shapes that oneDNN does not take.

use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::expr::{Isa, dispatch};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::layer::Convolution;

/// Result channels that are accumulated at once.
const STRIP: usize = 64;
/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

/// A convolution step. Every tensor has any strides.
pub struct Direct {
    isa: Isa,
    c: Convolution,
    x: View,
    w: View,
    out: View,
}

impl Direct {
    /// `x`, `w` and `out` as the layer kind has them.
    pub fn new(c: &Convolution, x: View, w: View, out: View, isa: Isa) -> Direct {
        Direct { isa, c: c.clone(), x, w, out }
    }

    /// Where along `axis` tap `t` reads for result position `o`; `None` outside of the input.
    #[inline(always)]
    fn source(&self, axis: usize, o: usize, t: usize) -> Option<isize> {
        let (size, stride) = (self.x.shape[axis + 2] as isize, self.c.stride[axis] as isize);
        let (o, reach) = (o as isize, (t * self.c.dilation[axis]) as isize);
        let before = self.c.padding[axis].0 as isize;
        let at = if self.c.transposed {
            let at = o + before - reach;
            if at % stride != 0 {
                return None;
            }
            at / stride
        } else {
            o * stride + reach - before
        };
        (0..size).contains(&at).then_some(at)
    }

    /// Channels: of the input in a group, of the result in a group.
    fn group(&self) -> (usize, usize) {
        (self.x.shape[1] / self.c.groups, self.out.shape[1] / self.c.groups)
    }

    fn positions(&self) -> usize {
        self.out.shape[2..].iter().product()
    }

    /// Results of one position, one group, one strip of channels.
    #[inline(always)]
    unsafe fn item<T: Copy + Default>(
        &self,
        [out, x, w]: [Address; 3],
        item: usize,
        add: impl Fn(T, T, T) -> T,
    ) {
        let (inputs, outputs) = self.group();
        let strips = outputs.div_ceil(STRIP);
        let (strip, rest) = (item % strips, item / strips);
        let (group, rest) = (rest % self.c.groups, rest / self.c.groups);
        let (mut position, batch) = (rest % self.positions(), rest / self.positions());
        let axes = self.c.stride.len();
        let mut at = [0; 3];
        let first = group * outputs + strip * STRIP;
        let width = STRIP.min(outputs - strip * STRIP);
        let mut to = batch as isize * self.out.strides[0] + first as isize * self.out.strides[1];
        for axis in (0..axes).rev() {
            at[axis] = position % self.out.shape[axis + 2];
            position /= self.out.shape[axis + 2];
            to += at[axis] as isize * self.out.strides[axis + 2];
        }
        // w[O, C/groups, ..], or transposed w[C, O/groups, ..].
        let (w_in, w_out) = if self.c.transposed {
            (self.w.strides[0], self.w.strides[1])
        } else {
            (self.w.strides[1], self.w.strides[0])
        };
        let w_first = match self.c.transposed {
            true => (group * inputs) as isize * w_in + (strip * STRIP) as isize * w_out,
            false => first as isize * w_out,
        };
        let x_first = batch as isize * self.x.strides[0] + (group * inputs) as isize * self.x.strides[1];
        let mut sums = [T::default(); STRIP];
        let taps: usize = self.w.shape[2..].iter().product();
        'taps: for tap in 0..taps {
            let (mut t, mut from, mut weight) = (tap, x_first, w_first);
            for axis in (0..axes).rev() {
                let i = t % self.w.shape[axis + 2];
                t /= self.w.shape[axis + 2];
                let Some(source) = self.source(axis, at[axis], i) else { continue 'taps };
                from += source * self.x.strides[axis + 2];
                weight += i as isize * self.w.strides[axis + 2];
            }
            for c in 0..inputs as isize {
                // SAFETY: an element of the input.
                let factor = unsafe { *x.at::<T>(from + c * self.x.strides[1]) };
                let line = w.at::<T>(weight + c * w_in);
                if w_out == 1 && width == STRIP {
                    // SAFETY: a strip of weights of neighbouring result channels.
                    let line = unsafe { &*line.cast::<[T; STRIP]>() };
                    sums.iter_mut().zip(line).for_each(|(s, &v)| *s = add(*s, factor, v));
                } else {
                    for (o, s) in sums[..width].iter_mut().enumerate() {
                        // SAFETY: an element of the weights.
                        *s = add(*s, factor, unsafe { *line.wrapping_offset(o as isize * w_out) });
                    }
                }
            }
        }
        for (o, &s) in sums[..width].iter().enumerate() {
            // SAFETY: an element of the result that belongs to this thread.
            unsafe { *out.at::<T>(to + o as isize * self.out.strides[1]) = s };
        }
    }
}

dispatch! {
    /// # Safety
    /// `at` has the addresses of result, input and weights; items `start..end` belong to this thread.
    unsafe fn run_part => part(d: &Direct, at: [Address; 3], start: usize, end: usize)
}

#[inline(always)]
unsafe fn part<const FMA: bool>(d: &Direct, at: [Address; 3], start: usize, end: usize) {
    for i in start..end {
        // SAFETY: the caller's promise; tensors are read as their type.
        unsafe {
            match (d.out.dtype, FMA) {
                (DType::F64, true) => d.item::<f64>(at, i, |s, x, y| x.mul_add(y, s)),
                (DType::F64, false) => d.item::<f64>(at, i, |s, x, y| s + x * y),
                (_, true) => d.item::<f32>(at, i, |s, x, y| x.mul_add(y, s)),
                (_, false) => d.item::<f32>(at, i, |s, x, y| s + x * y),
            }
        }
    }
}

impl Step for Direct {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = [call.of(&self.out), call.of(&self.x), call.of(&self.w)];
        let (inputs, outputs) = self.group();
        let items = self.out.shape[0] * self.positions() * self.c.groups * outputs.div_ceil(STRIP);
        let taps: usize = self.w.shape[2..].iter().product();
        call.team.split(items, GRAIN / (inputs * taps * outputs.min(STRIP)).max(1), |_, part| {
            // SAFETY: the caller gives all tensors; parts are disjoint.
            unsafe { run_part(self.isa, self, at, part.start, part.end) };
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("convolution in plain loops of {}", self.out.dtype)
    }
}
