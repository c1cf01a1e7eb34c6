//! The tensors behind an engine: have they changed?

use super::JitError;
use super::tensor::{Recording, borrow};
use crate::sys::ffi;
use cxx::UniquePtr;
use tch::Tensor;

/// Tensors of a model, watched by identity.
pub struct Watched {
    inner: UniquePtr<ffi::Watched>,
}

impl Watched {
    /// Watches these very tensors.
    pub fn new(tensors: &[Tensor]) -> Result<Self, JitError> {
        let mut stack = ffi::new_stack();
        for tensor in tensors {
            ffi::push_tensor(stack.pin_mut(), borrow(tensor));
        }
        Ok(Self { inner: ffi::watch(&stack)? })
    }

    /// Differs, but for a chance of 2^-64, from what it was when a tensor has been written, resized or given other memory
    /// since, or has had its gradient changed. Writes that torch does not count (through `data()` or a raw pointer) are noticed
    /// when they change one of eight sampled elements of a tensor. Costs tens of nanoseconds a tensor.
    pub fn fingerprint(&self) -> u64 {
        ffi::fingerprint(&self.inner)
    }

    /// The fingerprint, to compare later ones with: memory that is given back meanwhile and taken again for other values is told apart
    /// from what is there now. That holds for the last call of this function.
    pub fn note(&self) -> u64 {
        ffi::note(&self.inner)
    }

    /// Is some of this recorded for one of them?
    pub fn any_is_recorded(&self, recording: Recording) -> bool {
        ffi::any_is_recorded(&self.inner, recording.0)
    }
}
