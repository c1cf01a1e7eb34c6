//! Convolutions of few channels: the taps of a window's row lie side by side in an image with channels innermost, so they are taken for the
//! channels of one tap. The image is copied once, with its border and in as few channels as bulk copies allow.

use super::super::super::super::super::assemble::{Assembler, Fault};
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::layout::channels_last;
use super::super::super::super::super::program::WEIGHTS;
use super::super::super::super::pad;
use crate::TensorType;
use crate::backend::view::View;
use crate::network::layer::{Convolution, PadMode};
use crate::network::{Layer, LayerKind};

/// Elements in 16 bytes, in multiples of which bulk copies step.
const UNIT: usize = 8;

/// How the taps of a row become channels.
pub struct RowTaps {
    /// Channels of the copied image.
    channels: usize,
    /// Its columns, with the border.
    columns: usize,
    /// Taps of a row, and those that fill units of the filter, the further ones zero.
    taps: [usize; 2],
    /// Columns of the result.
    places: usize,
    /// The convolution of rows.
    pub convolution: Convolution,
}

impl RowTaps {
    /// Of a layer whose image has to be copied anyhow, and whose rows of taps fit one step of the product.
    pub fn of(a: &Assembler, layer: &Layer) -> Option<RowTaps> {
        let LayerKind::Convolution(c) = &layer.kind else { return None };
        let (x, w) = (a.network.ty(layer.inputs[0]), a.network.ty(layer.inputs[1]));
        let is_plain = c.stride.len() == 2 && c.groups == 1 && !c.transposed && c.dilation[1] == 1;
        if !is_plain || w.shape[3] == 1 || x.shape[1].is_multiple_of(UNIT) {
            return None;
        }
        let (step, row) = (c.stride[1], w.shape[3]);
        let most = ROW / x.dtype.size() / row;
        let channels = (x.shape[1]..=most).find(|n| (step * n).is_multiple_of(UNIT))?;
        let whole = |n: usize| (n * channels).is_multiple_of(UNIT);
        let columns = x.shape[3] + c.padding[1].0 + c.padding[1].1;
        Some(RowTaps {
            channels,
            columns: (columns..).find(|&n| whole(n))?,
            taps: [row, (row..).find(|&n| whole(n))?],
            places: a.network.ty(layer.outputs[0]).shape[3],
            convolution: Convolution {
                stride: vec![c.stride[0], 1],
                padding: vec![c.padding[0], (0, 0)],
                dilation: vec![c.dilation[0], 1],
                ..c.clone()
            },
        })
    }

    /// Elements of a row of taps.
    pub fn inputs(&self) -> usize {
        self.taps[0] * self.channels
    }

    /// The image, copied; places overlap.
    pub fn image(&self, a: &mut Assembler, layer: &Layer) -> Result<View, Fault> {
        let from = a.view(layer.inputs[0]);
        let LayerKind::Convolution(c) = &layer.kind else { return Err("not a convolution".to_string()) };
        let before = c.padding[1].0;
        let border = [
            (0, 0),
            (0, self.channels - from.shape[1]),
            (0, 0),
            (before, self.columns - before - from.shape[3]),
        ];
        let shape = vec![from.shape[0], self.channels, from.shape[2], self.columns];
        let to = a.temporary(&TensorType::new(from.dtype, shape), &channels_last(4));
        pad::emit(a, &from, &border, PadMode::Constant(0.0), to.clone())?;
        let [image, _, row, column] = [0, 1, 2, 3].map(|axis| to.strides[axis]);
        Ok(View {
            shape: vec![from.shape[0], self.inputs(), from.shape[2], self.places],
            strides: vec![image, 1, row, column * c.stride[1] as isize],
            ..to
        })
    }

    /// The filters, a row of taps after the other.
    pub fn filter(&self, a: &mut Assembler, layer: &Layer) -> Result<View, Fault> {
        let w = a.network.ty(layer.inputs[1]).clone();
        let [_, inputs, rows, row] = [0, 1, 2, 3].map(|axis| w.shape[axis]);
        let wide = w.with_shape(vec![w.shape[0], self.channels, rows, self.taps[1]]);
        let form = View::dense(WEIGHTS, &wide, &channels_last(4));
        let (to, border) =
            (form.clone(), [(0, 0), (0, self.channels - inputs), (0, 0), (0, self.taps[1] - row)]);
        let packing = Box::new(move |a: &mut Assembler, from: View, slot, offset| {
            pad::emit(a, &from, &border, PadMode::Constant(0.0), View { slot, offset, ..to })
        });
        let (slot, offset) = a.packed(layer.inputs[1], wide.bytes(), packing)?;
        let width = self.taps[1] * self.channels;
        Ok(View {
            slot,
            offset,
            shape: vec![w.shape[0], width, rows, 1],
            strides: vec![(rows * width) as isize, 1, width as isize, width as isize],
            ..form
        })
    }
}
