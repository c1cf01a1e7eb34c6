//! Why a call by names failed.

use crate::TensorType;
use crate::backend::RunError;
use std::fmt;

/// What is wrong with a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionError {
    /// There is no input or output of this name.
    Name {
        /// `input` or `output`.
        what: &'static str,
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A given tensor has another type than the plan's.
    Type {
        /// The input.
        name: String,
        /// The plan's type.
        expected: TensorType,
        /// The given type.
        found: TensorType,
    },
    /// The engine or the device failed.
    Run(RunError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Name { what, name, known } => {
                write!(f, "there is no {what} '{name}'; there are: {}", known.join(", "))
            }
            SessionError::Type { name, expected, found } => {
                write!(f, "input '{name}' is {found}, the plan has {expected}")
            }
            SessionError::Run(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<RunError> for SessionError {
    fn from(e: RunError) -> SessionError {
        SessionError::Run(e)
    }
}
