//! The model's parameters as an engine sees them: found by identity, watched by version.

use crate::jit::{EngineError, JitError, Recording, Run, TensorView, Watched, WatchedState, current_stream};
use crate::types::type_of_view;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;
use tch::{Device, Tensor};
use trt_subgraph::TensorType;
use trt_subgraph::backend::{Backend, CompileOptions, MemoryRun, Stream, TensorRef, Weights};
use xxhash_rust::xxh3::Xxh3;

/// The parameters by identity.
pub(crate) struct Parameters {
    tensors: Vec<Tensor>,
    device: Device,
    watched: Watched,
    /// Tells checksums of memory on the device.
    backend: Arc<dyn Backend>,
    options: CompileOptions,
}

// SAFETY: the tensors are never handed out and only read; torch's tensor accessors may be called from any thread.
unsafe impl Sync for Parameters {}

impl Parameters {
    /// The parameters of an engine on `device` that `backend` compiles.
    pub(crate) fn new(
        tensors: Vec<Tensor>,
        device: Device,
        backend: Arc<dyn Backend>,
        options: CompileOptions,
    ) -> Result<Parameters, JitError> {
        let watched = Watched::new(&tensors, &|runs| sum(&*backend, &options, device, runs))?;
        Ok(Parameters { tensors, device, watched, backend, options })
    }

    /// See [`Watched::changed`].
    pub(crate) fn changed(&self) -> bool {
        self.watched.changed(&|runs| self.sum(runs))
    }

    /// See [`Watched::state`].
    pub(crate) fn state(&self) -> WatchedState {
        self.watched.state(&|runs| self.sum(runs))
    }

    /// See [`Watched::settle`].
    pub(crate) fn settle(&self, state: WatchedState) {
        self.watched.settle(state);
    }

    fn sum(&self, runs: &[Run]) -> Option<Vec<u64>> {
        sum(&*self.backend, &self.options, self.device, runs)
    }

    /// The parameters themselves.
    pub(crate) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The parameters without a place in the module, as bytes; see [`super::blueprint::SavedEngine::constants`].
    pub(crate) fn constants(
        &self,
        places: &[Option<String>],
    ) -> Result<Vec<(TensorType, Vec<u8>)>, EngineError> {
        let without_place = self.tensors.iter().zip(places).filter(|(_, place)| place.is_none());
        let one = |(tensor, _): (&Tensor, _)| {
            let dense = tch::no_grad(|| tensor.f_to_device(Device::Cpu)?.f_contiguous())?;
            let ty =
                type_of_view(&TensorView::of(&dense)).ok_or("a constant is of no type that engines know")?;
            let mut bytes = vec![0; ty.bytes()];
            dense.f_copy_data_u8(&mut bytes, ty.elements())?;
            Ok((ty, bytes))
        };
        without_place.map(one).collect()
    }

    pub(crate) fn any_is_recorded(&self, recording: Recording) -> bool {
        self.watched.any_is_recorded(recording)
    }

    /// `None` when a parameter has an element type that engines do not know.
    pub(crate) fn types(&self) -> Option<Vec<TensorType>> {
        self.tensors.iter().map(|t| type_of_view(&TensorView::of(t))).collect()
    }

    /// `None` when a parameter has no dense form of a known element type on the engine's device.
    pub(crate) fn dense(&self) -> Option<DenseWeights> {
        DenseWeights::read(&self.tensors, self.device)
    }
}

/// Checksums of memory on an engine's device, in the order of the thread's stream.
fn sum(backend: &dyn Backend, options: &CompileOptions, device: Device, runs: &[Run]) -> Option<Vec<u64>> {
    if runs.iter().any(|run| run.device != Some(device)) {
        return None;
    }
    let runs: Vec<MemoryRun> =
        runs.iter().map(|run| MemoryRun { address: run.address as *const u8, bytes: run.bytes }).collect();
    let stream = Stream(current_stream(device).ok()?);
    // SAFETY: memory of tensors that live meanwhile, on the backend's device.
    unsafe { backend.checksums(&runs, options, stream) }
}

/// Dense copies (or the tensors themselves where they are dense) of all parameters, alive while an engine prepares.
pub(crate) struct DenseWeights {
    tensors: Vec<(Tensor, TensorType)>,
    stream: *mut c_void,
}

impl DenseWeights {
    pub(super) fn read(parameters: &[Tensor], device: Device) -> Option<DenseWeights> {
        let one = |t: &Tensor| {
            let dense = tch::no_grad(|| t.f_contiguous().ok())?;
            let view = TensorView::of(&dense);
            let ty = type_of_view(&view).filter(|_| view.device() == Some(device))?;
            Some((dense, ty))
        };
        let tensors = parameters.iter().map(one).collect::<Option<_>>()?;
        Some(DenseWeights { tensors, stream: current_stream(device).ok()? })
    }

    pub(crate) fn types(&self) -> Vec<TensorType> {
        self.tensors.iter().map(|(_, ty)| ty.clone()).collect()
    }

    /// A digest of types and values, equal for equal ones wherever they lie; `None` where they cannot be read.
    pub(crate) fn digest(&self) -> Option<String> {
        let mut hash = Xxh3::new();
        for (tensor, ty) in &self.tensors {
            let on_host = tch::no_grad(|| tensor.f_to_device(Device::Cpu)).ok()?;
            hash.update(format!("{ty}\n").as_bytes());
            if ty.bytes() > 0 {
                // SAFETY: a dense tensor of this type, which lives meanwhile.
                hash.update(unsafe {
                    std::slice::from_raw_parts(on_host.data_ptr().cast::<u8>(), ty.bytes())
                });
            }
        }
        Some(format!("{:032x}", hash.digest128()))
    }
}

impl Weights for DenseWeights {
    fn parameter(&self, index: usize) -> TensorRef<'_> {
        let (tensor, ty) = &self.tensors[index];
        TensorRef { data: tensor.data_ptr().cast_const().cast(), ty, owner: PhantomData }
    }

    fn stream(&self) -> Stream {
        Stream(self.stream)
    }
}
