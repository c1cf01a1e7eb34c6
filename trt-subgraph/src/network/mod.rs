//! The layer IR: what engines are compiled from.
//!
//! A [`Network`] is a list of [`Layer`]s in an order in which every value is defined before it is used. Every value has one
//! definition and a concrete [`TensorType`]; nothing is symbolic and nothing is mutable, so layers may be moved, merged and
//! dropped freely. A layer computes exactly what its [`LayerKind`] says, as the reference backend defines it; the text form
//! ([`text`]) shows it.
//!
//! **Stages.** Weights are values, not bytes: a `Parameter` layer stands for a tensor of the model that may change between
//! calls. Every value that depends on nothing but constants and parameters is *static*. [`Network::split`] cuts a network
//! into `prepare` (computes the static values that the rest reads, once for each version of the parameters) and `run` (the
//! rest, once a call). Passes see the whole, so folding a batch norm into a convolution is plain algebra on static values.
//!
//! **Invariants** are listed in [`verify`], which checks them all.
//! After verification a network may be indexed freely; no code that is given a verified network panics on its shape.

mod builder;
mod draft;
pub mod expr;
pub mod infer;
pub mod layer;
mod order;
mod patch;
mod stage;
pub mod text;
pub mod ty;
pub mod verify;

pub use builder::Builder;
pub use draft::Draft;
pub use expr::Expr;
pub use infer::infer;
pub use layer::{Layer, LayerKind};
pub use patch::{Edit, Patch};
pub use stage::Split;
pub use ty::TensorType;

use std::fmt;

/// A value of a network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(pub u32);

impl ValueId {
    /// As a position in [`Network::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// A parameter that a network reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// The model's name for it: `layer1.0.conv1.weight`.
    pub name: String,
    /// Its type.
    pub ty: TensorType,
}

/// Layers in order of definition; see the module's text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Network {
    /// The type of each value, by [`ValueId`]. Values that no layer defines and that are no input are unused.
    pub values: Vec<TensorType>,
    /// The layers, every definition before its uses.
    pub layers: Vec<Layer>,
    /// What the caller gives.
    pub inputs: Vec<ValueId>,
    /// What the caller gets; may repeat, may be an input.
    pub outputs: Vec<ValueId>,
    /// The parameters; `LayerKind::Parameter(i)` reads entry `i`.
    pub parameters: Vec<Parameter>,
}

impl Network {
    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        &self.values[value.index()]
    }

    /// The position of the layer that defines each value; `None` for inputs and unused values.
    pub fn definitions(&self) -> Vec<Option<usize>> {
        let mut out = vec![None; self.values.len()];
        for (at, layer) in self.layers.iter().enumerate() {
            for v in &layer.outputs {
                out[v.index()] = Some(at);
            }
        }
        out
    }

    /// How often each value is read, by layers and as an output.
    pub fn uses(&self) -> Vec<usize> {
        let mut out = vec![0; self.values.len()];
        for v in self.layers.iter().flat_map(|l| &l.inputs).chain(&self.outputs) {
            out[v.index()] += 1;
        }
        out
    }

    /// The operand types of a layer.
    pub fn input_types(&self, layer: &Layer) -> Vec<&TensorType> {
        layer.inputs.iter().map(|&v| self.ty(v)).collect()
    }
}

/// A layer whose operands break a typing rule. Whoever built it is to blame: lowering checks what users can cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypeError {
    /// The kind of layer.
    pub layer: &'static str,
    /// The rule.
    pub rule: &'static str,
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.rule)
    }
}

impl std::error::Error for TypeError {}
