//! Transformed weights, and the way back.

use super::{LINE, Places, VALUES, Winograd};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Packing};
use crate::backend::cpu::expr::Isa;
use crate::backend::cpu::gemm::lanes::{Lanes, by_lanes, fence, multiply};
use crate::backend::cpu::gemm::panels::{Panel, Panels};
use crate::backend::cpu::scaled::Scaled;
use crate::backend::cpu::step::{Address, Call, Step};
use crate::backend::cpu::view::Slot;
use std::array::from_fn;
use std::ops::Range;

/// Input channels of a panel that one thread takes at a time.
const INPUTS: usize = 64;
/// Input channels that are brought together before they are stored.
const BROUGHT: usize = 8;
/// Output channels that are transformed together.
const WIDE: usize = 8;
/// The most columns of a panel.
const WIDEST: usize = 64;

/// Transforms weights `[outputs, inputs, 3, 3]` and puts them into 16 groups of panels.
pub fn packing(panels: &Panels, inputs: usize) -> Packing {
    let panels = panels.clone();
    let form = format!("filtered {inputs} {panels:?}");
    let pack = move |a: &mut Assembler, from: Scaled, slot, offset| {
        let mut from = match from.view.dtype {
            DType::F32 => from,
            _ => a.converted(from.view, DType::F32).into(),
        };
        if !from.is_even_along(1..4) {
            from = a.multiplied(from).into();
        }
        let touches: Vec<Slot> = from.slots().chain([slot]).collect();
        let isa = a.machine.isa;
        a.emit(Transform { from, to: (slot, offset), panels, inputs, isa }, &touches);
        Ok(())
    };
    Packing::new(form, Box::new(pack))
}

struct Transform {
    /// The factor is one for each output channel.
    from: Scaled,
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

/// All values of a window's taps, by their number.
#[inline(always)]
fn mixed(taps: &[Values; 9], mut each: impl FnMut(usize, &Values)) {
    let line = |r: usize| mix([&taps[3 * r], &taps[3 * r + 1], &taps[3 * r + 2]]);
    let lines = [line(0), line(1), line(2)];
    for j in 0..4 {
        for (k, values) in mix([&lines[0][j], &lines[1][j], &lines[2][j]]).iter().enumerate() {
            each(4 * k + j, values);
        }
    }
}

by_lanes! {
    /// The channels of a panel for some input channels.
    ///
    /// # Safety
    /// `places` are the first weight, the first factor (null where there is none) and the panels, with room for all.
    unsafe fn transform => lines(t: &Transform, places: &[Address; 3], panel: &Panel, inputs: Range<usize>)
}

#[inline(always)]
unsafe fn lines<L: Lanes>(t: &Transform, places: &[Address; 3], panel: &Panel, inputs: Range<usize>) {
    let ([from, factor, to], s) = (*places, &t.from.view.strides);
    let (width, group) = (t.panels.width(panel), t.panels.elements());
    let mut factors = [1f32; WIDEST];
    if let Some(view) = &t.from.factor {
        for (c, f) in factors.iter_mut().enumerate().take(panel.columns) {
            // SAFETY: an element of the factor.
            *f = unsafe { *factor.at::<f32>((panel.first + c) as isize * view.strides[0]) };
        }
    }
    let offsets: [isize; 9] = from_fn(|tap| (tap / 3) as isize * s[2] + (tap % 3) as isize * s[3]);
    let are_neighbours = offsets == from_fn(|tap| tap as isize);
    let mut brought = [[0f32; BROUGHT * LINE]; VALUES];
    for first in (0..width).step_by(LINE) {
        let line = LINE.min(width - first);
        for inputs in inputs.clone().step_by(BROUGHT).map(|i| i..inputs.end.min(i + BROUGHT)) {
            // A few output channels at a time: what is read of more would not stay in the cache.
            for start in (first..first + line).step_by(WIDE) {
                let columns = panel.columns.saturating_sub(start).min(WIDE);
                let factors = &factors[start..start + WIDE];
                for input in inputs.clone() {
                    let place = (panel.first + start) as isize * s[0] + input as isize * s[1];
                    let place = |c: usize| from.at::<f32>(place + c as isize * s[0]).cast_const();
                    let mut taps = [[0f32; WIDE]; 9];
                    // Taps that are neighbours are turned eight at a time.
                    let turned = if columns == WIDE && are_neighbours { 8 } else { 0 };
                    // SAFETY: elements of the weights.
                    unsafe {
                        if turned == 8 {
                            L::turn_eight(from_fn(place), taps.as_mut_ptr().cast(), WIDE);
                        }
                        for c in 0..columns {
                            for tap in turned..9 {
                                taps[tap][c] = *place(c).wrapping_offset(offsets[tap]);
                            }
                        }
                    }
                    let taps = taps.map(|tap| from_fn(|c| f64::from(tap[c] * factors[c])));
                    let at = (input - inputs.start) * line + start - first;
                    mixed(&taps, |i, values| {
                        let to = &mut brought[i][at..at + WIDE.min(first + line - start)];
                        to.iter_mut().zip(values).for_each(|(to, &v)| *to = v as f32);
                    });
                }
            }
            for (i, brought) in brought.iter().enumerate() {
                for (brought, input) in brought.chunks_exact(line).zip(inputs.clone()) {
                    let at = i * group + panel.offset + input * width + first;
                    // SAFETY: the panel has whole vectors of these input channels, which are this thread's.
                    unsafe { multiply::<L>(brought, &[1.0; LINE], to.at::<f32>(at as isize), true) };
                }
            }
        }
    }
}

impl Step for Transform {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let factor = self.from.factor.as_ref().map_or(Address::new(std::ptr::null_mut()), |f| call.of(f));
        let places = [call.of(&self.from.view), factor, call.place(self.to.0, self.to.1)];
        let parts = self.inputs.div_ceil(INPUTS);
        call.team.split(self.panels.list.len() * parts, 1, |_, items| {
            for item in items {
                let (panel, first) = (&self.panels.list[item / parts], item % parts * INPUTS);
                let inputs = first..self.inputs.min(first + INPUTS);
                // SAFETY: the caller's promise.
                unsafe { transform(self.isa, self, &places, panel, inputs) };
            }
            fence();
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
