//! How long partitioning takes as graphs grow: `cargo run --release -p partitioner --example growth [largest]`.
//!
//! The shapes: a chain with one node in ten refused; the same with a mask that all read; random graphs whose edges reach
//! back 50 nodes or all the way; inception blocks; residual blocks with a refused node in some; skips nested as in a
//! U-Net; a trunk beside a chain that alternates between host and engine.

use partitioner::{Code, Cost, Crossing, FlowGraph, Node, Policy, Role, ValueId, Verdict, partition, verify};
use std::time::Instant;

struct Builder {
    graph: FlowGraph,
    values: Vec<ValueId>,
    state: u64,
}

impl Builder {
    fn new() -> Self {
        Builder { graph: FlowGraph::new(), values: vec![], state: 7 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) as usize % n
    }

    /// Adds a node that reads the results of `reads`; returns its number.
    fn node(&mut self, accept: bool, reads: &[usize]) -> usize {
        let id = self.graph.add(Node {
            name: "op".into(),
            place: String::new(),
            verdict: if accept { Verdict::Accept } else { Verdict::refuse(Code::NoSuchOp, "") },
            role: if id_is_view(self.values.len()) { Role::Free } else { Role::Compute },
            kernels: 1,
            cost: Cost { operations: 1e6, bytes: 1e5 },
            effect: false,
        });
        for &read in reads {
            self.graph.read(id, self.values[read]).expect("reads earlier nodes");
        }
        self.values.push(self.graph.produce(id, Crossing::Free, 5e4, "").expect("the node exists"));
        self.values.len() - 1
    }
}

/// A name and what builds it.
type Shape = (&'static str, fn(&mut Builder, usize));

fn id_is_view(id: usize) -> bool {
    id % 5 == 3
}

fn chain(b: &mut Builder, n: usize) {
    b.node(true, &[]);
    for i in 1..n {
        let accept = b.below(10) > 0;
        b.node(accept, &[i - 1]);
    }
}

fn masked(b: &mut Builder, n: usize) {
    b.node(true, &[]);
    for i in 1..n {
        let accept = b.below(10) > 0;
        b.node(accept, &[i - 1, 0]);
    }
}

fn random(b: &mut Builder, n: usize, back: usize) {
    b.node(true, &[]);
    for i in 1..n {
        let accept = b.below(10) > 0;
        let reads: Vec<usize> = (0..1 + b.below(3)).map(|_| i - 1 - b.below(i.min(back))).collect();
        b.node(accept, &reads);
    }
}

fn inception(b: &mut Builder, n: usize) {
    let mut x = b.node(true, &[]);
    while b.values.len() < n {
        let ends: Vec<usize> = (0..12)
            .map(|_| {
                let accept = b.below(10) > 0;
                let first = b.node(accept, &[x]);
                b.node(true, &[first])
            })
            .collect();
        x = b.node(true, &ends);
    }
}

fn residual(b: &mut Builder, n: usize) {
    let mut x = b.node(true, &[]);
    while b.values.len() < n {
        let mut y = x;
        for _ in 0..40 {
            let accept = b.below(100) > 0;
            y = b.node(accept, &[y]);
        }
        x = b.node(true, &[x, y]);
    }
}

fn nested(b: &mut Builder, n: usize) {
    b.node(true, &[]);
    for i in 1..n {
        let accept = b.below(10) > 0;
        if i > n / 2 {
            b.node(accept, &[i - 1, n - i])
        } else {
            b.node(accept, &[i - 1])
        };
    }
}

fn beside(b: &mut Builder, n: usize) {
    let mut trunk = b.node(true, &[]);
    let mut side = b.node(true, &[]);
    while b.values.len() < n {
        let host = b.node(false, &[side]);
        side = b.node(true, &[host]);
        trunk = b.node(true, &[trunk, host]);
    }
}

fn main() {
    let largest = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(300_000);
    let shapes: [Shape; 8] = [
        ("chain", chain),
        ("masked chain", masked),
        ("random, near", |b, n| random(b, n, 50)),
        ("random, far", |b, n| random(b, n, usize::MAX)),
        ("inception", inception),
        ("residual", residual),
        ("nested skips", nested),
        ("trunk beside", beside),
    ];
    println!(
        "{:<14} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "shape", "nodes", "ms", "ns/node", "clusters", "dropped"
    );
    for (name, shape) in shapes {
        for n in [1_000, 3_000, 10_000, 30_000, 100_000, 300_000].into_iter().filter(|&n| n <= largest) {
            let mut builder = Builder::new();
            shape(&mut builder, n);
            let start = Instant::now();
            let result = partition(&builder.graph, &Policy::cpu());
            let ms = start.elapsed().as_secs_f64() * 1e3;
            verify(&builder.graph, &result).expect("the partition is legal");
            let per_node = ms * 1e6 / builder.graph.len() as f64;
            let (clusters, dropped) = (result.clusters.len(), result.dropped.len());
            println!(
                "{name:<14} {:>8} {ms:>9.1} {per_node:>9.0} {clusters:>9} {dropped:>9}",
                builder.graph.len()
            );
        }
    }
}
