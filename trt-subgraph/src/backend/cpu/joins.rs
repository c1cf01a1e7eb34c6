//! Concatenations without copies: operands that are computed straight into the result.

use super::kernel::convolution;
use super::kernel::pool::channels_last;
use super::view::View;
use crate::network::{Layer, LayerKind, Network, TensorType, ValueId};

/// A part of a concatenation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    /// The concatenation's result.
    whole: ValueId,
    /// The axis along which it is put together.
    axis: usize,
    /// The part's first place there.
    start: usize,
}

/// The parts of a network's concatenations that their producers can write in place, and the results that have room so far.
///
/// The axis is innermost in memory: channels, or the last one.
pub struct Joins {
    parts: Vec<Option<Part>>,
    rooms: Vec<Option<View>>,
}

impl Joins {
    /// Every value is a part of one concatenation at most, and once.
    pub fn new(network: &Network) -> Joins {
        let mut parts = vec![None; network.values.len()];
        let definitions = network.definitions();
        for layer in &network.layers {
            let LayerKind::Concat { axis } = layer.kind else { continue };
            let last = network.ty(layer.outputs[0]).rank() - 1;
            let mut start = 0;
            for &v in &layer.inputs {
                let producer = definitions[v.index()].map(|at| &network.layers[at]);
                let once = layer.inputs.iter().filter(|&&o| o == v).count() == 1;
                let places =
                    producer.is_some_and(|p| p.outputs[0] == v && writes_along(network, p, axis, last));
                if once && places && parts[v.index()].is_none() && !network.outputs.contains(&v) {
                    parts[v.index()] = Some(Part { whole: layer.outputs[0], axis, start });
                }
                start += network.ty(v).shape[axis];
            }
        }
        Joins { parts, rooms: vec![None; network.values.len()] }
    }

    /// Room for a value with axes in this order, if it is a part; `room` gives that of a whole which is no part itself.
    pub fn part(
        &mut self,
        network: &Network,
        value: ValueId,
        order: &[usize],
        room: &mut dyn FnMut(&TensorType) -> View,
    ) -> Option<View> {
        let Part { whole, axis, start } = self.parts[value.index()]?;
        let shape = &network.ty(value).shape;
        let wanted = if axis + 1 == shape.len() { row_major(axis + 1) } else { channels_last(shape.len()) };
        if order != wanted {
            return None;
        }
        let there = match self.rooms[whole.index()].clone() {
            Some(view) => view,
            None => self.part(network, whole, order, room).unwrap_or_else(|| room(network.ty(whole))),
        };
        let part = there.narrow(axis, start, shape[axis]);
        self.rooms[whole.index()] = Some(there);
        Some(part)
    }

    /// The room of a concatenation that has parts in place.
    pub fn whole(&self, value: ValueId) -> Option<&View> {
        self.rooms[value.index()].as_ref()
    }
}

fn row_major(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// Does the layer put its result where it is told, whatever the distance of neighbours along the other axes?
fn writes_along(network: &Network, layer: &Layer, axis: usize, last: usize) -> bool {
    match &layer.kind {
        LayerKind::Convolution(c) => axis == 1 && convolution::is_tiled(network, layer, c),
        LayerKind::Pool(_) => axis == 1,
        LayerKind::Gather { .. } => axis == last,
        LayerKind::Concat { axis: own } => *own == axis,
        _ => false,
    }
}
