//! Normalisation by the statistics of groups of elements.

use super::rows::Rows;
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::expr::{Isa, dispatch};
use crate::backend::cpu::step::{Call, Step};
use crate::network::Layer;

pub fn assemble(a: &mut Assembler, layer: &Layer, axes: &[usize], eps: f64, rms: bool) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let order = x.order();
    a.result(layer, x.dtype, &order, |a, out| {
        let rows = Rows::new(a, x, out, axes);
        let touches = rows.touches();
        a.emit(Normalize { rows, eps, rms, isa: a.machine.isa }, &touches);
        Ok(())
    })
}

struct Normalize {
    rows: Rows,
    eps: f64,
    rms: bool,
    isa: Isa,
}

impl Step for Normalize {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        let (eps, rms) = (self.eps, self.rms);
        // SAFETY: the caller's promise; rows of f32 or f64 as their type says; `isa` is the machine's.
        unsafe {
            match self.rows.dtype() {
                DType::F64 => self.rows.each::<f64>(call, 6, |x, y| row_f64(self.isa, x, y, eps, rms)),
                _ => self.rows.each::<f32>(call, 4, |x, y| row_f32(self.isa, x, y, eps, rms)),
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("normalize over {} elements, {}", self.rows.len(), self.isa.name())
    }
}

dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn row_f32 => normalize_f32(x: &[f32], y: &mut [f32], eps: f64, rms: bool)
}
dispatch! {
    /// # Safety
    /// `isa` is supported by the machine.
    unsafe fn row_f64 => normalize_f64(x: &[f64], y: &mut [f64], eps: f64, rms: bool)
}

const WIDTH: usize = 32;

macro_rules! normalize {
    ($name:ident, $T:ident) => {
        /// Statistics in f64.
        #[inline(always)]
        unsafe fn $name<const FMA: bool>(x: &[$T], y: &mut [$T], eps: f64, rms: bool) {
            let n = x.len() as f64;
            let sum = |centre: f64, square: bool| {
                let (whole, rest) = x.as_chunks::<WIDTH>();
                let mut sums = [0f64; WIDTH];
                for part in whole {
                    for (s, &v) in sums.iter_mut().zip(part) {
                        let d = v as f64 - centre;
                        *s += if square { d * d } else { d };
                    }
                }
                for (s, &v) in sums.iter_mut().zip(rest) {
                    let d = v as f64 - centre;
                    *s += if square { d * d } else { d };
                }
                sums.iter().sum::<f64>()
            };
            let mean = if rms { 0.0 } else { sum(0.0, false) / n };
            let scale = 1.0 / (sum(mean, true) / n + eps).sqrt();
            for (y, &x) in y.iter_mut().zip(x) {
                *y = ((x as f64 - mean) * scale) as $T;
            }
        }
    };
}
normalize!(normalize_f32, f32);
normalize!(normalize_f64, f64);
