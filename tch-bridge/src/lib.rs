//! The bridge between libtorch and the engines.
