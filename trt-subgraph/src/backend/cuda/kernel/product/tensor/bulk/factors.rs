//! The factors of a product as bulk copies see them.

use super::super::super::super::super::assemble::Fault;
use super::super::super::super::super::boxes::{Boxes, ROW, Shape};
use super::super::super::Product;
use super::{Bulk, parts};
use crate::DType;
use crate::backend::view::View;
use crate::network::layer::Convolution;

/// The factors as bulk copies see them, and how a kernel walks `k`.
pub struct Factors {
    pub left: Boxes,
    pub right: Boxes,
    /// Columns of windows of the image, of which each row of the product is one, and how far they are apart; none of a matrix.
    pub windows: Option<Windows>,
    /// Taps of a window, rows first; 1 of a matrix.
    pub taps: [usize; 2],
    /// Steps along `k` at one tap.
    pub steps: usize,
    /// Quarters of a step that are not all zero.
    pub quarters: usize,
}

pub struct Windows {
    /// Rows and columns of the result.
    pub places: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    pub before: [usize; 2],
}

/// Elements from row to row of matrices whose rows follow each other through the batch; `None` where they do not.
pub fn rows(x: &View) -> Option<isize> {
    let mut from_row = None;
    let mut count = 1;
    for axis in (0..x.rank() - 1).rev().filter(|&axis| x.shape[axis] != 1) {
        let step = *from_row.get_or_insert(x.strides[axis]);
        if x.strides[axis] != step * count {
            return None;
        }
        count *= x.shape[axis] as isize;
    }
    let row = from_row.unwrap_or(x.shape[x.rank() - 1].next_multiple_of(8) as isize);
    (row > 0).then_some(row)
}

/// Bytes of so many elements.
fn bytes(elements: isize) -> u64 {
    2 * elements.unsigned_abs() as u64
}

/// Those of the product `p` of `x` and `w`, which may be a convolution with so many rows and columns of places.
pub fn factors(
    p: &Product,
    convolution: Option<(&Convolution, [usize; 2])>,
    bulk: Bulk,
    x: &View,
    w: &View,
) -> Result<Factors, Fault> {
    let [per_left, per_right] =
        [bulk.tile[0] / bulk.cluster[1], bulk.tile[1] / bulk.cluster[0]].map(|n| n as u32);
    let dtype = x.dtype;
    let unit = (ROW / 2) as u32;
    match convolution {
        Some((c, places)) => {
            // Axes of size 1 may have any stride, and a copy wants it to be a multiple of 16 bytes.
            let stride = |v: &View, at: usize| {
                let inner = v.shape[1].next_multiple_of(8) as isize;
                bytes(if v.shape[at] == 1 { inner } else { v.strides[at] })
            };
            let sizes = [1, 3, 2, 0].map(|at| x.shape[at] as u64).to_vec();
            let strides = [3, 2, 0].map(|at| stride(x, at)).to_vec();
            let taps = [w.shape[2], w.shape[3]];
            let corner = |i: usize| {
                let reach = (taps[i] - 1) * c.dilation[i];
                let last = c.padding[i].1 as i32 - reach as i32;
                [-(c.padding[i].0 as i32), last]
            };
            let [down, along] = [corner(0), corner(1)];
            let corners = [[along[0], down[0]], [along[1], down[1]]];
            let steps = [c.stride[1] as u32, c.stride[0] as u32];
            let shape = match bulk.area {
                None => Shape::Windows { corners, steps, places: per_left },
                Some(area) => Shape::Box(area.extents()),
            };
            let all_taps = (taps[0] * taps[1]) as u64;
            let right = Boxes {
                dtype,
                sizes: vec![w.shape[1] as u64, all_taps, w.shape[0] as u64],
                strides: vec![
                    bytes(w.shape[1] as isize),
                    stride(w, 0).max(all_taps * bytes(w.shape[1] as isize)),
                ],
                shape: Shape::Box(vec![unit, 1, per_right]),
            };
            Ok(Factors {
                left: Boxes { dtype, sizes, strides, shape },
                right,
                windows: Some(windows(c, places)),
                taps,
                steps: w.shape[1].div_ceil(unit as usize),
                quarters: quarters(x.shape[1]),
            })
        }
        None if bulk.in_parts => {
            let row = rows(x).ok_or("rows that do not follow each other")?.unsigned_abs() as u64;
            let (size, padded) = (DType::F32.size() as u64, parts::padded(p.k) as u64);
            let left = Boxes {
                dtype: DType::F32,
                sizes: vec![p.k as u64, p.m as u64],
                strides: vec![size * row],
                shape: Shape::Box(vec![unit / parts::WIDER as u32, per_left]),
            };
            let right = Boxes {
                dtype: DType::BF16,
                sizes: vec![padded, p.n as u64, parts::PARTS as u64],
                strides: vec![2 * padded, 2 * padded * p.n as u64],
                shape: Shape::Box(vec![unit, per_right, 1]),
            };
            let steps = p.k.div_ceil(unit as usize);
            let quarters = parts::quarters(p.k);
            Ok(Factors { left, right, windows: None, taps: [1, 1], steps, quarters })
        }
        None => {
            let row = rows(x).ok_or("rows that do not follow each other")?;
            let matrix = |k: usize, rows: usize, row: isize, many: u32| Boxes {
                dtype,
                sizes: vec![k as u64, rows as u64],
                strides: vec![bytes(row)],
                shape: Shape::Box(vec![unit, many]),
            };
            let rank = w.rank();
            let line = if p.n == 1 { p.k.next_multiple_of(8) as isize } else { w.strides[rank - 1] };
            Ok(Factors {
                left: matrix(p.k, p.m, row, per_left),
                right: matrix(p.k, p.n, line, per_right),
                windows: None,
                taps: [1, 1],
                steps: p.k.div_ceil(unit as usize),
                quarters: quarters(p.k),
            })
        }
    }
}

/// Of steps that take so many elements along `k`.
fn quarters(elements: usize) -> usize {
    elements.div_ceil(ROW / 2 / 4).min(4)
}

fn windows(c: &Convolution, places: [usize; 2]) -> Windows {
    let two = |v: &[usize]| -> [usize; 2] { [v[0], v[1]] };
    Windows {
        places,
        stride: two(&c.stride),
        dilation: two(&c.dilation),
        before: [c.padding[0].0, c.padding[1].0],
    }
}
