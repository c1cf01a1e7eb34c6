//! Which free nodes at the border of a cluster serve nothing inside.
//!
//! * At the exit: nothing that computes comes after it in its cluster. On the host a view of a result stays a view.
//! * At the entry: nothing that computes comes before it in its cluster, and someone outside reads it as well. Inside, it
//!   would be made twice, or a view of an input would come back as a copy. With it go all that it reads.
//!
//! The first set is closed under successors within the cluster, the second under predecessors, so what remains is convex.
//! Nodes that are bound together go together. Linear.

use crate::adjacency::Adjacency;
use crate::graph::{FlowGraph, NodeId};

/// The nodes to give back, in source order. `cluster` names the cluster of each node, `None` on the host; `bound` names
/// the nodes that it is bound to; `computes` tells compute nodes.
pub(crate) fn trim(
    graph: &FlowGraph,
    flow: &Adjacency,
    cluster: &[Option<u32>],
    bound: &[u32],
    computes: &[bool],
) -> Vec<u32> {
    let walk = Walk::new(flow, cluster, bound);
    let n = flow.len() as u32;
    let seeds: Vec<u32> = (0..n).filter(|&v| computes[v as usize] && cluster[v as usize].is_some()).collect();
    let after = walk.closure(&seeds, |v| flow.succ(v));
    let before = walk.closure(&seeds, |v| flow.pred(v));
    let inside = |v: u32| cluster[v as usize].is_some();
    let at_exit = |v: u32| inside(v) && !before[v as usize];
    let leaving: Vec<u32> = (0..n)
        .filter(|&v| inside(v) && !after[v as usize] && !at_exit(v))
        .filter(|&v| {
            let mut makes = graph.makes(NodeId(v)).iter().map(|&value| graph.value(value));
            let foreign = |w: &NodeId| cluster[w.index()] != cluster[v as usize] || at_exit(w.0);
            makes.any(|value| value.escapes || value.readers.iter().any(foreign))
        })
        .collect();
    let at_entry = walk.closure(&leaving, |v| flow.pred(v));
    (0..n).filter(|&v| at_exit(v) || at_entry[v as usize]).collect()
}

/// Reachability within clusters; a node stands for all that are bound to it.
struct Walk<'a> {
    cluster: &'a [Option<u32>],
    bound: &'a [u32],
    members: Adjacency,
}

impl<'a> Walk<'a> {
    fn new(flow: &Adjacency, cluster: &'a [Option<u32>], bound: &'a [u32]) -> Self {
        let pairs: Vec<(u32, u32)> = bound.iter().zip(0..).map(|(&name, v)| (name, v)).collect();
        Walk { cluster, bound, members: Adjacency::new(flow.len(), &pairs) }
    }

    /// The seeds, and all that `next` leads to from them without leaving their cluster.
    fn closure<'b>(&self, seeds: &[u32], next: impl Fn(u32) -> &'b [u32]) -> Vec<bool> {
        let mut reached = vec![false; self.bound.len()];
        let mut stack = vec![];
        let mut enter = |v: u32, stack: &mut Vec<u32>| {
            for &member in self.members.succ(self.bound[v as usize]) {
                if !std::mem::replace(&mut reached[member as usize], true) {
                    stack.push(member);
                }
            }
        };
        seeds.iter().for_each(|&v| enter(v, &mut stack));
        while let Some(v) = stack.pop() {
            for &w in next(v) {
                if self.cluster[w as usize] == self.cluster[v as usize] {
                    enter(w, &mut stack);
                }
            }
        }
        reached
    }
}
