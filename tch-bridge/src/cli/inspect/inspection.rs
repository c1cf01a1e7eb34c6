//! The facts of an inspection, as `--json` prints them.

use super::super::model::{Loaded, ModelArgs};
use super::super::spec::kind_name;
use crate::engine::{Built, ClusterEngine, Entry};
use crate::jit::TensorView;
use crate::switch;
use crate::variant::Stitched;
use partitioner::{Coverage, FlowGraph, NodeId, Partition, Role, ValueId};
use serde::Serialize;
use tch::{IValue, Tensor};
use trt_subgraph::network::LayerKind;

/// Who runs what in one method.
#[derive(Serialize)]
pub(crate) struct Inspection {
    pub(crate) model: String,
    pub(crate) method: String,
    pub(crate) backend: String,
    /// Is the process's switch on, as other programs find it? This one runs engines all the same.
    pub(crate) enabled: bool,
    /// `name: f32[1,3,224,224]` for each argument.
    pub(crate) inputs: Vec<String>,
    pub(crate) coverage: Coverage,
    /// Part of the operations that runs in engines, 0 to 1.
    pub(crate) fraction: f64,
    /// Time to divide, rewrite and build, in milliseconds.
    pub(crate) build_ms: f64,
    pub(crate) engines: Vec<EngineFacts>,
    /// In source order, nodes of branches and loops after the node that holds them.
    pub(crate) nodes: Vec<NodeFacts>,
}

/// One engine.
#[derive(Serialize)]
pub(crate) struct EngineFacts {
    pub(crate) number: usize,
    /// The block of the method that it stands in; 0 is the body.
    pub(crate) block: usize,
    /// Types of what enters and leaves.
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
    pub(crate) nodes: usize,
    pub(crate) operations: f64,
    /// Bytes of what enters and leaves.
    pub(crate) border_bytes: f64,
    pub(crate) weight_bytes: usize,
    pub(crate) arena_bytes: usize,
    /// Time to build it, in milliseconds.
    pub(crate) build_ms: f64,
    /// Why the host serves in its place, if it does.
    pub(crate) refused: Option<String>,
    /// Layers of a call before fusion.
    pub(crate) layers_before: usize,
    /// What the guard of the precision found.
    pub(crate) parity: Option<crate::report::Parity>,
    /// What a call computes after fusion.
    pub(crate) layers: Vec<LayerFacts>,
    /// What the backend runs, in order.
    pub(crate) steps: Vec<String>,
}

/// One fused layer.
#[derive(Serialize)]
pub(crate) struct LayerFacts {
    pub(crate) kind: String,
    /// The operators that it comes from.
    pub(crate) origin: String,
    /// Its line in the network's text form.
    pub(crate) text: String,
}

/// One operator call of the method.
#[derive(Serialize)]
pub(crate) struct NodeFacts {
    pub(crate) block: usize,
    pub(crate) name: String,
    /// The line of the model's source.
    pub(crate) place: String,
    /// The engine that runs it; none is the host.
    pub(crate) engine: Option<usize>,
    /// Why the host runs it.
    pub(crate) reason: Option<String>,
    /// Does it compute, or only rename, reshape, measure?
    pub(crate) computes: bool,
    pub(crate) operations: f64,
    pub(crate) bytes: f64,
    pub(crate) inputs: Vec<String>,
    pub(crate) outputs: Vec<String>,
}

impl Inspection {
    pub(crate) fn of(
        args: &ModelArgs,
        loaded: &Loaded,
        values: &[IValue],
        stitched: &Stitched,
    ) -> Inspection {
        let mut coverage = Coverage::default();
        let (mut engines, mut nodes) = (Vec::new(), Vec::new());
        for (block, (graph, partition)) in stitched.blocks.iter().enumerate() {
            coverage += Coverage::new(graph, partition);
            nodes.extend(node_facts(block, graph, partition, engines.len()));
            for cluster in &partition.clusters {
                let number = engines.len();
                engines.push(engine_facts(number, block, graph, cluster, &stitched.clusters[number]));
            }
        }
        let inputs = loaded.arguments.iter().zip(values);
        Inspection {
            model: args.model.display().to_string(),
            method: args.method.clone(),
            backend: loaded.module.report().backend,
            enabled: switch::is_chosen(),
            inputs: inputs.map(|(a, v)| format!("{}: {}", a.name, type_text(v))).collect(),
            fraction: coverage.fraction(),
            coverage,
            build_ms: stitched.build.as_secs_f64() * 1e3,
            engines,
            nodes,
        }
    }
}

fn node_facts(block: usize, graph: &FlowGraph, partition: &Partition, first: usize) -> Vec<NodeFacts> {
    let cluster_of = partition.cluster_of();
    let fact = |id: NodeId| {
        let node = graph.node(id);
        let stay = partition.host.iter().find(|host| host.node == id);
        NodeFacts {
            block,
            name: node.name.clone(),
            place: node.place.clone(),
            engine: cluster_of[id.index()].map(|at| first + at),
            reason: stay.map(|host| host.stay.to_string()),
            computes: node.role == Role::Compute,
            operations: node.cost.operations,
            bytes: node.cost.bytes,
            inputs: texts(graph, graph.reads(id)),
            outputs: texts(graph, graph.makes(id)),
        }
    };
    graph.ids().map(fact).collect()
}

fn texts(graph: &FlowGraph, values: &[ValueId]) -> Vec<String> {
    values.iter().map(|&v| graph.value(v).text.clone()).filter(|text| !text.is_empty()).collect()
}

fn engine_facts(
    number: usize,
    block: usize,
    graph: &FlowGraph,
    cluster: &partitioner::Cluster,
    engine: &ClusterEngine,
) -> EngineFacts {
    let mut facts = EngineFacts {
        number,
        block,
        inputs: texts(graph, &cluster.inputs),
        outputs: texts(graph, &cluster.outputs),
        nodes: cluster.nodes.len(),
        operations: cluster.tally.cost.operations,
        border_bytes: cluster.tally.border_bytes,
        weight_bytes: 0,
        arena_bytes: 0,
        build_ms: 0.0,
        refused: None,
        layers_before: 0,
        parity: None,
        layers: Vec::new(),
        steps: Vec::new(),
    };
    let built = engine.specialisations();
    let Some(newest) = built.first() else {
        facts.refused = Some("its code did not run for these inputs".into());
        return facts;
    };
    match &newest.outcome {
        Built::Refused(why) => facts.refused = Some(why.clone()),
        Built::Ready(ready) => {
            let info = ready.pool.info();
            facts.weight_bytes = info.weight_bytes;
            facts.arena_bytes = info.arena_bytes;
            facts.steps = info.steps.clone();
            facts.build_ms = ready.build.as_secs_f64() * 1e3;
            facts.layers_before = ready.layers;
            facts.parity = ready.parity.clone();
            facts.layers = layer_facts(engine, &newest.entry);
        }
    }
    facts
}

fn layer_facts(engine: &ClusterEngine, entry: &Entry) -> Vec<LayerFacts> {
    let Ok(laid) = engine.laid(entry) else { return Vec::new() };
    let run = laid.network.split().run;
    let computed = run.layers.iter().filter(|l| !matches!(l.kind, LayerKind::Prepared(_)));
    let fact = |layer: &trt_subgraph::network::Layer| LayerFacts {
        kind: layer.kind.name().to_string(),
        origin: layer.origin.clone(),
        text: run.line(layer),
    };
    computed.map(fact).collect()
}

/// Do channels, axis 1, lie innermost in memory, and not as they are counted?
fn is_channels_last(t: &Tensor) -> bool {
    let order: &[i64] = match t.dim() {
        4 => &[0, 2, 3, 1],
        5 => &[0, 2, 3, 4, 1],
        _ => return false,
    };
    TensorView::of(t).is_plain()
        && t.f_permute(order).is_ok_and(|turned| turned.is_contiguous() && !t.is_contiguous())
}

/// An argument's type: `f32[1,3]`, `[f32[2], 3]`, `f32[1,3,8,8]%channels_last`.
pub(crate) fn type_text(value: &IValue) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(", "));
    match value {
        IValue::Tensor(t) => {
            let sizes: Vec<String> = t.size().iter().map(i64::to_string).collect();
            let format = if is_channels_last(t) { "%channels_last" } else { "" };
            format!("{}[{}]{format}", kind_name(t.kind()), sizes.join(","))
        }
        IValue::None => "none".into(),
        IValue::Int(v) => v.to_string(),
        IValue::Double(v) => format!("{v:?}"),
        IValue::Bool(v) => v.to_string(),
        IValue::String(text) => format!("'{text}'"),
        IValue::Tuple(items) | IValue::GenericList(items) => list(items.iter().map(type_text).collect()),
        IValue::TensorList(ts) => {
            list(ts.iter().map(|t| type_text(&IValue::Tensor(t.shallow_clone()))).collect())
        }
        IValue::IntList(vs) => list(vs.iter().map(i64::to_string).collect()),
        IValue::DoubleList(vs) => list(vs.iter().map(|v| format!("{v:?}")).collect()),
        IValue::BoolList(vs) => list(vs.iter().map(bool::to_string).collect()),
        IValue::StringList(vs) => list(vs.iter().map(|v| format!("'{v}'")).collect()),
        IValue::GenericDict(entries) => {
            let one = |(k, v): &(IValue, IValue)| format!("{}: {}", type_text(k), type_text(v));
            format!("{{{}}}", entries.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        _ => "object".into(),
    }
}
