//! Successors and predecessors in two flat arrays each: what every linear pass over the graph walks.

/// Forward and backward neighbours of the nodes 0..n. Parallel edges stay parallel.
#[derive(Debug, Clone)]
pub(crate) struct Adjacency {
    forward: Side,
    backward: Side,
}

#[derive(Debug, Clone)]
struct Side {
    start: Vec<u32>,
    items: Vec<u32>,
}

impl Adjacency {
    /// Neighbours of `n` nodes under `edges`, in the order of the edges.
    pub fn new(n: usize, edges: &[(u32, u32)]) -> Self {
        Adjacency {
            forward: Side::new(n, edges.iter().copied()),
            backward: Side::new(n, edges.iter().map(|&(u, v)| (v, u))),
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.forward.start.len() - 1
    }

    /// Nodes that `v` points at.
    pub fn succ(&self, v: u32) -> &[u32] {
        self.forward.of(v)
    }

    /// Nodes that point at `v`.
    pub fn pred(&self, v: u32) -> &[u32] {
        self.backward.of(v)
    }

    /// A topological order, breadth first; shorter than `len()` when there is a cycle.
    pub fn topological(&self) -> Vec<u32> {
        let mut missing: Vec<u32> = (0..self.len() as u32).map(|v| self.pred(v).len() as u32).collect();
        let mut order: Vec<u32> = (0..self.len() as u32).filter(|&v| missing[v as usize] == 0).collect();
        let mut next = 0;
        while let Some(&v) = order.get(next) {
            next += 1;
            for &w in self.succ(v) {
                missing[w as usize] -= 1;
                if missing[w as usize] == 0 {
                    order.push(w);
                }
            }
        }
        order
    }
}

impl Side {
    fn new(n: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut start = vec![0u32; n + 1];
        for (u, _) in edges.clone() {
            start[u as usize + 1] += 1;
        }
        for i in 0..n {
            start[i + 1] += start[i];
        }
        let mut items = vec![0; start[n] as usize];
        let mut cursor = start.clone();
        for (u, v) in edges {
            items[cursor[u as usize] as usize] = v;
            cursor[u as usize] += 1;
        }
        Side { start, items }
    }

    fn of(&self, v: u32) -> &[u32] {
        &self.items[self.start[v as usize] as usize..self.start[v as usize + 1] as usize]
    }
}

/// Disjoint sets over 0..n (union by size, path halving).
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    parent: Vec<u32>,
    size: Vec<u32>,
}

impl Sets {
    /// Every number alone.
    pub fn new(n: usize) -> Self {
        Sets { parent: (0..n as u32).collect(), size: vec![1; n] }
    }

    /// The name of the set that holds `v`.
    pub fn find(&mut self, mut v: u32) -> u32 {
        while self.parent[v as usize] != v {
            let above = self.parent[self.parent[v as usize] as usize];
            self.parent[v as usize] = above;
            v = above;
        }
        v
    }

    /// Unites two sets; returns the name kept and, when they were two, the name given up.
    pub fn unite(&mut self, a: u32, b: u32) -> (u32, Option<u32>) {
        let (a, b) = (self.find(a), self.find(b));
        if a == b {
            return (a, None);
        }
        let (keep, lose) = if self.size[a as usize] >= self.size[b as usize] { (a, b) } else { (b, a) };
        self.parent[lose as usize] = keep;
        self.size[keep as usize] += self.size[lose as usize];
        (keep, Some(lose))
    }
}
