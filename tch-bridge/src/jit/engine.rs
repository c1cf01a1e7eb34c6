//! The Rust side of `trt::try_run`.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tch::{Device, Kind, Tensor};
use trt_subgraph::Bytes;

use super::JitError;
use super::error::{without_stack, words};
use super::places::Owner;
use super::tensor::{Recording, TensorView, borrow, device_to_raw, kind_code};
use crate::layout::AxisOrder;
use crate::report::EngineReport;
use crate::switch;
use crate::sys::ffi;

/// An error of an engine; it is logged and the host serves the call.
pub type EngineError = Box<dyn Error + Send + Sync>;

/// Serves the calls of one cluster, from any thread.
pub trait HostEngine: Send + Sync {
    /// Computes the cluster's outputs and pushes each to `outputs` in order, or leaves the call to the host. A panic, an
    /// error or a wrong number of outputs leaves the call to the host too.
    fn try_run(&self, call: &Call<'_>, outputs: &mut Outputs<'_>) -> Result<Outcome, EngineError>;

    /// What a saved module keeps of the engine; [`set_engine_loader`]'s function gets it back.
    fn state(&self) -> Vec<u8>;

    /// Gets ready now for the calls that it expects from this module; whether it is.
    fn build(&self, _owner: Owner<'_>) -> Result<bool, EngineError> {
        Ok(false)
    }

    /// Reads the weights again, changed or not; false where it has none yet.
    fn refit(&self) -> bool {
        false
    }

    /// What it did so far, where it keeps count.
    fn report(&self) -> Option<EngineReport> {
        None
    }

    /// Whether calls wait for what has to be built for them, rather than leave them to the host meanwhile.
    fn set_waiting(&self, _wait: bool) {}
}

/// Who serves a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The engine did; its outputs are complete.
    Served,
    /// The host must.
    Host,
}

/// The arguments of a call. All tensors are plain: see [`TensorView::is_plain`]. Calls where [`host_is_watched`](super::host_is_watched), or with
/// a tensor that is not plain, go to the host without asking the engine.
pub struct Call<'a> {
    /// Tensors that enter the cluster, in the order of [`Cluster::inputs`](super::Cluster::inputs).
    pub inputs: &'a [TensorView<'a>],
    /// Ints that enter the cluster, in the order of [`Cluster::ints`](super::Cluster::ints).
    pub ints: &'a [i64],
    /// What autograd records in this thread.
    pub recording: Recording,
    /// The module whose method calls; `None` for a call past the interpreter.
    pub owner: Option<Owner<'a>>,
}

impl Call<'_> {
    /// Whether autograd would need the host's own operators.
    pub fn needs_grad(&self) -> bool {
        !self.recording.is_off() && self.inputs.iter().any(|view| view.is_recorded(self.recording))
    }
}

/// Where an engine puts its results, in the order of the cluster's outputs.
pub struct Outputs<'a> {
    raw: Pin<&'a mut ffi::Outputs>,
}

impl Outputs<'_> {
    /// Pushes a contiguous tensor of undefined contents and returns the address of its first element on `device`, valid
    /// until the call returns.
    pub fn allocate(&mut self, sizes: &[i64], kind: Kind, device: Device) -> Result<*mut u8, JitError> {
        let strides = AxisOrder::default().strides(sizes);
        self.allocate_strided(sizes, &strides, kind, device)
    }

    /// As [`Outputs::allocate`], with these strides.
    pub fn allocate_strided(
        &mut self,
        sizes: &[i64],
        strides: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<*mut u8, JitError> {
        let (kind, device) = (kind_code(kind), device_to_raw(device));
        let view = ffi::out_empty(self.raw.as_mut(), sizes, strides, kind, device)?;
        Ok(TensorView::from_raw(view).data())
    }

    /// Pushes a tensor.
    pub fn push(&mut self, tensor: &Tensor) {
        ffi::out_tensor(self.raw.as_mut(), borrow(tensor));
    }

    /// Pushes an int.
    pub fn push_int(&mut self, value: i64) {
        ffi::out_int(self.raw.as_mut(), value);
    }
}

/// Makes an engine of a saved state.
pub type EngineLoader = fn(&Bytes) -> Result<Arc<dyn HostEngine>, EngineError>;

static LOADER: OnceLock<EngineLoader> = OnceLock::new();

/// Sets the function that remakes engines when a saved module is loaded, in place of this crate's own. The first one set stays;
/// returns whether it is this one. Where it fails, the host serves a loaded module and its engines keep their state.
pub fn set_engine_loader(loader: EngineLoader) -> bool {
    *LOADER.get_or_init(|| loader) as usize == loader as usize
}

pub(crate) struct EngineHandle(pub(crate) Arc<dyn HostEngine>);

/// Stands in for an engine that could not be remade.
struct Absent(Bytes);

impl HostEngine for Absent {
    fn try_run(&self, _: &Call<'_>, _: &mut Outputs<'_>) -> Result<Outcome, EngineError> {
        Ok(Outcome::Host)
    }

    fn state(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

pub(crate) fn engine_try_run(
    engine: &EngineHandle,
    inputs: &[ffi::RawView],
    ints: &[i64],
    recording: u8,
    owner: &ffi::Owner,
    outputs: Pin<&mut ffi::Outputs>,
) -> bool {
    let owner = Some(Owner::of(owner));
    let call = Call { inputs: TensorView::slice(inputs), ints, recording: Recording(recording), owner };
    let run = AssertUnwindSafe(|| engine.0.try_run(&call, &mut Outputs { raw: outputs }));
    match catch_unwind(run) {
        Ok(Ok(outcome)) => outcome == Outcome::Served,
        Ok(Err(error)) => {
            log::error!("an engine failed, the host serves the call: {}", words(&error));
            false
        }
        Err(panic) => {
            log::error!("an engine panicked, the host serves the call: {}", panic_message(panic.as_ref()));
            false
        }
    }
}

pub(crate) fn engine_share(engine: &EngineHandle) -> Box<EngineHandle> {
    Box::new(EngineHandle(engine.0.clone()))
}

pub(crate) fn engine_state(engine: &EngineHandle) -> Vec<u8> {
    catch_unwind(AssertUnwindSafe(|| engine.0.state())).unwrap_or_else(|panic| {
        log::error!("an engine panicked while it was saved: {}", panic_message(panic.as_ref()));
        Vec::new()
    })
}

/// `state` is a tensor of bytes that nobody writes any more.
pub(crate) fn engine_load(state: &ffi::RawView) -> Box<EngineHandle> {
    let load = LOADER.get().copied().unwrap_or(crate::engine::load);
    let state = TensorView::of_raw(state).to_bytes();
    let loaded = match &state {
        Some(state) => match catch_unwind(AssertUnwindSafe(|| load(state))) {
            Ok(loaded) => loaded.map_err(|error| error.to_string()),
            Err(panic) => Err(panic_message(panic.as_ref())),
        },
        None => Err("its saved state is no row of bytes".to_owned()),
    };
    let engine = loaded.unwrap_or_else(|why| {
        log::warn!("the host serves a loaded cluster: {why}");
        Arc::new(Absent(state.unwrap_or_else(|| Vec::new().into())))
    });
    Box::new(EngineHandle(engine))
}

pub(crate) fn engine_build(engine: &EngineHandle, owner: &ffi::Owner) -> bool {
    match catch_unwind(AssertUnwindSafe(|| engine.0.build(Owner::of(owner)))) {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => {
            log::warn!("an engine cannot be built, the host serves its calls: {error}");
            false
        }
        Err(panic) => {
            log::error!("an engine panicked while it was built: {}", panic_message(panic.as_ref()));
            false
        }
    }
}

pub(crate) fn engine_refit(engine: &EngineHandle) -> bool {
    catch_unwind(AssertUnwindSafe(|| engine.0.refit())).unwrap_or_else(|panic| {
        log::error!("an engine panicked while it read its weights: {}", panic_message(panic.as_ref()));
        false
    })
}

/// The report as JSON, of an engine with this name in its module.
pub(crate) fn engine_report(engine: &EngineHandle, name: &str) -> String {
    #[derive(Serialize)]
    struct Named<'a> {
        attribute: &'a str,
        /// The process's switch.
        enabled: bool,
        /// Null where the engine could not be remade.
        engine: Option<EngineReport>,
    }
    let engine = catch_unwind(AssertUnwindSafe(|| engine.0.report())).unwrap_or_default();
    serde_json::to_string(&Named { attribute: name, enabled: switch::is_chosen(), engine })
        .expect("a report has only string keys")
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "no message".to_owned(), |text| without_stack(&text))
}
