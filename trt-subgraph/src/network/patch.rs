//! Edits: a pass proposes one, [`Patch::apply`] is the one place that carries it out.

use super::{Expr, Layer, LayerKind, Network, TensorType, TypeError, ValueId, infer};

/// New layers, and which old values they replace. Values keep their ids; new ones are appended.
#[derive(Debug)]
pub struct Patch<'a> {
    network: &'a Network,
    values: Vec<TensorType>,
    layers: Vec<Layer>,
    replaced: Vec<(ValueId, ValueId)>,
}

impl<'a> Patch<'a> {
    /// An edit of `network` that changes nothing yet.
    pub fn new(network: &'a Network) -> Patch<'a> {
        Patch { network, values: Vec::new(), layers: Vec::new(), replaced: Vec::new() }
    }

    /// The type of an old or new value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        let old = self.network.values.len();
        if value.index() < old { self.network.ty(value) } else { &self.values[value.index() - old] }
    }

    /// A new layer over old and new values.
    pub fn add(
        &mut self,
        kind: LayerKind,
        inputs: &[ValueId],
        epilogue: Option<Expr>,
        origin: &str,
    ) -> Result<Vec<ValueId>, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let first = self.network.values.len() + self.values.len();
        let types = infer(&kind, epilogue.as_ref(), &types)?;
        let outputs: Vec<ValueId> = (0..types.len()).map(|i| ValueId((first + i) as u32)).collect();
        self.values.extend(types);
        self.layers.push(Layer {
            kind,
            inputs: inputs.to_vec(),
            epilogue,
            outputs: outputs.clone(),
            origin: origin.to_string(),
        });
        Ok(outputs)
    }

    /// Every use of `old` reads `new` from now on. Both have one type; `new` does not depend on a user of `old`.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        assert_eq!(self.ty(old), self.ty(new), "a replacement keeps the type");
        self.replaced.push((old, new));
    }

    /// The edited network: uses redirected, layers that nothing reads dropped, definitions before uses.
    /// The new layers themselves read exactly what they were given. Linear in the network's size.
    pub fn apply(self) -> Network {
        let mut out = self.network.clone();
        out.values.extend(self.values);
        let mut to: Vec<ValueId> = (0..out.values.len() as u32).map(ValueId).collect();
        for &(old, new) in &self.replaced {
            to[old.index()] = new;
        }
        let target = |mut v: ValueId| {
            while to[v.index()] != v {
                v = to[v.index()];
            }
            v
        };
        for v in out.layers.iter_mut().flat_map(|l| &mut l.inputs).chain(&mut out.outputs) {
            *v = target(*v);
        }
        out.layers.extend(self.layers);
        out.sort_and_drop_dead();
        out
    }
}

impl Network {
    /// Restores definition-before-use order, as close to the present one as it allows, and drops layers that no output needs.
    pub fn sort_and_drop_dead(&mut self) {
        let definition = self.definitions();
        let mut state = vec![0u8; self.layers.len()];
        let mut order = Vec::with_capacity(self.layers.len());
        let roots: Vec<usize> = self.outputs.iter().filter_map(|v| definition[v.index()]).collect();
        let mut stack: Vec<(usize, usize)> = Vec::new();
        let mut live = vec![false; self.layers.len()];
        let mut todo = roots;
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut live[at], true) {
                todo.extend(self.layers[at].inputs.iter().filter_map(|v| definition[v.index()]));
            }
        }
        for root in (0..self.layers.len()).filter(|&at| live[at]) {
            if state[root] != 0 {
                continue;
            }
            state[root] = 1;
            stack.push((root, 0));
            while let Some((at, next)) = stack.pop() {
                let Some(v) = self.layers[at].inputs.get(next) else {
                    order.push(at);
                    continue;
                };
                stack.push((at, next + 1));
                if let Some(def) = definition[v.index()]
                    && state[def] == 0
                {
                    state[def] = 1;
                    stack.push((def, 0));
                }
            }
        }
        let mut layers: Vec<Option<Layer>> = std::mem::take(&mut self.layers).into_iter().map(Some).collect();
        self.layers = order.into_iter().map(|at| layers[at].take().expect("each layer once")).collect();
    }
}
