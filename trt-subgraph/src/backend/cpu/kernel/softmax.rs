//! Softmax and its logarithm along one axis.

use super::attention;
use super::rows::{Rows, joined};
use super::strips::{self, LANES, Lanes, Strips};
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::{Isa, dispatch, math};
use crate::backend::cpu::step::{Call, Step};
use crate::backend::cpu::view::View;
use crate::network::Layer;

pub fn assemble(a: &mut Assembler, layer: &Layer, axis: usize, log: bool) -> Result<(), Fault> {
    if attention::goes_on(a, layer, axis, log) {
        return Ok(());
    }
    let x = a.computing(layer.inputs[0])?;
    let order = x.order();
    a.result(layer, x.dtype, &order, |a, out| {
        emit(a, x, out, axis, log);
        Ok(())
    })
}

/// Emits the step.
pub fn emit(a: &mut Assembler, x: View, out: View, axis: usize, log: bool) {
    let isa = a.machine.isa;
    if let Some(groups) = Strips::new(a, &x, &out, &[axis]) {
        let touches = groups.touches();
        return a.emit(SoftmaxOfStrips { groups, log, isa }, &touches);
    }
    let rows = Rows::new(a, x, out, &[axis]);
    let touches = rows.touches();
    a.emit(Softmax { rows, log, isa }, &touches);
}

struct Softmax {
    rows: Rows,
    log: bool,
    isa: Isa,
}

struct SoftmaxOfStrips {
    groups: Strips,
    log: bool,
    isa: Isa,
}

impl Step for SoftmaxOfStrips {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        // SAFETY: the caller's promise; `isa` is the machine's.
        unsafe { self.groups.each(call, 12, |strip| strip_f32(self.isa, strip, self.log)) };
        Ok(())
    }

    fn describe(&self) -> String {
        format!("softmax over {} elements, {LANES} groups at once, {}", self.groups.len(), self.isa.name())
    }
}

impl Step for Softmax {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        // SAFETY: the caller's promise; rows of f32 or f64 as their type says; `isa` is the machine's.
        unsafe {
            match self.rows.dtype() {
                DType::F64 => self.rows.each::<f64>(call, 40, |x, y| row_f64(x, y, self.log)),
                _ => self.rows.each::<f32>(call, 12, |x, y| row_f32(self.isa, x, y, self.log)),
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("softmax over {} elements, {}", self.rows.len(), self.isa.name())
    }
}

dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn row_f32 => softmax(x: &[f32], y: &mut [f32], log: bool)
}

dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn strip_f32 => softmax_of_strip(strip: &mut [Lanes], log: bool)
}

dispatch! {
    /// The softmax of a row, in its place.
    ///
    /// # Safety
    /// `isa` is supported by the machine.
    pub unsafe fn softmax_in_place => in_place(row: &mut [f32])
}

const WIDTH: usize = 32;

#[inline(always)]
unsafe fn in_place<const FMA: bool>(row: &mut [f32]) {
    let largest = largest(row);
    row.iter_mut().for_each(|v| *v = math::exp::<FMA>(*v - largest));
    let scale = (1.0 / sum(row)) as f32;
    row.iter_mut().for_each(|v| *v *= scale);
}

#[inline(always)]
unsafe fn softmax<const FMA: bool>(x: &[f32], y: &mut [f32], log: bool) {
    let largest = largest(x);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = math::exp::<FMA>(x - largest);
    }
    let sum = sum(y);
    if log {
        let shift = sum.ln() as f32;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - largest) - shift;
        }
    } else {
        let scale = (1.0 / sum) as f32;
        y.iter_mut().for_each(|y| *y *= scale);
    }
}

/// The softmax of each lane, in its place.
#[inline(always)]
unsafe fn softmax_of_strip<const FMA: bool>(strip: &mut [Lanes], log: bool) {
    let mut most = [f32::NEG_INFINITY; LANES];
    for element in strip.iter() {
        most.iter_mut().zip(element).for_each(|(m, &v)| *m = if v > *m { v } else { *m });
    }
    if log {
        let [sum] = strips::sums(strip, |lane, v| [math::exp::<FMA>(v - most[lane])]);
        let shift = sum.map(|s| f64::from(s).ln() as f32);
        for element in strip {
            (0..LANES).for_each(|lane| element[lane] = (element[lane] - most[lane]) - shift[lane]);
        }
    } else {
        for element in strip.iter_mut() {
            element.iter_mut().zip(most).for_each(|(v, m)| *v = math::exp::<FMA>(*v - m));
        }
        let [sum] = strips::sums(strip, |_, v| [v]);
        let scale = sum.map(|s| 1.0 / s);
        for element in strip {
            element.iter_mut().zip(scale).for_each(|(v, s)| *v *= s);
        }
    }
}

/// The largest element; NaN does not count (its exponential is NaN anyhow).
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let (whole, rest) = x.as_chunks::<WIDTH>();
    let mut most = [f32::NEG_INFINITY; WIDTH];
    for part in whole {
        most.iter_mut().zip(part).for_each(|(m, &v)| *m = if v > *m { v } else { *m });
    }
    let larger = |m: f32, v: f32| if v > m { v } else { m };
    rest.iter().fold(joined(most, larger), |m, &v| larger(m, v))
}

/// The sum: in f32 over short stretches, in f64 over all.
#[inline(always)]
fn sum(x: &[f32]) -> f64 {
    let mut total = 0.0;
    for stretch in x.chunks(32 * WIDTH) {
        let (whole, rest) = stretch.as_chunks::<WIDTH>();
        let mut sums = [0f32; WIDTH];
        for part in whole {
            sums.iter_mut().zip(part).for_each(|(s, &v)| *s += v);
        }
        sums.iter_mut().zip(rest).for_each(|(s, &v)| *s += v);
        total += f64::from(joined(sums, |a, b| a + b));
    }
    total
}

fn row_f64(x: &[f64], y: &mut [f64], log: bool) {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - largest).exp());
    let sum: f64 = y.iter().sum();
    for (y, &x) in y.iter_mut().zip(x) {
        *y = if log { x - largest - sum.ln() } else { *y / sum };
    }
}
