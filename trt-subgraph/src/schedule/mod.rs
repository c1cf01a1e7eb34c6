//! Where every value of a `run` network lives: in a caller's tensor, among the prepared values, or in one arena.
//!
//! The layers run one after the other in the network's order. A value lives from the layer that defines it to the last that
//! reads it; an output lives to the end. Values that share storage (a reshape and its operand, a concatenation and the operands
//! written straight into it, an in-place result and what it overwrites) form one block. Blocks that live at the same time never
//! overlap; [`arena::pack`] packs the rest. The backend says through [`Memory`] how large its layouts are and what it can share.

pub mod arena;
mod blocks;
#[cfg(test)]
mod tests;

use crate::network::{LayerKind, Network, ValueId};
use arena::Interval;
use blocks::Blocks;

/// What a backend says of the memory that its layers need. `at` is a position in `network.layers`.
pub trait Memory {
    /// Bytes of a value in the backend's layout. Inputs and outputs are dense.
    fn bytes(&self, network: &Network, value: ValueId) -> usize {
        network.ty(value).bytes()
    }

    /// Bytes of working memory during this layer alone.
    fn scratch(&self, _network: &Network, _at: usize) -> usize {
        0
    }

    /// May the first output overwrite this operand, if nothing reads that later? Both have one size, element by element.
    fn in_place(&self, network: &Network, at: usize, operand: usize) -> bool {
        elementwise(network, at, operand)
    }

    /// Is the output a part of the first operand's storage, and from which byte on? By default reshapes are.
    fn view(&self, network: &Network, at: usize) -> Option<usize> {
        matches!(network.layers[at].kind, LayerKind::Reshape { .. }).then_some(0)
    }

    /// May operand `operand` of this concatenation be written straight into the result? From which byte on? By default where
    /// the operands follow each other in memory: every axis before the joined one has size 1.
    fn joined(&self, network: &Network, at: usize, operand: usize) -> Option<usize> {
        slot(network, at, operand)
    }
}

/// Dense row-major values, no scratch.
#[derive(Clone, Copy, Debug)]
pub struct Dense;

impl Memory for Dense {}

/// Which storage a value lives in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Base {
    /// The caller's input.
    Input(usize),
    /// The caller's output.
    Output(usize),
    /// The prepared value.
    Prepared(u32),
    /// The engine's working memory.
    Arena,
}

/// Where a value starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The storage.
    pub base: Base,
    /// Bytes from its start.
    pub offset: usize,
}

/// Where everything lives.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// By value; `None` where a value is unused.
    pub places: Vec<Option<Place>>,
    /// By layer: where its scratch starts in the arena; 0 where it has none.
    pub scratch: Vec<usize>,
    /// Bytes of the arena; offsets in it are multiples of [`arena::ALIGNMENT`], except inside of a block.
    pub arena: usize,
    /// Outputs that are to be copied from another place at the end: the value and the output's position.
    pub copies: Vec<(ValueId, usize)>,
}

/// Plans the memory of a `run` network, whose layers are in order.
pub fn plan(network: &Network, memory: &dyn Memory) -> Plan {
    let mut blocks = Blocks::new(network, memory);
    blocks.share_views(memory);
    blocks.share_joined(memory);
    blocks.share_in_place(memory);
    let copies = blocks.place_outputs();

    let (mut intervals, mut roots, mut scratch_of) = (Vec::new(), Vec::new(), Vec::new());
    for root in blocks.roots().filter(|&r| blocks.base(r) == Some(Base::Arena)) {
        roots.push(root);
        intervals.push(blocks.interval(root));
    }
    for at in 0..network.layers.len() {
        let bytes = memory.scratch(network, at);
        if bytes > 0 {
            scratch_of.push(at);
            intervals.push(Interval { bytes, first: at, last: at });
        }
    }
    let packed = arena::pack(&intervals);
    let mut scratch = vec![0; network.layers.len()];
    for (&at, &offset) in scratch_of.iter().zip(&packed.offsets[roots.len()..]) {
        scratch[at] = offset;
    }
    let mut start = vec![0; network.values.len()];
    for (&root, &offset) in roots.iter().zip(&packed.offsets) {
        start[root.index()] = offset;
    }
    let places = (0..network.values.len() as u32).map(ValueId).map(|v| {
        let (root, offset) = blocks.find(v);
        blocks.base(root).map(|base| Place { base, offset: start[root.index()] + offset })
    });
    Plan { places: places.collect(), scratch, arena: packed.bytes, copies }
}

/// Is the layer pointwise, with this operand and the result alike in shape and element size?
pub fn elementwise(network: &Network, at: usize, operand: usize) -> bool {
    let layer = &network.layers[at];
    let (x, y) = (network.ty(layer.inputs[operand]), network.ty(layer.outputs[0]));
    matches!(layer.kind, LayerKind::Pointwise(_)) && x.shape == y.shape && x.dtype.size() == y.dtype.size()
}

/// Where operand `operand` starts in a dense concatenation whose operands are contiguous in it.
pub fn slot(network: &Network, at: usize, operand: usize) -> Option<usize> {
    let layer = &network.layers[at];
    let LayerKind::Concat { axis } = layer.kind else { return None };
    let contiguous = network.ty(layer.outputs[0]).shape[..axis].iter().all(|&n| n == 1);
    contiguous.then(|| layer.inputs[..operand].iter().map(|&v| network.ty(v).bytes()).sum())
}
