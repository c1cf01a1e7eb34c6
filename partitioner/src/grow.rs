//! Grows groups until no two of them may merge.
//!
//! 1. Accepted neighbours of equal level merge, all at once, as levels prove it legal. This is where almost all nodes
//!    find their cluster. Linear.
//! 2. The other pairs of accepted neighbours are asked one by one (see [`crate::reach`]), the heaviest value first.
//! 3. Siblings, groups that read values of one producer: those that may not merge are totally ordered by "the host
//!    stands between", so each newcomer finds its partner or its position by binary search: `n log n` questions.
//!
//! **Maximal.** A pair that may not merge never may later, so one question per pair is enough. Siblings matter only
//! between groups that compute, and no group starts to in step 3: what lay between two groups that merge there would
//! have merged with one of them in step 2.

use crate::adjacency::{Adjacency, Sets};
use crate::graph::{Edge, FlowGraph, NodeId};
use crate::quotient::{Kind, Nodes, Quotient, rise};
use crate::reach::{Reach, Relation};

/// Merges groups until no two of them may.
pub(crate) fn grow(graph: &FlowGraph, flow: &Adjacency, nodes: &mut Nodes) {
    let families = families(graph, nodes);
    let mut quotient = Quotient::new(flow, nodes);
    while let Some(mut sets) = merge_levels(&quotient) {
        nodes.group = quotient.item.iter().map(|&item| sets.find(item)).collect();
        quotient = Quotient::new(flow, nodes);
    }
    let mut reach = Reach::new(&quotient);
    merge_neighbours(graph, &quotient, &mut reach);
    for family in &families {
        merge_siblings(family.iter().map(|v| quotient.item[v.index()]), &mut reach);
    }
    nodes.group = quotient.item.iter().map(|&item| reach.find(item)).collect();
}

/// For each producer, and each input of the graph, the accepted nodes that read it; at least two.
fn families(graph: &FlowGraph, nodes: &Nodes) -> Vec<Vec<NodeId>> {
    let accepted = |v: &NodeId| nodes.kind[v.index()] != Kind::Host;
    let mut of_node = vec![vec![]; graph.len()];
    let mut families = vec![];
    for (_, value) in graph.values() {
        let readers = value.readers.iter().copied().filter(accepted);
        match value.producer {
            Some(producer) => of_node[producer.index()].extend(readers),
            None => families.push(readers.collect()),
        }
    }
    families.extend(of_node);
    families.retain(|family: &Vec<NodeId>| family.len() > 1);
    families
}

/// One round of step 1; `None` when it finds nothing. (A follower that finds a cluster may lower the levels after it.)
fn merge_levels(quotient: &Quotient) -> Option<Sets> {
    let mut sets = Sets::new(quotient.kind.len());
    let (kind, level) = (&quotient.kind, &quotient.level);
    let mut found = false;
    for u in 0..kind.len() {
        for &v in quotient.links.succ(u as u32) {
            let accepted = kind[u] != Kind::Host && kind[v as usize] != Kind::Host;
            if accepted && rise(kind[u], kind[v as usize]) == 0 && level[u] == level[v as usize] {
                found |= sets.unite(u as u32, v).1.is_some();
            }
        }
    }
    found.then_some(sets)
}

fn merge_neighbours(graph: &FlowGraph, quotient: &Quotient, reach: &mut Reach) {
    let mut pairs: Vec<(u32, u32, f64)> = vec![];
    for (u, v, edge) in graph.edges() {
        let (u, v) = (quotient.item[u.index()], quotient.item[v.index()]);
        let accepted = quotient.kind[u as usize] != Kind::Host && quotient.kind[v as usize] != Kind::Host;
        if accepted && u != v {
            let bytes = if let Edge::Data(value) = edge { graph.value(value).bytes } else { 0.0 };
            pairs.push((u, v, bytes));
        }
    }
    pairs.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)));
    pairs.dedup_by_key(|&mut (u, v, _)| (u, v));
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
    for (u, v, _) in pairs {
        let barred = rise(reach.kind(u), reach.kind(v)) > 0;
        if !barred && reach.relation(u, v) == Relation::Free {
            reach.merge(u, v);
        }
    }
}

fn merge_siblings(items: impl Iterator<Item = u32>, reach: &mut Reach) {
    let mut family: Vec<(u32, u32)> = items.map(|v| (reach.find(v), v)).collect();
    family.sort_unstable();
    family.dedup_by_key(|&mut (root, _)| root);
    family.retain(|&(_, v)| reach.computes(v));
    if family.len() < 2 {
        return;
    }
    let (mut seeds, followers): (Vec<u32>, Vec<u32>) =
        family.into_iter().map(|(_, v)| v).partition(|&v| reach.kind(v) == Kind::Seed);
    seeds.sort_by_key(|&v| reach.level(v));
    let mut chain = vec![];
    for v in seeds {
        if let Some(at) = place(&chain, v, reach) {
            chain.insert(at, v);
        }
    }
    for v in followers {
        place(&chain, v, reach);
    }
}

/// Merges `v` with a member of the chain, or returns its position among them.
fn place(chain: &[u32], v: u32, reach: &mut Reach) -> Option<usize> {
    let (mut low, mut high) = (0, chain.len());
    let mut probe = high.wrapping_sub(1);
    while low < high {
        match reach.relation(chain[probe], v) {
            Relation::Before => low = probe + 1,
            Relation::After => high = probe,
            Relation::Free => {
                reach.merge(chain[probe], v);
                return None;
            }
            Relation::Same => return None,
        }
        probe = (low + high) / 2;
    }
    Some(low)
}
