//! Putting a network in order: definitions before uses, nothing that no output needs, values numbered as they are defined.

use super::{Layer, Network, TensorType, ValueId};

impl Network {
    /// Restores definition-before-use order, as close to the present one as it allows, and drops layers that no output needs.
    pub fn sort_and_drop_dead(&mut self) {
        let definition = self.definitions();
        let mut live = vec![false; self.layers.len()];
        let mut todo: Vec<usize> = self.outputs.iter().filter_map(|v| definition[v.index()]).collect();
        while let Some(at) = todo.pop() {
            if !std::mem::replace(&mut live[at], true) {
                todo.extend(self.layers[at].inputs.iter().filter_map(|v| definition[v.index()]));
            }
        }
        let mut seen = vec![false; self.layers.len()];
        let mut order = Vec::with_capacity(self.layers.len());
        let mut stack: Vec<(usize, usize)> = Vec::new();
        for root in (0..self.layers.len()).filter(|&at| live[at]) {
            if std::mem::replace(&mut seen[root], true) {
                continue;
            }
            stack.push((root, 0));
            while let Some((at, next)) = stack.pop() {
                let Some(v) = self.layers[at].inputs.get(next) else {
                    order.push(at);
                    continue;
                };
                stack.push((at, next + 1));
                if let Some(def) = definition[v.index()]
                    && !std::mem::replace(&mut seen[def], true)
                {
                    stack.push((def, 0));
                }
            }
        }
        let mut layers: Vec<Option<Layer>> = std::mem::take(&mut self.layers).into_iter().map(Some).collect();
        self.layers = order.into_iter().map(|at| layers[at].take().expect("each layer once")).collect();
    }

    /// Numbers the values in the order of inputs and definitions and forgets unused ones. Expects definition-before-use order.
    pub fn renumber(&mut self) {
        let mut to: Vec<Option<ValueId>> = vec![None; self.values.len()];
        let mut values: Vec<TensorType> = Vec::with_capacity(self.values.len());
        let old = std::mem::take(&mut self.values);
        for v in self.inputs.iter_mut().chain(self.layers.iter_mut().flat_map(|l| &mut l.outputs)) {
            let new = *to[v.index()].get_or_insert(ValueId(values.len() as u32));
            if new.index() == values.len() {
                values.push(old[v.index()].clone());
            }
            *v = new;
        }
        for v in self.layers.iter_mut().flat_map(|l| &mut l.inputs).chain(&mut self.outputs) {
            *v = to[v.index()].expect("what is read is defined");
        }
        self.values = values;
    }
}
