//! Windows over spatial axes, for a strip of channels at a time.

use super::plane::Plane;
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::{Isa, dispatch_by_type};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;
use crate::network::layer::{Pool, PoolOp};

/// Channels that are worked on at once.
const STRIP: usize = 64;
/// Taps below which a second thread costs more than it gives.
const GRAIN: usize = 16 * 1024;

/// The memory order with channels innermost, of a tensor of `rank` axes.
pub fn channels_last(rank: usize) -> Vec<usize> {
    std::iter::once(0).chain(2..rank).chain([1]).collect()
}

pub fn assemble(a: &mut Assembler, layer: &Layer, p: &Pool) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let order = channels_last(x.rank());
    let x = if x.shape[1] > 1 && x.strides[1] != 1 { a.ordered(x, &order) } else { x };
    let indices = p.indices.then(|| a.room(layer.outputs[1], &order));
    if let Some(view) = &indices {
        a.define(layer.outputs[1], view.clone());
    }
    let ty = a.network.ty(layer.outputs[0]).clone();
    let alike = untouched(&x, p);
    let own = move |a: &mut Assembler, out: View| {
        let mut touches = vec![x.slot, out.slot];
        touches.extend(indices.as_ref().map(|v| v.slot));
        let [x, out] = match alike {
            Some(axis) => [x, out].map(|view| exchanged(&view, axis)),
            None => [x, out],
        };
        let rank = x.rank() - 2;
        let widen = |v: &[usize], fill: usize| {
            let mut all = [fill; 3];
            all[3 - rank..].copy_from_slice(v);
            all
        };
        let windows = Windows {
            size: widen(&x.shape[2..], 1),
            count: widen(&out.shape[2..], 1),
            window: widen(&p.window, 1),
            stride: widen(&p.stride, 1),
            dilation: widen(&p.dilation, 1),
            before: widen(&p.padding.iter().map(|b| b.0).collect::<Vec<_>>(), 0),
            after: widen(&p.padding.iter().map(|b| b.1).collect::<Vec<_>>(), 0),
        };
        let isa = a.machine.isa;
        let neighbours = |v: &View| v.shape[1] == 1 || v.strides[1] == 1;
        if x.dtype == DType::F32 && rank == 2 && indices.is_none() && neighbours(&x) && neighbours(&out) {
            a.emit(Plane { op: p.op, isa, windows, x, out }, &touches);
            return Ok(());
        }
        a.emit(Pooling { op: p.op, isa, windows, x, out, indices }, &touches);
        Ok(())
    };
    let dtype = match ty.dtype {
        _ if layer.epilogue.is_some() => a.network.ty(layer.inputs[0]).dtype,
        dtype => dtype,
    };
    let computing = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
    let order = if a.is_bound(layer.outputs[0]) { (0..order.len()).collect() } else { order };
    a.result(layer, computing, &order, own)
}

/// A spatial axis that windows are one wide on, whose elements are neighbours, where there is but one channel: it can be worked on as
/// channels are.
fn untouched(x: &View, p: &Pool) -> Option<usize> {
    let one = |i: usize| p.window[i] == 1 && p.stride[i] == 1 && p.padding[i] == (0, 0);
    let axis = (2..x.rank()).find(|&axis| x.strides[axis] == 1 && x.shape[axis] > 1 && one(axis - 2))?;
    (x.shape[1] == 1 && !p.indices).then_some(axis)
}

/// The view with its channels and a spatial axis exchanged.
fn exchanged(view: &View, axis: usize) -> View {
    let mut axes: Vec<usize> = (0..view.rank()).collect();
    axes.swap(1, axis);
    view.permute(&axes)
}

/// The windows along three spatial axes; leading ones are trivial where there are fewer.
pub struct Windows {
    size: [usize; 3],
    count: [usize; 3],
    pub window: [usize; 3],
    stride: [usize; 3],
    pub dilation: [usize; 3],
    before: [usize; 3],
    after: [usize; 3],
}

impl Windows {
    /// Window `i` along `axis`: the first and the past-the-last tap inside of the input, the position of the first tap
    /// (may be negative), and how many taps are inside of input and padding.
    #[inline(always)]
    pub fn along(&self, axis: usize, i: usize) -> (usize, usize, isize, usize) {
        let start = (i * self.stride[axis]) as isize - self.before[axis] as isize;
        let (step, taps) = (self.dilation[axis] as isize, self.window[axis] as isize);
        let until = |end: isize| ((end - start + step - 1).max(0) / step).min(taps);
        let size = self.size[axis] as isize;
        let first = ((-start + step - 1).max(0) / step).min(taps);
        let last = until(size).max(first);
        (first as usize, last as usize, start, until(size + self.after[axis] as isize) as usize)
    }
}

struct Pooling {
    op: PoolOp,
    isa: Isa,
    windows: Windows,
    x: View,
    out: View,
    indices: Option<View>,
}

/// One window: the offset of each tap that it reads, in order.
struct Taps {
    first: [usize; 3],
    last: [usize; 3],
    start: [isize; 3],
    cells: usize,
}

impl Pooling {
    fn spatial(view: &View) -> [isize; 3] {
        let mut all = [0; 3];
        let rank = view.rank() - 2;
        all[3 - rank..].copy_from_slice(&view.strides[2..]);
        all
    }

    /// Where result `item` (batch, then spatial positions) lies, and its window.
    #[inline(always)]
    fn window(&self, mut item: usize, out_steps: [isize; 3]) -> (isize, isize, Taps) {
        let w = &self.windows;
        let mut to = 0;
        let mut taps = Taps { first: [0; 3], last: [0; 3], start: [0; 3], cells: 1 };
        for axis in (0..3).rev() {
            let i = item % w.count[axis];
            item /= w.count[axis];
            to += i as isize * out_steps[axis];
            let (first, last, start, cells) = w.along(axis, i);
            (taps.first[axis], taps.last[axis], taps.start[axis]) = (first, last, start);
            taps.cells *= cells;
        }
        (to + item as isize * self.out.strides[0], item as isize * self.x.strides[0], taps)
    }

    /// Calls `f` with the offset and the position in the plane of each tap.
    #[inline(always)]
    fn each(&self, taps: &Taps, steps: [isize; 3], mut f: impl FnMut(isize, isize)) {
        let w = &self.windows;
        let at = |axis: usize, t: usize| taps.start[axis] + (t * w.dilation[axis]) as isize;
        for d in taps.first[0]..taps.last[0] {
            for h in taps.first[1]..taps.last[1] {
                for c in taps.first[2]..taps.last[2] {
                    let (d, h, c) = (at(0, d), at(1, h), at(2, c));
                    let plane = (d * w.size[1] as isize + h) * w.size[2] as isize + c;
                    f(d * steps[0] + h * steps[1] + c * steps[2], plane);
                }
            }
        }
    }
}

macro_rules! strips {
    ($self:ident, $T:ident, $x:ident, $from:ident, $taps:ident, $steps:ident, $start:ident, $width:ident, |$s:ident, $v:ident| $step:expr, $first:expr) => {{
        let mut sums = [$first; STRIP];
        let channel = $self.x.strides[1];
        $self.each(&$taps, $steps, |at, _| {
            let row = $x.at::<$T>($from + at + $start as isize * channel);
            if $width == STRIP && channel == 1 {
                // SAFETY: a strip of the operand's channels.
                let row = unsafe { &*row.cast::<[$T; STRIP]>() };
                sums.iter_mut().zip(row).for_each(|($s, &$v)| $step);
            } else if channel == 1 {
                // SAFETY: the rest of the operand's channels.
                let row = unsafe { std::slice::from_raw_parts(row, $width) };
                sums.iter_mut().zip(row).for_each(|($s, &$v)| $step);
            } else {
                for (c, $s) in sums[..$width].iter_mut().enumerate() {
                    // SAFETY: a channel of the operand.
                    let $v = unsafe { *row.wrapping_offset(c as isize * channel) };
                    $step
                }
            }
        });
        sums
    }};
}

macro_rules! pooling {
    ($name:ident, $T:ident, $least:expr, |$m:ident, $v:ident| $wins:expr, |$sum:ident| $average:expr) => {
        #[inline(always)]
        unsafe fn $name<const FMA: bool>(p: &Pooling, to: [Address; 3], start: usize, end: usize) {
            let [out, x, indices] = to;
            let (steps, out_steps) = (Pooling::spatial(&p.x), Pooling::spatial(&p.out));
            let channels = p.x.shape[1];
            for item in start..end {
                let (to, from, taps) = p.window(item, out_steps);
                let inside: usize = (0..3).map(|a| taps.last[a] - taps.first[a]).product();
                for begin in (0..channels).step_by(STRIP) {
                    let width = STRIP.min(channels - begin);
                    let mut results = match p.op {
                        PoolOp::Max => strips!(
                            p,
                            $T,
                            x,
                            from,
                            taps,
                            steps,
                            begin,
                            width,
                            |m, v| {
                                let ($m, $v) = (*m, v);
                                *m = if $wins { $v } else { $m };
                            },
                            $least
                        ),
                        PoolOp::Average { .. } => {
                            strips!(p, $T, x, from, taps, steps, begin, width, |s, v| *s += v, $T::default())
                        }
                    };
                    if let PoolOp::Average { count_padding, divisor } = p.op {
                        let cells = divisor.unwrap_or(if count_padding { taps.cells } else { inside });
                        for $sum in &mut results {
                            let cells = cells.max(1);
                            $average(cells);
                        }
                    }
                    if p.out.strides[1] == 1 {
                        let to = out.at::<$T>(to + begin as isize);
                        // SAFETY: a run of the result that belongs to this thread.
                        unsafe { std::slice::from_raw_parts_mut(to, width) }
                            .copy_from_slice(&results[..width]);
                    } else {
                        for (c, &v) in results[..width].iter().enumerate() {
                            let at = to + (begin + c) as isize * p.out.strides[1];
                            // SAFETY: an element of the result that belongs to this thread.
                            unsafe { *out.at::<$T>(at) = v };
                        }
                    }
                    if let Some(view) = &p.indices {
                        for c in begin..begin + width {
                            let mut best: Option<($T, isize)> = None;
                            p.each(&taps, steps, |at, plane| {
                                // SAFETY: an element of the operand.
                                let $v = unsafe { *x.at::<$T>(from + at + c as isize * p.x.strides[1]) };
                                let better = match best {
                                    None => true,
                                    Some(($m, _)) => $wins,
                                };
                                if better {
                                    best = Some(($v, plane));
                                }
                            });
                            let (spatial, item_at) = (Pooling::spatial(view), item);
                            let at =
                                plane_at(&p.windows, view, spatial, item_at) + c as isize * view.strides[1];
                            // SAFETY: an element of the result that belongs to this thread.
                            unsafe { *indices.at::<i64>(at) = best.map_or(0, |b| b.1 as i64) };
                        }
                    }
                }
            }
        }
    };
}

/// Offset of result `item` in a view of the results' shape.
#[inline(always)]
fn plane_at(w: &Windows, view: &View, steps: [isize; 3], mut item: usize) -> isize {
    let mut at = 0;
    for axis in (0..3).rev() {
        at += (item % w.count[axis]) as isize * steps[axis];
        item /= w.count[axis];
    }
    at + item as isize * view.strides[0]
}

pooling!(pool_f32, f32, f32::NEG_INFINITY, |m, v| v > m || v.is_nan(), |s| |n: usize| *s /= n as f32);
pooling!(pool_f64, f64, f64::NEG_INFINITY, |m, v| v > m || v.is_nan(), |s| |n: usize| *s /= n as f64);
pooling!(pool_u8, u8, u8::MIN, |m, v| v > m, |s| |n: usize| *s /= n as u8);
pooling!(pool_i8, i8, i8::MIN, |m, v| v > m, |s| |n: usize| *s /= n as i8);
pooling!(pool_i16, i16, i16::MIN, |m, v| v > m, |s| |n: usize| *s /= n as i16);
pooling!(pool_i32, i32, i32::MIN, |m, v| v > m, |s| |n: usize| *s /= n as i32);
pooling!(pool_i64, i64, i64::MIN, |m, v| v > m, |s| |n: usize| *s /= n as i64);

dispatch_by_type! {
    /// What makes results `start..end`, counted over batch and spatial positions.
    ///
    /// # Safety
    /// `to` has the addresses of result, operand and positions; the results belong to this thread.
    fn part(p: &Pooling, to: [Address; 3], start: usize, end: usize) {
        f32 => pool_f32,
        f64 => pool_f64,
        u8 => pool_u8,
        i8 => pool_i8,
        i16 => pool_i16,
        i32 => pool_i32,
        i64 => pool_i64,
    }
}

impl Step for Pooling {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (out, x) = (call.of(&self.out), call.of(&self.x));
        let indices = self.indices.as_ref().map_or(out, |v| call.of(v));
        let items = self.out.shape[0] * self.windows.count.iter().product::<usize>();
        let taps: usize = self.windows.window.iter().product();
        let run = part(self.x.dtype);
        call.team.split(items, GRAIN / (taps * self.x.shape[1]).max(1), |_, part| {
            // SAFETY: the caller gives all tensors; parts are disjoint.
            unsafe { run(self.isa, self, [out, x, indices], part.start, part.end) };
        });
        Ok(())
    }

    fn describe(&self) -> String {
        format!("pool {:?}", self.op)
    }
}
