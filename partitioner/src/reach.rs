//! May these two clusters become one?
//!
//! **Rule.** Two accepted items may merge exactly when no path from one to the other passes the host. Then everything
//! on paths between them is accepted, and merges with them.
//!
//! ```text
//!   a ----> b        a and b are neighbours, but the path a -> h -> b leaves and re-enters {a, b}:
//!    \-> h -^        the engine would wait for h, and h for the engine. Illegal, and stays illegal
//!                    whatever else is merged, because merging only adds paths. So each pair is asked once.
//! ```
//!
//! **Why no cycle can arise.** A merged set with all that lies between its members is convex, and contracting a convex
//! set of an acyclic graph leaves it acyclic. By induction all clusters, contracted at once, leave it acyclic.
//!
//! **How.** Levels (see [`crate::quotient`]) are kept legal under merging: the merged item takes the higher level and
//! pushes its successors up; then accepted neighbours that have become equal merge too: they lie between, or may merge
//! anyway. Hence neighbours that are accepted differ in level, items of equal level are never
//! connected and may always merge, and a search for a host path sees levels between the two only. It runs from both ends in
//! lock step; the first to run dry answers. A spanning forest (the highest predecessor of each item) answers most questions that have a host
//! path at once: an accepted ancestor in the forest has the host between.
//!
//! **Cost.** Near constant per question on graphs whose skips are short or nested; a search of the levels between in
//! the worst case, as asking for every edge is computing a transitive reduction. Merging moves the shorter list.
//!
//! **Source.** Two-way search by levels: Bender, Fineman, Gilbert, Tarjan, "A New Approach to Incremental Cycle Detection
//! and Related Problems", ACM TALG 2016; order-bounded search: Pearce and Kelly, "A Dynamic Topological Sort Algorithm for
//! Directed Acyclic Graphs", JEA 2006; acyclic contraction: Herrmann et al., "Multilevel Algorithms for Acyclic
//! Partitioning of Directed Acyclic Graphs", SISC 2019.

use crate::adjacency::Sets;
use crate::quotient::{Kind, Quotient, rise};
use std::collections::VecDeque;

const FORWARD: usize = 0;

/// What following one link of a search has shown.
enum Look {
    Found,
    Dry,
    On,
}

/// How two items stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// The host stands between, the first comes before.
    Before,
    /// The host stands between, the first comes after.
    After,
    /// They may merge.
    Free,
    /// They are one already.
    Same,
}

/// A quotient under merging. All methods take items of the quotient it was made from.
pub(crate) struct Reach {
    sets: Sets,
    kind: Vec<Kind>,
    computes: Vec<bool>,
    level: Vec<u32>,
    /// Successors and predecessors.
    links: [Vec<Vec<u32>>; 2],
    /// The links of the item may name the item itself.
    loops: [Vec<bool>; 2],
    /// Preorder interval of each item in the spanning forest.
    subtree: Vec<(u32, u32)>,
    /// The search that last saw an item, and whether it had passed the host, in each direction.
    seen: [Vec<(u32, bool)>; 2],
    search: u32,
}

impl Reach {
    /// Expects that no two accepted neighbours without the host between are at the same level.
    pub fn new(quotient: &Quotient) -> Self {
        let n = quotient.kind.len();
        let links =
            |side: fn(&Quotient, u32) -> &[u32]| (0..n as u32).map(|v| side(quotient, v).to_vec()).collect();
        Reach {
            sets: Sets::new(n),
            kind: quotient.kind.clone(),
            computes: quotient.computes.clone(),
            level: quotient.level.clone(),
            links: [links(|q, v| q.links.succ(v)), links(|q, v| q.links.pred(v))],
            loops: [vec![false; n], vec![false; n]],
            subtree: forest(quotient),
            seen: [vec![(0, false); n], vec![(0, false); n]],
            search: 0,
        }
    }

    /// The name of the merged item that holds `v`.
    pub fn find(&mut self, v: u32) -> u32 {
        self.sets.find(v)
    }

    /// How the item that holds `v` stands.
    pub fn kind(&mut self, v: u32) -> Kind {
        let v = self.find(v);
        self.kind[v as usize]
    }

    /// Does the item that holds `v` compute?
    pub fn computes(&mut self, v: u32) -> bool {
        let v = self.find(v);
        self.computes[v as usize]
    }

    /// The level of the item that holds `v`.
    pub fn level(&mut self, v: u32) -> u32 {
        let v = self.find(v);
        self.level[v as usize]
    }

    /// How two accepted items stand to each other.
    pub fn relation(&mut self, a: u32, b: u32) -> Relation {
        let (x, y) = (self.find(a), self.find(b));
        match self.level[x as usize].cmp(&self.level[y as usize]) {
            _ if x == y => Relation::Same,
            std::cmp::Ordering::Less if self.host_between(a, b) => Relation::Before,
            std::cmp::Ordering::Greater if self.host_between(b, a) => Relation::After,
            _ => Relation::Free,
        }
    }

    /// Merges two accepted items that may merge, and all that lies between them.
    pub fn merge(&mut self, a: u32, b: u32) {
        let merged = self.unite(a, b);
        let lifted = self.lift_successors(merged);
        for &(x, y) in &lifted {
            let (x, y) = (self.find(x), self.find(y));
            let accepted = self.kind[x as usize] != Kind::Host && self.kind[y as usize] != Kind::Host;
            if x != y && accepted && self.level[x as usize] == self.level[y as usize] {
                self.unite(x, y);
            }
        }
    }

    /// Restores the levels after `start` rose; returns the edges along which they may have become equal.
    fn lift_successors(&mut self, start: u32) -> Vec<(u32, u32)> {
        let mut tight = vec![];
        let mut queue = VecDeque::from([start]);
        while let Some(x) = queue.pop_front() {
            let mut links = std::mem::take(&mut self.links[FORWARD][x as usize]);
            links.iter_mut().for_each(|y| *y = self.sets.find(*y));
            links.sort_unstable();
            links.dedup();
            links.retain(|&y| y != x);
            for &y in &links {
                let least = self.level[x as usize] + rise(self.kind[x as usize], self.kind[y as usize]);
                let level = &mut self.level[y as usize];
                if *level < least {
                    *level = least;
                    queue.push_back(y);
                }
                if *level == least {
                    tight.push((x, y));
                }
            }
            self.links[FORWARD][x as usize] = links;
        }
        tight
    }

    fn unite(&mut self, a: u32, b: u32) -> u32 {
        let (a, b) = (self.find(a), self.find(b));
        let (keep, lost) = self.sets.unite(a, b);
        if let Some(lost) = lost {
            let (k, l) = (keep as usize, lost as usize);
            for links in &mut self.links {
                let mut shorter = std::mem::take(&mut links[l]);
                if shorter.len() > links[k].len() {
                    std::mem::swap(&mut shorter, &mut links[k]);
                }
                links[k].append(&mut shorter);
            }
            self.loops.iter_mut().for_each(|loops| loops[k] = true);
            self.computes[k] |= self.computes[l];
            self.level[k] = self.level[k].max(self.level[l]);
            if self.kind[l] == Kind::Seed {
                self.kind[k] = Kind::Seed;
            }
        }
        keep
    }

    /// Is there a path from `low` to `high`, the item of higher level, that passes the host?
    fn host_between(&mut self, low: u32, high: u32) -> bool {
        if self.above(low, high) {
            return true;
        }
        self.search += 1;
        let ends = [self.find(low), self.find(high)];
        let mut stacks = ends.map(|end| vec![(end, false, 0)]);
        let mut side = FORWARD;
        loop {
            match self.look(side, &mut stacks[side], ends, [low, high]) {
                Look::Found => return true,
                Look::Dry => return false,
                Look::On => side = 1 - side,
            }
        }
    }

    /// Follows one link. The stack holds items, whether the host was passed on the way, and the next link to follow.
    fn look(
        &mut self,
        side: usize,
        stack: &mut Vec<(u32, bool, usize)>,
        ends: [u32; 2],
        asked: [u32; 2],
    ) -> Look {
        let Some((x, past, next)) = stack.last_mut() else { return Look::Dry };
        let (x, past, at) = (*x, *past, std::mem::replace(next, *next + 1));
        if at == 0 && std::mem::take(&mut self.loops[side][x as usize]) {
            self.links[side][x as usize].retain(|&y| self.sets.find(y) != x);
        }
        let Some(&link) = self.links[side][x as usize].get(at) else {
            stack.pop();
            return Look::On;
        };
        let y = self.find(link);
        let target = ends[1 - side];
        let kind = |v: u32| self.kind[v as usize];
        let host = past || kind(y) == Kind::Host || rise(kind(x), kind(y)) == 2;
        let known = if side == FORWARD { self.above(link, asked[1]) } else { self.above(asked[0], link) };
        if known || (y == target && host) {
            return Look::Found;
        }
        let (level, bound) = (self.level[y as usize], self.level[target as usize]);
        let outside = if side == FORWARD { level >= bound } else { level <= bound };
        let seen = &mut self.seen[side][y as usize];
        if !outside && (seen.0 != self.search || (host && !seen.1)) {
            *seen = (self.search, host);
            stack.push((y, host, 0));
        }
        Look::On
    }

    /// Is `a` a proper ancestor of `b` in the spanning forest?
    fn above(&self, a: u32, b: u32) -> bool {
        let (first, end) = self.subtree[a as usize];
        let (at, _) = self.subtree[b as usize];
        first < at && at < end
    }
}

/// Preorder intervals of the forest in which each item hangs below its highest predecessor. Below an accepted item
/// there is always the host first, as an accepted predecessor is never level with its accepted successor.
fn forest(quotient: &Quotient) -> Vec<(u32, u32)> {
    let n = quotient.kind.len();
    let mut size = vec![1u32; n];
    let mut parent = vec![u32::MAX; n];
    for &v in quotient.order.iter().rev() {
        let needs = |&u: &u32| {
            quotient.level[u as usize] + rise(quotient.kind[u as usize], quotient.kind[v as usize])
        };
        if let Some(&u) = quotient.links.pred(v).iter().max_by_key(|u| needs(u)) {
            parent[v as usize] = u;
            size[u as usize] += size[v as usize];
        }
    }
    let mut interval = vec![(0, 0); n];
    let mut cursor = vec![0; n];
    let mut roots = 0;
    for &v in &quotient.order {
        let next = match parent[v as usize] {
            u32::MAX => &mut roots,
            u => &mut cursor[u as usize],
        };
        let first = *next;
        *next += size[v as usize];
        interval[v as usize] = (first, first + size[v as usize]);
        cursor[v as usize] = first + 1;
    }
    interval
}
