//! The engine in a module that was read from a file. It has no weights until a call comes from the module that holds it: the
//! parameters are that module's own, found by path and then watched, so a change is seen whoever makes it.
//!
//! A call is the host's while the shape's engine is being built, when a parameter is missing or replaced by something else than
//! a tensor, and when the call comes from another module than the first one that is still there.

use super::blueprint::SavedEngine;
use super::cluster::ClusterEngine;
use super::entry::{Entry, Shape};
use super::request::build_in_background;
use super::serving::serve;
use crate::backend::Runners;
use crate::env;
use crate::jit::{Call, EngineError, HostEngine, Outcome, Outputs, Owner, Places, tf32_on};
use crate::report::EngineReport;
use crate::types::kind_of_dtype;
use crate::{Options, SavedWeights, switch};
use arc_swap::ArcSwapOption;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tch::{Device, Tensor};
use trt_subgraph::Bytes;
use trt_subgraph::source::Device as SourceDevice;

/// Remakes an engine of its saved state.
///
/// # Errors
/// When the state is damaged or of a newer version, or when the backend that it, or `TRT_BACKEND`, asks for by name does not run
/// here.
pub(crate) fn load(state: &Bytes) -> Result<Arc<dyn HostEngine>, EngineError> {
    let saved = SavedEngine::from_bytes(state)?;
    let options = Options {
        backend: Some(env::BACKEND.read()?.unwrap_or(saved.backend)),
        precision: Some(env::PRECISION.read()?.unwrap_or(saved.precision)),
        guard: env::PARITY_GUARD.read()?.or(saved.guard),
        level: Some(env::LEVEL.read()?.unwrap_or(saved.level)),
        specialisations: saved.specialisations,
        weights: saved.weights,
        ..Options::default()
    };
    let runners = Runners::new(&options)?;
    Ok(Arc::new(Loaded {
        saved,
        runners,
        options,
        bound: ArcSwapOption::empty(),
        binding: Mutex::new(()),
        waiting: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    }))
}

struct Loaded {
    saved: SavedEngine,
    runners: Runners,
    options: Options,
    bound: ArcSwapOption<Bound>,
    /// Held while weights are looked for.
    binding: Mutex<()>,
    waiting: AtomicBool,
    /// The weights could not be found; it was said.
    failed: AtomicBool,
}

/// The engine with weights.
struct Bound {
    places: Places,
    cluster: Arc<ClusterEngine>,
}

impl Loaded {
    /// The engine with the weights of this module. `None` while another module has it.
    fn bind(&self, owner: Owner<'_>, seen_on: Option<Device>) -> Result<Option<Arc<Bound>>, EngineError> {
        let _one_at_a_time = self.binding.lock().unwrap_or_else(PoisonError::into_inner);
        let paths: Vec<String> = self.saved.blueprint.places.iter().flatten().cloned().collect();
        let old = self.bound.load_full();
        if let Some(old) = &old {
            if old.places.hold(owner) {
                return Ok(Some(old.clone()));
            }
            if old.places.owner_lives() && !Places::find(owner, &[])?.same_owner(&old.places) {
                return Ok(None);
            }
        }
        let places = Places::find(owner, &paths)?;
        let cluster = self.with_weights(places.tensors()?, seen_on)?;
        cluster.wait_for_builds(self.waiting.load(Ordering::Relaxed));
        if let Some(old) = old {
            cluster.count_on_from(&old.cluster);
        }
        let bound = Arc::new(Bound { places, cluster });
        self.bound.store(Some(bound.clone()));
        Ok(Some(bound))
    }

    /// An engine with these parameters, on their device, else on the one that calls were seen on, else on the one that it was
    /// saved for.
    fn with_weights(
        &self,
        placed: Vec<Tensor>,
        seen_on: Option<Device>,
    ) -> Result<Arc<ClusterEngine>, EngineError> {
        let mut blueprint = self.saved.blueprint.clone();
        let saved_for = crate::types::device_of_text(&blueprint.source.device.0);
        let device = placed.first().map(Tensor::device).or(seen_on).or(saved_for).unwrap_or(Device::Cpu);
        if saved_for != Some(device) {
            let here = SourceDevice(crate::types::device_text(device));
            log::info!("{}: saved for {}, built for {}", blueprint.name, blueprint.source.device.0, here.0);
            blueprint.source.device = here;
        }
        let (mut placed, mut constants) = (placed.into_iter(), self.saved.constants.iter());
        let mut parameters = Vec::new();
        for place in &blueprint.places {
            let next = match place {
                Some(_) => placed.next(),
                None => constants
                    .next()
                    .map(|(ty, bytes)| {
                        let shape: Vec<i64> = ty.shape.iter().map(|&n| n as i64).collect();
                        Tensor::f_from_data_size(bytes, &shape, kind_of_dtype(ty.dtype))?.f_to_device(device)
                    })
                    .transpose()?,
            };
            parameters.push(next.ok_or("it has fewer weights than its code reads")?);
        }
        let (runner, options) = (self.runners.of(device, &self.options), self.options.clone());
        let mut cluster = ClusterEngine::new(blueprint, parameters, device, runner.backend, options)?;
        // Plans compute in what the module was saved with, on the device it was saved for.
        if self.options.precision == Some(self.saved.precision) && saved_for == Some(device) {
            cluster.embedded = Arc::new(self.saved.plans.clone());
        }
        Ok(Arc::new(cluster))
    }

    /// The shapes that it was saved with, as the module's parameters are now.
    fn entries(&self, cluster: &ClusterEngine) -> Vec<Entry> {
        let Some(parameters) = cluster.parameter_types() else { return Vec::new() };
        let tf32 = tf32_on(cluster.device);
        self.saved.shapes.iter().filter_map(|shape| shape.entry(parameters.clone(), tf32)).collect()
    }
}

impl HostEngine for Loaded {
    fn try_run(&self, call: &Call<'_>, outputs: &mut Outputs<'_>) -> Result<Outcome, EngineError> {
        let Some(owner) = call.owner else { return Ok(Outcome::Host) };
        if !switch::is_on() || self.failed.load(Ordering::Relaxed) {
            return Ok(Outcome::Host);
        }
        let known = self.bound.load();
        if let Some(bound) = known.as_ref().filter(|b| b.places.hold(owner)) {
            return serve(&bound.cluster, call, outputs);
        }
        let seen_on = call.inputs.first().and_then(|view| view.device());
        match self.bind(owner, seen_on) {
            Ok(Some(bound)) => {
                // This call's shape comes first.
                let outcome = serve(&bound.cluster, call, outputs);
                build_in_background(&bound.cluster, self.entries(&bound.cluster));
                outcome
            }
            Ok(None) => Ok(Outcome::Host),
            Err(e) => {
                self.failed.store(true, Ordering::Relaxed);
                log::warn!("{}: the host serves every call: {e}", self.saved.blueprint.name);
                Ok(Outcome::Host)
            }
        }
    }

    fn state(&self) -> Vec<u8> {
        let mut saved = self.saved.clone();
        if let Some(bound) = &*self.bound.load() {
            saved.shapes = bound.cluster.shapes();
            let forgotten: Vec<Shape> =
                self.saved.shapes.iter().filter(|s| !saved.shapes.contains(s)).cloned().collect();
            saved.shapes.extend(forgotten);
            saved.shapes.truncate(saved.specialisations);
            if saved.weights == SavedWeights::Embed {
                let mut plans = bound.cluster.plans();
                let forgotten =
                    saved.plans.iter().filter(|p| plans.iter().all(|q| q.facts.shape != p.facts.shape));
                let forgotten: Vec<_> = forgotten.cloned().collect();
                plans.extend(forgotten);
                plans.retain(|p| saved.shapes.contains(&p.facts.shape));
                saved.plans = plans;
            }
        }
        saved.to_bytes()
    }

    fn build(&self, owner: Owner<'_>) -> Result<bool, EngineError> {
        let Some(bound) = self.bind(owner, None)? else { return Ok(false) };
        for entry in self.entries(&bound.cluster) {
            bound.cluster.build_once(entry);
        }
        Ok(bound.cluster.is_ready())
    }

    fn report(&self) -> Option<EngineReport> {
        let name = self.saved.blueprint.name.clone();
        let bound = self.bound.load();
        let unused = || EngineReport::unused(name, self.options.precision.unwrap_or_default());
        Some(bound.as_ref().map_or_else(unused, |b| EngineReport::of(&b.cluster)))
    }

    fn refit(&self) -> bool {
        let bound = self.bound.load();
        bound.as_ref().inspect(|b| b.cluster.refit()).is_some()
    }

    fn set_waiting(&self, wait: bool) {
        self.waiting.store(wait, Ordering::Relaxed);
        if let Some(bound) = &*self.bound.load() {
            bound.cluster.wait_for_builds(wait);
        }
    }
}
