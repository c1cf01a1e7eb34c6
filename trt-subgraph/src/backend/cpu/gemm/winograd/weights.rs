//! Transformed weights, and the way back.

use super::{Places, Winograd};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes};
use crate::backend::cpu::gemm::panels::{Panel, Panels};
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::{Slot, View};
use std::array::from_fn;
use std::ops::Range;

/// Input channels of a panel that one thread takes at a time.
const INPUTS: usize = 64;

/// Output channels that are transformed together.
const WIDE: usize = 8;

/// Transforms weights `[outputs, inputs, 3, 3]` and puts them into 16 groups of panels.
pub fn packing(panels: &Panels, inputs: usize) -> Packing {
    let panels = panels.clone();
    Box::new(move |a: &mut Assembler, from, slot, offset| {
        let from = a.converted(from, DType::F32);
        let touches = [from.slot, slot];
        let isa = a.machine.isa;
        a.emit(Transform { from, to: (slot, offset), panels, inputs, isa }, &touches);
        Ok(())
    })
}

struct Transform {
    from: View,
    to: (Slot, isize),
    panels: Panels,
    inputs: usize,
    isa: Isa,
}

/// A value of each of some output channels.
type Values = [f64; WIDE];

/// A line of three taps, for a line of four values.
#[inline(always)]
fn mix([a, b, c]: [&Values; 3]) -> [Values; 4] {
    let mut out = [*a, [0.0; WIDE], [0.0; WIDE], *c];
    for i in 0..WIDE {
        out[1][i] = (a[i] + b[i] + c[i]) / 2.0;
        out[2][i] = (a[i] - b[i] + c[i]) / 2.0;
    }
    out
}

by_lanes! {
    /// The channels of a panel for some input channels.
    ///
    /// # Safety
    /// `from` is the first of the weights, `to` has room for all panels.
    unsafe fn transform => lines(t: &Transform, from: Address, to: Address, panel: &Panel, inputs: Range<usize>)
}

#[inline(always)]
unsafe fn lines<L: Lanes>(t: &Transform, from: Address, to: Address, panel: &Panel, inputs: Range<usize>) {
    let (s, width, group) = (&t.from.strides, t.panels.width(panel), t.panels.elements());
    let offsets: [isize; 9] = from_fn(|tap| (tap / 3) as isize * s[2] + (tap % 3) as isize * s[3]);
    // A few output channels at a time: what is read of more would not stay in the cache.
    for start in (0..width).step_by(WIDE) {
        let columns = panel.columns.saturating_sub(start).min(WIDE);
        for input in inputs.clone() {
            let mut taps = [[0f64; WIDE]; 9];
            let first = (panel.first + start) as isize * s[0] + input as isize * s[1];
            for c in 0..columns {
                let first = from.at::<f32>(first + c as isize * s[0]);
                for (values, &offset) in taps.iter_mut().zip(&offsets) {
                    // SAFETY: an element of the weights.
                    values[c] = unsafe { *first.wrapping_offset(offset) }.into();
                }
            }
            let line = |r: usize| mix([&taps[3 * r], &taps[3 * r + 1], &taps[3 * r + 2]]);
            let lines = [line(0), line(1), line(2)];
            for j in 0..4 {
                for (k, values) in mix([&lines[0][j], &lines[1][j], &lines[2][j]]).iter().enumerate() {
                    let at = (4 * k + j) * group + panel.offset + input * width + start;
                    // SAFETY: the panel has whole vectors; input channels are this thread's.
                    let to = unsafe {
                        std::slice::from_raw_parts_mut(to.at::<f32>(at as isize), WIDE.min(width - start))
                    };
                    to.iter_mut().zip(values).for_each(|(to, &v)| *to = v as f32);
                }
            }
        }
    }
}

impl Step for Transform {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (from, to) = (call.of(&self.from), call.place(self.to.0, self.to.1));
        let parts = self.inputs.div_ceil(INPUTS);
        call.team.split(self.panels.list.len() * parts, 1, |_, items| {
            for item in items {
                let (panel, first) = (&self.panels.list[item / parts], item % parts * INPUTS);
                let inputs = first..self.inputs.min(first + INPUTS);
                // SAFETY: the caller's promise.
                unsafe { transform(self.isa, self, from, to, panel, inputs) };
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "transform weights into panels".to_string()
    }

    fn form(&self) -> String {
        format!("{:?} {:?} {:?}", self.panels, self.from, self.to)
    }
}

impl Winograd {
    /// A weight, from the transformed ones: the outer taps of a line stay as they are, the middle one is the difference of the
    /// two mixtures.
    pub(super) fn weight(&self, at: &Places, tap: usize, input: usize, output: usize) -> f32 {
        let panel =
            self.panels.list.iter().rev().find(|p| p.first <= output).expect("panels cover all columns");
        let width = panel.vectors * self.panels.lanes;
        let here = panel.offset + input * width + (output - panel.first);
        // SAFETY: an element of the transformed weights.
        let u = |i: usize, j: usize| unsafe {
            *at.weights.at::<f32>(((4 * i + j) * self.panels.elements() + here) as isize)
        };
        let line = |i: usize| match tap % 3 {
            0 => u(i, 0),
            1 => u(i, 1) - u(i, 2),
            _ => u(i, 3),
        };
        match tap / 3 {
            0 => line(0),
            1 => line(1) - line(2),
            _ => line(3),
        }
    }
}
