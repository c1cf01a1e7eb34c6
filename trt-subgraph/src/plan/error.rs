//! What can go wrong with a saved plan.

use crate::TensorType;
use crate::backend::CompileError;
use std::fmt;
use std::path::Path;

/// Why a plan could not be written, read or run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// A file or a segment of shared memory could not be opened, read or written.
    Io {
        /// Its path or name.
        path: String,
        /// The system's words.
        why: String,
    },
    /// The bytes do not begin as a plan does.
    NotAPlan,
    /// A newer form than this version of the crate reads. A newer version of it, or saving the plan again, mends that.
    Version {
        /// Major and minor version of the plan's form.
        found: (u16, u16),
        /// The newest that is read.
        known: (u16, u16),
    },
    /// The end is missing.
    Truncated {
        /// Bytes that are there.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// The bytes are not those that were written.
    Damaged {
        /// The part.
        part: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// What was to be saved does not make a plan: the caller is to blame.
    Unfit(String),
    /// The plan does not hold its weights, and none were given.
    NeedsWeights {
        /// The first that is missing.
        name: String,
        /// Why an engine that it holds is of no use here, where it holds one.
        engine: Option<String>,
    },
    /// A given weight has another type than the plan's.
    Weight {
        /// Its name.
        name: String,
        /// The plan's type.
        expected: TensorType,
        /// The given type.
        found: TensorType,
    },
    /// The backend does not run here, or refused the network.
    Compile(CompileError),
}

impl PlanError {
    pub(crate) fn io(path: &Path, why: impl fmt::Display) -> PlanError {
        PlanError::Io { path: path.display().to_string(), why: why.to_string() }
    }

    pub(super) fn damaged(part: &'static str, why: impl fmt::Display) -> PlanError {
        PlanError::Damaged { part, why: why.to_string() }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Io { path, why } => write!(f, "{path}: {why}"),
            PlanError::NotAPlan => {
                f.write_str("this is not a plan: its first bytes are those of something else")
            }
            PlanError::Version { found, known } => write!(
                f,
                "the plan has form {}.{}, this version reads up to {}.{}: read it with a newer version, or save it again with this one",
                found.0, found.1, known.0, known.1
            ),
            PlanError::Truncated { found, expected } => {
                write!(f, "the plan is cut off: {found} of {expected} bytes are there; copy it again")
            }
            PlanError::Damaged { part, why } => {
                write!(f, "the plan is damaged ({part}: {why}); copy or save it again")
            }
            PlanError::Unfit(why) => write!(f, "this cannot be saved: {why}"),
            PlanError::NeedsWeights { name, engine } => {
                if let Some(why) = engine {
                    write!(f, "the engine in the plan is of no use here ({why}), and ")?;
                }
                write!(
                    f,
                    "the plan does not hold its weights ('{name}' is the first): give them when making the engine, or make the \
                     plan here"
                )
            }
            PlanError::Weight { name, expected, found } => {
                write!(f, "weight '{name}' is {found}, the plan has {expected}")
            }
            PlanError::Compile(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PlanError::Compile(e) => Some(e),
            _ => None,
        }
    }
}

impl From<CompileError> for PlanError {
    fn from(e: CompileError) -> PlanError {
        PlanError::Compile(e)
    }
}
