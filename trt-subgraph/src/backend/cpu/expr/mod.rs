//! Scalar expressions as vector code.
//!
//! An expression becomes a register program ([`Code`]) whose registers hold chunks of elements. Each instruction is a loop
//! over one chunk that stays in the first-level cache; the compiler vectorises the loops, once for each instruction set.

mod compile;
mod execute;
mod floats;
mod integers;
pub mod lane;
pub mod math;
mod registers;
mod wide;

pub use super::isa::Isa;
pub use compile::Code;
pub use execute::execute;
pub(super) use execute::{dispatch, dispatch_by_type};
