//! Running sums and products along one axis. Floating-point ones accumulate in f64.

use super::rows::Rows;
use crate::DType;
use crate::backend::RunError;
use crate::backend::cpu::assemble::{Assembler, Fault};
use crate::backend::cpu::step::{Call, Step};
use crate::network::Layer;
use crate::network::layer::ScanOp;

pub fn assemble(a: &mut Assembler, layer: &Layer, op: ScanOp, axis: usize) -> Result<(), Fault> {
    let x = a.computing(layer.inputs[0])?;
    let order = x.order();
    a.result(layer, x.dtype, &order, |a, out| {
        let rows = Rows::new(a, x, out, &[axis]);
        let touches = rows.touches();
        a.emit(Scan { rows, op }, &touches);
        Ok(())
    })
}

struct Scan {
    rows: Rows,
    op: ScanOp,
}

macro_rules! scan {
    ($self:ident, $call:ident, $T:ident, $A:ident, $add:expr, $mul:expr) => {
        $self.rows.each::<$T>($call, 4, |x, y| {
            let mut sum = if $self.op == ScanOp::Sum { 0 as $A } else { 1 as $A };
            for (y, &x) in y.iter_mut().zip(x) {
                sum = if $self.op == ScanOp::Sum { $add(sum, x as $A) } else { $mul(sum, x as $A) };
                *y = sum as $T;
            }
        })
    };
}

impl Step for Scan {
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        // SAFETY: the caller's promise; rows are read as their type.
        unsafe {
            match self.rows.dtype() {
                DType::F64 => scan!(self, call, f64, f64, |a, b| a + b, |a, b| a * b),
                DType::F32 | DType::F16 | DType::BF16 => {
                    scan!(self, call, f32, f64, |a, b| a + b, |a, b| a * b)
                }
                DType::Bool | DType::U8 => scan!(self, call, u8, i64, i64::wrapping_add, i64::wrapping_mul),
                DType::I8 => scan!(self, call, i8, i64, i64::wrapping_add, i64::wrapping_mul),
                DType::I16 => scan!(self, call, i16, i64, i64::wrapping_add, i64::wrapping_mul),
                DType::I32 => scan!(self, call, i32, i64, i64::wrapping_add, i64::wrapping_mul),
                DType::I64 => scan!(self, call, i64, i64, i64::wrapping_add, i64::wrapping_mul),
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!("running {:?} over {} elements", self.op, self.rows.len())
    }
}
