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
//! wait for each other through the host and the one that computes least is given up. In components of very many atoms the
//! widest ones are given up, one in eight at a time. Then the component is looked at again. Linear per look.

use crate::adjacency::{Adjacency, Sets};
use crate::graph::{Crossing, FlowGraph, NodeId, Role};
use crate::verdict::{Stay, Verdict};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;
use std::cmp::Reverse;
use std::collections::HashMap;

/// A component of more atoms than this is not taken apart one atom at a time.
const FEW_ATOMS: usize = 8;

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
        let mut scopes: Vec<Vec<u32>> = vec![(0..graph.len() as u32).collect()];
        while let Some(scope) = scopes.pop() {
            scopes.extend(untangle(graph, flow, &mut sets, &mut stay, &scope));
        }
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

/// Resolves the cycles among the nodes of `scope` in one step each; returns the scopes in which cycles may remain.
fn untangle(
    graph: &FlowGraph,
    flow: &Adjacency,
    sets: &mut Sets,
    stay: &mut [Option<Stay>],
    scope: &[u32],
) -> Vec<Vec<u32>> {
    let mut again = vec![];
    for tangle in tangles(flow, sets, stay, scope) {
        if tangle.iter().flatten().all(|&v| stay[v as usize].is_none()) {
            tangle.iter().for_each(|atom| {
                sets.unite(tangle[0][0], atom[0]);
            });
            continue;
        }
        let mut large: Vec<&Vec<u32>> = tangle.iter().filter(|atom| atom.len() > 1).collect();
        let mut lost = large.clone();
        if large.len() <= FEW_ATOMS {
            lost.retain(|atom| host_between(flow, atom, stay));
            large.sort_by_key(|atom| (compute(graph, atom), Reverse(atom[0])));
        } else {
            lost.clear();
            large.sort_by_key(|atom| Reverse(atom[atom.len() - 1] - atom[0]));
        }
        if lost.is_empty() {
            lost.extend(&large[..large.len().div_ceil(FEW_ATOMS)]);
        }
        for &v in lost.into_iter().flatten() {
            stay[v as usize] = Some(Stay::NotConvex);
        }
        let mut nodes = tangle.concat();
        nodes.sort_unstable();
        again.push(nodes);
    }
    again
}

/// The strongly connected components of more than one atom or host node, each as these, their nodes in source order.
fn tangles(flow: &Adjacency, sets: &mut Sets, stay: &[Option<Stay>], scope: &[u32]) -> Vec<Vec<Vec<u32>>> {
    let mut index: HashMap<u32, u32> = HashMap::new();
    let mut members: Vec<Vec<u32>> = vec![];
    let mut contracted: DiGraph<(), ()> = DiGraph::new();
    let mut item = |v: u32| if stay[v as usize].is_some() { v } else { sets.find(v) };
    for &v in scope {
        let at = *index.entry(item(v)).or_insert_with(|| contracted.add_node(()).index() as u32);
        members.resize(contracted.node_count(), vec![]);
        members[at as usize].push(v);
    }
    for &u in scope {
        let a = index[&item(u)];
        for b in flow.succ(u).iter().filter_map(|&v| index.get(&item(v))) {
            if a != *b {
                contracted.add_edge(a.into(), (*b).into(), ());
            }
        }
    }
    let components = kosaraju_scc(&contracted).into_iter().filter(|component| component.len() > 1);
    components
        .map(|items| items.into_iter().map(|item| std::mem::take(&mut members[item.index()])).collect())
        .collect()
}

fn compute(graph: &FlowGraph, atom: &[u32]) -> usize {
    atom.iter().filter(|&&v| graph.node(NodeId(v)).role == Role::Compute).count()
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
