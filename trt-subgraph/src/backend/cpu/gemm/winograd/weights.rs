//! Transformed weights, and the way back.

use super::{Places, VALUES, Winograd};
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Packing};
use crate::backend::cpu::gemm::panels::Panels;
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::View;
use crate::{DType, TensorType};

/// Transforms weights `[outputs, inputs, 3, 3]` and puts them into 16 groups of panels.
pub fn packing(panels: &Panels, inputs: usize, outputs: usize) -> Packing {
    let panels = panels.clone();
    Box::new(move |a: &mut Assembler, from, slot, offset| {
        let from = a.converted(from, DType::F32);
        let to = a.temporary(&TensorType::new(DType::F32, [VALUES, inputs, outputs]), &[0, 1, 2]);
        let touches = [from.slot, to.slot];
        a.emit(Transform { from, to: to.clone() }, &touches);
        panels.packing(|v| v)(a, to, slot, offset)
    })
}

struct Transform {
    from: View,
    to: View,
}

impl Step for Transform {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (from, to) = (call.of(&self.from), call.of(&self.to));
        let (inputs, outputs) = (self.to.shape[1], self.to.shape[2]);
        let s = &self.from.strides;
        call.team.split(inputs, 1, |_, part| {
            for (i, o) in part.flat_map(|i| (0..outputs).map(move |o| (i, o))) {
                let first = o as isize * s[0] + i as isize * s[1];
                // SAFETY: an element of the weights.
                let g = |r: isize, c: isize| unsafe { *from.at::<f32>(first + r * s[2] + c * s[3]) as f64 };
                let mix = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
                let lines = [0, 1, 2].map(|r| mix([g(r, 0), g(r, 1), g(r, 2)]));
                for j in 0..4 {
                    for (k, u) in mix([lines[0][j], lines[1][j], lines[2][j]]).into_iter().enumerate() {
                        let at = ((4 * k + j) * inputs + i) * outputs + o;
                        // SAFETY: an element of the transformed weights; input channels are this thread's.
                        unsafe { *to.at::<f32>(at as isize) = u as f32 };
                    }
                }
            }
        });
        Ok(())
    }

    fn describe(&self) -> String {
        "transform weights".to_string()
    }

    fn form(&self) -> String {
        format!("{:?} {:?}", self.from, self.to)
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
