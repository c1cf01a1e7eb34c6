//! Elements in memory and in registers: loads and stores of chunks, with conversion of the half types.

use super::expr::lane::{Lane, for_lane};
use super::step::Address;
use crate::DType;
use crate::network::expr::Scalar;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Rows and columns of a chunk in memory; steps in elements.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    pub rows: usize,
    pub columns: usize,
    pub row_step: isize,
    pub column_step: isize,
}

impl Grid {
    /// Are its elements one run?
    pub fn is_run(&self) -> bool {
        (self.columns == 1 || self.column_step == 1)
            && (self.rows == 1 || self.row_step == self.columns as isize)
            && (self.columns > 1 || self.rows == 1 || self.row_step == 1)
    }
}

/// Copies a grid of `dtype` from memory into a register of its lane.
///
/// # Safety
/// `from` has the grid's elements; `to` has room for `rows * columns` elements of the lane.
#[inline(always)]
pub unsafe fn load(dtype: DType, from: Address, grid: Grid, to: *mut u8) {
    // SAFETY: the caller's promise; f16 and bf16 are bit patterns of u16.
    unsafe {
        match dtype {
            DType::F16 if grid.columns == 1 || grid.column_step == 1 => load_f16(from, grid, to.cast()),
            DType::F16 => load_as(from, grid, to, |x: u16| f16::from_bits(x).to_f32()),
            DType::BF16 => load_as(from, grid, to, |x: u16| bf16::from_bits(x).to_f32()),
            _ => for_lane!(Lane::of(dtype), T => load_as(from, grid, to, |x: T| x)),
        }
    }
}

/// Copies a register of the lane of `dtype` into a grid of `dtype` in memory.
///
/// # Safety
/// `from` has `rows * columns` elements of the lane; `to` has room for the grid's elements.
#[inline(always)]
pub unsafe fn store(dtype: DType, from: *const u8, to: Address, grid: Grid) {
    // SAFETY: the caller's promise; f16 and bf16 are bit patterns of u16.
    unsafe {
        match dtype {
            DType::F16 if grid.columns == 1 || grid.column_step == 1 => store_f16(from.cast(), to, grid),
            DType::F16 => store_as(from, to, grid, |x: f32| f16::from_f32(x).to_bits()),
            DType::BF16 => store_as(from, to, grid, |x: f32| bf16::from_f32(x).to_bits()),
            _ => for_lane!(Lane::of(dtype), T => store_as(from, to, grid, |x: T| x)),
        }
    }
}

/// Fills a register with one value.
///
/// # Safety
/// `to` has room for `n` elements of the lane.
pub unsafe fn fill(lane: Lane, value: Scalar, to: *mut u8, n: usize) {
    let int = match value {
        Scalar::Int(v) => v,
        Scalar::Float(v) => v as i64,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match lane {
            Lane::Bool => std::slice::from_raw_parts_mut(to, n).fill((int != 0) as u8),
            Lane::U8 => std::slice::from_raw_parts_mut(to, n).fill(int as u8),
            Lane::I8 => std::slice::from_raw_parts_mut(to.cast::<i8>(), n).fill(int as i8),
            Lane::I16 => std::slice::from_raw_parts_mut(to.cast::<i16>(), n).fill(int as i16),
            Lane::I32 => std::slice::from_raw_parts_mut(to.cast::<i32>(), n).fill(int as i32),
            Lane::I64 => std::slice::from_raw_parts_mut(to.cast::<i64>(), n).fill(int),
            Lane::F32 => std::slice::from_raw_parts_mut(to.cast::<f32>(), n).fill(value.as_f64() as f32),
            Lane::F64 => std::slice::from_raw_parts_mut(to.cast::<f64>(), n).fill(value.as_f64()),
        }
    }
}

/// [`load`] for rows that are runs, with the machine's instruction for whole vectors where it has one.
unsafe fn load_f16(from: Address, g: Grid, to: *mut f32) {
    for r in 0..g.rows {
        // SAFETY: the row is a run of `columns` elements; the register has room for all rows.
        let (row, to) = unsafe {
            let row = std::slice::from_raw_parts(from.at::<f16>(r as isize * g.row_step), g.columns);
            (row, std::slice::from_raw_parts_mut(to.add(r * g.columns), g.columns))
        };
        row.convert_to_f32_slice(to);
    }
}

/// [`store`] in the same way.
unsafe fn store_f16(from: *const f32, to: Address, g: Grid) {
    for r in 0..g.rows {
        // SAFETY: the register holds all rows; the row is a run of `columns` elements.
        let (from, row) = unsafe {
            let row = std::slice::from_raw_parts_mut(to.at::<f16>(r as isize * g.row_step), g.columns);
            (std::slice::from_raw_parts(from.add(r * g.columns), g.columns), row)
        };
        row.convert_from_f32_slice(from);
    }
}

#[inline(always)]
unsafe fn load_as<T: Copy, U>(from: Address, g: Grid, to: *mut u8, f: impl Fn(T) -> U) {
    let to = to.cast::<U>();
    for r in 0..g.rows {
        let row = from.at::<T>(r as isize * g.row_step).cast_const();
        // SAFETY: the register has room for all rows.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(r * g.columns), g.columns) };
        match g.column_step {
            1 => {
                // SAFETY: the row is a run of `columns` elements.
                let row = unsafe { std::slice::from_raw_parts(row, g.columns) };
                to.iter_mut().zip(row).for_each(|(t, &x)| *t = f(x));
            }
            step => {
                for (c, t) in to.iter_mut().enumerate() {
                    // SAFETY: column `c` of the row is in the grid.
                    *t = f(unsafe { *row.wrapping_offset(c as isize * step) });
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn store_as<T: Copy, U>(from: *const u8, to: Address, g: Grid, f: impl Fn(T) -> U) {
    let from = from.cast::<T>();
    for r in 0..g.rows {
        // SAFETY: the register holds all rows.
        let from = unsafe { std::slice::from_raw_parts(from.add(r * g.columns), g.columns) };
        let row = to.at::<U>(r as isize * g.row_step);
        match g.column_step {
            1 => {
                // SAFETY: the row is a run of `columns` elements.
                let row = unsafe { std::slice::from_raw_parts_mut(row, g.columns) };
                row.iter_mut().zip(from).for_each(|(t, &x)| *t = f(x));
            }
            step => {
                for (c, &x) in from.iter().enumerate() {
                    // SAFETY: column `c` of the row is in the grid.
                    unsafe { *row.wrapping_offset(c as isize * step) = f(x) };
                }
            }
        }
    }
}
