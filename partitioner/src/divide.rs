//! The partitioner's one method, as the list of its stages.

use crate::adjacency::Adjacency;
use crate::atom::{Atoms, atoms};
use crate::cluster::{Cluster, Dropped, HostNode, Partition};
use crate::graph::{FlowGraph, NodeId, Role};
use crate::grow::grow;
use crate::policy::Policy;
use crate::quotient::{Kind, Nodes};
use crate::schedule::schedule;
use crate::trim::trim;
use crate::verdict::Stay;
use std::collections::{HashMap, HashSet};

/// Divides a graph into clusters that are legal, maximal and worth their launch, and the host's rest. What "legal" and
/// "maximal" mean is stated in [`crate::verify`](mod@crate::verify).
///
/// Deterministic. `O(n log n)` in practice, see `reach.rs`; a graph of 100,000 nodes takes a fraction of a second.
pub fn partition(graph: &FlowGraph, policy: &Policy) -> Partition {
    let flow = flow(graph);
    let mut division = Division::new(graph, &flow, policy);
    division.settle_free_nodes();
    loop {
        grow(graph, &flow, &mut division.nodes);
        let adopted = division.adopt();
        if !division.drop_clusters() && !division.trim_clusters() && !adopted {
            break;
        }
    }
    let partition = division.finish();
    debug_assert_eq!(crate::verify::verify(graph, &partition), Ok(()));
    partition
}

/// All edges as flat arrays.
pub(crate) fn flow(graph: &FlowGraph) -> Adjacency {
    let edges: Vec<(u32, u32)> = graph.edges().map(|(u, v, _)| (u.0, v.0)).collect();
    Adjacency::new(graph.len(), &edges)
}

/// A partition in the making.
struct Division<'a> {
    graph: &'a FlowGraph,
    flow: &'a Adjacency,
    policy: &'a Policy,
    nodes: Nodes,
    /// The name of the nodes that each node is bound to, and how many they are by name.
    bound: Vec<u32>,
    ties: Vec<u32>,
    /// Why a node is, or once was, left on the host.
    stay: Vec<Option<Stay>>,
    dropped: Vec<Dropped>,
}

impl<'a> Division<'a> {
    fn new(graph: &'a FlowGraph, flow: &'a Adjacency, policy: &'a Policy) -> Self {
        let Atoms { of, bound, stay } = atoms(graph, flow);
        let kind = stay.iter().map(|stay| if stay.is_some() { Kind::Host } else { Kind::Seed }).collect();
        let computes = graph.ids().map(|id| graph.node(id).role == Role::Compute).collect();
        let nodes = Nodes { kind, computes, group: of };
        let mut ties = vec![0; graph.len()];
        bound.iter().for_each(|&name| ties[name as usize] += 1);
        Division { graph, flow, policy, nodes, bound, ties, stay, dropped: vec![] }
    }

    /// Leaves free nodes on the host that no cluster could keep, as if all accepted nodes were one cluster.
    fn settle_free_nodes(&mut self) {
        let one: Vec<Option<u32>> = self.cluster_of().into_iter().map(|group| group.map(|_| 0)).collect();
        for v in self.trimmed(&one) {
            self.retire(v, Stay::Free);
        }
    }

    /// Followers that found a cluster are members like all others; true when there was one.
    fn adopt(&mut self) -> bool {
        let founded: HashSet<u32> = self.cluster_of().into_iter().flatten().collect();
        let nodes = &mut self.nodes;
        let mut adopted = false;
        for v in 0..nodes.kind.len() {
            if nodes.kind[v] == Kind::Follower && founded.contains(&nodes.group[v]) {
                nodes.kind[v] = Kind::Seed;
                adopted = true;
            }
        }
        adopted
    }

    /// Gives up the clusters that do not pay even when trimmed; true when there was one.
    fn drop_clusters(&mut self) -> bool {
        let whole = self.cluster_of();
        let mut rest = whole.clone();
        for v in self.trimmed(&whole) {
            rest[v as usize] = None;
        }
        let before = self.dropped.len();
        for nodes in gather(&whole) {
            let own = whole[nodes[0].index()];
            let kept = nodes.iter().copied().filter(|v| rest[v.index()].is_some()).collect();
            let cluster = Cluster::describe(self.graph, kept, self.policy, |v| rest[v.index()] == own);
            if let Some(stay) = cluster.objection(self.policy) {
                nodes.iter().for_each(|v| self.release(v.0, &stay));
                self.dropped.push(Dropped { nodes, stay });
            }
        }
        self.dropped.len() > before
    }

    /// Gives free nodes at the borders back to the host; true when there was one.
    fn trim_clusters(&mut self) -> bool {
        let trimmed = self.trimmed(&self.cluster_of());
        trimmed.iter().for_each(|&v| self.retire(v, Stay::Free));
        !trimmed.is_empty()
    }

    fn finish(mut self) -> Partition {
        let of = self.cluster_of();
        let describe = |nodes: Vec<NodeId>| {
            let own = of[nodes[0].index()];
            Cluster::describe(self.graph, nodes, self.policy, |v| of[v.index()] == own)
        };
        let clusters: Vec<Cluster> = gather(&of).into_iter().map(describe).collect();
        let host = self.graph.ids().filter(|id| of[id.index()].is_none());
        let host =
            host.filter_map(|node| Some(HostNode { node, stay: self.stay[node.index()].take()? })).collect();
        let mut dropped = self.dropped;
        dropped.iter_mut().for_each(|dropped| dropped.nodes.retain(|v| of[v.index()].is_none()));
        dropped.retain(|dropped| dropped.nodes.iter().any(|&v| self.graph.node(v).role == Role::Compute));
        Partition { order: schedule(self.flow, &clusters), clusters, host, dropped, policy: *self.policy }
    }

    fn trimmed(&self, cluster: &[Option<u32>]) -> Vec<u32> {
        trim(self.graph, self.flow, cluster, &self.bound, &self.nodes.computes)
    }

    /// The group of each node that is in one which may become a cluster.
    fn cluster_of(&self) -> Vec<Option<u32>> {
        let nodes = self.nodes.kind.iter().zip(&self.nodes.group);
        nodes.map(|(&kind, &group)| (kind == Kind::Seed).then_some(group)).collect()
    }

    /// A node whose cluster was dropped may follow another one, alone and once.
    fn release(&mut self, v: u32, stay: &Stay) {
        let i = v as usize;
        let alone = self.ties[self.bound[i] as usize] == 1;
        let first = self.stay[i].is_none();
        self.retire(v, if self.nodes.computes[i] { stay.clone() } else { Stay::Free });
        if alone && first {
            self.nodes.kind[i] = Kind::Follower;
            self.nodes.group[i] = self.graph.len() as u32 + v;
        }
    }

    fn retire(&mut self, v: u32, stay: Stay) {
        self.nodes.kind[v as usize] = Kind::Host;
        self.stay[v as usize] = Some(stay);
    }
}

/// The nodes of each cluster in source order, the clusters by their first nodes.
fn gather(cluster: &[Option<u32>]) -> Vec<Vec<NodeId>> {
    let mut index = HashMap::new();
    let mut gathered: Vec<Vec<NodeId>> = vec![];
    for (group, v) in cluster.iter().zip(0..) {
        if let Some(group) = group {
            let at = *index.entry(group).or_insert(gathered.len());
            if at == gathered.len() {
                gathered.push(vec![]);
            }
            gathered[at].push(NodeId(v));
        }
    }
    gathered
}
