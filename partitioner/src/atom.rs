//! Atoms: the smallest sets of nodes that can be carved out.
//!
//! Nodes that exchange a bound value are one atom. An atom with a member that must stay on the host stays as a whole,
//! and so does one that exchanges a bound value with the graph's inputs or outputs. Contracting the remaining atoms
//! may close cycles:
//!
//! ```text
//!   split ==list==> first          split ==list==> first ---> relu ---> second
//!     \\==list==> second             \\=====list==================//
//!   first -> host -> second         relu can be carved out: it joins the atom
//!   no cluster can hold the atom
//! ```
//!
//! A strongly connected component of accepted atoms only becomes one atom. One with a host node in it loses the
//! atoms that a host path leaves and re-enters (no cluster at all could hold them); when there is none, several atoms
//! wait for each other through the host and the smallest is given up. Linear per round; a round is repeated only while
//! cycles remain.

use crate::adjacency::{Adjacency, Sets};
use crate::graph::{Crossing, FlowGraph, NodeId, Role};
use crate::verdict::{Stay, Verdict};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;
use std::collections::HashMap;

/// The outcome, for each node.
pub(crate) struct Atoms {
    /// Its atom; meaningless for a node that stays.
    pub of: Vec<u32>,
    /// The nodes it is bound to by values alone: a part of its atom.
    pub bound: Vec<u32>,
    /// Why it stays, when it does.
    pub stay: Vec<Option<Stay>>,
}

/// Finds the atoms; afterwards contracting all of them leaves the graph acyclic.
pub(crate) fn atoms(graph: &FlowGraph, flow: &Adjacency) -> Atoms {
    let mut sets = bind(graph);
    let bound = names(&mut sets, graph);
    let mut stay = refusals(graph, &mut sets);
    let mut several = vec![false; graph.len()];
    for v in 0..graph.len() as u32 {
        let name = sets.find(v);
        several[name as usize] |= name != v && stay[v as usize].is_none();
    }
    if several.contains(&true) {
        while untangle(graph, flow, &mut sets, &mut stay) {}
    }
    Atoms { of: names(&mut sets, graph), bound, stay }
}

/// For each node the name of the nodes it is bound to by values.
pub(crate) fn bound(graph: &FlowGraph) -> Vec<u32> {
    names(&mut bind(graph), graph)
}

fn names(sets: &mut Sets, graph: &FlowGraph) -> Vec<u32> {
    graph.ids().map(|id| sets.find(id.0)).collect()
}

fn bind(graph: &FlowGraph) -> Sets {
    let mut sets = Sets::new(graph.len());
    for (_, value) in graph.values().filter(|(_, value)| value.crossing == Crossing::Bound) {
        let mut ends = value.producer.iter().chain(&value.readers);
        if let Some(first) = ends.next() {
            ends.for_each(|end| {
                sets.unite(first.0, end.0);
            });
        }
    }
    sets
}

fn refusals(graph: &FlowGraph, sets: &mut Sets) -> Vec<Option<Stay>> {
    let mut stay: Vec<Option<Stay>> = graph
        .ids()
        .map(|id| match &graph.node(id).verdict {
            Verdict::Refuse(reason) => Some(Stay::Refused(reason.clone())),
            Verdict::Accept if graph.node(id).effect => Some(Stay::Effect),
            Verdict::Accept => None,
        })
        .collect();
    let mut held = vec![false; graph.len()];
    for id in graph.ids().filter(|id| stay[id.index()].is_some()) {
        held[sets.find(id.0) as usize] = true;
    }
    for (_, value) in graph.values().filter(|(_, value)| value.crossing == Crossing::Bound) {
        let touches_host = value.escapes || value.producer.is_none();
        if let Some(end) = value.producer.or(value.readers.first().copied())
            && touches_host
        {
            held[sets.find(end.0) as usize] = true;
        }
    }
    for id in graph.ids() {
        if stay[id.index()].is_none() && held[sets.find(id.0) as usize] {
            stay[id.index()] = Some(Stay::Bound);
        }
    }
    stay
}

/// One round over the strongly connected components; true when there was one.
fn untangle(graph: &FlowGraph, flow: &Adjacency, sets: &mut Sets, stay: &mut [Option<Stay>]) -> bool {
    let n = graph.len() as u32;
    let mut item = |v: u32, stay: &[Option<Stay>]| if stay[v as usize].is_some() { v } else { sets.find(v) };
    let mut members: Vec<Vec<u32>> = vec![vec![]; n as usize];
    let mut contracted: DiGraph<(), ()> = DiGraph::with_capacity(n as usize, n as usize);
    for v in 0..n {
        contracted.add_node(());
        members[item(v, stay) as usize].push(v);
    }
    for u in 0..n {
        for &v in flow.succ(u) {
            let (a, b) = (item(u, stay), item(v, stay));
            if a != b {
                contracted.add_edge(a.into(), b.into(), ());
            }
        }
    }
    let tangles: Vec<Vec<u32>> = kosaraju_scc(&contracted)
        .into_iter()
        .filter(|component| component.len() > 1)
        .map(|component| component.into_iter().map(|c| c.index() as u32).collect())
        .collect();
    for tangle in &tangles {
        if tangle.iter().all(|&a| stay[a as usize].is_none()) {
            tangle.iter().for_each(|&a| {
                sets.unite(tangle[0], a);
            });
            continue;
        }
        let large: Vec<u32> = tangle.iter().copied().filter(|&a| members[a as usize].len() > 1).collect();
        let mut lost: Vec<u32> =
            large.iter().copied().filter(|&a| host_between(flow, &members[a as usize], stay)).collect();
        if lost.is_empty() {
            let compute = |a: &u32| {
                members[*a as usize].iter().filter(|&&v| graph.node(NodeId(v)).role == Role::Compute).count()
            };
            lost.extend(large.iter().min_by_key(|a| (compute(a), u32::MAX - **a)));
        }
        for v in lost.iter().flat_map(|&a| &members[a as usize]) {
            stay[*v as usize] = Some(Stay::NotConvex);
        }
    }
    !tangles.is_empty()
}

/// Does a path leave the atom, pass a node of the host and come back?
fn host_between(flow: &Adjacency, atom: &[u32], stay: &[Option<Stay>]) -> bool {
    let last = *atom.last().expect("an atom has members");
    let mut seen: HashMap<u32, bool> = HashMap::new();
    let mut stack: Vec<(u32, bool)> = atom.iter().map(|&v| (v, false)).collect();
    while let Some((u, host)) = stack.pop() {
        for &v in flow.succ(u).iter().filter(|&&v| v <= last) {
            let host = host || stay[v as usize].is_some();
            if host && atom.binary_search(&v).is_ok() {
                return true;
            }
            if seen.get(&v).is_none_or(|&past_host| host && !past_host) {
                seen.insert(v, host);
                stack.push((v, host));
            }
        }
    }
    false
}
