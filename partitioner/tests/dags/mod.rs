//! Graphs for tests: a random one from a seed, and a small language for chosen ones.
#![allow(dead_code)]

use partitioner::{Code, Cost, Crossing, FlowGraph, Node, NodeId, Partition, Role, ValueId, Verdict};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Percentages of a random graph.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub refused: usize,
    pub free: usize,
    pub bound: usize,
    pub effect: usize,
    pub escape: usize,
    pub order: usize,
    pub reads: usize,
}

impl Mix {
    pub fn random(random: &mut Random) -> Mix {
        let mut some = |most: usize| if random.chance(40) { 0 } else { random.below(most) };
        Mix {
            refused: some(50),
            free: some(50),
            bound: some(30),
            effect: some(15),
            escape: some(30),
            order: some(10),
            reads: 1 + some(4),
        }
    }
}

pub fn node(name: &str, verdict: Verdict, role: Role) -> Node {
    let cost = Cost { operations: 1000.0, bytes: 800.0 };
    Node { name: name.into(), place: "model.py:1".into(), verdict, role, kernels: 1, cost, effect: false }
}

pub fn random_graph(random: &mut Random, n: usize, mix: Mix) -> FlowGraph {
    let mut graph = FlowGraph::new();
    let mut values: Vec<ValueId> = vec![];
    for _ in 0..random.below(3) {
        let crossing = if random.chance(mix.bound / 2) { Crossing::Bound } else { Crossing::Free };
        values.push(graph.input(crossing, 100.0, ""));
    }
    for i in 0..n {
        let verdict =
            if random.chance(mix.refused) { Verdict::refuse(Code::NoSuchOp, "") } else { Verdict::Accept };
        let role = if random.chance(mix.free) { Role::Free } else { Role::Compute };
        let cost = Cost { operations: random.below(5_000_000) as f64, bytes: random.below(100_000) as f64 };
        let effect = random.chance(mix.effect);
        let id = graph.add(Node { cost, effect, ..node(&format!("op{i}"), verdict, role) });
        for _ in 0..random.below(mix.reads + 1) {
            if !values.is_empty() {
                let near = values.len().min(if random.chance(70) { 6 } else { n });
                let value = values[values.len() - 1 - random.below(near)];
                graph.read(id, value).unwrap();
            }
        }
        if i > 0 && random.chance(mix.order) {
            graph.order(NodeId(random.below(i) as u32), id).unwrap();
        }
        for _ in 0..1 + random.below(2) {
            let crossing = if random.chance(mix.bound) { Crossing::Bound } else { Crossing::Free };
            let value = graph.produce(id, crossing, random.below(100_000) as f64, "").unwrap();
            if random.chance(mix.escape) {
                graph.escape(value).unwrap();
            }
            values.push(value);
        }
    }
    graph
}

/// Builds a graph from lines such as `b = conv(a, x)`: undeclared names are inputs; an operator starting with `host` is
/// refused, with `view` free, with `print` an effect; a value with a name ending in `!` is bound; `return b` lets it
/// escape. The place of a node is its result.
pub fn parse(text: &str) -> FlowGraph {
    let mut graph = FlowGraph::new();
    let mut values: Vec<(String, ValueId)> = vec![];
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("return ") {
            let value = values.iter().find(|(known, _)| known == name).unwrap().1;
            graph.escape(value).unwrap();
            continue;
        }
        let (result, call) = line.split_once(" = ").unwrap();
        let (op, reads) = call.strip_suffix(')').unwrap().split_once('(').unwrap();
        let verdict =
            if op.starts_with("host") { Verdict::refuse(Code::NoSuchOp, op) } else { Verdict::Accept };
        let role = if op.starts_with("view") { Role::Free } else { Role::Compute };
        let reads: Vec<&str> = reads.split(", ").filter(|name| !name.is_empty()).collect();
        for name in &reads {
            if !values.iter().any(|(known, _)| known == name) {
                values.push((name.to_string(), graph.input(crossing(name), 100.0, "")));
            }
        }
        let (place, effect) = (result.to_string(), op.starts_with("print"));
        let id = graph.add(Node { place, effect, ..node(op, verdict, role) });
        for name in reads {
            let value = values.iter().find(|(known, _)| known == name).unwrap().1;
            graph.read(id, value).unwrap();
        }
        values.push((result.to_string(), graph.produce(id, crossing(result), 100.0, "").unwrap()));
    }
    graph
}

fn crossing(name: &str) -> Crossing {
    if name.ends_with('!') { Crossing::Bound } else { Crossing::Free }
}

/// The clusters by their nodes' places, then the host's nodes: `[a b] [c] | h`.
pub fn show(graph: &FlowGraph, partition: &Partition) -> String {
    let places =
        |nodes: &[NodeId]| nodes.iter().map(|&v| graph.node(v).place.as_str()).collect::<Vec<_>>().join(" ");
    let host: Vec<NodeId> = partition.host.iter().map(|host| host.node).collect();
    let clusters = partition.clusters.iter().map(|cluster| format!("[{}] ", places(&cluster.nodes)));
    format!("{}| {}", clusters.collect::<String>(), places(&host)).trim_end().to_string()
}
