//! Into which tiles a product is cut, and who shares one.

use super::super::super::super::target::Target;
use crate::DType;

/// Who multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Each warp alone, from registers.
    Warp,
    /// Four warps together, out of shared memory; Hopper's own.
    Warpgroup,
}

/// How a product is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    pub unit: Unit,
    /// Rows of a tile.
    pub rows: usize,
    /// Columns of a tile.
    pub columns: usize,
    /// Warps along the rows.
    pub warps: usize,
    /// Warps, or warpgroups, along the columns.
    pub across: usize,
    /// Blocks that share the sums of one tile.
    pub shares: usize,
    /// Bytes of a row of a stage, which is how far one step goes along `k`.
    pub depth: usize,
    /// Stages of shared memory.
    pub stages: usize,
    /// How many steps ahead copies run: all of them where there is room, else so many that no stage is still read when it is filled again.
    pub ahead: usize,
}

/// Most columns that a warpgroup takes at once.
const WIDEST: usize = 128;
/// Most stages.
const STAGES: usize = 8;
/// Floats between the rows of a tile of results, besides their own: other rows in other banks.
pub const GAP: usize = 8;

impl Cut {
    pub fn threads(&self) -> usize {
        32 * self.warps * self.across
    }

    /// Floats from row to row of a tile of results.
    pub fn pitch(&self) -> usize {
        self.columns + GAP
    }

    /// Bytes of a stage.
    pub fn stage(&self) -> usize {
        (self.rows + self.columns) * self.depth
    }

    /// Bytes of shared memory: the stages, and the results in their place.
    pub fn shared(&self) -> usize {
        (self.stages * self.stage()).max(self.rows * self.pitch() * 4)
    }

    /// Do warpgroups multiply? Where bulk copies can bring the factors they are faster.
    pub fn is_of_warpgroups(&self) -> bool {
        self.unit == Unit::Warpgroup
    }

    /// For reports, and to be found again by.
    pub fn name(&self) -> String {
        let Cut { rows, columns, shares, depth, .. } = self;
        let who = match self.unit {
            Unit::Warp => "own tensor cores",
            Unit::Warpgroup => "own warpgroups",
        };
        format!("{who} {rows}x{columns}, {depth} deep, by {shares}")
    }
}

/// A product's size, without its factors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Form {
    pub dtype: DType,
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    /// Bytes along `k`.
    pub k: usize,
}

/// The cuts that promise most on this target, at most `most` of each unit.
pub fn cuts(form: Form, target: &Target, clusters: bool, most: usize) -> Vec<Cut> {
    let mut out = Vec::new();
    for unit in [Unit::Warp, Unit::Warpgroup] {
        let mut found: Vec<(f64, Cut)> = tiles(form, target, unit)
            .filter(|cut| clusters || cut.shares == 1)
            .filter_map(|cut| Some((cost(form, target, &cut)?, cut)))
            .collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        out.extend(found.into_iter().take(most));
    }
    // The first is what is taken where nothing is timed.
    out.sort_by(|a, b| a.0.total_cmp(&b.0));
    out.into_iter().map(|(_, cut)| cut).collect()
}

fn tiles(form: Form, target: &Target, unit: Unit) -> impl Iterator<Item = Cut> {
    /// Rows, columns, and warps along the rows and along the columns.
    const OF_WARPS: [(usize, usize, usize, usize); 9] = [
        (128, 128, 2, 4),
        (128, 64, 2, 2),
        (64, 128, 2, 2),
        (64, 64, 2, 2),
        (128, 32, 4, 1),
        (64, 32, 2, 2),
        (32, 32, 2, 2),
        (128, 16, 8, 1),
        (64, 16, 4, 1),
    ];
    const OF_WARPGROUPS: [(usize, usize); 9] =
        [(256, 128), (128, 256), (128, 128), (256, 64), (128, 64), (64, 128), (64, 64), (128, 32), (64, 32)];
    let groups = OF_WARPGROUPS.iter().map(|&(r, c)| (r, c, r / 16, c.div_ceil(WIDEST)));
    let found: Vec<_> = match unit {
        Unit::Warp => OF_WARPS.to_vec(),
        Unit::Warpgroup if target.capability == 90 && form.dtype != DType::F32 => groups.collect(),
        Unit::Warpgroup => vec![],
    };
    let depths: &[usize] = if unit == Unit::Warp && form.k <= 512 { &[64] } else { &[128] };
    let target = *target;
    found.into_iter().flat_map(move |(rows, columns, warps, across)| {
        let shares = [1, 2, 4, 8].into_iter().filter(move |&s| s == 1 || target.capability >= 90);
        shares.flat_map(move |shares| {
            depths.iter().map(move |&depth| {
                let steps = form.k.div_ceil(depth).div_ceil(shares);
                let blocks = form.batch * form.m.div_ceil(rows) * form.n.div_ceil(columns) * shares;
                // One block to a multiprocessor may have all of its memory.
                let room = target.shared() / if blocks > target.multiprocessors { 2 } else { 1 } - 1024;
                // Warpgroups still read what they were given two steps ago.
                let behind = if unit == Unit::Warpgroup { 2 } else { 1 };
                let most = (room / ((rows + columns) * depth)).min(STAGES).max(behind + 1);
                let (stages, ahead) = match steps.max(1) {
                    steps if steps <= most => (steps, steps),
                    _ => (most, most - behind),
                };
                Cut { unit, rows, columns, warps, across, shares, depth, stages, ahead }
            })
        })
    })
}

/// Cycles that the product takes, about; `None` where it cannot be cut like this. The rates are those that fit 4,600 timings on an H200 best.
fn cost(form: Form, target: &Target, cut: &Cut) -> Option<f64> {
    /// Bytes a cycle out of the second-level cache, of a multiprocessor alone and where all want some.
    const COPIED: [f64; 2] = [29.0, 34.0];
    /// Products (of an element's bytes) a cycle, of warps and of warpgroups.
    const MULTIPLIED: [f64; 2] = [1580.0, 2180.0];
    /// Cycles of a step, however small.
    const STEP: f64 = 470.0;
    /// Results a cycle.
    const STORED: f64 = 4.0;
    let Cut { unit, rows, columns, shares, depth, .. } = *cut;
    let steps = form.k.div_ceil(depth).div_ceil(shares);
    if cut.shared() + 1024 > target.shared() || shares > 1 && steps < 2 {
        return None;
    }
    let blocks = form.batch * form.m.div_ceil(rows) * form.n.div_ceil(columns) * shares;
    let waves = blocks.div_ceil(target.multiprocessors);
    // Blocks side by side on a multiprocessor.
    let together = (target.shared() / (cut.shared() + 1024)).clamp(1, 4);
    let rounds = waves.div_ceil(together) as f64;
    let (area, bytes) = ((rows * columns) as f64, ((rows + columns) * depth) as f64);
    let products = area * depth as f64 / MULTIPLIED[usize::from(unit == Unit::Warpgroup)];
    let busy = waves as f64 * products.max(bytes / COPIED[0]);
    let copies = blocks as f64 * bytes / (COPIED[1] * target.multiprocessors as f64);
    let ends = waves as f64 * area / STORED + if shares > 1 { rounds * (1930.0 + area / 32.0) } else { 0.0 };
    Some(steps as f64 * busy.max(copies).max(rounds * STEP) + ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOPPER: Target = Target { capability: 90, multiprocessors: 132 };
    const AMPERE: Target = Target { capability: 80, multiprocessors: 108 };

    fn form(m: usize, n: usize, k: usize) -> Form {
        Form { dtype: DType::F16, batch: 1, m, n, k: 2 * k }
    }

    #[test]
    fn cuts_fit_the_product() {
        let best = |m, n, k| cuts(form(m, n, k), &HOPPER, true, 4)[0];
        // Many rows of few columns; few tiles of long sums; a large product.
        assert!(best(16384, 16, 144).columns <= 32);
        assert!(best(49, 512, 4608).shares > 1);
        let large = best(50_000, 512, 2304);
        assert_eq!((large.shares, large.unit), (1, Unit::Warpgroup));
        assert!(large.rows * large.columns >= 128 * 128);
        let others = cuts(form(49, 512, 4608), &AMPERE, true, 4);
        assert!(others.iter().all(|c| c.shares == 1 && c.unit == Unit::Warp), "{others:?}");
    }

    #[test]
    fn tiles_fit_into_shared_memory_and_warps() {
        for (target, k) in [(HOPPER, 30), (HOPPER, 1000), (AMPERE, 1000)] {
            let cuts = cuts(form(1000, 1000, k), &target, true, usize::MAX);
            assert!(!cuts.is_empty());
            for cut in cuts {
                assert!(cut.shared() <= target.shared() && cut.threads() <= 512, "{cut:?}");
                let wide = cut.columns / cut.across;
                match cut.unit {
                    Unit::Warp => {
                        assert!((cut.rows / cut.warps).is_multiple_of(16) && wide.is_multiple_of(16))
                    }
                    Unit::Warpgroup => assert!(cut.rows == 16 * cut.warps && [32, 64, 128].contains(&wide)),
                }
            }
        }
    }
}
