//! The text form of networks and expressions: printed by `Display`, read back by [`super::Network::parse`] and [`super::Expr::parse`].
//!
//! ```text
//! # a comment
//! input %x: f32[1,3,8,8]
//! param "conv.weight": f32[4,3,3,3]
//! %w: f32[4,3,3,3] = parameter 0
//! %b: f32[4,1,1] = constant {0.5, 1, -inf, nan}
//! %y = convolution(%x, %w, %b) padding=[(1,1),(1,1)] { max(i0 + i1, 0:f32) }  # aten::conv2d at model.py:3
//! %v: f32[1,2,8,8], %p: i64[1,2,8,8] = topk(%y) axis=1 k=2 largest=true
//! output %v, %p
//! ```
//!
//! * One line for each input, declared parameter and layer, in order; then one with the outputs.
//! * Names of values are free; printing gives numbers. A value's type may be left out where it is inferred.
//! * A layer is its kind, its operands, its attributes as `name=value` (those with their usual value are left out) and, in
//!   braces, its expression: a pointwise layer's own or an epilogue. What follows `#` is its origin.
//! * A constant lists its elements; `{0.5...}` means one value for all.
//! * Expressions have operands `i0`, `i1`, ..., infix `+ - * /` and comparisons, functions by name, `select(c, a, b)`, casts
//!   `f32(x)`, literals with their type (`1:i64`, `true`), and `t0 = ...;` for steps that are used more than once.

mod expr;
mod field;
mod kind;
mod read;
mod write;

use crate::cursor::Unexpected;
use std::fmt;

/// A text that is no network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: TextFault,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextFault {
    /// It does not read.
    Syntax(Unexpected),
    /// It reads but does not type.
    Type(super::TypeError),
    /// A value's written type is not the inferred one.
    Declared(super::TensorType),
}

impl From<Unexpected> for TextFault {
    fn from(e: Unexpected) -> TextFault {
        TextFault::Syntax(e)
    }
}

impl From<super::TypeError> for TextFault {
    fn from(e: super::TypeError) -> TextFault {
        TextFault::Type(e)
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.fault {
            TextFault::Syntax(e) => e.fmt(f),
            TextFault::Type(e) => e.fmt(f),
            TextFault::Declared(inferred) => write!(f, "the inferred type is {inferred}"),
        }
    }
}

impl std::error::Error for TextError {}
