//! How the engine of a cluster comes to be: restored from a plan that came with the module, else compiled.

use super::cluster::{ClusterEngine, lock};
use super::embedded::{Embedded, Restored};
use super::entry::{Entry, Shape};
use super::laid::{Laid, Layout, lay};
use super::pool::Pool;
use super::specialisation::{Outcome, OutputForm, Ready, Specialisation};
use super::weights::DenseWeights;

use crate::types::kind_of_dtype;
use crate::{Options, Precision};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tch::Device;
use trt_subgraph::TensorType;
use trt_subgraph::backend::{CompileOptions, Prepared, Signature, ending};
use trt_subgraph::network::Network;
use trt_subgraph::source::Border;

impl ClusterEngine {
    /// The engine for this entry, built here unless it is there already.
    pub(super) fn build_once(&self, entry: Entry) -> Arc<Specialisation> {
        let _one_at_a_time = lock(&self.compiling);
        let there = self.built.load().iter().find(|s| s.entry == entry).cloned();
        there.unwrap_or_else(|| self.build(entry))
    }

    /// The engine for this entry that came with the module, if there is one that fits; it takes no longer than a few calls.
    pub(super) fn restore_once(&self, entry: &Entry) -> Option<Arc<Specialisation>> {
        let embedded = self.embedded_for(entry).filter(|_| self.fitting.load(Ordering::Relaxed))?;
        let _one_at_a_time = lock(&self.compiling);
        if let Some(there) = self.built.load().iter().find(|s| s.entry == *entry) {
            return Some(there.clone());
        }
        let made = catch_unwind(AssertUnwindSafe(|| self.restore(entry, embedded)));
        let Ok(Ok((read_at, ready))) = made else {
            self.fitting.store(false, Ordering::Relaxed);
            return None;
        };
        Some(self.install(entry.clone(), read_at, Outcome::Ready(Box::new(ready))))
    }

    fn embedded_for(&self, entry: &Entry) -> Option<&Embedded> {
        if self.embedded.is_empty() {
            return None;
        }
        let shape = Shape::of(entry);
        self.embedded.iter().find(|e| e.facts.shape == shape)
    }

    /// Builds the engine for this entry.
    pub(crate) fn build(&self, entry: Entry) -> Arc<Specialisation> {
        let made = catch_unwind(AssertUnwindSafe(|| self.compile(&entry)));
        let (read_at, outcome) = match made {
            Ok(Ok((read_at, ready))) => (read_at, Outcome::Ready(Box::new(ready))),
            Ok(Err(why)) => (0, Outcome::Refused(why)),
            Err(_) => (0, Outcome::Refused("the compiler panicked; this is a bug".into())),
        };
        let shapes = describe(&entry.border);
        match &outcome {
            Outcome::Ready(ready) => log::info!("{}: built for {shapes} in {:.1?}", self.name(), ready.build),
            Outcome::Refused(_) if ending::has_begun() => {}
            Outcome::Refused(why) => log::warn!("{}: the host serves {shapes}: {why}", self.name()),
        }
        self.install(entry, read_at, outcome)
    }

    /// Makes this the newest engine. Its parameters were read after so many refits of the others.
    fn install(&self, entry: Entry, read_at: u64, outcome: Outcome) -> Arc<Specialisation> {
        let used = AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed));
        let new = Arc::new(Specialisation { entry, outcome, used });
        let mut building = lock(&self.building);
        building.remove(&new.entry);
        if let Outcome::Ready(ready) = &new.outcome
            && (self.refits.load(Ordering::Acquire) != read_at || self.lost_its_source(ready))
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

    /// Has the engine whose prepared weights this one shares gone since? Nobody may have brought those up to date.
    fn lost_its_source(&self, ready: &Ready) -> bool {
        let own = ready.pool.prepared();
        let shares = |s: &Arc<Specialisation>| match (&s.outcome, &own) {
            (Outcome::Ready(other), Some(own)) => other.pool.prepared().is_some_and(|other| other.is(own)),
            _ => false,
        };
        ready.shares_weights && !self.built.load().iter().any(shares)
    }

    /// What is built for an entry.
    pub(crate) fn laid(&self, entry: &Entry) -> Result<Laid, String> {
        let (source, seen) = (&self.blueprint.source, self.blueprint.seen.as_ref());
        self.laid_as(entry, |network| {
            self.layouts.of((source, seen), entry, network, self.parameters.tensors())
        })
    }

    /// The same with results that lie as `layouts` says.
    pub(super) fn laid_as(
        &self,
        entry: &Entry,
        layouts: impl FnOnce(&Network) -> Result<Vec<Layout>, String>,
    ) -> Result<Laid, String> {
        let source = &self.blueprint.source;
        let Some((guard, dtype)) = self.guard() else {
            return lay(source, &entry.border, self.options.precision.unwrap_or_default(), layouts);
        };
        let laid = lay(source, &entry.border, Precision::Model, layouts)?;
        Ok(self.guarded(entry, laid, guard, dtype))
    }

    fn compile(&self, entry: &Entry) -> Result<(u64, Ready), String> {
        let plan = match self.embedded_for(entry).map(|embedded| self.restore(entry, embedded)) {
            Some(Ok(restored)) => return Ok(restored),
            Some(Err(why)) => {
                log::warn!("{}: its engine is built anew: {why}", self.name());
                Some(format!("built anew: {why}"))
            }
            None => None,
        };
        let start = Instant::now();
        let Laid { network, results, ints, layers, parity } = self.laid(entry)?;
        log::debug!("{}: compiles the network\n{network}", self.name());
        let (read_at, weights) = self.weights_for(entry)?;
        let others = self.prepared(entry);
        let engine = self.backend().compile_beside(&network, &weights, &self.compile_options(entry), &others);
        let engine = engine.map_err(|e| e.to_string())?;
        let shares_weights = engine.prepared().is_some_and(|own| others.iter().any(|other| other.is(&own)));
        let outputs = output_forms(&network, &results);
        let (pool, fused_layers) = (Pool::new(engine), network.run_layers());
        let build = start.elapsed();
        Ok((
            read_at,
            Ready { pool, outputs, ints, layers, fused_layers, build, plan, shares_weights, parity },
        ))
    }

    /// The engine of a plan that came with the module.
    fn restore(&self, entry: &Entry, embedded: &Embedded) -> Result<(u64, Ready), String> {
        let start = Instant::now();
        let (read_at, weights) = self.weights_for(entry)?;
        let Restored { engine, network } =
            embedded.restore(&weights, self.backend(), &self.compile_options(entry))?;
        let ready = Ready {
            pool: Pool::new(engine),
            outputs: output_forms(&network, &embedded.facts.results),
            ints: embedded.facts.ints.clone(),
            layers: embedded.facts.layers,
            fused_layers: network.run_layers(),
            build: start.elapsed(),
            plan: Some("used".to_string()),
            shares_weights: false,
            parity: None,
        };
        Ok((read_at, ready))
    }

    /// The prepared weights of engines for other shapes beside parameters of the same types.
    fn prepared(&self, entry: &Entry) -> Vec<Prepared> {
        let of = |s: &Arc<Specialisation>| match &s.outcome {
            Outcome::Ready(ready) if s.entry.border.parameters == entry.border.parameters => {
                ready.pool.prepared()
            }
            _ => None,
        };
        self.built.load().iter().filter_map(of).collect()
    }

    /// The parameters of an entry, and how often the engines that are there were brought up to date before these were read: if they
    /// changed meanwhile, it is seen of those engines and brings all of them up to date.
    pub(super) fn weights_for(&self, entry: &Entry) -> Result<(u64, DenseWeights), String> {
        let read_at = self.refits.load(Ordering::Acquire);
        let missing = || format!("a parameter is not a dense tensor on {:?}", self.device);
        let weights = self.parameters.dense().ok_or_else(missing)?;
        if weights.types() != entry.border.parameters {
            return Err("the parameters changed while the engine was built".into());
        }
        Ok((read_at, weights))
    }

    pub(super) fn compile_options(&self, entry: &Entry) -> CompileOptions {
        CompileOptions { tf32: entry.tf32, ..compile_options(&self.options, self.device) }
    }
}

/// What backends are told on this device, whatever is compiled.
pub(super) fn compile_options(options: &Options, device: Device) -> CompileOptions {
    let threads = options.threads_of_a_call();
    let device = if let Device::Cuda(at) = device { at } else { 0 };
    let level = options.level.unwrap_or_default();
    CompileOptions { threads, device, level, ..CompileOptions::default() }
}

/// How the results of a network are made, which have these sizes and strides.
fn output_forms(network: &Network, results: &[(Vec<i64>, Vec<i64>)]) -> Vec<OutputForm> {
    let form = |(ty, (sizes, strides)): (&TensorType, &(Vec<i64>, Vec<i64>))| OutputForm {
        sizes: sizes.clone(),
        strides: strides.clone(),
        kind: kind_of_dtype(ty.dtype),
    };
    Signature::of(network).outputs.iter().zip(results).map(form).collect()
}

fn describe(border: &Border) -> String {
    let types: Vec<String> = border.tensors.iter().map(ToString::to_string).collect();
    types.join(", ")
}
