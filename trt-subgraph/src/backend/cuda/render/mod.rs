//! From layers to CUDA C: scalar expressions, index arithmetic, and the stores that end every kernel.

mod index;
mod scalar;
mod source;
mod tail;

pub use index::{Loops, index_type, split, sum};
pub use scalar::{compute_type, expression, expression_for, literal, storage_type, sum_type};
#[cfg(test)]
pub use source::TENSOR;
pub use source::{Argument, Draft, Kernel, module, width};
pub use tail::{Tail, in_runs, indent};
