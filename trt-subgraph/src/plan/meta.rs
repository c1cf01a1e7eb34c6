//! What a plan says about itself: a section of JSON. A reader skips fields that it does not know and assumes the usual value
//! of one that is missing.

use crate::TensorType;
use crate::backend::CompileOptions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An input or an output: its name and its type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Port {
    /// Unique among the inputs, or among the outputs.
    pub name: String,
    /// Its type.
    #[serde(flatten)]
    pub ty: TensorType,
}

/// A tensor of the plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// The model's name for it; empty for a constant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its type.
    #[serde(flatten)]
    pub ty: TensorType,
    /// Where it begins in the section of tensors; `None` where the plan does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// An engine's own saved form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedEngine {
    /// The backend whose it is.
    pub backend: String,
    /// What it depends on: it is used only where the backend gives the same words.
    pub fingerprint: String,
}

/// The section of JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Meta {
    /// Name and version of the program that wrote the plan.
    #[serde(default)]
    pub producer: String,
    /// The backend that is wanted, empty for any.
    #[serde(default)]
    pub backend: String,
    /// How the network was, and is, compiled.
    #[serde(default)]
    pub options: CompileOptions,
    /// What a call takes.
    pub inputs: Vec<Port>,
    /// What a call gives.
    pub outputs: Vec<Port>,
    /// The network's parameters, in order.
    #[serde(default)]
    pub parameters: Vec<Stored>,
    /// Constants that are stored as bytes, in order.
    #[serde(default)]
    pub constants: Vec<Stored>,
    /// Saved engines, one for each section of that kind.
    #[serde(default)]
    pub engines: Vec<SavedEngine>,
    /// What the writer had to say.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}
