//! Convolutions of every channel by itself: vectors of channels, a few neighbouring results at a time.

use super::finish::Finish;
use super::formula::Part;
use super::lanes::{Lanes, by_lanes};
use super::window::{self, Window};
use crate::backend::RunError;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};

/// Multiplications below which a second thread costs more than it gives.
const GRAIN: usize = 50_000;
/// Neighbouring results that share the loads of weights.
const NEIGHBOURS: usize = 4;

/// A step. Tensors are `[batch, lines, columns, channels]`.
pub struct Depthwise {
    isa: Isa,
    window: Window,
    x: View,
    out: View,
    /// `[taps, channels]`.
    weights: (Slot, isize),
    finish: Finish,
    pitch: isize,
    residual_pitch: isize,
}

impl Depthwise {
    /// Emits the step. `out` has a [`window::pitch`], and so has the residual; channels of `x` are neighbours.
    pub fn emit(
        a: &mut Assembler,
        window: Window,
        x: View,
        out: View,
        weights: (Slot, isize),
        finish: Finish,
    ) {
        let mut touches = vec![x.slot, out.slot, weights.0];
        touches.extend(finish.touches());
        let positions = |v: &View| window::pitch(v).expect("results and residuals are evenly spaced");
        let residual_pitch = finish.residual.as_ref().map_or(0, positions);
        let (isa, pitch) = (a.machine.isa, positions(&out));
        a.emit(Depthwise { isa, window, x, out, weights, finish, pitch, residual_pitch }, &touches);
    }

    /// The taps along an axis that are inside of the input for result `i`.
    fn inside(&self, axis: usize, i: usize) -> (usize, usize) {
        let w = &self.window;
        let start = (i * w.stride[axis]) as isize - w.before[axis] as isize;
        let (step, size) = (w.dilation[axis] as isize, self.x.shape[axis + 1] as isize);
        let until = |end: isize| ((end - start + step - 1).max(0) / step).min(w.size[axis] as isize) as usize;
        (until(0), until(size))
    }
}

/// Where a call's tensors lie.
struct Places {
    x: Address,
    out: Address,
    weights: Address,
    bias: Address,
    residual: Address,
}

by_lanes! {
    /// One line of results: `line` counts over all images.
    ///
    /// # Safety
    /// As for [`Step::run`]; the line is this thread's.
    unsafe fn line => of_line(d: &Depthwise, at: &Places, line: usize)
}

#[inline(always)]
unsafe fn of_line<L: Lanes>(d: &Depthwise, at: &Places, line: usize) {
    let (lines, columns) = (d.out.shape[1], d.out.shape[2]);
    let (image, h) = (line / lines, line % lines);
    let rows = d.inside(0, h);
    let whole = |w: usize| w < columns && d.inside(1, w) == (0, d.window.size[1]);
    let mut w = 0;
    while w < columns {
        // SAFETY: the caller's promise; all taps of neighbours whose windows are whole are inside.
        unsafe {
            if whole(w) && whole(w + NEIGHBOURS - 1) {
                results::<L, NEIGHBOURS>(d, at, (image, h, w), rows, (0, d.window.size[1]));
                w += NEIGHBOURS;
            } else {
                results::<L, 1>(d, at, (image, h, w), rows, d.inside(1, w));
                w += 1;
            }
        }
    }
}

/// `N` neighbouring results, of the taps `rows` and `columns` of the window.
///
/// # Safety
/// As for [`line`]; the taps are inside of the input.
#[inline(always)]
unsafe fn results<L: Lanes, const N: usize>(
    d: &Depthwise,
    at: &Places,
    (image, h, w): (usize, usize, usize),
    rows: (usize, usize),
    columns: (usize, usize),
) {
    let (x, window, channels) = (&d.x, &d.window, d.x.shape[3]);
    let start = |axis: usize, i: usize| (i * window.stride[axis]) as isize - window.before[axis] as isize;
    let corner = image as isize * x.strides[0] + start(0, h) * x.strides[1] + start(1, w) * x.strides[2];
    let steps = [0, 1].map(|axis| window.dilation[axis] as isize * x.strides[axis + 1]);
    let neighbour = window.stride[1] as isize * x.strides[2];
    let position = ((image * d.out.shape[1] + h) * d.out.shape[2] + w) as isize;
    for channel in (0..channels).step_by(L::COUNT) {
        let n = (channels - channel).min(L::COUNT);
        let c = channel as isize;
        // SAFETY: channels of taps inside of the input, of weights, bias, residual and result.
        unsafe {
            let load = |from: *const f32| if n == L::COUNT { L::load(from) } else { L::load_first(from, n) };
            let bias = if d.finish.bias.is_some() { L::load(at.bias.at::<f32>(c)) } else { L::splat(0.0) };
            let mut sums = [bias; N];
            for r in rows.0..rows.1 {
                for k in columns.0..columns.1 {
                    let tap = r * window.size[1] + k;
                    let weight = load(at.weights.at::<f32>((tap * channels) as isize + c));
                    let from = at.x.at::<f32>(corner + r as isize * steps[0] + k as isize * steps[1] + c);
                    for i in 0..N {
                        let x = load(from.wrapping_offset(i as isize * neighbour));
                        sums[i] = x.mul_add(weight, sums[i]);
                    }
                }
            }
            for (i, &sum) in sums.iter().enumerate() {
                let (mut y, position) = (sum, position + i as isize);
                if d.finish.residual.is_some() {
                    y = y.add(load(at.residual.at::<f32>(position * d.residual_pitch + c)));
                }
                if let Some((low, high)) = d.finish.clamp {
                    y = y.at_least(L::splat(low)).at_most(L::splat(high));
                }
                let to = at.out.at::<f32>(position * d.pitch + c);
                if n == L::COUNT { y.store(to) } else { y.store_first(to, n) }
            }
        }
    }
}

impl Step for Depthwise {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let [bias, residual] = self.finish.addresses(call);
        let weights = call.place(self.weights.0, self.weights.1);
        let at = Places { x: call.of(&self.x), out: call.of(&self.out), weights, bias, residual };
        let (lines, addresses) = (self.out.shape[0] * self.out.shape[1], call.addresses);
        let columns = self.out.shape[2];
        let work = columns * self.out.shape[3] * self.window.size[0] * self.window.size[1];
        call.team.split(lines, GRAIN / work.max(1), |thread, part| {
            for i in part {
                // SAFETY: the caller gives all tensors; lines are disjoint parts of the result.
                unsafe {
                    line(self.isa, self, &at, i);
                    if let Some(formula) = &self.finish.formula {
                        let (positions, columns) = ((i * columns, columns), (0, self.out.shape[3]));
                        formula.apply(
                            addresses,
                            at.out,
                            &Part { thread, positions, columns, pitch: self.pitch },
                        );
                    }
                }
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        let [h, w] = self.window.size;
        let shape: Vec<String> = self.out.shape.iter().map(ToString::to_string).collect();
        format!("depthwise {}: window {h}x{w}{}", shape.join("x"), self.finish.describe())
    }
}
