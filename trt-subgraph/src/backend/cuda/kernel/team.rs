//! Teams: how threads share the groups of a reduction.
//!
//! A tensor is `groups` groups of `size` elements. A team of `threads` threads (a power of 2) works on one group; a block holds
//! several teams. Where the elements of a group lie next to each other, so do the threads of a team (*near*); where neighbouring
//! elements belong to neighbouring groups, neighbouring threads work on neighbouring groups (*far*).

use super::super::render::{Draft, Loops, index_type, split};
use crate::backend::view::View;
use std::fmt::Write;

/// How a reduction over some axes of a view is shared out.
pub struct Team {
    /// The kept axes, outermost in memory first.
    kept: Vec<usize>,
    /// The loops within a group, over the view alone, in units of `pack` elements.
    pub inside: Loops,
    pub groups: usize,
    /// Elements of a group.
    pub size: usize,
    /// Elements that a thread reads at once.
    pub pack: usize,
    /// Threads of a team.
    pub threads: usize,
    /// Teams of a block.
    pub teams: usize,
    near: bool,
    /// The type of positions.
    pub index: &'static str,
    rank: usize,
    kept_sizes: Vec<usize>,
    kept_steps: Vec<isize>,
}

impl Team {
    /// Shares out groups of `x` along `axes`. `others` are further tensors that the kernel touches. `busy`: how many threads fill
    /// the device.
    pub fn new(x: &View, axes: &[usize], others: &[&View], busy: usize) -> Team {
        let order = x.order();
        let kept: Vec<usize> = order.iter().copied().filter(|a| !axes.contains(a)).collect();
        let within: Vec<usize> = order.iter().copied().filter(|a| axes.contains(a)).collect();
        let inside = Loops::new(&[x], &within);
        let groups: usize = kept.iter().map(|&a| x.shape[a]).product();
        let size: usize = within.iter().map(|&a| x.shape[a]).product();
        let closest = |axes: &[usize]| {
            axes.iter()
                .filter(|&&a| x.shape[a] > 1)
                .map(|&a| x.strides[a].unsigned_abs())
                .min()
                .unwrap_or(usize::MAX)
        };
        let near = closest(&within) <= closest(&kept) || groups == 1;
        let pack = if near { pack(x, &inside, &kept) } else { 1 };
        let units = (size / pack).max(1);
        let threads = if near {
            // A warp's worth of accesses to each group, more where there are few groups.
            let few = groups * 256 < busy;
            let (each, most) = if few { (1, 1024) } else { (4, 256) };
            (units.div_ceil(each).next_power_of_two()).clamp(1, most).max(units.next_power_of_two().min(32))
        } else {
            let wanted = (busy / groups.max(1)).max(1).next_power_of_two();
            wanted.min(units.next_power_of_two()).min(16)
        };
        let block = if near { 256.max(threads) } else { 256 };
        let teams = block / threads;
        let mut views = vec![x];
        views.extend(others);
        let index = index_type(&views, groups * threads.max(size));
        let kept_sizes = kept.iter().map(|&a| x.shape[a]).collect();
        let kept_steps = kept.iter().map(|&a| x.strides[a]).collect();
        let rank = x.rank();
        Team {
            kept,
            inside: inside.packed(pack),
            groups,
            size,
            pack,
            threads,
            teams,
            near,
            index,
            rank,
            kept_sizes,
            kept_steps,
        }
    }

    /// Sets the launch's sizes.
    pub fn cover(&self, draft: &mut Draft) {
        draft.threads = self.threads * self.teams;
        draft.grid = [self.groups.div_ceil(self.teams), 1, 1];
    }

    /// Declares the thread's `lane` in its team, its `group` (kept inside the range), whether it is `active`, the positions `g0`, ... of
    /// the group along the kept axes, and the group's start in `x` as `base`.
    pub fn begin(&self) -> String {
        let (ty, teams, threads) = (self.index, self.teams, self.threads);
        let (lane, team) = if self.near {
            (format!("THREAD % {threads}"), format!("THREAD / {threads}"))
        } else {
            (format!("THREAD / {teams}"), format!("THREAD % {teams}"))
        };
        let mut code = format!(
            "const int lane = {lane};
const {ty} wanted = ({ty})BLOCK * {teams} + {team};
const bool active = wanted < {groups};
const {ty} group = active ? wanted : {last};\n",
            groups = self.groups,
            last = self.groups - 1
        );
        code.push_str(&split(&self.kept_sizes, "group", ty, "g"));
        let names: Vec<String> = (0..self.kept.len()).map(|i| format!("g{i}")).collect();
        let _ = writeln!(code, "const {ty} base = {};", super::super::render::sum(&names, &self.kept_steps));
        code
    }

    /// A loop over the thread's elements: `body` sees the element in registers as `v`, and its position in the group as `r`.
    pub fn each(&self, x: &str, memory: &str, body: &str) -> String {
        let (ty, units, threads) = (self.index, self.size / self.pack, self.threads);
        let mut inner = self.inside.split("n", ty, "r");
        let at = format!("base + {}", self.inside.offset(0, "r"));
        if self.pack > 1 {
            let pack = format!("Pack<{memory}, {}>", self.pack);
            let _ = writeln!(inner, "const {pack} p = *reinterpret_cast<const {pack}*>({x} + ({at}));");
            let _ = writeln!(inner, "#pragma unroll\nfor (int j = 0; j < {}; ++j) {{", self.pack);
            let _ = writeln!(
                inner,
                "    const {ty} r = n * {} + j;\n    const auto v = get(p.at[j]);",
                self.pack
            );
            inner.push_str(&super::super::render::indent(body));
            inner.push_str("}\n");
        } else {
            let _ = writeln!(inner, "const {ty} r = n;\nconst auto v = get({x}[{at}]);");
            inner.push_str(body);
        }
        format!(
            "#pragma unroll 4\nfor ({ty} n = lane; n < {units}; n += {threads}) {{\n{}}}\n",
            super::super::render::indent(&inner)
        )
    }

    /// Declares shared memory for combining values of this type.
    pub fn shared(&self, ty: &str) -> String {
        let count =
            if self.near { (self.threads * self.teams).div_ceil(32) } else { self.threads * self.teams };
        // Not constructed: the type may have no default.
        format!("__shared__ {ty} shared[{count}];\n")
    }

    /// The value that combines one from each thread of the team; `function` names or is a lambda of two.
    pub fn combine(&self, value: &str, function: &str) -> String {
        if self.near {
            format!("combine_near<{}>({value}, {function}, shared)", self.threads)
        } else {
            format!("combine_far<{}, {}>({value}, {function}, shared)", self.threads, self.teams)
        }
    }

    /// The positions of a group in a result that has the kept axes (and `None` for reduced ones, dropped unless `keep`).
    pub fn positions(&self, keep: bool) -> Vec<String> {
        let at = |axis: usize| self.kept.iter().position(|&k| k == axis).map(|i| format!("g{i}"));
        (0..self.rank).filter_map(|axis| at(axis).or_else(|| keep.then(|| "0".to_string()))).collect()
    }

    /// The kept axes in memory order, counted as axes of a result without (or with, `keep`) the reduced ones.
    pub fn order(&self, keep: bool) -> Vec<usize> {
        if keep {
            let reduced = (0..self.rank).filter(|a| !self.kept.contains(a));
            return self.kept.iter().copied().chain(reduced).collect();
        }
        let mut sorted = self.kept.clone();
        sorted.sort_unstable();
        self.kept.iter().map(|a| sorted.binary_search(a).expect("one of them")).collect()
    }
}

/// 16 bytes where a group's innermost loop is dense and aligned.
fn pack(x: &View, inside: &Loops, kept: &[usize]) -> usize {
    let (size, steps) = inside.inner(1);
    let mut pack = if steps[0] == 1 { 16 / x.dtype.size() } else { 1 };
    let outer = inside.axes.len().saturating_sub(1);
    let fits = |pack: usize| {
        size.is_multiple_of(pack)
            && inside.axes[..outer].iter().all(|(_, s)| s[0].unsigned_abs().is_multiple_of(pack))
            && kept.iter().all(|&a| x.shape[a] == 1 || x.strides[a].unsigned_abs().is_multiple_of(pack))
            && x.offset.unsigned_abs().is_multiple_of(pack * x.dtype.size())
    };
    while !fits(pack) {
        pack /= 2;
    }
    pack
}
