//! In which order the axes of results lie in memory.

use super::program::WEIGHTS;
use crate::backend::view::View;
use crate::network::{LayerKind, Network};

/// Results smaller than this are written across the grain rather than copied in a second step, in bytes.
pub const SMALL: usize = 1 << 18;

/// The memory order of images: places, then channels.
pub fn channels_last(rank: usize) -> Vec<usize> {
    let mut order = vec![0];
    order.extend(2..rank);
    order.push(1);
    order
}

/// By value: is it an image that is reshaped as channels innermost do not allow, and small enough to be written across the grain?
pub fn flat(network: &Network) -> Vec<bool> {
    let mut out = vec![false; network.values.len()];
    for layer in &network.layers {
        let LayerKind::Reshape { shape } = &layer.kind else { continue };
        let ty = network.ty(layer.inputs[0]);
        if ty.rank() > 2 && ty.bytes() < SMALL {
            let image = View::dense(WEIGHTS, ty, &channels_last(ty.rank()));
            out[layer.inputs[0].index()] |= image.reshape(shape).is_none();
        }
    }
    out
}

/// Axes of a result in the memory order of the operand that it follows.
pub fn order_of(view: &View) -> Vec<usize> {
    if view.strides.iter().zip(&view.shape).any(|(&s, &n)| s == 0 && n > 1) {
        return (0..view.rank()).collect();
    }
    view.order()
}
