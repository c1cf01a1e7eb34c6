//! One compiled form of a method: the graph observed for one kind of arguments, divided, stitched and ready to run.

use crate::backend::Runners;
use crate::divide::{ClusterPlan, device_of, divide, observed_entry};
use crate::engine::{Blueprint, ClusterEngine, SeenLayout, Serving, Shape};
use crate::jit::{
    Cluster, Graph, GraphFacts, JitError, Kinds, KindsHandle, Limits, Method, Modes, Module, Order, Seen,
    Sizes, ValueId, ValueType,
};
use crate::{Error, Options};
use partitioner::{FlowGraph, Partition, Step};
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
    pub(crate) graph: Arc<Graph>,
    /// What each run of the graph showed that took branches which none before it had taken.
    pub(crate) runs: Vec<Vec<Seen>>,
    /// Calls while some branches have not been taken.
    pub(crate) calls: AtomicU32,
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
    /// Has some run taken every branch with operators that compute?
    pub(crate) shown: bool,
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
    /// Divides, stitches, and builds the engines for the shapes of these runs. The graph is that of the method `name`, which people know
    /// as `title`.
    pub(crate) fn build(
        &self,
        host: &Module,
        (name, title): (&str, &str),
        graph: &Graph,
        runs: &[Vec<Seen>],
    ) -> Result<Stitched, Error> {
        let start = Instant::now();
        log::debug!("{title}: divides the graph\n{}", graph.text());
        let facts: GraphFacts = graph.facts()?;
        let seen = all_seen(runs);
        let device = device_of(&seen);
        let runner = self.runners.of(device, &self.options);
        let division = divide(&facts, &seen, device, &runner, &self.options);
        let (mut engines, mut stitches) = (Vec::new(), Vec::new());
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
            engines.push(engine);
        }
        let module = host.shell()?;
        graph.stitch(&module, name, &orders, &stitches)?;
        let method = module.method(name)?;
        let whole = engines.first().filter(|_| is_whole).cloned();
        let backend = runner.describe(&self.options);
        let shown = !has_unseen(&facts, &seen);
        let stitched = Stitched {
            method,
            _module: module,
            clusters: engines,
            rewrite: (orders, stitches),
            whole,
            blocks,
            shown,
            backend,
            build: start.elapsed(),
        };
        // Under a guard the first call brings what is compared.
        if !stitched.clusters.iter().any(|c| c.wants_samples()) {
            runs.iter().for_each(|run| stitched.specialise(&facts, run));
        }
        Ok(Stitched { build: start.elapsed(), ..stitched })
    }
}

impl Variant {
    /// Is it right for a call of this thread, as the module stands?
    pub(crate) fn holds(&self) -> bool {
        self.modes.is_none_or(|modes| modes == Modes::now()) && self.graph.still_holds()
    }

    /// What is to be built instead of it, where a run took branches that none before it had taken; `None` where it did not.
    pub(crate) fn with(&self, run: Vec<Seen>) -> Option<Variant> {
        let known: HashSet<ValueId> = self.runs.iter().flatten().map(|s| s.value).collect();
        if run.iter().all(|s| known.contains(&s.value)) {
            return None;
        }
        let (kinds, sizes, graph) = (self.kinds.clone(), self.sizes.clone(), self.graph.clone());
        let runs = self.runs.iter().cloned().chain([run]).collect();
        let (calls, made) = (AtomicU32::new(0), OnceLock::new());
        Some(Variant { kinds, modes: self.modes, sizes, graph, runs, settled: self.settled, calls, made })
    }

    /// Is this call to be watched, because there are branches that no run has taken? The fourth is, the eighth, and so on.
    pub(crate) fn is_to_be_watched(&self) -> bool {
        /// The first that is, and the last.
        const WATCHED: RangeInclusive<u32> = 1 << 2..=1 << 12;
        if self.ready().is_none_or(|stitched| stitched.shown) {
            return false;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        call.is_power_of_two() && WATCHED.contains(&call)
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

/// What runs showed of each value, the first that showed it.
pub(crate) fn all_seen(runs: &[Vec<Seen>]) -> Vec<Seen> {
    let mut known = HashSet::new();
    runs.iter().flatten().filter(|s| known.insert(s.value)).cloned().collect()
}

/// Are there branches or loops with tensors in them, of which no run has shown anything?
fn has_unseen(facts: &GraphFacts, seen: &[Seen]) -> bool {
    let seen: HashSet<ValueId> = seen.iter().map(|s| s.value).collect();
    facts.blocks.iter().skip(1).any(|block| {
        let computed = block.nodes.iter().map(|&node| &facts[node]).filter(|n| n.kind != "prim::Constant");
        let mut tensors = computed
            .flat_map(|node| &node.outputs)
            .filter(|&&value| facts[value].ty == ValueType::Tensor)
            .peekable();
        tensors.peek().is_some() && tensors.all(|value| !seen.contains(value))
    })
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
