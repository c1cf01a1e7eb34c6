//! Convolutions of an image of few channels: the taps of a row with all their channels lie next to each other, and are one tap of many.

use super::super::super::super::assemble::{Assembler, Fault, Packing};
use super::super::super::super::kernel::pad;
use super::super::super::super::layout::channels_last;
use super::super::super::super::program::WEIGHTS;
use super::super::Product;
use super::super::convolution::of_operands;
use super::{Form, STEP};
use crate::backend::Tf32;
use crate::backend::view::View;
use crate::network::layer::{Convolution, PadMode};
use crate::network::{Layer, LayerKind};
use crate::{DType, TensorType};

/// Channels of a place, of which those beyond the image's are zero.
const CHANNELS: usize = 4;

/// What becomes of the image and the filters.
struct Rows {
    dtype: DType,
    /// Taps of a row, in whole units of 16 bytes.
    taps: usize,
    /// Rows and columns of the image with its border, which holds every window.
    image: [usize; 2],
    border: [(usize, usize); 2],
}

impl Rows {
    fn of(a: &Assembler, layer: &Layer, c: &Convolution) -> Option<Rows> {
        let (x, w) = (a.network.ty(layer.inputs[0]), a.network.ty(layer.inputs[1]));
        let y = &a.network.ty(layer.outputs[0]).shape;
        let unit = match x.dtype {
            DType::F16 | DType::BF16 => 8,
            DType::F32 => 4,
            _ => return None,
        };
        let plain = c.stride.len() == 2 && c.groups == 1 && !c.transposed && c.dilation[1] == 1;
        if !plain
            || x.shape[1] > CHANNELS
            || w.shape[3] == 1
            || !(c.stride[1] * CHANNELS).is_multiple_of(unit)
        {
            return None;
        }
        let places = unit / CHANNELS;
        let taps = w.shape[3].next_multiple_of(places);
        let reach = [(w.shape[2] - 1) * c.dilation[0] + 1, taps];
        let [mut image, mut border] = [[0; 2], [0; 2]].map(|v: [usize; 2]| v);
        for i in 0..2 {
            let windows = (y[i + 2].max(1) - 1) * c.stride[i] + reach[i];
            image[i] = windows.max(x.shape[i + 2] + c.padding[i].0);
            if i == 1 {
                image[i] = image[i].next_multiple_of(places);
            }
            border[i] = image[i] - x.shape[i + 2] - c.padding[i].0;
        }
        let border = [0, 1].map(|i| (c.padding[i].0, border[i]));
        Some(Rows { dtype: x.dtype, taps, image, border })
    }
}

/// The layer's form, where it can be computed like this.
pub fn row_form(a: &Assembler, layer: &Layer, tf32: Tf32) -> Option<Form> {
    let LayerKind::Convolution(c) = &layer.kind else { return None };
    let rows = Rows::of(a, layer, c)?;
    let y = &a.network.ty(layer.outputs[0]).shape;
    let k = a.network.ty(layer.inputs[1]).shape[2] * rows.taps * CHANNELS * rows.dtype.size();
    let may = rows.dtype != DType::F32 || tf32.convolution;
    may.then(|| Form { dtype: rows.dtype, batch: 1, m: y[0] * y[2] * y[3], n: y[1], k })
}

/// The layer as a product.
pub fn row_product(
    a: &mut Assembler,
    layer: &Layer,
    c: &Convolution,
    depth: usize,
) -> Result<Product, Fault> {
    let rows = Rows::of(a, layer, c).ok_or("no convolution of few channels")?;
    let (view, filters) = (a.view(layer.inputs[0]), a.network.ty(layer.inputs[1]).clone());
    let (images, channels) = (view.shape[0], view.shape[1]);
    let order = channels_last(4);
    let [height, width] = rows.image;
    let to = a.temporary(&TensorType::new(rows.dtype, [images, CHANNELS, height, width]), &order);
    let border = [(0, 0), (0, CHANNELS - channels), rows.border[0], rows.border[1]];
    pad::emit(a, &view, &border, PadMode::Constant(0.0), to.clone())?;
    let many = rows.taps * CHANNELS;
    let places = a.network.ty(layer.outputs[0]).shape[3];
    let x = View {
        shape: vec![images, many, height, places],
        strides: vec![to.strides[0], 1, to.strides[2], to.strides[3] * c.stride[1] as isize],
        ..to
    };
    let [outputs, high] = [filters.shape[0], filters.shape[2]];
    let wide = TensorType::new(rows.dtype, [outputs, CHANNELS, high, rows.taps]);
    let form = View::dense(WEIGHTS, &wide, &order);
    let (target, border) =
        (form.clone(), [(0, 0), (0, CHANNELS - channels), (0, 0), (0, rows.taps - filters.shape[3])]);
    let told = format!("rows {border:?} {form:?}");
    let pack = move |a: &mut Assembler, from: View, slot, offset| {
        pad::emit(a, &from, &border, PadMode::Constant(0.0), View { slot, offset, ..target })
    };
    let packing = Packing::new(told, Box::new(pack));
    let (slot, offset) = a.packed(layer.inputs[1], wide.bytes(), packing)?;
    let w = View {
        slot,
        offset,
        shape: vec![outputs, many, high, 1],
        strides: vec![form.strides[0], 1, form.strides[2], many as isize],
        ..form
    };
    let merged = Convolution {
        stride: vec![c.stride[0], 1],
        padding: vec![(0, 0); 2],
        dilation: vec![c.dilation[0], 1],
        ..c.clone()
    };
    let near = if (many * rows.dtype.size()).is_multiple_of(depth) { STEP } else { "k" };
    of_operands(a, layer, &merged, x, w, near)
}
