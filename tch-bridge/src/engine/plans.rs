//! Engines of a cluster as plans: in saved modules, and as files of their own. They are compiled for that, from the weights as they
//! are then: nothing that the cluster serves with is touched, and nothing that it serves with can be out of date in them.

use super::cluster::ClusterEngine;
use super::embedded::{Embedded, Ingredients};
use super::entry::{Entry, Shape};
use super::laid::{Laid, Layout};
use super::specialisation::Outcome;
use super::weights::DenseWeights;
use crate::layout::AxisOrder;
use std::sync::atomic::Ordering;
use tch::Device;
use trt_subgraph::plan::{Plan, Recipe};

impl ClusterEngine {
    /// What engines are ready for, newest first.
    pub(crate) fn ready_for(&self) -> Vec<Entry> {
        let built = self.specialisations();
        let ready = built.iter().filter(|s| matches!(s.outcome, Outcome::Ready(_)));
        ready.map(|s| s.entry.clone()).collect()
    }

    /// Its engines with the present weights, for a saved module; without those that cannot be kept, which the log tells.
    pub(super) fn plans(&self) -> Vec<Embedded> {
        let keep = |entry: &Entry| {
            let warn =
                |why: &String| log::warn!("{}: saved without its engine for a shape: {why}", self.name());
            self.embed(entry).inspect_err(warn).ok()
        };
        let plans: Vec<Embedded> = self.ready_for().iter().filter_map(keep).collect();
        self.kept.store(plans.len() as u64, Ordering::Relaxed);
        plans
    }

    fn embed(&self, entry: &Entry) -> Result<Embedded, String> {
        let (backend, options) = (self.backend(), self.compile_options(entry));
        if backend.fingerprint(&options).is_none() {
            return Err(format!("the {} backend saves no engines", backend.name()));
        }
        let Laid { network, results, ints, layers, .. } = self.laid(entry)?;
        let (_, weights) = self.weights_for(entry)?;
        let before = weights.digest();
        let engine = backend.compile(&network, &weights, &options).map_err(|e| e.to_string())?;
        let saved = engine.save().ok_or("the backend saves no engines")?;
        let (results, ints) = (&results[..], &ints[..]);
        let of = Ingredients { network: &network, results, ints, layers, weights: &weights, saved: &saved };
        let embedded = Embedded::new(Shape::of(entry), &of, backend, &options)?;
        if before.as_deref() == Some(&embedded.facts.weights) {
            Ok(embedded)
        } else {
            Err("the weights changed while it was saved".into())
        }
    }

    /// A plan of its own: inputs and results are dense and row-major, weights are in it, and the engine where the backend saves any.
    /// `names` are those of the inputs.
    pub(crate) fn plan(&self, entry: &Entry, names: &[String]) -> Result<Plan, String> {
        let plain = |network: &trt_subgraph::network::Network| {
            Ok(vec![Layout::Order(AxisOrder::default()); network.outputs.len()])
        };
        let Laid { network, ints, .. } = self.laid_as(entry, plain)?;
        let on_host = self.parameters.tensors().iter().map(|t| tch::no_grad(|| t.f_to_device(Device::Cpu)));
        let on_host = on_host.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
        let weights = DenseWeights::read(&on_host, Device::Cpu).ok_or("a parameter is no dense tensor")?;
        let (backend, options) = (self.backend(), self.compile_options(entry));
        let mut recipe = Recipe::new(&network, &weights).backend(backend.name()).options(options.clone());
        recipe = recipe.note("engine", self.name()).inputs(names);
        if !ints.is_empty() {
            let ints: Vec<String> = ints.iter().map(i64::to_string).collect();
            recipe = recipe.note("numbers beside the outputs", &ints.join(", "));
        }
        let bytes = recipe.to_bytes().map_err(|e| e.to_string())?;
        let plan = Plan::from_bytes(bytes).map_err(|e| e.to_string())?;
        if backend.fingerprint(&options).is_none() {
            return Ok(plan);
        }
        let prepared = plan.prepared(backend, &options, true).and_then(Plan::from_bytes);
        prepared.map_err(|e| e.to_string())
    }
}
