//! Convolutions and matrix products of f32, and of pairs of bf16 where the machine multiplies those, in kernels of our own.
//!
//! [`tile`] is the inner kernel, [`thin`] that for a few columns, [`lanes`] their vectors. [`panels`] is the
//! order in which tiles read the second operand, [`pack`] puts it there; [`finish`] is what tiles do to a sum before they store it, [`formula`] what is done
//! to a result while it is in cache, in [`registers`]. [`sweep`] is the step that walks the result, [`winograd`] one with fewer multiplications
//! for windows of 3x3, [`cells`] one for windows that reach far over the border, [`batch`] one for products of two tensors of which neither is a weight, [`attend`] two of those
//! with a softmax between them and a [`change`] before or after it, [`runs`] one for runs of rows with a matrix each, [`depthwise`] one for channels
//! that are filtered alone. [`ahead`] brings weights near before they are read.

#![allow(
    clippy::needless_range_loop,
    reason = "loops over registers have constant bounds, so that they are unrolled"
)]

pub mod ahead;
pub mod attend;
pub mod batch;
mod border;
pub mod cells;
pub mod change;
pub mod depthwise;
pub mod finish;
pub mod formula;
pub mod lanes;
pub mod pack;
pub mod panels;
pub mod registers;
pub mod runs;
pub mod sweep;
pub mod thin;
pub mod tile;
pub mod window;
pub mod winograd;
