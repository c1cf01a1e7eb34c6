//! What is true of every partition.
//!
//! **Placement**
//! 1. Every node of the graph is in exactly one cluster or on the host once, with a reason.
//! 2. Every node of a cluster was accepted and has no effect.
//! 3. A bound value does not cross: its producer and readers are in one cluster or all on the host; on the host when it
//!    is an input or an output of the graph.
//!
//! **Legality**
//! 4. The order holds every host node and every cluster exactly once.
//! 5. Along every edge between different steps the order goes forward. As a cluster is one step, this proves that no path
//!    leaves a cluster and re-enters it (convexity), and that all clusters contracted at once leave no cycle.
//!
//! **Description**
//! 6. Nodes are in source order; inputs, outputs and tally of a cluster are those of its nodes.
//!
//! **Worth**
//! 7. Every cluster satisfies the policy: size and gain.
//! 8. No free node at a border serves nothing inside (see `trim.rs`).
//!
//! **Maximality** ([`verify_maximal`], a test of each pair: for small graphs)
//! 9. No two clusters that are connected by an edge, or that read values of one producer or the same input, could be one.
//! 10. No compute node of a dropped cluster that is connected so to a cluster could be in it, unless it is tied to others
//!     by bound values.

use crate::adjacency::Adjacency;
use crate::atom::bound;
use crate::cluster::{Cluster, Partition, Step};
use crate::divide::flow;
use crate::graph::{Crossing, FlowGraph, NodeId, Role, ValueId};
use crate::trim::trim;
use std::collections::BTreeSet;
use std::fmt;

pub use crate::maximal::verify_maximal;

/// A broken invariant: a fault of the partitioner, or a partition that was edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// 1: the node is nowhere or in several places, or the partition is of another graph.
    Placed(NodeId),
    /// 2: the node of this cluster must be on the host.
    Refused(usize, NodeId),
    /// 3: a bound value crosses a border.
    Bound(ValueId),
    /// 4: a step is missing, doubled or unknown.
    Order,
    /// 5: an edge goes backward in the order.
    Backward(NodeId, NodeId),
    /// 6: the cluster is not described as it is.
    Described(usize),
    /// 7: the cluster does not satisfy the policy.
    Worth(usize),
    /// 8: a free node serves nothing in its cluster.
    Untrimmed(usize, NodeId),
    /// 9: these two clusters could be one.
    Separate(usize, usize),
    /// 10: this node could be in this cluster.
    Outside(usize, NodeId),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Placed(v) => write!(f, "node {} is not in exactly one place", v.0),
            Violation::Refused(c, v) => write!(f, "cluster {c} holds node {} of the host", v.0),
            Violation::Bound(v) => write!(f, "bound value {} crosses a border", v.0),
            Violation::Order => f.write_str("the order does not hold every step exactly once"),
            Violation::Backward(u, v) => write!(f, "node {} runs before node {} that it needs", v.0, u.0),
            Violation::Described(c) => write!(f, "cluster {c} is not described as it is"),
            Violation::Worth(c) => write!(f, "cluster {c} does not satisfy the policy"),
            Violation::Untrimmed(c, v) => write!(f, "cluster {c} holds node {} for nothing", v.0),
            Violation::Separate(c, d) => write!(f, "clusters {c} and {d} could be one"),
            Violation::Outside(c, v) => write!(f, "node {} could be in cluster {c}", v.0),
        }
    }
}

/// Checks invariants 1 to 8 in `O(n log n)`; collects all violations of the first group that has any.
pub fn verify(graph: &FlowGraph, partition: &Partition) -> Result<(), Vec<Violation>> {
    let placed = placement(graph, partition);
    if !placed.is_empty() {
        return Err(placed);
    }
    let flow = flow(graph);
    let cluster = partition.cluster_of();
    let mut found = refused_or_bound(graph, partition, &cluster);
    found.extend(order(&flow, partition, &cluster));
    found.extend(description(graph, &flow, partition, &cluster));
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn placement(graph: &FlowGraph, partition: &Partition) -> Vec<Violation> {
    let mut count = vec![0; graph.len()];
    let mut unknown = vec![];
    let clustered = partition.clusters.iter().flat_map(|cluster| cluster.nodes.iter().copied());
    for id in clustered.chain(partition.host.iter().map(|host| host.node)) {
        match count.get_mut(id.index()) {
            Some(count) => *count += 1,
            None => unknown.push(Violation::Placed(id)),
        }
    }
    unknown.extend(graph.ids().filter(|id| count[id.index()] != 1).map(Violation::Placed));
    unknown
}

fn refused_or_bound(graph: &FlowGraph, partition: &Partition, cluster: &[Option<usize>]) -> Vec<Violation> {
    let mut found = vec![];
    for (index, node) in
        partition.clusters.iter().enumerate().flat_map(|(i, c)| c.nodes.iter().map(move |&v| (i, v)))
    {
        if !graph.node(node).verdict.accepted() || graph.node(node).effect {
            found.push(Violation::Refused(index, node));
        }
    }
    for (id, value) in graph.values().filter(|(_, value)| value.crossing == Crossing::Bound) {
        let mut homes: BTreeSet<Option<usize>> = value.readers.iter().map(|v| cluster[v.index()]).collect();
        homes.extend(value.producer.map(|v| cluster[v.index()]));
        let outer = value.escapes || value.producer.is_none();
        if homes.len() > 1 || (outer && homes.iter().any(Option::is_some)) {
            found.push(Violation::Bound(id));
        }
    }
    found
}

fn order(flow: &Adjacency, partition: &Partition, cluster: &[Option<usize>]) -> Vec<Violation> {
    let mut of_cluster = vec![usize::MAX; partition.clusters.len()];
    let mut of_node = vec![usize::MAX; flow.len()];
    let mut twice = false;
    for (at, step) in partition.order.iter().enumerate() {
        let slot = match *step {
            Step::Cluster(index) => of_cluster.get_mut(index),
            Step::Host(node) if cluster.get(node.index()) == Some(&None) => of_node.get_mut(node.index()),
            Step::Host(_) => None,
        };
        twice |= slot.is_none_or(|slot| std::mem::replace(slot, at) != usize::MAX);
    }
    for (v, cluster) in cluster.iter().enumerate() {
        of_node[v] = cluster.map_or(of_node[v], |cluster| of_cluster[cluster]);
    }
    if twice || of_node.contains(&usize::MAX) {
        return vec![Violation::Order];
    }
    let inside = |u: u32, v: u32| cluster[u as usize].is_some() && cluster[u as usize] == cluster[v as usize];
    (0..flow.len() as u32)
        .flat_map(|u| flow.succ(u).iter().map(move |&v| (u, v)))
        .filter(|&(u, v)| of_node[u as usize] >= of_node[v as usize] && !inside(u, v))
        .map(|(u, v)| Violation::Backward(NodeId(u), NodeId(v)))
        .collect()
}

fn description(
    graph: &FlowGraph,
    flow: &Adjacency,
    partition: &Partition,
    cluster: &[Option<usize>],
) -> Vec<Violation> {
    let mut found = vec![];
    for (index, given) in partition.clusters.iter().enumerate() {
        let inside = |v: NodeId| cluster[v.index()] == Some(index);
        let actual = Cluster::describe(graph, given.nodes.clone(), &partition.policy, inside);
        if actual != *given || !given.nodes.is_sorted() {
            found.push(Violation::Described(index));
        }
        if actual.objection(&partition.policy).is_some() {
            found.push(Violation::Worth(index));
        }
    }
    let labels: Vec<Option<u32>> = cluster.iter().map(|c| c.map(|c| c as u32)).collect();
    let computes: Vec<bool> = graph.ids().map(|id| graph.node(id).role == Role::Compute).collect();
    let idle = trim(graph, flow, &labels, &bound(graph), &computes);
    let untrimmed = |v: u32| cluster[v as usize].map(|index| Violation::Untrimmed(index, NodeId(v)));
    found.extend(idle.into_iter().filter_map(untrimmed));
    found
}
