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

/// What watched tensors were at one moment.
pub struct WatchedState(UniquePtr<ffi::WatchedState>);

impl Watched {
    /// Watches these very tensors, from now on.
    pub fn new(tensors: &[Tensor]) -> Result<Self, JitError> {
        let mut stack = ffi::new_stack();
        for tensor in tensors {
            ffi::push_tensor(stack.pin_mut(), borrow(tensor));
        }
        let watched = Self { inner: ffi::watch(&stack)? };
        watched.settle(watched.state());
        Ok(watched)
    }

    /// Is some tensor not what it was in the state that was settled last, because it has been written, resized, or given other memory, sizes or
    /// strides?
    ///
    /// Writes that torch does not count (through `data()` or a raw pointer) are seen on the CPU where the tensor has a gradient, or was given one since, and
    /// else where they change one of a few sampled elements. On other devices a tensor counts as changed as long as it has a gradient. Costs tens of
    /// nanoseconds a tensor, and a reading of all bytes of each that has a gradient.
    pub fn changed(&self) -> bool {
        ffi::changed(&self.inner)
    }

    /// What they are now. To be asked for ahead of reading them: what is written meanwhile is so seen to have changed.
    pub fn state(&self) -> WatchedState {
        WatchedState(ffi::state(&self.inner))
    }

    /// From now on changes are told from this state.
    pub fn settle(&self, state: WatchedState) {
        ffi::settle(&self.inner, state.0);
    }

    /// Is some of this recorded for one of them?
    pub fn any_is_recorded(&self, recording: Recording) -> bool {
        ffi::any_is_recorded(&self.inner, recording.0)
    }
}

/// Of bytes of a tensor.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}
