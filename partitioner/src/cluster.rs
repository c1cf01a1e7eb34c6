//! The result: clusters, the nodes that stay, and the order in which to run them.

use crate::graph::{FlowGraph, NodeId, ValueId};
use crate::policy::{Policy, Tally};
use crate::verdict::Stay;
use serde::Serialize;

/// A set of nodes to carve out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// In source order.
    pub nodes: Vec<NodeId>,
    /// Values read inside and made outside, in the order of first use.
    pub inputs: Vec<ValueId>,
    /// Values made inside and needed outside, in source order.
    pub outputs: Vec<ValueId>,
    /// Sums over the nodes and the border.
    pub tally: Tally,
    /// Estimated time won per call in ns.
    pub gain_ns: f64,
}

/// A node that stays on the host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostNode {
    /// Which.
    pub node: NodeId,
    /// Why.
    pub stay: Stay,
}

/// A cluster that was legal and did not pay. Its nodes may have found another cluster since.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dropped {
    /// Those of its nodes that ended up on the host, in source order.
    pub nodes: Vec<NodeId>,
    /// What was found against it.
    pub stay: Stay,
}

/// One step of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Step {
    /// The host runs a node.
    Host(NodeId),
    /// An engine runs [`Partition::clusters`] at this index.
    Cluster(usize),
}

/// Who runs what, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Partition {
    /// By source order of their first nodes.
    pub clusters: Vec<Cluster>,
    /// In source order.
    pub host: Vec<HostNode>,
    /// Every host node and every cluster once, producers first, otherwise in source order; a cluster counts as its
    /// first node.
    pub order: Vec<Step>,
    /// For reports.
    pub dropped: Vec<Dropped>,
    /// What the clusters were judged by.
    pub policy: Policy,
}

impl Partition {
    /// For each node of the graph, in source order, the index of its cluster; `None` on the host.
    pub fn cluster_of(&self) -> Vec<Option<usize>> {
        let n = self.host.len() + self.clusters.iter().map(|c| c.nodes.len()).sum::<usize>();
        let mut of = vec![None; n];
        for (index, cluster) in self.clusters.iter().enumerate() {
            for node in &cluster.nodes {
                of[node.index()] = Some(index);
            }
        }
        of
    }
}

impl Cluster {
    /// Describes `nodes` (in source order) as a cluster; `inside` tells whether a node is one of them.
    pub(crate) fn describe(
        graph: &FlowGraph,
        nodes: Vec<NodeId>,
        policy: &Policy,
        inside: impl Fn(NodeId) -> bool,
    ) -> Cluster {
        let mut tally = Tally::default();
        let (mut inputs, mut outputs) = (vec![], vec![]);
        let mut known = std::collections::HashSet::new();
        for &id in &nodes {
            tally.add(graph.node(id), policy);
            let foreign = |v: &ValueId| !graph.value(*v).producer.is_some_and(&inside);
            inputs.extend(graph.reads(id).iter().copied().filter(|v| foreign(v) && known.insert(*v)));
            outputs.extend(graph.makes(id).iter().copied().filter(|&value| {
                let value = graph.value(value);
                value.escapes || value.readers.iter().any(|&reader| !inside(reader))
            }));
        }
        tally.border_bytes =
            inputs.iter().chain(&outputs).fold(0.0, |sum, &value| sum + graph.value(value).bytes);
        let gain_ns = policy.gain_ns(&tally);
        Cluster { nodes, inputs, outputs, tally, gain_ns }
    }

    /// What the policy has against the cluster.
    pub(crate) fn objection(&self, policy: &Policy) -> Option<Stay> {
        let (compute, needed) = (self.tally.kernels, policy.needed());
        if compute < needed && self.tally.cost.operations < policy.enough_operations {
            Some(Stay::TooSmall { compute, needed })
        } else if self.gain_ns > policy.min_gain_ns {
            None
        } else {
            Some(Stay::NotWorth { gain_ns: self.gain_ns })
        }
    }
}
