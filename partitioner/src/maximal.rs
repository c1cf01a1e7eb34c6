//! Invariants 9 and 10 of [`crate::verify`](mod@crate::verify), by contracting each pair and looking for a cycle.

use crate::adjacency::Adjacency;
use crate::atom::bound;
use crate::cluster::Partition;
use crate::divide::flow;
use crate::graph::{FlowGraph, NodeId, Role};
use crate::verdict::Stay;
use crate::verify::Violation;
use std::collections::BTreeSet;

/// Checks that no pair could still be merged. One pass over the graph for each connected pair: for small graphs.
/// Expects a partition that [`crate::verify()`] accepts.
pub fn verify_maximal(graph: &FlowGraph, partition: &Partition) -> Result<(), Vec<Violation>> {
    let flow = flow(graph);
    let cluster = partition.cluster_of();
    let seats: Vec<Seat> = seats(graph, partition, &cluster);
    let mut found = vec![];
    for (a, b) in connected(graph, &seats) {
        let pair = (&seats[a as usize], &seats[b as usize]);
        if mergeable(&flow, &seats, a, b) {
            match pair {
                (Seat::Cluster(a), Seat::Cluster(b)) => found.push(Violation::Separate(*a, *b)),
                (Seat::Cluster(index), Seat::Dropped) => found.push(Violation::Outside(*index, NodeId(b))),
                (Seat::Dropped, Seat::Cluster(index)) => found.push(Violation::Outside(*index, NodeId(a))),
                _ => {}
            }
        }
    }
    found.sort_by_key(|violation| format!("{violation:?}"));
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Where a node sits.
#[derive(PartialEq)]
enum Seat {
    Cluster(usize),
    /// On the host, and it could be in a cluster if that were legal.
    Dropped,
    Host,
}

fn seats(graph: &FlowGraph, partition: &Partition, cluster: &[Option<usize>]) -> Vec<Seat> {
    let bound = bound(graph);
    let mut ties = vec![0; graph.len()];
    bound.iter().for_each(|&name| ties[name as usize] += 1);
    let mut seats: Vec<Seat> =
        cluster.iter().map(|cluster| cluster.map_or(Seat::Host, Seat::Cluster)).collect();
    for host in &partition.host {
        let v = host.node.index();
        let dropped = matches!(host.stay, Stay::TooSmall { .. } | Stay::NotWorth { .. });
        if dropped && graph.node(host.node).role == Role::Compute && ties[bound[v] as usize] == 1 {
            seats[v] = Seat::Dropped;
        }
    }
    seats
}

/// Pairs of nodes that share an edge, a producer or an input, one pair per pair of seats.
fn connected(graph: &FlowGraph, seats: &[Seat]) -> BTreeSet<(u32, u32)> {
    let mut first = std::collections::HashMap::new();
    let name: Vec<u32> = (0..graph.len() as u32)
        .map(|v| match seats[v as usize] {
            Seat::Cluster(index) => *first.entry(index).or_insert(v),
            _ => v,
        })
        .collect();
    let mut families: Vec<Vec<NodeId>> = graph.ids().map(|_| vec![]).collect();
    let mut of_inputs = vec![];
    for (_, value) in graph.values() {
        match value.producer {
            Some(producer) => families[producer.index()].extend(&value.readers),
            None => of_inputs.push(value.readers.clone()),
        }
    }
    let mut pairs: BTreeSet<(u32, u32)> = graph.edges().map(|(u, v, _)| (u.0, v.0)).collect();
    for family in families.iter().chain(&of_inputs) {
        for (i, &a) in family.iter().enumerate() {
            pairs.extend(family[i + 1..].iter().map(|&b| (a.0, b.0)));
        }
    }
    let eligible = |v: &u32| seats[*v as usize] != Seat::Host;
    let pairs = pairs.into_iter().filter(|(a, b)| eligible(a) && eligible(b));
    pairs.map(|(a, b)| (name[a as usize], name[b as usize])).filter(|(a, b)| a != b).collect()
}

/// Does contracting the seats of `a` and `b` into one, and every other cluster, leave no cycle?
fn mergeable(flow: &Adjacency, seats: &[Seat], a: u32, b: u32) -> bool {
    let n = flow.len();
    let of = |v: u32| match &seats[v as usize] {
        seat if v == a || v == b => Some(seat),
        seat @ Seat::Cluster(_) => Some(seat),
        _ => None,
    };
    let name = |v: u32| match of(v) {
        None => v as usize,
        Some(seat) if v == a || v == b || *seat == seats[a as usize] || *seat == seats[b as usize] => n,
        Some(Seat::Cluster(index)) => n + 1 + index,
        Some(_) => v as usize,
    };
    let edges: Vec<(u32, u32)> = (0..n as u32)
        .flat_map(|u| flow.succ(u).iter().map(move |&v| (name(u) as u32, name(v) as u32)))
        .filter(|(u, v)| u != v)
        .collect();
    let all = 2 * n + 1;
    Adjacency::new(all, &edges).topological().len() == all
}
