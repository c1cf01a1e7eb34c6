//! A safe layer over torch::jit: modules, graphs as plain data, observation, rewriting, tracing.
//!
//! Everything here keeps torch's own semantics; nothing knows of engines beyond the [`HostEngine`] trait that
//! `trt::try_run` calls.

pub(crate) mod engine;
mod error;
mod extract;
mod graph;
pub(crate) mod kinds;
mod limits;
mod module;
mod observe;
mod operators;
mod places;
mod stitch;
mod tensor;
pub(crate) mod trace;
mod value;
mod version;
pub(crate) mod watch;

pub use engine::{Call, EngineError, EngineLoader, HostEngine, Outcome, Outputs, set_engine_loader};
pub use error::JitError;
pub(crate) use error::words;
pub use extract::Graph;
pub use graph::{
    Attribute, Block, BlockId, GraphFacts, Node, NodeId, Place, Role, Value, ValueId, ValueType,
};
pub(crate) use kinds::{Kinds, KindsHandle, Modes, Sizes};
pub(crate) use limits::Limits;
pub use module::{Argument, Initial, Method, Module, NamedTensor};
pub use observe::{Fact, Seen};
pub(crate) use operators::like_operator;
pub use operators::{call_operator, operator_exists};
pub use places::{Owner, Places};
pub use stitch::{Cluster, Item, Order};
pub use tensor::{Handover, Recording, TensorView, current_stream, host_is_watched, tf32_on};
pub use version::foreign_libtorch;
pub use watch::{Run, Sum, Watched, WatchedState};
