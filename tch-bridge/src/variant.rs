//! One compiled form of a method: the graph observed for one kind of arguments, divided, stitched and ready to run.

use crate::backend::Runners;
use crate::divide::{ClusterPlan, device_of, divide, observed_border};
use crate::engine::{ClusterEngine, Serving};
use crate::jit::{Cluster, Graph, GraphFacts, JitError, Method, Module, Seen, TensorView, ValueId};
use crate::layout::AxisOrder;
use crate::{Error, Options};
use partitioner::{FlowGraph, Partition, Step};
use std::borrow::Borrow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tch::{Device, IValue, Kind, Tensor};

/// What a compiled form relies on: element type, rank, device and order in memory of every tensor among the arguments, and
/// which are `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kinds(Vec<ArgumentKind>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ArgumentKind {
    Tensor { kind: Option<Kind>, rank: usize, device: Option<Device>, order: AxisOrder },
    None,
    Other,
    Open,
    Close,
}

impl ArgumentKind {
    fn of(tensor: &Tensor) -> ArgumentKind {
        let view = TensorView::of(tensor);
        let order = AxisOrder::of(view.sizes(), view.strides());
        ArgumentKind::Tensor { kind: view.kind(), rank: view.sizes().len(), device: view.device(), order }
    }
}

impl Kinds {
    pub(crate) fn of_values<V: Borrow<IValue>>(values: &[V]) -> Kinds {
        let mut out = Vec::new();
        values.iter().for_each(|v| describe(v.borrow(), &mut out));
        Kinds(out)
    }

    /// Are these tensors of these kinds? Allocates nothing.
    pub(crate) fn fit_tensors<T: Borrow<Tensor>>(&self, tensors: &[T]) -> bool {
        self.0.len() == tensors.len()
            && self.0.iter().zip(tensors).all(|(k, t)| *k == ArgumentKind::of(t.borrow()))
    }
}

fn describe(value: &IValue, out: &mut Vec<ArgumentKind>) {
    let list = |items: &[IValue], out: &mut Vec<ArgumentKind>| {
        out.push(ArgumentKind::Open);
        items.iter().for_each(|v| describe(v, out));
        out.push(ArgumentKind::Close);
    };
    match value {
        IValue::Tensor(t) => out.push(ArgumentKind::of(t)),
        IValue::None => out.push(ArgumentKind::None),
        IValue::Tuple(items) | IValue::GenericList(items) => list(items, out),
        IValue::TensorList(tensors) => {
            out.push(ArgumentKind::Open);
            out.extend(tensors.iter().map(ArgumentKind::of));
            out.push(ArgumentKind::Close);
        }
        IValue::GenericDict(pairs) => {
            out.push(ArgumentKind::Open);
            pairs.iter().for_each(|(k, v)| {
                describe(k, out);
                describe(v, out);
            });
            out.push(ArgumentKind::Close);
        }
        _ => out.push(ArgumentKind::Other),
    }
}

/// A form of a method, from observation to the finished rewrite.
pub(crate) struct Variant {
    pub(crate) kinds: Kinds,
    pub(crate) graph: Graph,
    /// Empty while it is being made.
    pub(crate) made: OnceLock<Result<Stitched, String>>,
}

/// The finished rewrite.
pub(crate) struct Stitched {
    pub(crate) method: Method,
    /// Keeps the type of `method` alive.
    _module: Module,
    pub(crate) clusters: Vec<Arc<ClusterEngine>>,
    /// The tensors and the ints that enter each cluster.
    entries: Vec<[Vec<ValueId>; 2]>,
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
    /// Builds the engines for what was seen in a run of the graph.
    pub(crate) fn specialise(&self, graph: &GraphFacts, seen: &[Seen]) {
        for (cluster, [inputs, ints]) in self.clusters.iter().zip(&self.entries) {
            let types = cluster.parameters().types();
            if let Some(border) = types.and_then(|types| observed_border(graph, seen, [inputs, ints], types))
            {
                cluster.build(border);
            }
        }
    }
}

/// What building needs besides the graph.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) runners: Runners,
    pub(crate) options: Options,
}

impl Builder {
    /// Divides, stitches, and builds the engines for the observed shapes.
    pub(crate) fn build(
        &self,
        host: &Module,
        name: &str,
        graph: &Graph,
        seen: &[Seen],
    ) -> Result<Stitched, Error> {
        let start = Instant::now();
        let facts: GraphFacts = graph.facts()?;
        let device = device_of(seen);
        let runner = self.runners.of(device, &self.options);
        let division = divide(&facts, seen, device, &runner, &self.options);
        let (mut engines, mut stitches, mut borders) = (Vec::new(), Vec::new(), Vec::new());
        let (mut orders, mut blocks, mut plans) = (Vec::new(), Vec::new(), Vec::new());
        for block in division.map_err(|e| JitError::Graph(e.to_string()))? {
            if !block.clusters.is_empty() {
                orders.push(block.order);
            }
            blocks.push((block.flow, block.partition));
            plans.extend(block.clusters);
        }
        let is_whole = is_whole(&facts, &blocks, &plans);
        let entries = plans.iter().map(|p| [p.inputs.clone(), p.ints.clone()]).collect();
        for plan in plans {
            let title = format!("{name}, engine {}", engines.len());
            let engine = ClusterEngine::new(
                title,
                plan.source,
                plan.orders,
                plan.parameters,
                device,
                runner.backend.clone(),
                self.options.clone(),
            );
            let engine = Arc::new(engine?);
            stitches.push(Cluster {
                nodes: plan.nodes,
                inputs: plan.inputs,
                ints: plan.ints,
                outputs: plan.outputs,
                int_outputs: plan.int_outputs,
                engine: Arc::new(Serving(engine.clone())),
            });
            borders.push(plan.border);
            engines.push(engine);
        }
        let module = host.shell()?;
        graph.stitch(&module, &orders, stitches)?;
        for (engine, border) in engines.iter().zip(borders) {
            if let Some(border) = border {
                engine.build(border);
            }
        }
        let method = module.method(name)?;
        let whole = engines.first().filter(|_| is_whole).cloned();
        let backend = runner.describe();
        Ok(Stitched {
            method,
            _module: module,
            clusters: engines,
            entries,
            whole,
            blocks,
            backend,
            build: start.elapsed(),
        })
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
