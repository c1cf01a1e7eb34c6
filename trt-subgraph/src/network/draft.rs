//! A network under rewriting: who reads what is always known, an edit costs only its own size.

use super::patch::Edit;
use super::{Layer, Network, TensorType, ValueId};

/// A network that [`Edit`]s are applied to. Layers keep their positions; new ones are appended, those that nothing reads any
/// more are dead and stay in place until [`Draft::finish`] sorts the rest. Acyclic as long as every edit is: the layers that
/// replace a value read only what that value depends on, or static values.
#[derive(Debug)]
pub struct Draft {
    network: Network,
    definition: Vec<Option<usize>>,
    users: Vec<Vec<usize>>,
    statics: Vec<bool>,
    dead: Vec<bool>,
}

/// Stands among the users of a value for "an output of the network".
const OUTPUT: usize = usize::MAX;

impl Draft {
    /// Starts to rewrite a verified network.
    pub fn new(network: Network) -> Draft {
        let mut users = vec![Vec::new(); network.values.len()];
        for (at, layer) in network.layers.iter().enumerate() {
            for v in &layer.inputs {
                users[v.index()].push(at);
            }
        }
        for v in &network.outputs {
            users[v.index()].push(OUTPUT);
        }
        let dead = vec![false; network.layers.len()];
        Draft { definition: network.definitions(), users, statics: network.statics(), dead, network }
    }

    /// How many positions there are, dead ones included.
    pub fn len(&self) -> usize {
        self.network.layers.len()
    }

    /// Has it no layers at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values there are, unused ones included.
    pub fn values(&self) -> usize {
        self.network.values.len()
    }

    /// Is the layer at this position still there?
    pub fn is_live(&self, at: usize) -> bool {
        !self.dead[at]
    }

    /// The layer at a position.
    pub fn layer(&self, at: usize) -> &Layer {
        &self.network.layers[at]
    }

    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.network.ty(v)
    }

    /// The position of the layer that defines `v`; `None` for inputs.
    pub fn definition(&self, v: ValueId) -> Option<usize> {
        self.definition[v.index()]
    }

    /// The layer that defines `v`; `None` for inputs.
    pub fn producer(&self, v: ValueId) -> Option<&Layer> {
        self.definition(v).map(|at| self.layer(at))
    }

    /// Does `v` depend on nothing but constants and parameters?
    pub fn is_static(&self, v: ValueId) -> bool {
        self.statics[v.index()]
    }

    /// Is `v` an output of the network?
    pub fn is_output(&self, v: ValueId) -> bool {
        self.users[v.index()].contains(&OUTPUT)
    }

    /// The positions of the layers that read `v`, one entry a read.
    pub fn readers(&self, v: ValueId) -> impl Iterator<Item = usize> {
        self.users[v.index()].iter().copied().filter(|&at| at != OUTPUT)
    }

    /// How often `v` is read, by layers and as an output.
    pub fn uses(&self, v: ValueId) -> usize {
        self.users[v.index()].len()
    }

    /// Does the layer at `at`, and nothing else, read `v`?
    pub fn only_reader(&self, v: ValueId, at: usize) -> bool {
        self.users[v.index()].iter().all(|&user| user == at)
    }

    /// The layers as a network: positions and ids as here, in no order, dead layers included.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Carries out an edit, in time proportional to its size and to the uses of what it replaces.
    pub fn apply(&mut self, edit: Edit) {
        self.network.values.extend(edit.values);
        let values = self.network.values.len();
        self.definition.resize(values, None);
        self.users.resize(values, Vec::new());
        self.statics.resize(values, false);
        for &(old, new) in &edit.replaced {
            self.redirect(old, new);
        }
        let first = self.len();
        for layer in edit.layers {
            let at = self.len();
            let is_static = layer.inputs.iter().all(|&v| self.is_static(v));
            for v in &layer.inputs {
                self.users[v.index()].push(at);
            }
            for v in &layer.outputs {
                self.definition[v.index()] = Some(at);
                self.statics[v.index()] = is_static;
            }
            self.network.layers.push(layer);
            self.dead.push(false);
        }
        let replaced = edit.replaced.iter().filter_map(|&(old, _)| self.definition(old));
        let candidates: Vec<usize> = replaced.chain(edit.dropped).chain((first..self.len()).rev()).collect();
        for at in candidates {
            self.bury(at);
        }
    }

    /// The rewritten network: live layers, in order, values renumbered.
    pub fn finish(self) -> Network {
        let mut network = self.network;
        let mut dead = self.dead.into_iter();
        network.layers.retain(|_| !dead.next().expect("one mark a layer"));
        network.sort_and_drop_dead();
        network.renumber();
        network
    }

    fn redirect(&mut self, old: ValueId, new: ValueId) {
        let users = std::mem::take(&mut self.users[old.index()]);
        for &at in &users {
            let reads =
                if at == OUTPUT { &mut self.network.outputs } else { &mut self.network.layers[at].inputs };
            for v in reads.iter_mut().filter(|v| **v == old) {
                *v = new;
            }
        }
        self.users[new.index()].extend(users);
    }

    /// Marks a layer dead if nothing reads it, and then those that only it kept alive.
    fn bury(&mut self, at: usize) {
        let mut todo = vec![at];
        while let Some(at) = todo.pop() {
            let layer = &self.network.layers[at];
            if self.dead[at] || layer.outputs.iter().any(|v| !self.users[v.index()].is_empty()) {
                continue;
            }
            self.dead[at] = true;
            for v in &layer.inputs {
                self.users[v.index()].retain(|&user| user != at);
                todo.extend(self.definition[v.index()]);
            }
        }
    }
}
