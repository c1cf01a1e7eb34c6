//! One compiled form of a method: the graph observed for one kind of arguments, divided, stitched and ready to run.

use crate::backend::Runners;
use crate::divide::{ClusterPlan, device_of, divide, observed_entry};
use crate::engine::{Blueprint, ClusterEngine, SeenLayout, Serving, Shape};
use crate::jit::{
    Cluster, Graph, GraphFacts, JitError, Kinds, KindsHandle, Limits, Method, Modes, Module, Order, Seen,
    Sizes, ValueId,
};
use crate::{Error, Options};
use partitioner::{FlowGraph, Partition, Step};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tch::IValue;

/// A form of a method, from observation to the finished rewrite.
pub(crate) struct Variant {
    pub(crate) kinds: Kinds,
    /// Those of the calls that it serves, where its graph depends on them.
    pub(crate) modes: Option<Modes>,
    /// The same.
    pub(crate) sizes: Option<Sizes>,
    pub(crate) graph: Graph,
    /// Did the kinds of the arguments, their sizes, or the modes, decide branches of the graph?
    pub(crate) settled: bool,
    /// Empty while it is being made.
    pub(crate) made: OnceLock<Result<Stitched, String>>,
}

/// The finished rewrite.
pub(crate) struct Stitched {
    pub(crate) method: Method,
    /// Keeps the type of `method` alive.
    _module: Module,
    pub(crate) clusters: Vec<Arc<ClusterEngine>>,
    /// The rewrite itself, for another module.
    rewrite: (Vec<Order>, Vec<Cluster>),
    /// The one cluster that takes the method's arguments, all tensors, and gives its result, one tensor.
    pub(crate) whole: Option<Arc<ClusterEngine>>,
    /// Each block of the graph with its partition, for the report.
    pub(crate) blocks: Vec<(FlowGraph, Partition)>,
    /// Who runs the engines, in words.
    pub(crate) backend: String,
    /// Observation aside: dividing, stitching and the first engines.
    pub(crate) build: Duration,
}

impl Stitched {
    /// The tensors of the graph that enter an engine, in order.
    pub(crate) fn inputs(&self, engine: usize) -> &[ValueId] {
        &self.rewrite.1[engine].inputs
    }

    /// Builds the engines for what was seen in a run of the graph.
    pub(crate) fn specialise(&self, graph: &GraphFacts, seen: &[Seen]) {
        for (engine, cluster) in self.clusters.iter().zip(&self.rewrite.1) {
            let enters = [&cluster.inputs[..], &cluster.ints[..]];
            let types = engine.parameter_types();
            if let Some(entry) = types.and_then(|types| observed_entry(graph, seen, enters, types)) {
                engine.build(entry);
            }
        }
    }
}

/// What building needs besides the graph.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) runners: Runners,
    pub(crate) options: Options,
    /// New engines do not watch their parameters.
    pub(crate) frozen: Arc<AtomicBool>,
}

impl Builder {
    /// Divides, stitches, and builds the engines for the observed shapes. The graph is that of the method `name`, which people know
    /// as `title`.
    pub(crate) fn build(
        &self,
        host: &Module,
        (name, title): (&str, &str),
        graph: &Graph,
        seen: &[Seen],
    ) -> Result<Stitched, Error> {
        let start = Instant::now();
        log::debug!("{title}: divides the graph\n{}", graph.text());
        let facts: GraphFacts = graph.facts()?;
        let device = device_of(seen);
        let runner = self.runners.of(device, &self.options);
        let division = divide(&facts, seen, device, &runner, &self.options);
        let (mut engines, mut stitches, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        let (mut orders, mut blocks, mut plans) = (Vec::new(), Vec::new(), Vec::new());
        for block in division.map_err(|e| JitError::Graph(e.to_string()))? {
            if !block.clusters.is_empty() {
                orders.push(block.order);
            }
            blocks.push((block.flow, block.partition));
            plans.extend(block.clusters);
        }
        let is_whole = is_whole(&facts, &blocks, &plans);
        for plan in plans {
            let blueprint = Blueprint {
                name: format!("{title}, engine {}", engines.len()),
                source: plan.source,
                seen: plan
                    .entry
                    .as_ref()
                    .map(|entry| SeenLayout { shape: Shape::of(entry), orders: plan.orders }),
                places: plan.places,
            };
            let engine = ClusterEngine::new(
                blueprint,
                plan.parameters,
                device,
                runner.backend.clone(),
                self.options.clone(),
            );
            let engine = Arc::new(engine?);
            engine.freeze(self.frozen.load(Ordering::Relaxed));
            stitches.push(Cluster {
                nodes: plan.nodes,
                inputs: plan.inputs,
                ints: plan.ints,
                outputs: plan.outputs,
                int_outputs: plan.int_outputs,
                engine: Arc::new(Serving(engine.clone())),
            });
            entries.push(plan.entry);
            engines.push(engine);
        }
        let module = host.shell()?;
        graph.stitch(&module, name, &orders, &stitches)?;
        for (engine, entry) in engines.iter().zip(entries) {
            // Under a guard the first call brings what is compared.
            if let Some(entry) = entry.filter(|_| !engine.wants_samples()) {
                engine.build(entry);
            }
        }
        let method = module.method(name)?;
        let whole = engines.first().filter(|_| is_whole).cloned();
        let backend = runner.describe();
        Ok(Stitched {
            method,
            _module: module,
            clusters: engines,
            rewrite: (orders, stitches),
            whole,
            blocks,
            backend,
            build: start.elapsed(),
        })
    }
}

impl Variant {
    /// Is it right for a call of this thread, as the module stands?
    pub(crate) fn holds(&self) -> bool {
        self.modes.is_none_or(|modes| modes == Modes::now()) && self.graph.still_holds()
    }

    /// Are its engines left for the first call to build?
    pub(crate) fn wants_samples(&self) -> bool {
        self.made.wait().as_ref().is_ok_and(|s| s.clusters.iter().any(|c| c.wants_samples()))
    }

    /// The finished rewrite; `None` while it is being made and when that failed.
    pub(crate) fn ready(&self) -> Option<&Stitched> {
        self.made.get()?.as_ref().ok()
    }

    /// Adds the finished rewrite to `target` as the method `name`, and its form as the attribute `form`; see
    /// [`Graph::register_form`]. `defaults` are those of the method's arguments, `limits` theirs.
    pub(crate) fn add_to(
        &self,
        target: &Module,
        (name, form): (&str, &str),
        defaults: &[IValue],
        limits: &Limits,
    ) -> Result<(), JitError> {
        let Some(stitched) = self.ready() else { return Ok(()) };
        let kinds = KindsHandle::new(
            self.kinds.with_defaults(defaults),
            !self.settled,
            self.modes,
            self.sizes.clone(),
            limits.clone(),
        );
        self.graph.register_form(target, form, &kinds)?;
        self.graph.stitch(target, name, &stitched.rewrite.0, &stitched.rewrite.1)
    }
}

/// Is the method nothing but one cluster from its arguments to its one result?
fn is_whole(facts: &GraphFacts, blocks: &[(FlowGraph, Partition)], plans: &[ClusterPlan]) -> bool {
    let ([plan], [body]) = (plans, &facts.blocks[..]) else { return false };
    matches!(blocks, [(_, partition)] if partition.order == [Step::Cluster(0)])
        && body.inputs.get(1..) == Some(&plan.inputs[..])
        && plan.ints.is_empty()
        && body.outputs == plan.outputs
        && plan.outputs.len() == 1
        && plan.int_outputs.is_empty()
}
