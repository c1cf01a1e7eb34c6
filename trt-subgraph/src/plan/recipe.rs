//! Writing plans.

use super::container::{Section, chunk_offsets, write};
use super::meta::{Meta, Port, SavedEngine, Stored};
use super::portable::Portable;
use super::{ENGINE, META, NETWORK, PlanError, TENSORS, file, signature_ports};
use crate::backend::{CompileOptions, Signature, TensorRef, Weights};
use crate::network::Network;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// What goes into a plan.
pub struct Recipe<'a> {
    network: &'a Network,
    weights: Option<&'a dyn Weights>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    named: Result<(), String>,
    backend: String,
    options: CompileOptions,
    engines: Vec<(SavedEngine, &'a [u8])>,
    notes: BTreeMap<String, String>,
}

impl<'a> Recipe<'a> {
    /// A plan of an optimised network that holds its weights, which lie in host memory.
    pub fn new(network: &'a Network, weights: &'a dyn Weights) -> Recipe<'a> {
        Recipe { weights: Some(weights), ..Recipe::without_weights(network) }
    }

    /// A plan that names its weights; whoever makes an engine of it gives them.
    pub fn without_weights(network: &'a Network) -> Recipe<'a> {
        let Signature { inputs, outputs } = Signature::of(network);
        Recipe {
            network,
            weights: None,
            inputs: signature_ports("input", inputs),
            outputs: signature_ports("output", outputs),
            named: Ok(()),
            backend: String::new(),
            options: CompileOptions::default(),
            engines: Vec::new(),
            notes: BTreeMap::new(),
        }
    }

    /// Names the inputs in order; without it they are `input0`, `input1`, ...
    pub fn inputs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Recipe<'a> {
        let named = rename("inputs", &mut self.inputs, names);
        self.named = self.named.and(named);
        self
    }

    /// Names the outputs in order; without it they are `output0`, `output1`, ...
    pub fn outputs<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Recipe<'a> {
        let named = rename("outputs", &mut self.outputs, names);
        self.named = self.named.and(named);
        self
    }

    /// The backend that is meant to run it.
    pub fn backend(mut self, name: &str) -> Recipe<'a> {
        self.backend = name.to_string();
        self
    }

    /// How it is to be compiled.
    pub fn options(mut self, options: CompileOptions) -> Recipe<'a> {
        self.options = options;
        self
    }

    /// Adds what an engine of a backend gave of itself, so that it need not be built again where the fingerprint is the same.
    pub fn engine(mut self, backend: &str, fingerprint: String, saved: &'a [u8]) -> Recipe<'a> {
        self.engines.push((SavedEngine { backend: backend.to_string(), fingerprint }, saved));
        self
    }

    /// Adds a remark for people.
    pub fn note(mut self, key: &str, value: &str) -> Recipe<'a> {
        self.notes.insert(key.to_string(), value.to_string());
        self
    }

    /// The plan as bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PlanError> {
        let mut out = Vec::new();
        self.write(&mut out)?;
        Ok(out)
    }

    /// Writes the plan to a file, which appears under its name when it is complete: readers see the old one or the new one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PlanError> {
        file::replace(path.as_ref(), |to| self.write(to))
    }

    /// Writes the plan.
    pub fn write(&self, to: &mut dyn Write) -> Result<(), PlanError> {
        self.named.clone().map_err(PlanError::Unfit)?;
        let Portable { text, constants } = Portable::of(self.network)?;
        let parameters: Vec<&[u8]> = match self.weights {
            Some(weights) => self.parameters(weights)?,
            None => Vec::new(),
        };
        let tensors: Vec<&[u8]> = parameters.into_iter().chain(constants.iter().map(|l| l.bytes())).collect();
        let (offsets, _) = chunk_offsets(tensors.iter().map(|t| t.len()));
        let mut at = offsets.into_iter().map(|at| at as u64);
        let mut stored = |name: &str, ty: &crate::TensorType, held: bool| Stored {
            name: name.to_string(),
            ty: ty.clone(),
            at: if held { at.next() } else { None },
        };
        let own = self.network.parameters.iter();
        let meta = Meta {
            producer: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_string(),
            backend: self.backend.clone(),
            options: self.options.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            parameters: own.map(|p| stored(&p.name, &p.ty, self.weights.is_some())).collect(),
            constants: constants.iter().map(|l| stored("", l.ty(), true)).collect(),
            engines: self.engines.iter().map(|(e, _)| e.clone()).collect(),
            notes: self.notes.clone(),
        };
        meta.check().map_err(PlanError::Unfit)?;
        let meta = serde_json::to_vec(&meta).map_err(|e| PlanError::Unfit(e.to_string()))?;
        let section = |kind, chunks| Section { kind, required: true, chunks };
        let mut sections = vec![section(META, vec![&meta[..]]), section(NETWORK, vec![text.as_bytes()])];
        sections.extend(self.engines.iter().map(|(_, bytes)| section(ENGINE, vec![bytes])));
        sections.push(section(TENSORS, tensors));
        write(&sections, to).map_err(|e| PlanError::Io { path: "the plan".to_string(), why: e.to_string() })
    }

    fn parameters<'w>(&self, weights: &'w dyn Weights) -> Result<Vec<&'w [u8]>, PlanError> {
        let one = |(at, p): (usize, &crate::network::Parameter)| {
            let TensorRef { data, ty, .. } = weights.parameter(at);
            if *ty != p.ty {
                let (name, expected, found) = (p.name.clone(), p.ty.clone(), ty.clone());
                return Err(PlanError::Weight { name, expected, found });
            }
            Ok(match ty.bytes() {
                0 => &[],
                // SAFETY: a `TensorRef` is dense data of its type that lives as long as the borrow of `weights`.
                n => unsafe { std::slice::from_raw_parts(data, n) },
            })
        };
        self.network.parameters.iter().enumerate().map(one).collect()
    }
}

/// Gives the ports these names, or says that there are too many or too few.
fn rename<S: Into<String>>(
    what: &str,
    ports: &mut [Port],
    names: impl IntoIterator<Item = S>,
) -> Result<(), String> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    if names.len() != ports.len() {
        return Err(format!("there are {} names for {} {what}", names.len(), ports.len()));
    }
    ports.iter_mut().zip(names).for_each(|(port, name)| port.name = name);
    Ok(())
}
