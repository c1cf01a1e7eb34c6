//! Matrix products of any strides.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{split, sum};
use super::{Factor, Kernel, Product};
use crate::backend::view::View;
use crate::network::Layer;

/// Emits `layer`: `a[..., M, K]` times `b[..., K, N]`, either given transposed.
pub fn matmul(
    a: &mut Assembler,
    layer: &Layer,
    transpose_a: bool,
    transpose_b: bool,
    kernel: Kernel,
) -> Result<(), Fault> {
    let rank = a.network.ty(layer.outputs[0]).rank();
    let tail = a.tail(layer, &(0..rank).collect::<Vec<_>>())?;
    let (batch, size) = tail.out.shape.split_at(rank - 2);
    let (batch, size) = (batch.to_vec(), [size[0], size[1]]);
    let left = matrices(&a.view(layer.inputs[0]), transpose_a, &batch);
    let right = matrices(&a.view(layer.inputs[1]), transpose_b, &batch);
    let k = left.shape[rank - 1];
    let ty = super::super::super::render::index_type(&[&left, &right, &tail.out], tail.out.elements());
    let batches: usize = batch.iter().product();
    let place = split(&batch, "b", ty, "c");
    let names: Vec<String> = (0..batch.len()).map(|i| format!("c{i}")).collect();
    let factor = |view: View, row: &str, name: &str| {
        let r = view.rank();
        let (along_row, along_k) = if row == "m" { (r - 2, r - 1) } else { (r - 1, r - 2) };
        let batch = sum(&names, &view.strides[..r - 2]);
        let outer = format!("{place}const {ty} {name} = {batch} + {row} * {};\n", view.strides[along_row]);
        let offset = format!("{name} + k * {}", view.strides[along_k]);
        let dense_along_k = view.strides[along_k].unsigned_abs() < view.strides[along_row].unsigned_abs()
            || view.strides[along_k] == 1;
        Factor {
            view,
            outer,
            kept: vec![name.to_string()],
            inner: String::new(),
            offset,
            exists: None,
            dense_along_k,
            k_axis: Some(along_k),
        }
    };
    let (x, w) = (factor(left, "m", "row"), factor(right, "n", "column"));
    let mut positions = names.clone();
    positions.extend(["m".to_string(), "n".to_string()]);
    let dense_along_m = tail.out.strides[rank - 2].unsigned_abs() < tail.out.strides[rank - 1].unsigned_abs();
    let product = Product {
        what: "product",
        batch: batches,
        m: size[0],
        n: size[1],
        k,
        a: x,
        b: w,
        tail,
        place: place.clone(),
        positions,
        dense_along_m,
        column_axis: rank - 1,
        run: Some((k, [rank - 1, rank - 2])),
    };
    product.in_rows().emit(a, kernel)
}

/// The view as untransposed matrices, stretched to the batch.
pub fn matrices(view: &View, transposed: bool, batch: &[usize]) -> View {
    let rank = view.rank();
    let mut axes: Vec<usize> = (0..rank).collect();
    if transposed {
        axes.swap(rank - 2, rank - 1);
    }
    let view = view.permute(&axes);
    let shape: Vec<usize> = batch.iter().chain(&view.shape[rank - 2..]).copied().collect();
    view.stretch(&shape)
}
