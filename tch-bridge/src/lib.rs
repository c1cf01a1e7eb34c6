//! The bridge between libtorch and the engines.

pub mod jit;
mod sys;
