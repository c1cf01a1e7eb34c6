//! The graph with every group contracted to one item, and the levels of its items.
//!
//! The level counts how often a path changes between clusters and host: an accepted item is at an even level, a host
//! item at an odd one, each at the smallest level that all its predecessors allow. So along every edge levels do not
//! fall, and they rise wherever a path passes from one side to the other:
//!
//! ```text
//!   level   0        1         2
//!          conv --> sort --> conv          the two convolutions never share a cluster,
//!            \-----> relu -----/           relu may join either
//! ```

use crate::adjacency::Adjacency;

/// How a node or an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// On the host for good.
    Host,
    /// Accepted; its cluster is not yet judged, or was found worth it.
    Seed,
    /// Accepted, but its cluster was dropped: may join a cluster that stays, does not found one. Between two followers
    /// the host stands.
    Follower,
}

/// What growing knows of each node.
pub(crate) struct Nodes {
    pub kind: Vec<Kind>,
    /// Is it of [`crate::Role::Compute`]?
    pub computes: Vec<bool>,
    /// Label of its group; meaningless for the host.
    pub group: Vec<u32>,
}

/// Items and their edges. Contracting the groups must leave the graph acyclic.
pub(crate) struct Quotient {
    /// The item of each node.
    pub item: Vec<u32>,
    /// How each item stands.
    pub kind: Vec<Kind>,
    /// The item holds a compute node.
    pub computes: Vec<bool>,
    /// Edges between different items, each once.
    pub links: Adjacency,
    /// A topological order of the items.
    pub order: Vec<u32>,
    /// The least legal level of each item.
    pub level: Vec<u32>,
}

impl Quotient {
    /// Contracts accepted nodes of equal group. A host node is an item of its own. Items are numbered in source order
    /// of their first nodes.
    pub fn new(flow: &Adjacency, nodes: &Nodes) -> Self {
        let mut item = Vec::with_capacity(flow.len());
        let (mut kind, mut computes) = (vec![], vec![]);
        let mut known = vec![u32::MAX; nodes.group.iter().max().map_or(0, |&g| g as usize + 1)];
        for v in 0..flow.len() {
            let known = &mut known[nodes.group[v] as usize];
            if nodes.kind[v] == Kind::Host || *known == u32::MAX {
                item.push(kind.len() as u32);
                if nodes.kind[v] != Kind::Host {
                    *known = kind.len() as u32;
                }
                kind.push(nodes.kind[v]);
                computes.push(nodes.computes[v]);
            } else {
                item.push(*known);
                computes[*known as usize] |= nodes.computes[v];
                if nodes.kind[v] == Kind::Seed {
                    kind[*known as usize] = Kind::Seed;
                }
            }
        }
        let mut edges: Vec<(u32, u32)> = (0..flow.len() as u32)
            .flat_map(|u| flow.succ(u).iter().map(move |&v| (u, v)))
            .map(|(u, v)| (item[u as usize], item[v as usize]))
            .filter(|(a, b)| a != b)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        let links = Adjacency::new(kind.len(), &edges);
        let order = links.topological();
        let level = levels(&links, &order, &kind);
        Quotient { item, kind, computes, links, order, level }
    }
}

fn levels(links: &Adjacency, order: &[u32], kind: &[Kind]) -> Vec<u32> {
    let mut level: Vec<u32> = kind.iter().map(|&k| u32::from(k == Kind::Host)).collect();
    for &v in order {
        for &w in links.succ(v) {
            let least = level[v as usize] + rise(kind[v as usize], kind[w as usize]);
            level[w as usize] = level[w as usize].max(least);
        }
    }
    level
}

/// By how much the level must rise along an edge.
pub(crate) fn rise(from: Kind, to: Kind) -> u32 {
    match (from, to) {
        (Kind::Host, Kind::Host) => 0,
        (Kind::Host, _) | (_, Kind::Host) => 1,
        (Kind::Follower, Kind::Follower) => 2,
        _ => 0,
    }
}
