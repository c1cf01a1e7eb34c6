//! Networks written by hand: inputs, weights and layers by name, then a plan. `docs/network-builder.md` shows a whole program.
//!
//! A layer is one or a few calls of the operators in [`crate::op`], so every operator there can be had by its name too
//! ([`Definition::call`]); types and shapes are checked at once.

mod error;
mod layer;
mod recurrent;
#[cfg(test)]
mod tests;

pub use error::DefineError;
pub use layer::{Activation, Elementwise, Pooling, Window};
pub use recurrent::{Cell, Gate, GateWeights, Recurrent, RecurrentOutputs};

use crate::backend::{Backend, CompileOptions};
use crate::network::{Expr, LayerKind, Network, ValueId};
use crate::pass::{Options, optimize};
use crate::plan::{Plan, Recipe};
use crate::source::{Device, Item, Lower, lower_call};
use crate::{DType, Literal, TensorType};

/// A network under construction, and the values of its weights.
#[derive(Debug)]
pub struct Definition {
    lower: Lower,
    label: String,
    /// What floating-point layers compute in; `None` for the types of their operands.
    precision: Option<DType>,
    workspace: Option<usize>,
    inputs: Vec<String>,
    weights: Vec<Literal>,
    outputs: Vec<(String, ValueId)>,
}

impl Default for Definition {
    fn default() -> Definition {
        Definition::new()
    }
}

impl Definition {
    /// An empty network that computes in the types of its inputs and weights.
    pub fn new() -> Definition {
        Definition {
            lower: Lower::new(Device::default()),
            label: String::new(),
            precision: None,
            workspace: None,
            inputs: Vec::new(),
            weights: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// An empty network whose floating-point inputs, weights and constants are converted to `dtype` where they enter, and whose
    /// floating-point outputs are f32. Sums accumulate in f32 or wider whatever it is.
    pub fn in_precision(dtype: DType) -> Definition {
        Definition { precision: Some(dtype).filter(|d| d.is_float()), ..Definition::new() }
    }

    /// Allows an engine so many bytes of working memory; [`Definition::build`] refuses one that needs more.
    pub fn workspace_limit(&mut self, bytes: usize) {
        self.workspace = Some(bytes);
    }

    /// The label of the layers that follow, in messages and reports.
    pub fn layer(&mut self, label: &str) -> &mut Definition {
        self.label = label.to_string();
        self.lower.builder.set_origin(label);
        self
    }

    /// The next input.
    pub fn input(&mut self, name: &str, dtype: DType, shape: &[usize]) -> Result<ValueId, DefineError> {
        if self.inputs.iter().any(|n| n == name) {
            return Err(DefineError::Name { what: "input", name: name.to_string() });
        }
        let ty = TensorType::new(dtype, shape);
        if !ty.is_addressable() {
            return Err(self.invalid("an input has fewer than 2^40 elements"));
        }
        self.inputs.push(name.to_string());
        let v = self.lower.builder.input(ty);
        self.entering(v)
    }

    /// A tensor that can be given anew without building again ([`crate::backend::Engine::refit`]).
    pub fn weight(&mut self, name: &str, value: Literal) -> Result<ValueId, DefineError> {
        if self.lower.builder.network().parameters.iter().any(|p| p.name == name) {
            return Err(DefineError::Name { what: "weight", name: name.to_string() });
        }
        let v = self.lower.builder.parameter(name, value.ty().clone());
        self.weights.push(value);
        self.entering(v)
    }

    /// A tensor that never changes.
    pub fn constant(&mut self, value: Literal) -> Result<ValueId, DefineError> {
        let v = self.lower.builder.constant(value);
        self.entering(v)
    }

    /// Gives a value to the caller under a name.
    pub fn output(&mut self, name: &str, value: ValueId) -> Result<(), DefineError> {
        self.check(value)?;
        if self.outputs.iter().any(|(n, _)| n == name) {
            return Err(DefineError::Name { what: "output", name: name.to_string() });
        }
        let wide = self.precision.is_some() && self.ty(value).dtype.is_float();
        let value = if wide { self.cast(value, DType::F32)? } else { value };
        self.outputs.push((name.to_string(), value));
        Ok(())
    }

    /// The type of a value of this network.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.lower.ty(value)
    }

    /// The network as it is so far, with the outputs that are marked.
    pub fn network(&self) -> Network {
        let outputs = self.outputs.iter().map(|(_, v)| *v).collect();
        Network { outputs, ..self.lower.builder.network().clone() }
    }

    /// Calls an operator by its name in torch's notation (`aten::gelu`), with its arguments in the schema's order.
    pub fn call(&mut self, op: &str, arguments: Vec<Item>) -> Result<Vec<ValueId>, DefineError> {
        for v in tensors(&arguments) {
            self.check(v)?;
        }
        if self.label.is_empty() {
            self.lower.builder.set_origin(op);
        }
        let fail = |label: &str, why| {
            let layer = if label.is_empty() { op } else { label }.to_string();
            DefineError::Layer { layer, why }
        };
        let results = lower_call(&mut self.lower, op, arguments).map_err(|e| fail(&self.label, e))?;
        Ok(tensors(&results))
    }

    /// A layer of the network's own kinds.
    pub fn add(&mut self, kind: LayerKind, operands: &[ValueId]) -> Result<Vec<ValueId>, DefineError> {
        for &v in operands {
            self.check(v)?;
        }
        let name = kind.name();
        self.lower.builder.layer(kind, operands).map_err(|e| DefineError::Layer {
            layer: if self.label.is_empty() { name.to_string() } else { self.label.clone() },
            why: e.into(),
        })
    }

    /// Optimises the network and builds its engine, which the plan holds beside the network and the weights.
    pub fn build(self, backend: &dyn Backend, options: &CompileOptions) -> Result<Plan, DefineError> {
        let network = optimize(self.network(), &Options::default());
        let names = self.outputs.iter().map(|(name, _)| name);
        let recipe = Recipe::new(&network, &self.weights).inputs(&self.inputs).outputs(names);
        let plain = Plan::from_bytes(recipe.options(options.clone()).to_bytes()?)?;
        if let Some(limit) = self.workspace {
            let needed = plain.engine(backend, options)?.describe().arena_bytes;
            if needed > limit {
                return Err(DefineError::Workspace { needed, limit });
            }
        }
        Ok(Plan::from_bytes(plain.prepared(backend, options, true)?)?)
    }

    fn entering(&mut self, v: ValueId) -> Result<ValueId, DefineError> {
        match self.precision {
            Some(dtype) if self.ty(v).dtype.is_float() => self.cast(v, dtype),
            _ => Ok(v),
        }
    }

    fn cast(&mut self, v: ValueId, dtype: DType) -> Result<ValueId, DefineError> {
        if self.ty(v).dtype == dtype {
            return Ok(v);
        }
        self.add(LayerKind::Pointwise(Expr::cast(dtype)), &[v]).map(|out| out[0])
    }

    /// A value of another network is none of this one's.
    fn check(&self, value: ValueId) -> Result<(), DefineError> {
        if value.index() < self.lower.builder.network().values.len() {
            return Ok(());
        }
        Err(self.invalid("a value of another network"))
    }

    fn invalid(&self, why: &str) -> DefineError {
        DefineError::Layer {
            layer: self.label.clone(),
            why: crate::source::Refusal::Invalid(why.to_string()),
        }
    }
}

/// The tensors among items and in their lists.
fn tensors(items: &[Item]) -> Vec<ValueId> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Item::Tensor(v) => out.push(*v),
            Item::List(list) => out.extend(tensors(list)),
            _ => {}
        }
    }
    out
}
