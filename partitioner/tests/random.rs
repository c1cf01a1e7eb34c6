//! Random graphs: small ones against a brute-force oracle that shares no code with the crate, larger ones against the
//! verifier.

mod dags;
use dags::{Mix, Random, random_graph};
use partitioner::{Crossing, FlowGraph, Partition, Policy, Role, Stay, Step, partition, verify};

/// Is the graph acyclic once equal labels are contracted? By repeatedly removing labels that nothing enters.
fn acyclic(graph: &FlowGraph, label: &[usize]) -> bool {
    let mut edges: Vec<(usize, usize)> =
        graph.edges().map(|(u, v, _)| (label[u.index()], label[v.index()])).filter(|(a, b)| a != b).collect();
    loop {
        let before = edges.len();
        let entered: Vec<usize> = edges.iter().map(|e| e.1).collect();
        edges.retain(|(a, _)| entered.contains(a));
        if edges.len() == before {
            return edges.is_empty();
        }
    }
}

fn labels(graph: &FlowGraph, partition: &Partition) -> Vec<usize> {
    let mut label: Vec<usize> = (0..graph.len()).collect();
    for cluster in &partition.clusters {
        for node in &cluster.nodes {
            label[node.index()] = cluster.nodes[0].index();
        }
    }
    label
}

fn check_legal(graph: &FlowGraph, partition: &Partition) {
    let label = labels(graph, partition);
    assert!(acyclic(graph, &label));
    for cluster in &partition.clusters {
        assert!(cluster.nodes.iter().all(|&v| graph.node(v).verdict.accepted() && !graph.node(v).effect));
    }
    let clustered = |v: usize| partition.clusters.iter().any(|c| c.nodes.iter().any(|u| u.index() == v));
    for (_, value) in graph.values().filter(|(_, value)| value.crossing == Crossing::Bound) {
        let ends: Vec<usize> = value.producer.iter().chain(&value.readers).map(|v| v.index()).collect();
        assert!(ends.iter().all(|&v| label[v] == label[ends[0]] || !clustered(v) && !clustered(ends[0])));
        if value.producer.is_none() || value.escapes {
            assert!(ends.iter().all(|&v| !clustered(v)));
        }
    }
    let mut done = vec![false; graph.len()];
    for step in &partition.order {
        let nodes = match step {
            Step::Host(node) => vec![*node],
            Step::Cluster(index) => partition.clusters[*index].nodes.clone(),
        };
        nodes.iter().for_each(|v| assert!(!std::mem::replace(&mut done[v.index()], true)));
        for (u, v, _) in graph.edges() {
            assert!(done[u.index()] || !nodes.contains(&v));
        }
    }
    assert!(done.iter().all(|&done| done));
}

fn check_maximal(graph: &FlowGraph, partition: &Partition) {
    let label = labels(graph, partition);
    let producer = |value: &partitioner::ValueId| graph.value(*value).producer.ok_or(*value);
    let connected = |a: usize, b: usize| {
        graph.ids().filter(|u| label[u.index()] == a).any(|u| {
            graph.ids().filter(|v| label[v.index()] == b).any(|v| {
                let edge = graph.edges().any(|(x, y, _)| (x, y) == (u, v) || (x, y) == (v, u));
                let shared =
                    graph.reads(u).iter().any(|x| graph.reads(v).iter().any(|y| producer(x) == producer(y)));
                edge || shared
            })
        })
    };
    let merged =
        |a: usize, b: usize| -> Vec<usize> { label.iter().map(|&l| if l == b { a } else { l }).collect() };
    let heads: Vec<usize> = partition.clusters.iter().map(|c| c.nodes[0].index()).collect();
    for (i, &a) in heads.iter().enumerate() {
        for &b in &heads[i + 1..] {
            assert!(
                !(connected(a, b) && acyclic(graph, &merged(a, b))),
                "clusters at {a} and {b} could be one"
            );
        }
        for host in &partition.host {
            let v = host.node;
            let free = |value: &partitioner::ValueId| graph.value(*value).crossing == Crossing::Free;
            let untied = graph.reads(v).iter().chain(graph.makes(v)).all(free);
            let dropped = matches!(host.stay, Stay::TooSmall { .. } | Stay::NotWorth { .. });
            if dropped && untied && graph.node(v).role == Role::Compute {
                let b = v.index();
                assert!(!(connected(a, b) && acyclic(graph, &merged(a, b))), "node {b} could be in {a}");
            }
        }
    }
}

fn policies(random: &mut Random) -> Policy {
    match random.below(3) {
        0 => Policy::take_all(),
        1 => Policy { min_block_size: 1 + random.below(4), ..Policy::take_all() },
        _ => Policy {
            min_block_size: random.below(4),
            engine_launch_ns: random.below(40_000) as f64,
            ..Policy::cpu()
        },
    }
}

#[test]
fn small_graphs_are_legal_and_maximal_to_brute_force() {
    let (mut clusters, mut dropped) = (0, 0);
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let mix = Mix::random(&mut random);
        let n = 1 + random.below(12);
        let graph = random_graph(&mut random, n, mix);
        let partition = partition(&graph, &policies(&mut random));
        let outcome = std::panic::catch_unwind(|| {
            assert_eq!(verify(&graph, &partition), Ok(()));
            check_legal(&graph, &partition);
            check_maximal(&graph, &partition);
            assert_eq!(verify::verify_maximal(&graph, &partition), Ok(()));
        });
        assert!(outcome.is_ok(), "seed {seed}: {partition:?}");
        clusters += partition.clusters.len();
        dropped += partition.dropped.len();
    }
    assert!(
        clusters > 10_000 && dropped > 1_000,
        "the graphs exercise little: {clusters} clusters, {dropped} dropped"
    );
}

#[test]
fn larger_graphs_are_legal_and_maximal() {
    let mut several = 0;
    for seed in 0..600 {
        let mut random = Random(seed + 1_000_000);
        let mix = Mix::random(&mut random);
        let n = 20 + random.below(280);
        let graph = random_graph(&mut random, n, mix);
        let partition = partition(&graph, &policies(&mut random));
        assert_eq!(verify(&graph, &partition), Ok(()), "seed {seed}");
        assert_eq!(verify::verify_maximal(&graph, &partition), Ok(()), "seed {seed}");
        several += usize::from(partition.clusters.len() > 1);
    }
    assert!(several > 100, "only {several} graphs had more than one cluster");
}
