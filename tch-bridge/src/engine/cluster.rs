//! The engine behind one cluster: specialisations by shape, built when needed, and the decision at each call whether
//! the engine or the host serves it.
//!
//! A call is the host's when engines are switched off, when gradients or tangents are being recorded for an input or a parameter, when
//! a tensor is not on the engine's device or of an element type that it does not know, while an engine for the shape is still being built, and after
//! anything has failed. The host then gives its own answer, or its own error.

use super::blueprint::{Blueprint, SavedEngine};
use super::build::compile_options;
use super::embedded::Embedded;
use super::entry::{Entry, Shape, order_of};
use super::layouts::Layouts;
use super::parity::Samples;
use super::pool::Pool;
use super::profile::Profiler;
use super::serving::Sink;
use super::specialisation::{Outcome, Ready, Specialisation};
use super::weights::{DenseWeights, Parameters};
use crate::jit::{EngineError, JitError, Recording, TensorView, current_stream, tf32_on};
use crate::types::type_of_view;
use crate::{Options, Precision, SavedWeights};
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tch::{Device, Tensor};
use trt_subgraph::TensorType;
use trt_subgraph::backend::{Backend, Io, Prepared, Stream};
use trt_subgraph::source::Border;
#[cfg(feature = "tool")]
use trt_subgraph::source::SourceGraph;

/// One cluster's engine. Shared by the stitched module, which calls it, and by the report.
pub(crate) struct ClusterEngine {
    pub(super) blueprint: Blueprint,
    pub(super) layouts: Layouts,
    pub(super) samples: Samples,
    pub(super) parameters: Parameters,
    /// Engines that came with a saved module.
    pub(super) embedded: Arc<Vec<Embedded>>,
    /// None of those has turned out not to fit: calls try them by themselves.
    pub(super) fitting: AtomicBool,
    /// Where its tensors and parameters are.
    pub(super) device: Device,
    backend: Arc<dyn Backend>,
    pub(super) options: Options,
    /// Newest first; replaced as a whole.
    pub(super) built: ArcSwap<Vec<Arc<Specialisation>>>,
    /// How often the engines in `built` were brought up to date with the parameters.
    pub(super) refits: AtomicU64,
    /// What a thread builds for; its lock also orders changes of `built` and `refits`.
    pub(super) building: Mutex<HashSet<Entry>>,
    /// Held while a call waits for its own build.
    pub(super) compiling: Mutex<()>,
    pub(super) clock: AtomicU64,
    /// Calls wait for builds, whatever the options say.
    waiting: AtomicBool,
    /// Calls do not look whether the parameters changed.
    frozen: AtomicBool,
    /// Its device does no more work: calls are not even tried.
    pub(super) lost: AtomicBool,
    /// Calls that the engine served.
    pub(super) served: AtomicU64,
    /// For how many shapes the module that was saved last holds it.
    pub(crate) kept: AtomicU64,
    pub(crate) profiler: Profiler,
}

impl ClusterEngine {
    pub(crate) fn new(
        blueprint: Blueprint,
        parameters: Vec<Tensor>,
        device: Device,
        backend: Arc<dyn Backend>,
        options: Options,
    ) -> Result<ClusterEngine, JitError> {
        let parameters =
            Parameters::new(parameters, device, backend.clone(), compile_options(&options, device))?;
        Ok(ClusterEngine {
            blueprint,
            layouts: Layouts::default(),
            samples: Samples::default(),
            parameters,
            embedded: Arc::default(),
            fitting: AtomicBool::new(true),
            device,
            backend,
            options,
            built: ArcSwap::from_pointee(Vec::new()),
            refits: AtomicU64::new(0),
            building: Mutex::default(),
            compiling: Mutex::default(),
            clock: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            served: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            profiler: Profiler::default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// The calls that it replaces. Their variables have the numbers of the graph's values.
    #[cfg(feature = "tool")]
    pub(crate) fn source(&self) -> &SourceGraph {
        &self.blueprint.source
    }

    /// The tensors that it reads by identity.
    #[cfg(feature = "tool")]
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// An engine for other calls, made as this one is.
    #[cfg(feature = "tool")]
    pub(crate) fn for_part(
        &self,
        source: SourceGraph,
        parameters: Vec<Tensor>,
    ) -> Result<ClusterEngine, JitError> {
        let blueprint = Blueprint {
            name: format!("a part of {}", self.name()),
            seen: None,
            places: vec![None; source.parameters.len()],
            source,
        };
        let options = Options { guard: None, ..self.options.clone() };
        ClusterEngine::new(blueprint, parameters, self.device, self.backend.clone(), options)
    }

    /// Where its tensors are.
    #[cfg(feature = "tool")]
    pub(crate) fn device(&self) -> Device {
        self.device
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// What has been built or refused so far, newest first.
    pub(crate) fn specialisations(&self) -> Arc<Vec<Arc<Specialisation>>> {
        self.built.load_full()
    }

    /// Has calls wait for builds (or no longer), whatever the options say.
    pub(crate) fn wait_for_builds(&self, wait: bool) {
        self.waiting.store(wait, Ordering::Relaxed);
    }

    /// How many calls the engines served.
    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Do calls wait for builds?
    pub(super) fn waits(&self) -> bool {
        self.options.wait || self.waiting.load(Ordering::Relaxed)
    }

    /// The types of its parameters as they are now; `None` when one is of a type that engines do not know.
    pub(crate) fn parameter_types(&self) -> Option<Vec<TensorType>> {
        self.parameters.types()
    }

    /// The shapes that engines are built for, newest first.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let ready = |s: &&Arc<Specialisation>| matches!(s.outcome, Outcome::Ready(_));
        self.built.load().iter().filter(ready).map(|s| Shape::of(&s.entry)).collect()
    }

    /// Was an engine for this entry built, or refused?
    pub(super) fn knows(&self, entry: &Entry) -> bool {
        self.built.load().iter().any(|s| s.entry == *entry)
    }

    /// Is there an engine for some shape?
    pub(super) fn is_ready(&self) -> bool {
        !self.shapes().is_empty()
    }

    /// Takes over the counts of the engine that this one replaces.
    pub(super) fn count_on_from(&self, old: &ClusterEngine) {
        self.served.fetch_add(old.served(), Ordering::Relaxed);
    }

    /// What it computes in.
    pub(crate) fn precision(&self) -> Precision {
        self.options.precision.unwrap_or_default()
    }

    /// What a saved module keeps of it.
    pub(super) fn saved(&self) -> Result<SavedEngine, EngineError> {
        let plans = if self.options.weights == SavedWeights::Embed { self.plans() } else { Vec::new() };
        Ok(SavedEngine {
            blueprint: self.blueprint.clone(),
            backend: self.options.backend.unwrap_or_default(),
            precision: self.precision(),
            guard: self.options.guard,
            level: self.options.level.unwrap_or_default(),
            specialisations: self.options.specialisations,
            constants: self.parameters.constants(&self.blueprint.places)?,
            shapes: self.shapes(),
            weights: self.options.weights,
            plans,
        })
    }

    pub(super) fn find(&self, inputs: &[TensorView<'_>], ints: &[i64]) -> Option<Arc<Specialisation>> {
        let tf32 = tf32_on(self.device);
        self.built.load().iter().find(|s| s.entry.fits(inputs, ints, tf32)).cloned()
    }

    /// Has calls no longer look whether the parameters changed, or look again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }

    /// As [`ClusterEngine::refit`], where the parameters changed and are not frozen.
    pub(super) fn refit_if_changed(&self) {
        let refits = self.refits.load(Ordering::Acquire);
        if self.frozen.load(Ordering::Relaxed) || !self.parameters.changed() {
            return;
        }
        let _building = lock(&self.building);
        if self.refits.load(Ordering::Acquire) == refits || self.parameters.changed() {
            self.prepare_again();
        }
    }

    /// Brings the engines up to date with the parameters; drops those whose parameters have other types now.
    pub(crate) fn refit(&self) {
        let _building = lock(&self.building);
        self.prepare_again();
    }

    /// As [`ClusterEngine::refit`], for who holds the lock of `building`.
    fn prepare_again(&self) {
        let now = self.parameters.state();
        let weights = self.parameters.dense();
        let types = weights.as_ref().map(DenseWeights::types).unwrap_or_default();
        let mut done: Vec<Prepared> = Vec::new();
        let mut refit = |pool: &Pool, weights: &DenseWeights| {
            let own = pool.prepared();
            if own.as_ref().is_some_and(|own| done.iter().any(|other| other.is(own))) {
                return true;
            }
            let refitted = pool.refit(weights).inspect_err(|e| log::warn!("{}: {e}", self.name())).is_ok();
            done.extend(own.filter(|_| refitted));
            refitted
        };
        let keep = |s: &&Arc<Specialisation>| match (&s.outcome, &weights) {
            (Outcome::Ready(ready), Some(weights)) if s.entry.border.parameters == types => {
                refit(&ready.pool, weights)
            }
            _ => false,
        };
        let built = self.built.load();
        if built.iter().any(|s| s.entry.border.parameters != types) {
            let now = if weights.is_some() { "its engines are built anew" } else { "the host serves" };
            log::info!(
                "{}: parameters have other shapes, element types or devices than before: {now}",
                self.name()
            );
        }
        let kept: Vec<_> = built.iter().filter(keep).cloned().collect();
        self.built.store(Arc::new(kept));
        self.parameters.settle(now);
        self.refits.fetch_add(1, Ordering::Release);
    }

    /// What enters at a call; `None` when a tensor has a type that engines do not know.
    pub(super) fn entry(&self, inputs: &[TensorView<'_>], ints: &[i64]) -> Option<Entry> {
        let tensors = inputs.iter().map(type_of_view).collect::<Option<Vec<_>>>()?;
        let parameters = self.parameters.types()?;
        let border = Border { tensors, ints: ints.to_vec(), parameters };
        Some(Entry { border, orders: inputs.iter().map(order_of).collect(), tf32: tf32_on(self.device) })
    }

    pub(super) fn run(
        &self,
        ready: &Ready,
        inputs: &[TensorView<'_>],
        sink: &mut dyn Sink,
    ) -> Result<(), EngineError> {
        let mut copies: Vec<Tensor> = Vec::new();
        let mut addresses: Vec<*const u8> = Vec::with_capacity(inputs.len());
        for view in inputs {
            if view.is_contiguous() {
                addresses.push(present(view.data()));
            } else {
                let copy = tch::no_grad(|| view.to_tensor().f_contiguous())?;
                addresses.push(present(copy.data_ptr().cast()));
                copies.push(copy);
            }
        }
        let mut results: Vec<*mut u8> = Vec::with_capacity(ready.outputs.len());
        for form in &ready.outputs {
            let address = sink.allocate(&form.sizes, &form.strides, form.kind, self.device)?;
            results.push(present(address));
        }
        let stream = Stream(current_stream(self.device)?);
        let io = Io { inputs: &addresses, outputs: &results };
        match self.profiler.running() {
            // SAFETY: the specialisation was built for these types, the inputs are dense and the outputs fresh.
            false => ready.pool.with(|engine| unsafe { engine.run(&io, stream) })?,
            true => self.profiler.time(|| {
                // SAFETY: as above.
                let steps = ready.pool.with(|engine| unsafe { engine.profile(&io, stream) })?;
                if let Device::Cuda(at) = self.device {
                    tch::Cuda::synchronize(at as i64);
                }
                Ok(steps)
            })?,
        }
        ready.ints.iter().for_each(|&i| sink.int(i));
        Ok(())
    }

    /// Does autograd record some of this for an input or a parameter?
    pub(super) fn is_recorded(&self, inputs: &[TensorView<'_>], recording: Recording) -> bool {
        !recording.is_off()
            && (inputs.iter().any(|v| v.is_recorded(recording)) || self.parameters.any_is_recorded(recording))
    }
}

/// The address of a tensor; tensors without elements have none in torch, and engines want one that slices may start at.
fn present(address: *mut u8) -> *mut u8 {
    #[repr(align(64))]
    struct Aligned;
    if address.is_null() { std::ptr::NonNull::<Aligned>::dangling().as_ptr().cast() } else { address }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
