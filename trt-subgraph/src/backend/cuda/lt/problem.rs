//! Products as the library can run them.

use super::super::assemble::Assembler;
use super::super::kernel::product::matrices;
use super::super::layout::order_of;
use super::super::program::WEIGHTS;
use super::ALIGNMENT;
use super::ending::Ending;
use crate::DType;
use crate::backend::view::View;
use crate::network::Layer;

/// A matrix as the library sees it: columns first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    /// Distance of columns.
    pub lead: usize,
    /// Distance of matrices of the batch; 0 where all are one.
    pub step: isize,
    /// Is it to be used transposed?
    pub transposed: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    pub dtype: DType,
    pub batch: usize,
    /// Ours on the right, ours on the left, the result.
    pub left: Matrix,
    pub right: Matrix,
    pub result: Matrix,
    pub tf32: bool,
    pub ending: Ending,
}

impl Problem {
    /// The layer as the library can run it; `None` where it cannot.
    pub fn of(
        a: &mut Assembler,
        layer: &Layer,
        transposed: (bool, bool),
        tf32: bool,
        ending: Ending,
    ) -> Option<Problem> {
        let shape = a.network.ty(layer.outputs[0]).shape.clone();
        let batch = &shape[..shape.len() - 2];
        let dtype = a.network.ty(layer.inputs[0]).dtype;
        if !dtype.is_float() || a.network.ty(layer.inputs[0]).elements() == 0 {
            return None;
        }
        let (x, w) = (operand(a, layer, 0), operand(a, layer, 1));
        if [&x, &w].iter().any(|v| v.offset % ALIGNMENT as isize != 0) {
            return None;
        }
        let (x, w) = (matrices(&x, transposed.0, batch), matrices(&w, transposed.1, batch));
        let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let (x, w) = one_of_all(&x, &w).unwrap_or((x, w));
        let count: usize = x.shape[..x.rank() - 2].iter().product();
        let rows = if count == 1 { batch.iter().product::<usize>() * rows } else { rows };
        let result = Matrix {
            rows: columns,
            columns: rows,
            lead: columns,
            step: (rows * columns) as isize,
            transposed: false,
        };
        let (left, right) = (matrix(&w, count)?, matrix(&x, count)?);
        Some(Problem { dtype, batch: count, left, right, result, tf32, ending })
    }

    /// Length of the sums.
    pub fn depth(&self) -> usize {
        if self.left.transposed { self.left.rows } else { self.left.columns }
    }
}

/// A batch of products with one right factor as one product of all rows, where the left factor's rows lie at one step.
fn one_of_all(x: &View, w: &View) -> Option<(View, View)> {
    let r = x.rank();
    let alone = (0..r - 2).all(|axis| w.shape[axis] == 1 || w.strides[axis] == 0);
    let rows: usize = x.shape[..r - 1].iter().product();
    let flat = x.reshape(&[rows, x.shape[r - 1]]).filter(|_| alone)?;
    let (shape, strides) = (w.shape[r - 2..].to_vec(), w.strides[r - 2..].to_vec());
    Some((flat, View { shape, strides, ..w.clone() }))
}

/// The operand as its kernel would find it, without asking for a static one.
fn operand(a: &mut Assembler, layer: &Layer, at: usize) -> View {
    let v = layer.inputs[at];
    if a.is_static(v) {
        return View::row_major(WEIGHTS, a.network.ty(v));
    }
    let view = a.view(v);
    if a.is_given(view.slot) {
        // As the copy that is made of it.
        return View::dense(view.slot, &view.ty(), &order_of(&view));
    }
    view
}

/// A batch of matrices `[batch..., rows, columns]` of ours, which the library sees transposed; `None` where neither axis is dense or the
/// batch has no one step.
fn matrix(v: &View, batch: usize) -> Option<Matrix> {
    let r = v.rank();
    let (rows, columns) = (v.shape[r - 2], v.shape[r - 1]);
    let (row_step, column_step) = (v.strides[r - 2], v.strides[r - 1]);
    let step = match batch {
        1 => 0,
        _ => {
            let axes: Vec<usize> = (0..r - 2).filter(|&i| v.shape[i] != 1).collect();
            let inner = v.strides[*axes.last()?];
            let mut expected = inner;
            for &axis in axes.iter().rev() {
                if v.strides[axis] != expected {
                    return None;
                }
                expected *= v.shape[axis] as isize;
            }
            inner
        }
    };
    let dense = |step: isize, size: usize| size == 1 || step == 1;
    let lead = |step: isize, size: usize, least: usize| {
        let step = if size == 1 { least as isize } else { step };
        (step >= least as isize).then_some(step as usize)
    };
    if dense(column_step, columns)
        && let Some(lead) = lead(row_step, rows, columns)
    {
        return Some(Matrix { rows: columns, columns: rows, lead, step, transposed: false });
    }
    if dense(row_step, rows)
        && let Some(lead) = lead(column_step, columns, rows)
    {
        return Some(Matrix { rows, columns, lead, step, transposed: true });
    }
    None
}
