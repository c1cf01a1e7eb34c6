//! The saved form of a compiled network: a file that can be checked, mapped and run, with no framework about.
//!
//! A plan is a string of bytes. It holds the network, its weights (unless they are kept elsewhere), the names of inputs and
//! outputs, how to compile, and, if wanted, what engines gave of themselves so that they need not be built again. Reading
//! checks every byte, whatever the bytes are: a damaged or truncated plan is an error, never a crash or a wrong answer.
//! `docs/plan-format.md` describes the form; `container.rs` and `meta.rs` are its definition.
//!
//! ```
//! use trt_subgraph::backend::{CompileOptions, reference::Reference};
//! use trt_subgraph::network::Network;
//! use trt_subgraph::plan::{Plan, Recipe};
//! use trt_subgraph::{DType, Literal, TensorType};
//!
//! let text = "input %x: f32[2]\nparam \"w\": f32[2]\n%w: f32[2] = parameter 0\n%y = pointwise(%x, %w) { i0 * i1 }\noutput %y";
//! let network = Network::parse(text).unwrap();
//! let weights = vec![Literal::from_f64(TensorType::new(DType::F32, [2]), [2.0, 3.0]).unwrap()];
//! let bytes = Recipe::new(&network, &weights).inputs(["x"]).outputs(["y"]).to_bytes().unwrap();
//!
//! let plan = Plan::from_bytes(bytes).unwrap();
//! assert_eq!(plan.inputs()[0].name, "x");
//! let engine = plan.engine(&Reference, &CompileOptions::default()).unwrap();
//! assert_eq!(engine.signature().outputs[0], plan.outputs()[0].ty);
//! ```

pub(crate) mod container;
mod error;
pub(crate) mod file;
mod meta;
mod portable;
mod prepared;
mod recipe;
#[cfg(unix)]
mod share;
#[cfg(test)]
mod tests;

pub use container::VERSION;
pub use error::PlanError;
pub use meta::{Port, SavedEngine};
pub use recipe::Recipe;
#[cfg(unix)]
pub use share::{share, unshare};

use crate::backend::{Backend, CompileOptions, Engine, Signature, TensorRef, Weights};
use crate::network::{Network, Parameter};
use crate::{Bytes, TensorType};
use container::Found;
use meta::{Meta, Stored};
use std::collections::{BTreeMap, HashSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

/// The kinds of sections: what a plan says about itself, in JSON.
const META: u32 = 1;
/// The network's text form, UTF-8.
const NETWORK: u32 = 2;
/// Parameters and constants, each at a multiple of 64.
const TENSORS: u32 = 3;
/// What an engine gave of itself; there may be several.
const ENGINE: u32 = 4;

/// What a section of a kind that is known holds.
fn section(kind: u32) -> Option<&'static str> {
    match kind {
        META => Some("what it says of itself"),
        NETWORK => Some("the network"),
        TENSORS => Some("the weights"),
        ENGINE => Some("a saved engine"),
        _ => None,
    }
}

/// A plan that was read and checked. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Plan(Arc<Content>);

#[derive(Debug)]
struct Content {
    bytes: Bytes,
    meta: Meta,
    network: Network,
    tensors: Bytes,
    engines: Vec<Bytes>,
}

impl Plan {
    /// Maps a file and checks it. While it is in use the file may be replaced or removed, but not written over.
    pub fn open(path: impl AsRef<Path>) -> Result<Plan, PlanError> {
        Plan::from_bytes(file::map(path.as_ref())?)
    }

    /// Checks the bytes of a plan. They are copied unless they begin at a multiple of 64.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Plan, PlanError> {
        let bytes = bytes.into().into_aligned();
        let sections = container::read(&bytes, section)?;
        let all = |kind| sections.iter().filter(move |s| s.kind == kind);
        let one = |kind, part| {
            let mut found = all(kind).map(|s| s.bytes(&bytes));
            let first = found.next().ok_or_else(|| PlanError::damaged(part, "it is missing"))?;
            if found.next().is_some() {
                Err(PlanError::damaged(part, "it is there twice"))
            } else {
                Ok(first)
            }
        };
        let meta = one(META, "description")?;
        let meta: Meta = serde_json::from_slice(&meta).map_err(|e| PlanError::damaged("description", e))?;
        meta.check().map_err(|why| PlanError::damaged("description", why))?;
        let text = one(NETWORK, "network")?;
        let text = std::str::from_utf8(&text).map_err(|e| PlanError::damaged("network", e))?;
        let tensors = one(TENSORS, "tensors")?;
        let mut constants = Vec::new();
        for stored in meta.constants.iter().chain(meta.parameters.iter().filter(|p| p.at.is_some())) {
            let part = stored.find(&tensors);
            let part = part.ok_or_else(|| PlanError::damaged("tensors", "one lies beyond the end"))?;
            if constants.len() < meta.constants.len() {
                constants.push((stored.ty.clone(), part));
            }
        }
        let own = meta.parameters.iter().map(|p| Parameter { name: p.name.clone(), ty: p.ty.clone() });
        let network = portable::network(text, own.collect(), &constants)?;
        let Signature { inputs, outputs } = Signature::of(&network);
        let types = |ports: &[Port]| ports.iter().map(|p| p.ty.clone()).collect::<Vec<_>>();
        if types(&meta.inputs) != inputs || types(&meta.outputs) != outputs {
            return Err(PlanError::damaged("description", "its inputs and outputs are not the network's"));
        }
        let engines: Vec<Bytes> = all(ENGINE).map(|s: &Found| s.bytes(&bytes)).collect();
        if engines.len() != meta.engines.len() {
            return Err(PlanError::damaged("description", "it has other engines than are there"));
        }
        Ok(Plan(Arc::new(Content { meta, network, tensors, engines, bytes })))
    }

    /// Writes it to a file as it is; as [`Recipe::save`] does.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PlanError> {
        let path = path.as_ref();
        file::replace(path, |to| to.write_all(&self.0.bytes).map_err(|e| PlanError::io(path, e)))
    }

    /// The inputs in order.
    pub fn inputs(&self) -> &[Port] {
        &self.0.meta.inputs
    }

    /// The outputs in order.
    pub fn outputs(&self) -> &[Port] {
        &self.0.meta.outputs
    }

    /// What a call takes and gives, without the names.
    pub fn signature(&self) -> Signature {
        Signature::of(self.network())
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The backend that it was saved for; `None` for any.
    pub fn backend(&self) -> Option<&str> {
        Some(self.0.meta.backend.as_str()).filter(|name| !name.is_empty())
    }

    /// How it was saved to be compiled.
    pub fn options(&self) -> &CompileOptions {
        &self.0.meta.options
    }

    /// The program that wrote it.
    pub fn producer(&self) -> &str {
        &self.0.meta.producer
    }

    /// The writer's remarks.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.0.meta.notes
    }

    /// The saved engines.
    pub fn engines(&self) -> &[SavedEngine] {
        &self.0.meta.engines
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Does it hold its weights?
    pub fn holds_weights(&self) -> bool {
        self.0.meta.parameters.iter().all(|p| p.at.is_some())
    }

    /// Was an engine saved for this backend on a machine like this?
    pub fn is_built_for(&self, backend: &dyn Backend, options: &CompileOptions) -> bool {
        self.saved(backend, options).is_some()
    }

    /// An engine with the plan's own weights: the saved one where [`Plan::is_built_for`] says so, else a new one. With a saved
    /// one, weights that backends read as they are stay in the plan's memory.
    pub fn engine(
        &self,
        backend: &dyn Backend,
        options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, PlanError> {
        self.engine_or_new(backend, options).map(|(engine, _)| engine)
    }

    /// As [`Plan::engine`], and whether it is a saved one.
    pub fn engine_or_new(
        &self,
        backend: &dyn Backend,
        options: &CompileOptions,
    ) -> Result<(Box<dyn Engine>, bool), PlanError> {
        let mut unfit = None;
        if let Some(saved) = self.saved(backend, options) {
            match backend.load(self.network(), options, saved) {
                Ok(engine) => return Ok((engine, true)),
                Err(e) => unfit = Some(format!("it does not load: {e}")),
            }
        } else if let Some((other, _)) = self.of(backend).next() {
            let here = backend.fingerprint(options).unwrap_or_default();
            unfit = Some(format!("it was saved for '{}', this is '{here}'", other.fingerprint));
        }
        if let Some(name) = self.0.meta.parameters.iter().find(|p| p.at.is_none()).map(|p| &p.name) {
            return Err(PlanError::NeedsWeights { name: name.clone(), engine: unfit });
        }
        if let Some(why) = unfit {
            log::warn!("the saved {} engine is of no use here, a new one is built: {why}", backend.name());
        }
        Ok((self.engine_with(backend, options, &Held(&self.0))?, false))
    }

    fn saved(&self, backend: &dyn Backend, options: &CompileOptions) -> Option<&Bytes> {
        self.of(backend).next()?;
        let here = backend.fingerprint(options)?;
        self.of(backend).find(|(e, _)| e.fingerprint == here).map(|(_, bytes)| bytes)
    }

    /// The saved engines of this backend, of whatever machine.
    fn of(&self, backend: &dyn Backend) -> impl Iterator<Item = (&SavedEngine, &Bytes)> {
        let name = backend.name();
        self.engines().iter().zip(&self.0.engines).filter(move |(e, _)| e.backend == name)
    }

    /// An engine with other weights, which are given in the order of the network's parameters.
    pub fn engine_with(
        &self,
        backend: &dyn Backend,
        options: &CompileOptions,
        weights: &dyn Weights,
    ) -> Result<Box<dyn Engine>, PlanError> {
        for (at, p) in self.network().parameters.iter().enumerate() {
            let found = weights.parameter(at).ty;
            if *found != p.ty {
                let (name, expected, found) = (p.name.clone(), p.ty.clone(), found.clone());
                return Err(PlanError::Weight { name, expected, found });
            }
        }
        Ok(backend.compile(self.network(), weights, options)?)
    }
}

/// The weights that a plan holds, all of them.
struct Held<'a>(&'a Content);

impl Weights for Held<'_> {
    fn parameter(&self, index: usize) -> TensorRef<'_> {
        let stored = &self.0.meta.parameters[index];
        let data = stored.find(&self.0.tensors).expect("checked when the plan was read");
        TensorRef { data: data.as_ptr(), ty: &stored.ty, owner: PhantomData }
    }
}

impl Stored {
    /// Its bytes in the section of tensors; `None` where they are not there.
    fn find<'a>(&self, tensors: &'a [u8]) -> Option<&'a [u8]> {
        let at = usize::try_from(self.at?).ok().filter(|at| at.is_multiple_of(crate::bytes::ALIGNMENT))?;
        let bytes = if self.ty.is_addressable() { self.ty.bytes() } else { return None };
        tensors.get(at..at.checked_add(bytes)?)
    }
}

impl Meta {
    /// Names tell inputs, and outputs, apart.
    fn check(&self) -> Result<(), String> {
        for (what, ports) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            let mut seen = HashSet::new();
            if let Some(twice) = ports.iter().find(|p| !seen.insert(&p.name)) {
                return Err(format!("two {what} have the name '{}'", twice.name));
            }
        }
        Ok(())
    }
}

/// Ports with numbered names.
fn signature_ports(word: &str, types: Vec<TensorType>) -> Vec<Port> {
    let port = |(i, ty)| Port { name: format!("{word}{i}"), ty };
    types.into_iter().enumerate().map(port).collect()
}
