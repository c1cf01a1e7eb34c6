//! Layers as tensor cores take them: both factors in units of 16 bytes along `k`.

use super::super::super::super::assemble::{Assembler, Fault};
use super::super::super::super::channels;
use super::super::super::super::program::WEIGHTS;
use super::super::super::super::render::{in_runs, index_type, split, sum};
use super::super::convolution::of_operands;
use super::super::{Factor, Product, matrices};
use super::{Form, STEP};
use crate::DType;
use crate::backend::Tf32;
use crate::backend::view::View;
use crate::network::layer::Convolution;
use crate::network::{Layer, LayerKind, ValueId};

/// The layer's form; `None` where tensor cores do not take it or would round what the host does not.
pub fn form(a: &mut Assembler, layer: &Layer, tf32: Tf32) -> Option<Form> {
    let ty = a.network.ty(layer.inputs[0]).clone();
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let unit = unit(ty.dtype)?;
    let may = |tf32: bool| ty.dtype != DType::F32 || tf32;
    match &layer.kind {
        LayerKind::Convolution(c) => {
            let filter = a.network.ty(layer.inputs[1]).shape.clone();
            let places = y[2..].iter().product::<usize>();
            let k = filter[2..].iter().product::<usize>() * ty.shape[1].next_multiple_of(unit);
            let fits = c.groups == 1 && !c.transposed && may(tf32.convolution);
            let k = k * ty.dtype.size();
            fits.then_some(Form { dtype: ty.dtype, batch: 1, m: y[0] * places, n: y[1], k })
        }
        LayerKind::MatMul { transpose_a, transpose_b } if may(tf32.product) => {
            let f = factors(a, layer, *transpose_a, *transpose_b, unit)?;
            let r = f.batch.len();
            let batch = if f.alone { 1 } else { f.batch.iter().product() };
            let rows = if f.alone { f.batch.iter().product::<usize>() } else { 1 } * y[r];
            Some(Form { dtype: ty.dtype, batch, m: rows, n: y[r + 1], k: f.k * ty.dtype.size() })
        }
        _ => None,
    }
}

/// The layer as a product, where it has a form, for steps of so many bytes along `k`.
pub fn product(a: &mut Assembler, layer: &Layer, depth: usize) -> Result<Product, Fault> {
    let unit = unit(a.network.ty(layer.inputs[0]).dtype).ok_or("not a type of tensor cores")?;
    match &layer.kind {
        LayerKind::Convolution(c) => of_convolution(a, layer, c, unit, depth),
        LayerKind::MatMul { transpose_a, transpose_b } => {
            let right = right(a, layer.inputs[1], *transpose_b)?;
            of_matmul(a, layer, (*transpose_a, *transpose_b), unit, right)
        }
        other => Err(format!("{} is no product", other.name())),
    }
}

/// Elements in 16 bytes.
fn unit(dtype: DType) -> Option<usize> {
    matches!(dtype, DType::F16 | DType::BF16 | DType::F32).then(|| 16 / dtype.size())
}

fn of_convolution(
    a: &mut Assembler,
    layer: &Layer,
    c: &Convolution,
    unit: usize,
    depth: usize,
) -> Result<Product, Fault> {
    let channels = a.network.ty(layer.inputs[0]).shape[1].next_multiple_of(unit);
    let x = channels::image(a, layer.inputs[0], channels)?;
    let w = channels::filter(a, layer.inputs[1], channels)?;
    // Channels are the innermost part of k in both, whatever the strides of axes of size 1.
    let inner = |mut v: View| {
        v.strides[1] = 1;
        v
    };
    // Where a step stays inside a tap, the tap is one for all threads.
    let near = if channels.is_multiple_of(unit * depth / 16) { STEP } else { "k" };
    of_operands(a, layer, c, inner(x), inner(w), near)
}

/// What a matrix product is made of.
struct Factors {
    batch: Vec<usize>,
    k: usize,
    /// Is there one right factor for the whole batch, whose rows are then those of one matrix?
    alone: bool,
}

fn factors(a: &mut Assembler, layer: &Layer, ta: bool, tb: bool, unit: usize) -> Option<Factors> {
    let y = a.network.ty(layer.outputs[0]).shape.clone();
    let (r, batch) = (y.len(), y[..y.len() - 2].to_vec());
    let (x, w) = (layer.inputs[0], layer.inputs[1]);
    if a.is_static(x) {
        return None;
    }
    let left = matrices(&a.view(x), ta, &batch);
    let k = left.shape[r - 1];
    let right = if a.is_static(w) {
        let ty = a.network.ty(w).clone();
        matrices(&View::dense(WEIGHTS, &ty, &inner_last(ty.rank(), tb)), tb, &batch)
    } else {
        matrices(&a.view(w), tb, &batch)
    };
    let alone = right.strides[..r - 2].iter().all(|&s| s == 0) || batch.iter().product::<usize>() == 1;
    let ready = k.is_multiple_of(unit) && in_runs(&left, r - 1, unit) && in_runs(&right, r - 2, unit);
    ready.then_some(Factors { batch, k, alone })
}

/// The memory order of a right factor with `k` innermost.
fn inner_last(rank: usize, transposed: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rank).collect();
    if !transposed {
        order.swap(rank - 2, rank - 1);
    }
    order
}

/// The product with what serves as its right factor, transposed or not as that one is.
pub fn of_matmul(
    a: &mut Assembler,
    layer: &Layer,
    (ta, tb): (bool, bool),
    unit: usize,
    right: View,
) -> Result<Product, Fault> {
    let f = factors(a, layer, ta, tb, unit).ok_or("its factors do not lie in units")?;
    let rank = f.batch.len() + 2;
    let left = matrices(&a.view(layer.inputs[0]), ta, &f.batch);
    let right = matrices(&right, tb, &f.batch);
    let tail = a.tail(layer, &(0..rank).collect::<Vec<_>>())?;
    let (m, n) = (tail.out.shape[rank - 2], tail.out.shape[rank - 1]);
    let ty = index_type(&[&left, &right, &tail.out], tail.out.elements().max(n * f.k));
    // One right factor: the batch is part of the rows.
    let mut sizes = f.batch.clone();
    let place = if f.alone {
        sizes.push(m);
        split(&sizes, "m", ty, "c")
    } else {
        format!("{}const {ty} c{} = m;\n", split(&sizes, "b", ty, "c"), rank - 2)
    };
    let names: Vec<String> = (0..rank - 1).map(|i| format!("c{i}")).collect();
    let of_batch = split(&f.batch, "b", ty, "c");
    let steps = &right.strides;
    let columns = sum(&names[..rank - 2], if f.alone { &[] } else { &steps[..rank - 2] });
    let columns = format!(
        "{}const {ty} line = {columns} + n * {};\n",
        if f.alone { "" } else { &of_batch },
        steps[rank - 1]
    );
    let rows = format!("{place}const {ty} line = {};\n", sum(&names, &left.strides[..rank - 1]));
    let factor = |view: View, outer: String, axis: usize| Factor {
        outer,
        kept: vec!["line".to_string()],
        inner: String::new(),
        offset: "line + k".to_string(),
        exists: None,
        dense_along_k: true,
        k_axis: Some(axis),
        view,
    };
    let mut positions = names.clone();
    positions.push("n".to_string());
    let batches: usize = f.batch.iter().product();
    let dense_along_m = tail.out.strides[rank - 2].unsigned_abs() < tail.out.strides[rank - 1].unsigned_abs();
    Ok(Product {
        what: "product",
        batch: if f.alone { 1 } else { batches },
        m: if f.alone { batches * m } else { m },
        n,
        k: f.k,
        a: factor(left, rows, rank - 1),
        b: factor(right, columns, rank - 2),
        place,
        positions,
        dense_along_m,
        column_axis: rank - 1,
        run: Some((f.k, [rank - 1, rank - 2])),
        tail,
    }
    .in_rows())
}

/// The right factor with `k` innermost.
fn right(a: &mut Assembler, value: ValueId, transposed: bool) -> Result<View, Fault> {
    if !a.is_static(value) {
        return Ok(a.view(value));
    }
    let rank = a.network.ty(value).rank();
    a.ordered(value, &inner_last(rank, transposed))
}
