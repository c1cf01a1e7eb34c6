//! Calls that have to know the value of a tensor, and lie apart from what computes it.
//!
//! Of a tensor that crosses a border only the type is known. So a call that was taken for a value (`int(n)` of a size that a tensor holds) is
//! right where all that the value is computed from is in its own cluster; elsewhere it stays on the host.

use super::flow::Flow;
use super::known::Knowledge;
use partitioner::{Code, GraphError, NodeId, Partition, Policy, Verdict, partition};
use std::collections::HashSet;

/// The partition of a block in which every call knows what it has to know.
pub(crate) fn together(
    knowledge: &Knowledge<'_>,
    flow: &mut Flow,
    policy: &Policy,
) -> Result<Partition, GraphError> {
    loop {
        let found = partition(&flow.graph, policy);
        let apart = apart(knowledge, flow, &found);
        if apart.is_empty() {
            return Ok(found);
        }
        for node in apart {
            let why = "it has to know the value of a tensor that is computed elsewhere";
            flow.graph.refuse(node, Verdict::refuse(Code::Attribute, why))?;
        }
    }
}

fn apart(knowledge: &Knowledge<'_>, flow: &Flow, partition: &Partition) -> Vec<NodeId> {
    let mut apart = Vec::new();
    for cluster in &partition.clusters {
        // Nodes of the cluster whose known arguments are known there too.
        let mut whole: HashSet<NodeId> = HashSet::new();
        for &node in &cluster.nodes {
            let is_whole = flow.graph.reads(node).iter().all(|&v| {
                !knowledge.is_computed_literal(flow.values[v.index()])
                    || flow.graph.value(v).producer.is_some_and(|p| whole.contains(&p))
            });
            if is_whole {
                whole.insert(node);
            } else if flow.leans[node.index()] {
                apart.push(node);
            }
        }
    }
    apart
}
