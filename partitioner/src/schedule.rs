//! A linear order of host nodes and clusters.

use crate::adjacency::Adjacency;
use crate::cluster::{Cluster, Step};
use crate::graph::NodeId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Of the ready steps always the one that comes first in source order; a cluster counts as its last node, so that checks that stand among
/// its nodes are made before it runs. Shorter than it should be when the clusters are not legal.
pub(crate) fn schedule(flow: &Adjacency, clusters: &[Cluster]) -> Vec<Step> {
    let mut leader: Vec<u32> = (0..flow.len() as u32).collect();
    let mut step: Vec<Step> = (0..flow.len() as u32).map(|v| Step::Host(NodeId(v))).collect();
    for (index, cluster) in clusters.iter().enumerate() {
        for node in &cluster.nodes {
            leader[node.index()] = cluster.nodes[0].0;
        }
        step[cluster.nodes[0].index()] = Step::Cluster(index);
    }
    let members = |v: u32| match &step[v as usize] {
        Step::Cluster(index) => clusters[*index].nodes.clone(),
        Step::Host(node) => vec![*node],
    };
    let mut missing = vec![0u32; flow.len()];
    for v in 0..flow.len() as u32 {
        let own = leader[v as usize];
        missing[own as usize] += flow.pred(v).iter().filter(|&&u| leader[u as usize] != own).count() as u32;
    }
    let starts = |v: &u32| leader[*v as usize] == *v && missing[*v as usize] == 0;
    let turn = |v: u32| match &step[v as usize] {
        Step::Cluster(index) => Reverse((clusters[*index].nodes.last().map_or(v, |last| last.0), v)),
        Step::Host(_) => Reverse((v, v)),
    };
    let mut ready: BinaryHeap<_> = (0..flow.len() as u32).filter(starts).map(turn).collect();
    let mut order = vec![];
    while let Some(Reverse((_, v))) = ready.pop() {
        order.push(step[v as usize]);
        for node in members(v) {
            for &w in flow.succ(node.0) {
                let other = leader[w as usize];
                if other != v {
                    missing[other as usize] -= 1;
                    if missing[other as usize] == 0 {
                        ready.push(turn(other));
                    }
                }
            }
        }
    }
    order
}
