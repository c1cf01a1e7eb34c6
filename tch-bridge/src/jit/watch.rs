//! The tensors behind an engine: have they changed?

use super::JitError;
use super::tensor::{Recording, borrow};
use crate::sys::ffi;
use cxx::UniquePtr;
use tch::{Device, Tensor};

/// Tensors of a model, watched by identity.
pub struct Watched {
    inner: UniquePtr<ffi::Watched>,
}

/// What watched tensors were at one moment.
pub struct WatchedState(UniquePtr<ffi::WatchedState>);

/// Memory of a dense tensor.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Where it starts.
    pub address: usize,
    /// Its length.
    pub bytes: usize,
    /// What it is memory of; `None` where that is neither the CPU's nor a GPU's.
    pub device: Option<Device>,
}

/// Tells a checksum for each run; `None` where that cannot be done.
pub type Sum<'a> = &'a dyn Fn(&[Run]) -> Option<Vec<u64>>;

impl Watched {
    /// Watches these very tensors, from now on.
    pub fn new(tensors: &[Tensor], sum: Sum<'_>) -> Result<Self, JitError> {
        let mut stack = ffi::new_stack();
        for tensor in tensors {
            ffi::push_tensor(stack.pin_mut(), borrow(tensor));
        }
        let watched = Self { inner: ffi::watch(&stack)? };
        watched.settle(watched.state(sum));
        Ok(watched)
    }

    /// Is some tensor not what it was in the state that was settled last, because it has been written, resized, or given other memory, sizes or
    /// strides? A tensor that was given a gradient since counts as written.
    ///
    /// Writes that torch does not count (through `data()` or a raw pointer) are seen while the tensor has a gradient; else, on the CPU,
    /// where they change one of a few sampled elements. Costs tens of nanoseconds a tensor, and a reading of all bytes of each that has a
    /// gradient. Where bytes cannot be summed, a tensor that has a gradient counts as written.
    pub fn changed(&self, sum: Sum<'_>) -> bool {
        match ffi::glance(&self.inner) {
            ffi::Glance::Same => false,
            ffi::Glance::Doubtful => {
                let now = summed(ffi::state_of_doubtful(&self.inner), sum);
                !ffi::is_still(&self.inner, &now)
            }
            _ => true,
        }
    }

    /// What they are now. To be asked for ahead of reading them: what is written meanwhile is so seen to have changed.
    pub fn state(&self, sum: Sum<'_>) -> WatchedState {
        WatchedState(summed(ffi::state(&self.inner), sum))
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

/// A state with the checksums of what is to be summed.
fn summed(mut state: UniquePtr<ffi::WatchedState>, sum: Sum<'_>) -> UniquePtr<ffi::WatchedState> {
    let run = |raw: ffi::RawRun| Run {
        address: raw.address,
        bytes: raw.bytes,
        device: match raw.device {
            -1 => Some(Device::Cpu),
            n => usize::try_from(n).ok().map(Device::Cuda),
        },
    };
    let runs: Vec<Run> = ffi::to_be_summed(&state).into_iter().map(run).collect();
    if !runs.is_empty()
        && let Some(sums) = sum(&runs)
    {
        assert_eq!(sums.len(), runs.len(), "a checksum for each run");
        ffi::set_sums(state.pin_mut(), &sums);
    }
    state
}
