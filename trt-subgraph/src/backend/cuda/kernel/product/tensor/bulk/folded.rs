//! Convolutions of few channels that go two places at a time: two rows and columns of the image become one place of four times the channels,
//! and four such places, next to each other in memory, are what one window has of a row.

use super::super::super::super::super::assemble::{Assembler, Fault, Packing};
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::program::WEIGHTS;
use super::super::super::super::pad;
use super::super::super::Product;
use super::super::super::convolution::of_operands;
use super::super::{Form, STEP};
use crate::backend::view::View;
use crate::network::layer::{Convolution, PadMode};
use crate::network::{Layer, LayerKind};
use crate::{DType, TensorType};

/// Channels of a place before it is folded, of which those beyond the image's are zero.
const CHANNELS: usize = 4;
/// Those of four places that are one.
const DEPTH: usize = 4 * CHANNELS;
/// Places of a row that a window may have.
const WIDE: usize = ROW / 2 / DEPTH;

/// How the taps and the image are folded, rows first.
struct Folded {
    dtype: DType,
    /// Taps that precede the filter's first one, to begin at an even place.
    ahead: [usize; 2],
    taps: [usize; 2],
    /// Places of the image with its border.
    image: [usize; 2],
}

impl Folded {
    fn of(a: &Assembler, layer: &Layer, c: &Convolution) -> Option<Folded> {
        let (x, w) = (a.network.ty(layer.inputs[0]), a.network.ty(layer.inputs[1]));
        let y = &a.network.ty(layer.outputs[0]).shape;
        let plain = c.groups == 1 && !c.transposed && c.stride == [2, 2] && c.dilation == [1, 1];
        let halves = matches!(x.dtype, DType::F16 | DType::BF16);
        if !plain || !halves || x.shape[1] > CHANNELS || !a.is_static(layer.inputs[1]) {
            return None;
        }
        let ahead = [0, 1].map(|i| c.padding[i].0 % 2);
        let taps = [0, 1].map(|i| (w.shape[i + 2] + ahead[i]).div_ceil(2));
        let image = [0, 1].map(|i| {
            let windows = y[i + 2].max(1) - 1 + if i == 1 { WIDE } else { taps[i] };
            windows.max((x.shape[i + 2] + c.padding[i].0 + ahead[i]).div_ceil(2))
        });
        (taps[1] <= WIDE && taps[0] <= 8).then_some(Folded { dtype: x.dtype, ahead, taps, image })
    }
}

/// The layer's form, where it can be computed like this.
pub fn form(a: &Assembler, layer: &Layer) -> Option<Form> {
    let LayerKind::Convolution(c) = &layer.kind else { return None };
    let folded = Folded::of(a, layer, c)?;
    let y = &a.network.ty(layer.outputs[0]).shape;
    let m = y[0] * y[2] * y[3];
    Some(Form { dtype: folded.dtype, batch: 1, m, n: y[1], k: folded.taps[0] * ROW })
}

/// The layer as a product, and the convolution that it is of the folded image: of one column of taps, each a whole row.
pub fn product(a: &mut Assembler, layer: &Layer) -> Result<(Product, Convolution), Fault> {
    let LayerKind::Convolution(c) = &layer.kind else {
        return Err(format!("{} has no windows", layer.kind.name()));
    };
    let Folded { dtype, ahead, taps, image } =
        Folded::of(a, layer, c).ok_or("no convolution of few channels by two places")?;
    let (view, filters) = (a.view(layer.inputs[0]), a.network.ty(layer.inputs[1]).clone());
    let places = a.network.ty(layer.outputs[0]).shape[2..].to_vec();
    let [images, channels] = [view.shape[0], view.shape[1]];
    // Rows and columns, each of two halves; of one place the rows, columns and channels.
    let (memory, more) = ([0, 2, 4, 3, 5, 1], (0, CHANNELS - channels));
    let halves = TensorType::new(dtype, [images, CHANNELS, image[0], 2, image[1], 2]);
    let to = a.temporary(&halves, &memory);
    let border = [0, 1].map(|i| {
        let before = c.padding[i].0 + ahead[i];
        (before, (2 * image[i]).saturating_sub(before + view.shape[i + 2]))
    });
    pad::emit(a, &view, &[(0, 0), more, border[0], border[1]], PadMode::Constant(0.0), to.clone())?;
    let x = View {
        shape: vec![images, ROW / 2, places[0] + taps[0] - 1, places[1]],
        strides: vec![to.strides[0], 1, to.strides[2], to.strides[4]],
        ..to
    };
    let outputs = filters.shape[0];
    let wide = TensorType::new(dtype, [outputs, CHANNELS, taps[0], 2, WIDE, 2]);
    let form = View::dense(WEIGHTS, &wide, &memory);
    let (target, size) = (form.clone(), [2 * taps[0], 2 * WIDE]);
    let border = [0, 1].map(|i| (ahead[i], size[i] - ahead[i] - filters.shape[i + 2]));
    let told = format!("folded {border:?} {form:?}");
    let pack = move |a: &mut Assembler, from: View, slot, offset| {
        let border = [(0, 0), more, border[0], border[1]];
        pad::emit(a, &from, &border, PadMode::Constant(0.0), View { slot, offset, ..target })
    };
    let packing = Packing::new(told, Box::new(pack));
    let (slot, offset) = a.packed(layer.inputs[1], wide.bytes(), packing)?;
    let row = (ROW / 2) as isize;
    let w = View {
        slot,
        offset,
        shape: vec![outputs, ROW / 2, taps[0], 1],
        strides: vec![form.strides[0], 1, row, row],
        ..form
    };
    let merged = Convolution { stride: vec![1; 2], padding: vec![(0, 0); 2], ..c.clone() };
    let product = of_operands(a, layer, &merged, x, w, STEP)?;
    Ok((product, merged))
}
