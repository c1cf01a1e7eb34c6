//! TorchScript's semantics, line by line: each program runs on the host and with engines, and both must do the same.

mod containers;
mod control;
mod dtypes;
mod effects;
mod indices;
mod layout;
mod memory;
mod order;
mod overlaps;
mod shapes;
mod sizes;
mod values;
