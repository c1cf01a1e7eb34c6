//! Values that share storage, as one block each: a union-find over values with byte offsets.

use super::arena::Interval;
use super::{Base, Memory};
use crate::network::{LayerKind, Network, ValueId};

/// The blocks of a network. A block is named by one of its values, its root.
pub(super) struct Blocks<'a> {
    network: &'a Network,
    /// The value that this one lies in, and where; itself for a root.
    parent: Vec<(ValueId, usize)>,
    /// Of roots: the storage; `None` for unused values.
    base: Vec<Option<Base>>,
    /// Of roots: size and lifetime.
    interval: Vec<Interval>,
}

impl<'a> Blocks<'a> {
    pub fn new(network: &'a Network, memory: &dyn Memory) -> Blocks<'a> {
        let count = network.values.len();
        let mut base = vec![None; count];
        let mut interval: Vec<Interval> = (0..count as u32)
            .map(|v| Interval { bytes: memory.bytes(network, ValueId(v)), first: 0, last: 0 })
            .collect();
        for (i, v) in network.inputs.iter().enumerate() {
            base[v.index()] = Some(Base::Input(i));
        }
        for (at, layer) in network.layers.iter().enumerate() {
            for v in &layer.outputs {
                base[v.index()] = Some(match layer.kind {
                    LayerKind::Prepared(i) => Base::Prepared(i),
                    _ => Base::Arena,
                });
                interval[v.index()].first = at;
                interval[v.index()].last = at;
            }
            for v in &layer.inputs {
                interval[v.index()].last = at;
            }
        }
        for v in &network.outputs {
            interval[v.index()].last = network.layers.len();
        }
        let parent = (0..count as u32).map(|v| (ValueId(v), 0)).collect();
        Blocks { network, parent, base, interval }
    }

    /// The root of the value's block and the value's offset in it.
    pub fn find(&self, v: ValueId) -> (ValueId, usize) {
        let (mut v, mut offset) = (v, 0);
        while self.parent[v.index()].0 != v {
            let (up, more) = self.parent[v.index()];
            (v, offset) = (up, offset + more);
        }
        (v, offset)
    }

    pub fn roots(&self) -> impl Iterator<Item = ValueId> {
        self.parent.iter().enumerate().filter(|(i, p)| p.0.index() == *i).map(|(_, p)| p.0)
    }

    pub fn base(&self, root: ValueId) -> Option<Base> {
        self.base[root.index()]
    }

    pub fn interval(&self, root: ValueId) -> Interval {
        self.interval[root.index()]
    }

    /// Views lie in their operands.
    pub fn share_views(&mut self, memory: &dyn Memory) {
        for (at, layer) in self.network.layers.iter().enumerate() {
            if let Some(offset) = memory.view(self.network, at) {
                let (root, more) = self.find(layer.inputs[0]);
                self.put(layer.outputs[0], root, offset + more);
            }
        }
    }

    /// Operands of concatenations lie in the result, where each is a block of its own in the arena.
    pub fn share_joined(&mut self, memory: &dyn Memory) {
        for (at, layer) in self.network.layers.iter().enumerate() {
            if !matches!(layer.kind, LayerKind::Concat { .. }) {
                continue;
            }
            let (target, offset) = self.find(layer.outputs[0]);
            for (i, &v) in layer.inputs.iter().enumerate() {
                let (root, _) = self.find(v);
                let whole = self.is_whole(v) && root != target;
                let once = layer.inputs.iter().filter(|&&o| self.find(o).0 == root).count() == 1;
                let is_output = self.network.outputs.iter().any(|&o| self.find(o).0 == root);
                if let Some(slot) = memory.joined(self.network, at, i)
                    && whole
                    && once
                    && !is_output
                {
                    self.put(root, target, offset + slot);
                }
            }
        }
    }

    /// Results overwrite operands that nothing reads later.
    pub fn share_in_place(&mut self, memory: &dyn Memory) {
        for (at, layer) in self.network.layers.iter().enumerate() {
            let Some(&result) = layer.outputs.first() else { continue };
            let (target, _) = self.find(result);
            if !self.is_whole(result) || self.interval(target).first != at {
                continue;
            }
            let operand = (0..layer.inputs.len()).find(|&i| {
                let v = layer.inputs[i];
                let (root, _) = self.find(v);
                let alone = layer.inputs.iter().all(|&o| o == v || self.find(o).0 != root);
                root != target
                    && alone
                    && self.is_whole(v)
                    && self.interval(root).last == at
                    && self.interval(root).bytes == self.interval(target).bytes
                    && memory.in_place(self.network, at, i)
            });
            if let Some(i) = operand {
                let (root, _) = self.find(layer.inputs[i]);
                self.put(target, root, 0);
            }
        }
    }

    /// Gives outputs the caller's storage where they are a block of their own; the others are to be copied.
    pub fn place_outputs(&mut self) -> Vec<(ValueId, usize)> {
        let mut copies = Vec::new();
        for (i, &v) in self.network.outputs.iter().enumerate() {
            let (root, _) = self.find(v);
            if self.is_whole(v) {
                self.base[root.index()] = Some(Base::Output(i));
            } else {
                copies.push((v, i));
            }
        }
        copies
    }

    /// Is the value the whole of a block in the arena?
    fn is_whole(&self, v: ValueId) -> bool {
        let (root, offset) = self.find(v);
        let same = self.interval[v.index()].bytes == self.interval(root).bytes;
        self.base(root) == Some(Base::Arena) && offset == 0 && same
    }

    /// Puts the block of root `v` into the block of root `into`.
    fn put(&mut self, v: ValueId, into: ValueId, offset: usize) {
        let inner = self.interval(v);
        self.parent[v.index()] = (into, offset);
        let outer = &mut self.interval[into.index()];
        outer.first = outer.first.min(inner.first);
        outer.last = outer.last.max(inner.last);
    }
}
