//! Pools of f32 over lines and columns of a tensor whose channels are neighbours: vectors of channels.

use super::pool::Windows;
use crate::backend::RunError;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::View;
use crate::network::layer::PoolOp;

/// Taps below which a second thread costs more than it gives.
const GRAIN: usize = 64 * 1024;

/// A step: `x` and `out` are `[batch, channels, lines, columns]`.
pub struct Plane {
    pub op: PoolOp,
    pub isa: Isa,
    /// Windows along three axes, the first of them trivial.
    pub windows: Windows,
    pub x: View,
    pub out: View,
}

by_lanes! {
    /// One line of results; `line` counts over all images.
    ///
    /// # Safety
    /// As for [`Step::run`] with `at` the addresses of result and operand; the line is this thread's.
    unsafe fn line => of_line(p: &Plane, at: [Address; 2], line: usize)
}

#[inline(always)]
unsafe fn of_line<L: Lanes>(p: &Plane, [out, x]: [Address; 2], line: usize) {
    let (lines, columns) = (p.out.shape[2], p.out.shape[3]);
    let (image, h) = (line / lines, line % lines);
    let (top, bottom, from_line, high) = p.windows.along(1, h);
    let steps =
        [p.windows.dilation[1] as isize * p.x.strides[2], p.windows.dilation[2] as isize * p.x.strides[3]];
    let channels = p.x.shape[1];
    let whole = channels / L::COUNT * L::COUNT;
    for w in 0..columns {
        let (left, right, from_column, wide) = p.windows.along(2, w);
        let inside = (bottom - top) * (right - left);
        let cells = match p.op {
            PoolOp::Max => 1,
            PoolOp::Average { divisor: Some(divisor), .. } => divisor,
            PoolOp::Average { count_padding: true, .. } => high * wide,
            PoolOp::Average { .. } => inside,
        };
        let from = image as isize * p.x.strides[0]
            + (from_line * p.x.strides[2] + top as isize * steps[0])
            + (from_column * p.x.strides[3] + left as isize * steps[1]);
        let to =
            image as isize * p.out.strides[0] + h as isize * p.out.strides[2] + w as isize * p.out.strides[3];
        let taps = Taps { size: [bottom - top, right - left], steps, cells: cells.max(1) as f32 };
        let is_max = p.op == PoolOp::Max;
        for c in (0..whole).step_by(L::COUNT) {
            let (to, from) = (out.at::<f32>(to + c as isize), x.at::<f32>(from + c as isize));
            // SAFETY: a vector of channels of each tap and of the result.
            unsafe { taps.result::<L, true>(is_max, to, from, L::COUNT) };
        }
        if whole < channels {
            let (to, from) = (out.at::<f32>(to + whole as isize), x.at::<f32>(from + whole as isize));
            // SAFETY: as above.
            unsafe { taps.result::<L, false>(is_max, to, from, channels - whole) };
        }
    }
}

/// The taps of one window that are inside of the operand.
struct Taps {
    size: [usize; 2],
    steps: [isize; 2],
    cells: f32,
}

impl Taps {
    /// # Safety
    /// `n` channels of each tap, and room for as many results.
    #[inline(always)]
    unsafe fn result<L: Lanes, const WHOLE: bool>(
        &self,
        is_max: bool,
        to: *mut f32,
        from: *const f32,
        n: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut y = L::splat(if is_max { f32::NEG_INFINITY } else { 0.0 });
            for r in 0..self.size[0] {
                for c in 0..self.size[1] {
                    let at = r as isize * self.steps[0] + c as isize * self.steps[1];
                    let x = L::load_some::<WHOLE>(from.wrapping_offset(at), n);
                    y = if is_max { y.max(x) } else { y.add(x) };
                }
            }
            let y = if is_max { y } else { y.div(L::splat(self.cells)) };
            y.store_some::<WHOLE>(to, n);
        }
    }
}

impl Step for Plane {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let at = [call.of(&self.out), call.of(&self.x)];
        let lines = self.out.shape[0] * self.out.shape[2];
        let work = self.out.shape[3] * self.x.shape[1] * self.windows.window.iter().product::<usize>();
        call.team.split(lines, GRAIN / work.max(1), |_, part| {
            for i in part {
                // SAFETY: the caller gives both tensors; lines are disjoint parts of the result.
                unsafe { line(self.isa, self, at, i) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        format!("pool {:?} of planes {}", self.op, shape.join("x"))
    }
}
