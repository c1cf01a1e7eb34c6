//! Why a definition is none.

use crate::plan::PlanError;
use crate::source::Refusal;
use std::fmt;

/// What is wrong with a network that is being defined. Whoever defines it is to blame, except for [`DefineError::Plan`].
#[derive(Clone, PartialEq, Debug)]
pub enum DefineError {
    /// A layer does not take its operands.
    Layer {
        /// Its label, or the operator that it is made of.
        layer: String,
        /// Why not.
        why: Refusal,
    },
    /// A name that another input, weight or output has.
    Name {
        /// `input`, `weight` or `output`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The engine needs more working memory than is allowed.
    Workspace {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that it may use.
        limit: usize,
    },
    /// The backend does not run here, or the network makes no plan.
    Plan(PlanError),
}

impl fmt::Display for DefineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefineError::Layer { layer, why } => write!(f, "{layer}: {why}"),
            DefineError::Name { what, name } => {
                write!(f, "the {what} '{name}' is there already: a name is given once")
            }
            DefineError::Workspace { needed, limit } => write!(
                f,
                "the engine needs {needed} bytes of working memory, {limit} are allowed: allow more, or define smaller inputs"
            ),
            DefineError::Plan(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for DefineError {}

impl From<PlanError> for DefineError {
    fn from(e: PlanError) -> DefineError {
        DefineError::Plan(e)
    }
}
