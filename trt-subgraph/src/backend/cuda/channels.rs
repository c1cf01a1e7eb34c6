//! Operands of convolutions as tensor cores take them: channels innermost, as many as fill whole units, the further ones zero.

use super::assemble::{Assembler, Fault, Packing};
use super::kernel::pad;
use super::layout::channels_last;
use super::program::WEIGHTS;
use super::render::in_runs;
use crate::TensorType;
use crate::backend::view::View;
use crate::network::ValueId;
use crate::network::layer::PadMode;

/// The image with `channels` channels, dense; as it is where it is so.
pub fn dense_image(a: &mut Assembler, value: ValueId, channels: usize) -> Result<View, Fault> {
    let view = a.view(value);
    let order = channels_last(view.rank());
    let ready = view.is_dense_in(&order) && view.shape[1] == channels && !a.is_given(view.slot);
    if ready && view.offset % 16 == 0 {
        return Ok(view);
    }
    copied(a, view, channels)
}

/// The image with `channels` channels; its places begin at multiples of 16 bytes.
pub fn image(a: &mut Assembler, value: ValueId, channels: usize) -> Result<View, Fault> {
    let view = a.view(value);
    if view.shape[1] == channels && in_runs(&view, 1, 16 / view.dtype.size()) {
        return Ok(view);
    }
    copied(a, view, channels)
}

/// The filter with `inputs` input channels, dense.
pub fn filter(a: &mut Assembler, value: ValueId, inputs: usize) -> Result<View, Fault> {
    let ty = a.network.ty(value).clone();
    let wide = padded(&ty, inputs);
    let form = View::dense(WEIGHTS, &wide, &channels_last(ty.rank()));
    let to = form.clone();
    let pack = move |a: &mut Assembler, from: View, slot, offset| fill(a, from, View { slot, offset, ..to });
    let packing = Packing::new(format!("{form:?}"), Box::new(pack));
    let (slot, offset) = a.packed(value, wide.bytes(), packing)?;
    Ok(View { slot, offset, ..form })
}

fn copied(a: &mut Assembler, view: View, channels: usize) -> Result<View, Fault> {
    let order = channels_last(view.rank());
    let to = a.temporary(&padded(&view.ty(), channels), &order);
    fill(a, view, to.clone())?;
    Ok(to)
}

fn padded(ty: &TensorType, channels: usize) -> TensorType {
    let mut shape = ty.shape.clone();
    shape[1] = channels;
    ty.with_shape(shape)
}

/// Copies `from` into `to`, which may have more channels; those are zero.
fn fill(a: &mut Assembler, from: View, to: View) -> Result<(), Fault> {
    if from.shape == to.shape {
        return a.copy(&from, to);
    }
    let mut border = vec![(0, 0); from.rank()];
    border[1].1 = to.shape[1] - from.shape[1];
    pad::emit(a, &from, &border, PadMode::Constant(0.0), to)
}
