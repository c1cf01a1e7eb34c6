//! What a framework hands over: operator calls on named variables, shape-free and free of framework types.
//!
//! A [`SourceGraph`] says nothing of shapes. [`specialise()`] replays its calls for concrete inputs and gives a
//! [`crate::network::Network`]; sizes, views and integer arithmetic fold away on the way. [`judge()`] tries a single call.

mod args;
pub mod case;
mod judge;
mod lower;
mod schema;
mod specialise;
mod text;

pub use args::{Args, code_of_dtype, dtype_of_code, wrap_axis};
pub use judge::{Judged, Known, judge};
pub use lower::{Item, Lower};
pub use schema::{Param, ParamType, Schema, SchemaError};
pub(crate) use specialise::lower_call;
pub use specialise::{Border, Specialised, specialise};

use crate::{DType, Literal, TensorType};
use std::fmt;

/// A variable of a source graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Var(pub u32);

/// Operator calls in execution order. Pure: no call writes its operands.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SourceGraph {
    /// What crosses the border inwards at each call.
    pub inputs: Vec<Input>,
    /// Tensors of the model, read by identity.
    pub parameters: Vec<(Var, String)>,
    /// The calls.
    pub calls: Vec<Call>,
    /// What crosses the border outwards: tensors and ints.
    pub outputs: Vec<Var>,
    /// Where every tensor of the graph lives.
    pub device: Device,
}

/// A device in torch's notation: `cpu`, `cuda:0`. All tensors of a source graph live on one; calls that ask for another are refused.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Device(pub String);

impl Default for Device {
    fn default() -> Device {
        Device("cpu".into())
    }
}

/// A value that crosses the border inwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its variable.
    pub var: Var,
    /// Tensor or int.
    pub kind: InputKind,
}

/// What may cross the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InputKind {
    /// A tensor.
    Tensor,
    /// An integer; its value is part of the specialisation's key.
    Int,
}

/// One operator call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// Qualified name with overload: `aten::relu`, `aten::add.Tensor`.
    pub op: String,
    /// The arguments in the schema's order, defaults filled in.
    pub args: Vec<Arg>,
    /// What it defines.
    pub outputs: Vec<Var>,
    /// The line of the model's source that it comes from, or empty.
    pub place: String,
}

/// One argument.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// A variable.
    Var(Var),
    /// `None`.
    None,
    /// A literal integer; also how dtypes, layouts and memory formats are given (torch's codes).
    Int(i64),
    /// A literal float.
    Float(f64),
    /// A literal boolean.
    Bool(bool),
    /// A literal string; also how devices are given.
    Str(String),
    /// A literal tensor.
    Tensor(Literal),
    /// A list or tuple.
    List(Vec<Arg>),
}

impl Arg {
    /// Calls `f` for every variable in the argument.
    pub fn for_each_var(&self, f: &mut impl FnMut(Var)) {
        match self {
            Arg::Var(v) => f(*v),
            Arg::List(items) => items.iter().for_each(|a| a.for_each_var(f)),
            _ => {}
        }
    }
}

/// Why a call cannot be taken. The user reads it next to the call's place in the model's source.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// No file in `op` knows the operator or this overload of it.
    NoSuchOp(String),
    /// The operator does not take this element type (here).
    Dtype {
        /// The argument.
        arg: &'static str,
        /// Its type.
        found: DType,
    },
    /// The operator does not take this rank or shape.
    Shape {
        /// The argument.
        arg: &'static str,
        /// Its type.
        found: TensorType,
        /// What was expected.
        expected: &'static str,
    },
    /// An argument has a value that is not supported.
    Attribute {
        /// The argument.
        arg: String,
        /// Why not.
        why: String,
    },
    /// An argument that has to be known when compiling is known at run time only.
    NotConstant {
        /// The argument.
        arg: String,
    },
    /// The call draws random numbers or updates state.
    Effect(&'static str),
    /// The operands do not fit together; the host would fail as well.
    Invalid(String),
    /// The chosen backend has no such layer.
    Backend {
        /// The kind of layer.
        layer: &'static str,
        /// Why not.
        why: String,
    },
}

impl Refusal {
    /// A short stable word for grouping: `no-such-op`, `dtype`, ...
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::NoSuchOp(_) => "no-such-op",
            Refusal::Dtype { .. } => "dtype",
            Refusal::Shape { .. } => "shape",
            Refusal::Attribute { .. } => "attribute",
            Refusal::NotConstant { .. } => "not-constant",
            Refusal::Effect(_) => "effect",
            Refusal::Invalid(_) => "invalid",
            Refusal::Backend { .. } => "backend",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoSuchOp(op) => write!(f, "operator {op} is not supported"),
            Refusal::Dtype { arg, found } => write!(f, "argument '{arg}' of type {found} is not supported"),
            Refusal::Shape { arg, found, expected } => {
                write!(f, "argument '{arg}' is {found}, expected {expected}")
            }
            Refusal::Attribute { arg, why } => write!(f, "argument '{arg}': {why}"),
            Refusal::NotConstant { arg } => write!(f, "argument '{arg}' is known at run time only"),
            Refusal::Effect(what) => f.write_str(what),
            Refusal::Invalid(why) => write!(f, "the operands do not fit: {why}"),
            Refusal::Backend { layer, why } => write!(f, "the backend does not run {layer}: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<crate::network::TypeError> for Refusal {
    fn from(e: crate::network::TypeError) -> Refusal {
        Refusal::Invalid(e.to_string())
    }
}
