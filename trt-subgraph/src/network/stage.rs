//! The two stages of a network: what depends on the weights alone, and the rest.

use super::{Layer, LayerKind, Network, ValueId};
use std::collections::HashMap;

/// A network cut in two; see [`Network::split`].
#[derive(Clone, Debug)]
pub struct Split {
    /// No inputs; reads parameters and constants; its outputs are the static values that `run` reads, in the order of `LayerKind::Prepared`.
    pub prepare: Network,
    /// Reads inputs and `Prepared` values; has no `Parameter` and no `Constant` layers.
    pub run: Network,
}

impl Network {
    /// Which values depend on nothing but constants and parameters.
    pub fn statics(&self) -> Vec<bool> {
        let mut out = vec![false; self.values.len()];
        for layer in &self.layers {
            if layer.inputs.iter().all(|v| out[v.index()]) {
                for v in &layer.outputs {
                    out[v.index()] = true;
                }
            }
        }
        out
    }

    /// How many layers a call computes: those that depend on an input.
    pub fn run_layers(&self) -> usize {
        let statics = self.statics();
        self.layers.iter().filter(|l| !l.outputs.iter().all(|v| statics[v.index()])).count()
    }

    /// Cuts the network at the border between static values and the rest. Both halves keep value ids.
    pub fn split(&self) -> Split {
        let statics = self.statics();
        let mut prepared: HashMap<ValueId, u32> = HashMap::new();
        let mut border: Vec<ValueId> = Vec::new();
        let mut run_layers = Vec::new();
        let mut read = |v: ValueId, layers: &mut Vec<Layer>| {
            if statics[v.index()] && !prepared.contains_key(&v) {
                let index = border.len() as u32;
                prepared.insert(v, index);
                border.push(v);
                layers.push(Layer {
                    kind: LayerKind::Prepared(index),
                    inputs: vec![],
                    epilogue: None,
                    outputs: vec![v],
                    origin: String::new(),
                });
            }
        };
        for layer in self.layers.iter().filter(|l| !l.outputs.iter().all(|v| statics[v.index()])) {
            for &v in &layer.inputs {
                read(v, &mut run_layers);
            }
            run_layers.push(layer.clone());
        }
        for &v in &self.outputs {
            read(v, &mut run_layers);
        }
        let prepare_layers =
            self.layers.iter().filter(|l| l.outputs.iter().all(|v| statics[v.index()])).cloned().collect();
        let mut prepare = Network {
            values: self.values.clone(),
            layers: prepare_layers,
            inputs: vec![],
            outputs: border,
            parameters: self.parameters.clone(),
        };
        prepare.sort_and_drop_dead();
        let run = Network {
            values: self.values.clone(),
            layers: run_layers,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            parameters: vec![],
        };
        Split { prepare, run }
    }
}
