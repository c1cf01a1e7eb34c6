//! Why a backend, a compilation or a call fails.

use crate::network::TensorType;
use std::fmt;

/// A backend that cannot run here: why, and what would mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unavailable {
    /// The backend.
    pub backend: &'static str,
    /// One sentence.
    pub why: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} backend is not available: {}", self.backend, self.why)
    }
}

impl std::error::Error for Unavailable {}

/// Why a network did not compile. Never the model's fault: the host serves instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// The backend does not run here.
    Unavailable(Unavailable),
    /// A library refused a layer.
    Layer {
        /// The layer, with its origin.
        layer: String,
        /// The library's words.
        why: String,
    },
    /// The `prepare` network failed on the given weights.
    Prepare(RunError),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::Unavailable(u) => u.fmt(f),
            CompileError::Layer { layer, why } => write!(f, "{layer} did not compile: {why}"),
            CompileError::Prepare(e) => write!(f, "preparing the weights failed: {e}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// Why a call failed. The host path serves it instead and gives its own error if there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunError {
    /// An index is out of range.
    Index {
        /// The layer's origin.
        layer: String,
        /// The index.
        index: i64,
        /// The size of the indexed axis.
        size: usize,
    },
    /// Not as many parameters or inputs as the network has.
    Count {
        /// `parameter` or `input`.
        what: &'static str,
        /// The network's number.
        expected: usize,
        /// The given number.
        found: usize,
    },
    /// A parameter or input of another type than the network declares.
    Type {
        /// `parameter` or `input`.
        what: &'static str,
        /// Which one.
        at: usize,
        /// The declared type.
        expected: TensorType,
        /// The given type.
        found: TensorType,
    },
    /// A library or the device failed.
    Device(String),
    /// The device does no more work in this process; what failed first is not always what is at fault.
    Lost(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Index { layer, index, size } => {
                write!(f, "{layer}: index {index} is out of range for an axis of size {size}")
            }
            RunError::Count { what, expected, found } => {
                write!(f, "the network has {expected} {what}s, {found} were given")
            }
            RunError::Type { what, at, expected, found } => {
                write!(f, "{what} {at} is {found}, the network has {expected}")
            }
            RunError::Device(why) => f.write_str(why),
            RunError::Lost(why) => {
                write!(
                    f,
                    "{why}. The GPU does no more work in this process, whoever asks; CUDA_LAUNCH_BLOCKING=1 in the environment of the next one has the kernel named that is at fault"
                )
            }
        }
    }
}

impl std::error::Error for RunError {}
