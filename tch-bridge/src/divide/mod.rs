//! From a prepared graph and one observed run to clusters: judge each node, partition each block, and describe each
//! cluster as a source graph.

mod apart;
mod call;
mod flow;
mod known;
mod lasting;

#[cfg(feature = "tool")]
pub(crate) use known::literal_of;

use crate::Options;
use crate::backend::Runner;
use crate::engine::Entry;
use crate::jit::{BlockId, GraphFacts, Item, NodeId, Order, Seen, TensorView, ValueId, ValueType};
use crate::layout::AxisOrder;
use crate::types::type_of_view;
use flow::Flow;
use known::Knowledge;
pub(crate) use known::device_of;
use partitioner::{FlowGraph, Partition, Step};
use std::collections::HashSet;
use tch::Tensor;
use trt_subgraph::TensorType;
use trt_subgraph::source::{Border, Call, Input, InputKind, Known, SourceGraph, Var};

/// What is to be done to one block.
pub(crate) struct BlockDivision {
    pub(crate) flow: FlowGraph,
    pub(crate) partition: Partition,
    pub(crate) order: Order,
    pub(crate) clusters: Vec<ClusterPlan>,
}

/// A cluster as a source graph, and how it is tied into the method.
pub(crate) struct ClusterPlan {
    pub(crate) source: SourceGraph,
    /// How the tensor outputs lay in memory in the observed run.
    pub(crate) orders: Vec<AxisOrder>,
    pub(crate) parameters: Vec<Tensor>,
    /// For each parameter the path of its attribute; `None` for a constant.
    pub(crate) places: Vec<Option<String>>,
    /// The nodes that move into the cluster, packings included, in order.
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) ints: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) int_outputs: Vec<ValueId>,
    /// What entered it in the observed run: the first specialisation. `None` where it did not run.
    pub(crate) entry: Option<Entry>,
}

/// Divides every block of the graph, whose engines are to run on `device`.
pub(crate) fn divide(
    graph: &GraphFacts,
    seen: &[Seen],
    device: tch::Device,
    runner: &Runner,
    options: &Options,
) -> Result<Vec<BlockDivision>, partitioner::GraphError> {
    let mut knowledge = Knowledge::new(graph, seen, device);
    let mut blocks = Vec::new();
    let mut clusters = 0;
    for at in 0..graph.blocks.len() {
        let mut flow = flow::flow(&mut knowledge, BlockId(at as u32), &*runner.backend, options)?;
        let partition = apart::together(&knowledge, &mut flow, &runner.policy)?;
        let plans: Vec<ClusterPlan> =
            (0..partition.clusters.len()).map(|i| describe(&knowledge, &flow, &partition, i)).collect();
        let order = order(&flow, &partition, clusters);
        clusters += plans.len();
        blocks.push(BlockDivision { flow: flow.graph, partition, order, clusters: plans });
    }
    Ok(blocks)
}

fn order(flow: &Flow, partition: &Partition, first_cluster: usize) -> Order {
    let mut items = Vec::new();
    for step in &partition.order {
        match step {
            Step::Host(node) => {
                let at = node.index();
                items.extend(flow.packings[at].iter().map(|&n| Item::Node(n)));
                items.push(Item::Node(flow.nodes[at]));
            }
            Step::Cluster(index) => items.push(Item::Cluster(first_cluster + index)),
        }
    }
    Order { block: flow.block, items }
}

fn describe(knowledge: &Knowledge<'_>, flow: &Flow, partition: &Partition, index: usize) -> ClusterPlan {
    let graph = knowledge.graph;
    let cluster = &partition.clusters[index];
    let mut source = SourceGraph { device: knowledge.device_name(), ..SourceGraph::default() };
    let mut plan_nodes = Vec::new();
    let (mut parameters, mut places) = (Vec::new(), Vec::new());
    let mut declared: HashSet<ValueId> = HashSet::new();
    for id in &cluster.nodes {
        let packings = &flow.packings[id.index()];
        let node_id = flow.nodes[id.index()];
        plan_nodes.extend(packings.iter().copied());
        plan_nodes.push(node_id);
        let node = &graph[node_id];
        for value in knowledge.leaves(&node.inputs).0 {
            let Some(producer) = graph[value].producer.filter(|&n| knowledge.is_read(n)) else { continue };
            let read = &graph[producer];
            if let Some(tensor) = knowledge.read_tensor(read)
                && matches!(knowledge.of(value), Some(Known::Parameter(_)))
                && declared.insert(value)
            {
                let place = read.attribute.as_ref().map(|a| a.path.clone());
                let name = place.as_ref().unwrap_or(&graph[value].name);
                source.parameters.push((Var(value.0), name.clone()));
                parameters.push(tensor.shallow_clone());
                places.push(place);
            }
        }
        source.calls.push(Call {
            op: call::op_name(node),
            args: node.inputs.iter().map(|&v| knowledge.argument(v)).collect(),
            outputs: node.outputs.iter().map(|v| Var(v.0)).collect(),
            place: call::place_of(node),
        });
    }
    let is_int = |v: &ValueId| *graph[*v].ty.present() == ValueType::Int;
    let values =
        |ids: &[partitioner::ValueId]| ids.iter().map(|v| flow.values[v.index()]).collect::<Vec<_>>();
    let (ints, inputs): (Vec<_>, Vec<_>) = values(&cluster.inputs).into_iter().partition(is_int);
    let (int_outputs, outputs): (Vec<_>, Vec<_>) = values(&cluster.outputs).into_iter().partition(is_int);
    let input = |kind| move |v: &ValueId| Input { var: Var(v.0), kind };
    source.inputs.extend(inputs.iter().map(input(InputKind::Tensor)));
    source.inputs.extend(ints.iter().map(input(InputKind::Int)));
    let orders: Vec<AxisOrder> = outputs.iter().map(|&v| knowledge.order(v)).collect();
    source.outputs.extend(outputs.iter().map(|v| Var(v.0)));
    source.outputs.extend(int_outputs.iter().map(|v| Var(v.0)));
    let parameter = |t: &Tensor| type_of_view(&TensorView::of(t));
    let types = parameters.iter().map(parameter).collect::<Option<_>>();
    let entry = types.and_then(|types| entry(knowledge, &inputs, &ints, types));
    let nodes = plan_nodes;
    ClusterPlan { source, orders, parameters, places, nodes, inputs, ints, outputs, int_outputs, entry }
}

/// What enters a cluster in a run, beside parameters of these types; `None` where the cluster did not run, or where something
/// enters that engines do not take.
pub(crate) fn observed_entry(
    graph: &GraphFacts,
    seen: &[Seen],
    [inputs, ints]: [&[ValueId]; 2],
    parameters: Vec<TensorType>,
) -> Option<Entry> {
    entry(&Knowledge::new(graph, seen, device_of(seen)), inputs, ints, parameters)
}

fn entry(
    knowledge: &Knowledge<'_>,
    inputs: &[ValueId],
    ints: &[ValueId],
    parameters: Vec<TensorType>,
) -> Option<Entry> {
    let tensor = |v: &ValueId| match knowledge.of(*v) {
        Some(Known::Tensor(ty)) => Some(ty.clone()),
        Some(Known::Literal(l)) => Some(l.ty().clone()),
        _ => None,
    };
    let int = |v: &ValueId| if let Some(Known::Int(i)) = knowledge.of(*v) { Some(*i) } else { None };
    let border = Border {
        tensors: inputs.iter().map(tensor).collect::<Option<_>>()?,
        ints: ints.iter().map(int).collect::<Option<_>>()?,
        parameters,
    };
    let orders = inputs.iter().map(|&v| knowledge.operand_order(v)).collect();
    Some(Entry { border, orders, tf32: Default::default() })
}
