//! The TorchScript layer against a real libtorch.

mod engine;
mod graph;
mod module;
mod observe;
mod trace;

use tch::Tensor;

/// Asserts equality of shape and every element.
pub fn assert_same(a: &Tensor, b: &Tensor) {
    assert_eq!(a.size(), b.size());
    assert!(a.equal(b), "{a:?} and {b:?} differ");
}

/// A vector of f32.
pub fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values)
}
