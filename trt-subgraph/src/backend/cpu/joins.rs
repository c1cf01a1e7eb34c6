//! Concatenations without copies: operands that are computed straight into the result.

use super::kernel::convolution;
use super::kernel::pool::channels_last;
use super::view::View;
use crate::network::{Layer, LayerKind, Network, TensorType, ValueId};

/// A part of a concatenation along channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Part {
    /// The concatenation's result.
    whole: ValueId,
    /// The first channel.
    start: usize,
}

/// The parts of a network's concatenations along channels that their producers can write in place, and the results that have
/// room so far.
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
            let LayerKind::Concat { axis: 1 } = layer.kind else { continue };
            let mut start = 0;
            for &v in &layer.inputs {
                let producer = definitions[v.index()].map(|at| &network.layers[at]);
                let once = layer.inputs.iter().filter(|&&o| o == v).count() == 1;
                let places = producer.is_some_and(|p| writes_anywhere(network, p) && p.outputs[0] == v);
                if once && places && parts[v.index()].is_none() && !network.outputs.contains(&v) {
                    parts[v.index()] = Some(Part { whole: layer.outputs[0], start });
                }
                start += network.ty(v).shape[1];
            }
        }
        Joins { parts, rooms: vec![None; network.values.len()] }
    }

    /// Room for a value with channels innermost, if it is a part; `room` gives that of a whole.
    pub fn part(
        &mut self,
        network: &Network,
        value: ValueId,
        room: impl FnOnce(&TensorType, &[usize]) -> View,
    ) -> Option<View> {
        let Part { whole, start } = self.parts[value.index()]?;
        let shape = &network.ty(value).shape;
        let order = channels_last(shape.len());
        let whole = self.rooms[whole.index()].get_or_insert_with(|| room(network.ty(whole), &order));
        Some(whole.narrow(1, start, shape[1]))
    }

    /// The room of a concatenation that has parts in place.
    pub fn whole(&self, value: ValueId) -> Option<&View> {
        self.rooms[value.index()].as_ref()
    }
}

/// Does the layer put its result where it is told, whatever the distance of positions?
fn writes_anywhere(network: &Network, layer: &Layer) -> bool {
    match &layer.kind {
        LayerKind::Convolution(c) => convolution::is_tiled(network, layer, c),
        LayerKind::Pool(_) => true,
        _ => false,
    }
}
