//! What can go wrong, and whose fault it is.

use crate::env::EnvError;
use crate::jit::JitError;
use std::fmt;
use trt_subgraph::backend::Unavailable;

/// An error of this crate. Failures of engines are not among them: the host serves instead.
#[non_exhaustive]
pub enum Error {
    /// An environment variable has a value that it does not take.
    Environment(EnvError),
    /// A backend was asked for by name and does not run here.
    Backend(Unavailable),
    /// A model's file that was read and is not as it should be.
    Load {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: JitError,
    },
    /// The model or its arguments: torch's own error.
    Torch(JitError),
    /// The options name a submodule that the model does not have.
    Submodule {
        /// Its path.
        path: String,
        /// Those that there are, and what may be meant.
        there: String,
    },
    /// The options bound an argument in a way that the model's methods do not admit.
    Bounds {
        /// The argument's name.
        argument: String,
        /// What is wrong.
        why: String,
    },
    /// The method's result is not what the caller asked for.
    Result {
        /// The method.
        method: String,
        /// What was asked for.
        expected: &'static str,
        /// How to get at it.
        found: String,
    },
    /// A file could not be written.
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Environment(e) => e.fmt(f),
            Error::Backend(e) => e.fmt(f),
            Error::Load { path, source } => write!(f, "{}: {source}", path.display()),
            Error::Torch(e) => e.fmt(f),
            Error::Submodule { path, there } => {
                write!(f, "the model has no submodule {path} to leave on the host: {there}")
            }
            Error::Bounds { argument, why } => write!(f, "bounds of the argument {argument}: {why}"),
            Error::Result { method, expected, found } => write!(f, "{method} gives {found}, not {expected}"),
            Error::Io { path, source } => write!(f, "cannot write {}: {source}", path.display()),
        }
    }
}

/// The message, for a `main` that returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    /// What lies behind the reason that the message already gives.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Environment(e) => e.source(),
            Error::Backend(e) => e.source(),
            Error::Torch(source) | Error::Load { source, .. } => source.source(),
            Error::Submodule { .. } | Error::Bounds { .. } | Error::Result { .. } => None,
            Error::Io { source, .. } => source.source(),
        }
    }
}

impl From<EnvError> for Error {
    fn from(e: EnvError) -> Error {
        Error::Environment(e)
    }
}

impl From<JitError> for Error {
    fn from(e: JitError) -> Error {
        Error::Torch(e)
    }
}

impl From<Unavailable> for Error {
    fn from(e: Unavailable) -> Error {
        Error::Backend(e)
    }
}
