//! What a picture of a partition shows: boxes in running order, and arrows between them.

use crate::cluster::{Partition, Step};
use crate::graph::{Edge, FlowGraph, NodeId, Role, ValueId};
use crate::verdict::Stay;
use std::collections::{BTreeMap, HashMap};

/// More boxes than this, and the host's neighbours share one.
const MANY_BOXES: usize = 60;
/// More inputs or outputs than this share one box.
const MANY_VALUES: usize = 6;

/// A box.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    /// Inputs of the graph.
    Inputs(Vec<ValueId>),
    /// A cluster by index.
    Engine(usize),
    /// Nodes of the host that run one after another.
    Host(Vec<NodeId>),
    /// Outputs of the graph.
    Outputs(Vec<ValueId>),
}

/// Boxes and arrows. Every arrow goes from a lower to a higher index; arrows are distinct.
pub(crate) struct Scene {
    pub items: Vec<Item>,
    /// The arrow's ends, and whether data flows along it.
    pub arrows: Vec<((usize, usize), bool)>,
}

/// Chooses what to show.
pub(crate) fn scene(graph: &FlowGraph, partition: &Partition) -> Scene {
    let read = |id: &ValueId| graph.value(*id).producer.is_none() && !graph.value(*id).readers.is_empty();
    let inputs: Vec<ValueId> = graph.values().map(|(id, _)| id).filter(read).collect();
    let outputs: Vec<ValueId> = graph
        .values()
        .filter(|(_, value)| value.escapes && value.producer.is_some())
        .map(|(id, _)| id)
        .collect();
    let mut items: Vec<Item> = grouped(&inputs).into_iter().map(Item::Inputs).collect();
    let steps = steps(graph, partition, false);
    items.extend(if steps.len() > MANY_BOXES { self::steps(graph, partition, true) } else { steps });
    items.extend(grouped(&outputs).into_iter().map(Item::Outputs));
    let arrows = arrows(graph, partition, &items);
    Scene { items, arrows }
}

fn grouped(values: &[ValueId]) -> Vec<Vec<ValueId>> {
    match values.len() {
        0 => vec![],
        n if n > MANY_VALUES => vec![values.to_vec()],
        _ => values.iter().map(|&value| vec![value]).collect(),
    }
}

/// The steps as boxes. Free nodes that run one after another share a box; with `coarse` all host nodes do. As they are
/// neighbours in a legal order, no arrow comes to point backward.
fn steps(graph: &FlowGraph, partition: &Partition, coarse: bool) -> Vec<Item> {
    let stay: HashMap<NodeId, &Stay> = partition.host.iter().map(|host| (host.node, &host.stay)).collect();
    let shares = |v: NodeId| {
        coarse || graph.node(v).role == Role::Free || stay.get(&v).is_some_and(|stay| stay.by_choice())
    };
    let mut items = vec![];
    for step in &partition.order {
        match (*step, items.last_mut()) {
            (Step::Host(node), Some(Item::Host(run))) if shares(node) && run.iter().all(|&v| shares(v)) => {
                run.push(node);
            }
            (Step::Host(node), _) => items.push(Item::Host(vec![node])),
            (Step::Cluster(index), _) => items.push(Item::Engine(index)),
        }
    }
    items
}

fn arrows(graph: &FlowGraph, partition: &Partition, items: &[Item]) -> Vec<((usize, usize), bool)> {
    let mut of_node = vec![0; graph.len()];
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Engine(index) => {
                partition.clusters[*index].nodes.iter().for_each(|v| of_node[v.index()] = at)
            }
            Item::Host(nodes) => nodes.iter().for_each(|v| of_node[v.index()] = at),
            Item::Inputs(_) | Item::Outputs(_) => {}
        }
    }
    let mut arrows: BTreeMap<(usize, usize), bool> = BTreeMap::new();
    let mut draw = |ends: (usize, usize), data: bool| *arrows.entry(ends).or_insert(data) |= data;
    for (u, v, edge) in graph.edges() {
        draw((of_node[u.index()], of_node[v.index()]), matches!(edge, Edge::Data(_)));
    }
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Inputs(values) => {
                let readers = values.iter().flat_map(|&value| &graph.value(value).readers);
                readers.for_each(|reader| draw((at, of_node[reader.index()]), true));
            }
            Item::Outputs(values) => {
                let producers = values.iter().filter_map(|&value| graph.value(value).producer);
                producers.for_each(|producer| draw((of_node[producer.index()], at), true));
            }
            Item::Engine(_) | Item::Host(_) => {}
        }
    }
    arrows.into_iter().filter(|((a, b), _)| a != b).collect()
}
