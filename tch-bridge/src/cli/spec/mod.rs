//! Input specs: what an argument of the model looks like, as the command line says it.
//!
//! ```text
//! SPEC   = [NAME "="] VALUE
//! VALUE  = TENSOR | NUMBER | "true" | "false" | "none" | "'" TEXT "'" | JSON
//! TENSOR = SHAPES { "@" DTYPE | "%" FORMAT | RANGE }      each at most once
//! SHAPES = SHAPE | "[" SHAPE ";" SHAPE ";" SHAPE "]"      smallest, usual, largest
//! SHAPE  = "(" [SIZE {"," SIZE}] ")"
//! DTYPE  = f32 (the default) | f16 | bf16 | f64 | i64 | i32 | i16 | i8 | u8 | bool
//! FORMAT = contiguous (the default) | channels_last
//! RANGE  = "[" NUMBER "," NUMBER ")"                      values, the second excluded
//! JSON   = arrays and objects of specs (as strings), numbers, booleans and null
//! ```
//!
//! Shapes, element types and formats are written as torchtrtc writes them; its other names for element types (`fp16`,
//! `half`, `int64`, ...) and formats (`linear`, `nchw`, `nhwc`, ...) are understood too.

mod fill;
mod parse;
#[cfg(test)]
mod tests;

pub(crate) use fill::{Filling, Point, Spread, assign, pack};

use std::fmt;
use tch::Kind;

/// One argument of a method.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct InputSpec {
    /// The argument's name; `None` means by position.
    pub(crate) name: Option<String>,
    pub(crate) value: ValueSpec,
}

/// What an argument is.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ValueSpec {
    Tensor(TensorSpec),
    Int(i64),
    Float(f64),
    Bool(bool),
    None,
    Text(String),
    List(Vec<ValueSpec>),
    Dict(Vec<(String, ValueSpec)>),
}

/// A tensor to be filled with random values.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TensorSpec {
    pub(crate) shapes: Shapes,
    pub(crate) kind: Kind,
    pub(crate) channels_last: bool,
    /// Values from the first up to, and without, the second; `None` is the element type's usual range, see [`Filling`].
    pub(crate) range: Option<(f64, f64)>,
}

/// One shape, or the smallest, the usual and the largest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Shapes {
    One(Vec<i64>),
    Range { min: Vec<i64>, opt: Vec<i64>, max: Vec<i64> },
}

/// Element types: the name that is printed, then others that are understood.
const KINDS: [(Kind, &[&str]); 10] = [
    (Kind::Float, &["f32", "fp32", "float32", "float"]),
    (Kind::Half, &["f16", "fp16", "float16", "half"]),
    (Kind::BFloat16, &["bf16", "bfloat16"]),
    (Kind::Double, &["f64", "fp64", "float64", "double"]),
    (Kind::Int64, &["i64", "int64", "long"]),
    (Kind::Int, &["i32", "int32", "int"]),
    (Kind::Int16, &["i16", "int16", "short"]),
    (Kind::Int8, &["i8", "int8", "char"]),
    (Kind::Uint8, &["u8", "uint8", "byte"]),
    (Kind::Bool, &["bool", "b"]),
];

/// Memory formats: `channels_last` or not, then the names.
const FORMATS: [(bool, &[&str]); 2] =
    [(false, &["contiguous", "linear", "nchw", "chw"]), (true, &["channels_last", "nhwc", "hwc"])];

/// The short name of an element type: `f32`. Kinds that no spec names come in torch's words.
pub(crate) fn kind_name(kind: Kind) -> String {
    let known = KINDS.iter().find(|(k, _)| *k == kind);
    known.map_or_else(|| format!("{kind:?}"), |(_, names)| names[0].to_string())
}

/// Do tensors of this element type hold floating-point numbers?
pub(crate) fn is_float(kind: Kind) -> bool {
    matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double)
}

/// A spec that does not read. Who tells of it says which one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SpecError {
    /// The place of the fault in characters from 1.
    pub(crate) column: usize,
    /// What was expected there.
    pub(crate) expected: String,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: expected {}", self.column, self.expected)
    }
}

impl std::error::Error for SpecError {}

impl ValueSpec {
    /// Calls `f` with each tensor in the value.
    pub(crate) fn for_each_tensor<'a>(&'a self, f: &mut impl FnMut(&'a TensorSpec)) {
        match self {
            ValueSpec::Tensor(t) => f(t),
            ValueSpec::List(items) => items.iter().for_each(|v| v.for_each_tensor(f)),
            ValueSpec::Dict(entries) => entries.iter().for_each(|(_, v)| v.for_each_tensor(f)),
            _ => {}
        }
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}=")?;
        }
        self.value.fmt(f)
    }
}

impl fmt::Display for ValueSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueSpec::Tensor(t) => t.fmt(f),
            ValueSpec::Int(v) => write!(f, "{v}"),
            ValueSpec::Float(v) => write!(f, "{v:?}"),
            ValueSpec::Bool(v) => write!(f, "{v}"),
            ValueSpec::None => f.write_str("none"),
            ValueSpec::Text(text) => write!(f, "'{text}'"),
            ValueSpec::List(_) | ValueSpec::Dict(_) => write!(f, "{}", json(self)),
        }
    }
}

fn json(value: &ValueSpec) -> serde_json::Value {
    use serde_json::Value;
    match value {
        ValueSpec::Int(v) => Value::from(*v),
        ValueSpec::Float(v) => Value::from(*v),
        ValueSpec::Bool(v) => Value::from(*v),
        ValueSpec::None => Value::Null,
        ValueSpec::List(items) => items.iter().map(json).collect(),
        ValueSpec::Dict(entries) => {
            Value::Object(entries.iter().map(|(key, v)| (key.clone(), json(v))).collect())
        }
        ValueSpec::Tensor(_) | ValueSpec::Text(_) => Value::from(value.to_string()),
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shapes {
            Shapes::One(shape) => write!(f, "{}", Sizes(shape))?,
            Shapes::Range { min, opt, max } => write!(f, "[{};{};{}]", Sizes(min), Sizes(opt), Sizes(max))?,
        }
        write!(f, "@{}", kind_name(self.kind))?;
        if self.channels_last {
            f.write_str("%channels_last")?;
        }
        match self.range {
            Some((from, to)) => write!(f, "[{from},{to})"),
            None => Ok(()),
        }
    }
}

/// A shape in parentheses.
struct Sizes<'a>(&'a [i64]);

impl fmt::Display for Sizes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.0.iter().map(i64::to_string).collect();
        write!(f, "({})", sizes.join(","))
    }
}
