//! Compiles operator subgraphs into fused engines; knows nothing of the framework they come from.
//!
//! A [`source::SourceGraph`] of operator calls becomes, for concrete input shapes, a [`network::Network`] of layers
//! ([`op`] holds one file for each operator); [`pass`]es rewrite it; a [`backend`] compiles it into an engine; a [`plan`] is
//! its saved form.

pub mod backend;
mod bytes;
pub mod cache;
mod compare;
pub mod cost;
mod cursor;
pub mod define;
mod dtype;
pub mod files;
mod literal;
pub mod network;
pub mod op;
pub mod pass;
pub mod plan;
pub mod precision;
mod random;
pub mod schedule;
pub mod session;
pub mod source;
mod truncate;

pub use bytes::Bytes;
pub use compare::{Difference, compare, tolerance};
pub use cursor::Unexpected;
pub use dtype::{Category, DType};
pub use literal::{Literal, load_f64, load_i64, store_f64, store_i64};
pub use network::TensorType;
pub use random::Random;
