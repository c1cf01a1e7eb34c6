//! The engine behind one cluster: specialisations by shape, built when needed, and the decision at each call whether
//! the engine or the host serves it.
//!
//! A call is the host's when engines are switched off, when gradients or tangents are being recorded for an input or a parameter, when
//! a tensor is not on the engine's device or of an element type that it does not know, while an engine for the shape is still being built, and after
//! anything has failed. The host then gives its own answer, or its own error.

use super::blueprint::{Blueprint, SavedEngine};
use super::entry::{Entry, Shape, order_of};
use super::laid::{Laid, lay};
use super::layouts::Layouts;
use super::pool::Pool;
use super::profile::Profiler;
use super::serving::Sink;
use super::specialisation::{Outcome, OutputForm, Ready, Specialisation};
use super::weights::{DenseWeights, Parameters};
use crate::Options;
use crate::jit::{EngineError, JitError, Recording, TensorView, current_stream};
use crate::types::{kind_of_dtype, type_of_view};
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tch::{Device, Tensor};
use trt_subgraph::TensorType;
use trt_subgraph::backend::{Backend, CompileOptions, Io, Signature, Stream};
use trt_subgraph::source::Border;
#[cfg(feature = "tool")]
use trt_subgraph::source::SourceGraph;

/// One cluster's engine. Shared by the stitched module, which calls it, and by the report.
pub(crate) struct ClusterEngine {
    blueprint: Blueprint,
    layouts: Layouts,
    parameters: Parameters,
    /// Where its tensors and parameters are.
    pub(super) device: Device,
    backend: Arc<dyn Backend>,
    options: Options,
    /// Newest first; replaced as a whole.
    built: ArcSwap<Vec<Arc<Specialisation>>>,
    /// The parameters' fingerprint that all engines in `built` reflect.
    fingerprint: AtomicU64,
    /// What a thread builds for; its lock also orders changes of `built` and `fingerprint`.
    pub(super) building: Mutex<HashSet<Entry>>,
    /// Held while a call waits for its own build.
    compiling: Mutex<()>,
    pub(super) clock: AtomicU64,
    /// Calls wait for builds, whatever the options say.
    waiting: AtomicBool,
    /// Calls do not look whether the parameters changed.
    frozen: AtomicBool,
    /// Calls that the engine served.
    pub(super) served: AtomicU64,
    /// Calls that the host served because gradients were recorded.
    pub(super) recorded: AtomicU64,
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
        let parameters = Parameters::new(parameters, device)?;
        let fingerprint = AtomicU64::new(parameters.fingerprint());
        Ok(ClusterEngine {
            blueprint,
            layouts: Layouts::default(),
            parameters,
            device,
            backend,
            options,
            built: ArcSwap::from_pointee(Vec::new()),
            fingerprint,
            building: Mutex::default(),
            compiling: Mutex::default(),
            clock: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            served: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
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
        let (backend, options) = (self.backend.clone(), self.options.clone());
        ClusterEngine::new(blueprint, parameters, self.device, backend, options)
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

    /// How many calls the host served because gradients were recorded.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded.load(Ordering::Relaxed)
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
        self.recorded.fetch_add(old.recorded(), Ordering::Relaxed);
    }

    /// What a saved module keeps of it.
    pub(super) fn saved(&self) -> Result<SavedEngine, EngineError> {
        Ok(SavedEngine {
            blueprint: self.blueprint.clone(),
            backend: self.options.backend.unwrap_or_default(),
            precision: self.options.precision.unwrap_or_default(),
            specialisations: self.options.specialisations,
            constants: self.parameters.constants(&self.blueprint.places)?,
            shapes: self.shapes(),
        })
    }

    pub(super) fn find(&self, inputs: &[TensorView<'_>], ints: &[i64]) -> Option<Arc<Specialisation>> {
        self.built.load().iter().find(|s| s.entry.fits(inputs, ints)).cloned()
    }

    /// Has calls no longer look whether the parameters changed, or look again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
    }

    /// As [`ClusterEngine::refit`], where the parameters changed and are not frozen.
    pub(super) fn refit_if_changed(&self) {
        let changed = || self.parameters.fingerprint() != self.fingerprint.load(Ordering::Acquire);
        if self.frozen.load(Ordering::Relaxed) || !changed() {
            return;
        }
        let _building = lock(&self.building);
        if changed() {
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
        let now = self.parameters.fingerprint();
        let weights = self.parameters.dense();
        let types = weights.as_ref().map(DenseWeights::types).unwrap_or_default();
        let keep = |s: &&Arc<Specialisation>| match (&s.outcome, &weights) {
            (Outcome::Ready(ready), Some(weights)) if s.entry.border.parameters == types => {
                ready.pool.refit(weights).inspect_err(|e| log::warn!("{}: {e}", self.name())).is_ok()
            }
            _ => false,
        };
        let kept: Vec<_> = self.built.load().iter().filter(keep).cloned().collect();
        self.built.store(Arc::new(kept));
        self.fingerprint.store(now, Ordering::Release);
    }

    /// The engine for this entry, built here unless it is there already.
    pub(super) fn build_once(&self, entry: Entry) -> Arc<Specialisation> {
        let _one_at_a_time = lock(&self.compiling);
        let there = self.built.load().iter().find(|s| s.entry == entry).cloned();
        there.unwrap_or_else(|| self.build(entry))
    }

    /// Builds the engine for this entry.
    pub(crate) fn build(&self, entry: Entry) -> Arc<Specialisation> {
        let made = catch_unwind(AssertUnwindSafe(|| self.compile(&entry)));
        let (prepared_at, outcome) = match made {
            Ok(Ok((read_at, ready))) => (read_at, Outcome::Ready(Box::new(ready))),
            Ok(Err(why)) => (0, Outcome::Refused(why)),
            Err(_) => (0, Outcome::Refused("the compiler panicked; this is a bug".into())),
        };
        if let Outcome::Refused(why) = &outcome {
            log::warn!("{}: the host serves {}: {why}", self.name(), describe(&entry.border));
        }
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let new = Arc::new(Specialisation { entry, outcome, used });
        let mut building = lock(&self.building);
        building.remove(&new.entry);
        if let Outcome::Ready(ready) = &new.outcome
            && self.fingerprint.load(Ordering::Acquire) != prepared_at
            && self.parameters.dense().is_none_or(|w| ready.pool.refit(&w).is_err())
        {
            return new;
        }
        let mut all = vec![new.clone()];
        all.extend(self.built.load().iter().filter(|s| s.entry != new.entry).cloned());
        if all.len() > self.options.specialisations {
            let oldest = (1..all.len()).min_by_key(|&i| all[i].used.load(Ordering::Relaxed));
            all.remove(oldest.expect("there are at least two"));
        }
        self.built.store(Arc::new(all));
        new
    }

    /// What is built for an entry.
    pub(crate) fn laid(&self, entry: &Entry) -> Result<Laid, String> {
        let (source, seen) = (&self.blueprint.source, self.blueprint.seen.as_ref());
        let precision = self.options.precision.unwrap_or_default();
        lay(source, &entry.border, precision, |network| {
            self.layouts.of((source, seen), entry, network, self.parameters.tensors())
        })
    }

    fn compile(&self, entry: &Entry) -> Result<(u64, Ready), String> {
        let start = Instant::now();
        let border = &entry.border;
        let Laid { network, results, ints, layers } = self.laid(entry)?;
        log::debug!("{}: compiles the network\n{network}", self.name());
        let read_at = self.parameters.fingerprint();
        let weights = self
            .parameters
            .dense()
            .ok_or_else(|| format!("a parameter is not a dense tensor on {:?}", self.device))?;
        if weights.types() != border.parameters {
            return Err("the parameters changed while the engine was built".into());
        }
        let threads = if self.options.threads == 0 {
            tch::get_num_threads().max(1) as usize
        } else {
            self.options.threads
        };
        let device = if let Device::Cuda(at) = self.device { at } else { 0 };
        let options = CompileOptions { threads, device, ..CompileOptions::default() };
        let engine = self.backend.compile(&network, &weights, &options).map_err(|e| e.to_string())?;
        let outputs = Signature::of(&network).outputs;
        let form = |(ty, (sizes, strides)): (&TensorType, (Vec<i64>, Vec<i64>))| OutputForm {
            sizes,
            strides,
            kind: kind_of_dtype(ty.dtype),
        };
        let outputs = outputs.iter().zip(results).map(form).collect();
        let fused_layers = network.run_layers();
        Ok((
            read_at,
            Ready { pool: Pool::new(engine), outputs, ints, layers, fused_layers, build: start.elapsed() },
        ))
    }

    /// What enters at a call; `None` when a tensor has a type that engines do not know.
    pub(super) fn entry(&self, inputs: &[TensorView<'_>], ints: &[i64]) -> Option<Entry> {
        let tensors = inputs.iter().map(type_of_view).collect::<Option<Vec<_>>>()?;
        let parameters = self.parameters.types()?;
        let border = Border { tensors, ints: ints.to_vec(), parameters };
        Some(Entry { border, orders: inputs.iter().map(order_of).collect() })
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

fn describe(border: &Border) -> String {
    let types: Vec<String> = border.tensors.iter().map(ToString::to_string).collect();
    types.join(", ")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
