//! Into which tiles a product is cut whose factors come by bulk copies, and who multiplies.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::target::Target;
use super::super::cut::GAP;
use super::super::{Form, form};
use super::factors::rows;
use super::{folded, near};
use crate::DType;
use crate::backend::Tf32;
use crate::network::{Layer, LayerKind};

/// How a product is cut into tiles, and these into what a warpgroup multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bulk {
    /// Rows and columns of a tile.
    pub tile: [usize; 2],
    /// Rows and columns of a warpgroup's part of it.
    pub part: [usize; 2],
    /// Tiles of a cluster along the rows and the columns.
    pub cluster: [usize; 2],
    /// Teams that take turns, 2, or 1 for a block of one tile.
    pub teams: usize,
    /// Stages of shared memory.
    pub stages: usize,
    /// Blocks that share a multiprocessor.
    pub beside: usize,
    /// Is an operand of the epilogue brought near too?
    pub brings: bool,
    /// Do results leave by bulk copies as well?
    pub sends: bool,
    /// Is the image folded before?
    pub folded: bool,
    /// Blocks of a cluster that each have a part of the sums of one tile.
    pub shares: usize,
}

/// Most stages.
const STAGES: usize = 8;

impl Bulk {
    /// Warpgroups of a team.
    pub fn groups(&self) -> usize {
        self.tile[0] / self.part[0] * (self.tile[1] / self.part[1])
    }

    /// Threads that multiply.
    pub fn workers(&self) -> usize {
        128 * self.groups() * self.teams
    }

    /// Those, and a warp whose first lane names boxes.
    pub fn threads(&self) -> usize {
        self.workers() + 32
    }

    pub fn blocks_of_cluster(&self) -> usize {
        self.cluster.iter().product::<usize>() * self.shares
    }

    /// Bytes of a stage.
    pub fn stage(&self) -> usize {
        (self.tile[0] + self.tile[1]) * ROW
    }

    pub fn shared(&self) -> usize {
        self.barriers() + (2 * self.stages + 3 * self.teams) * 8
    }

    /// Where the barriers are in shared memory.
    pub fn barriers(&self) -> usize {
        self.stages * self.stage() + self.teams * self.near()
    }

    /// Columns of a box of what lies near: as many as a row of 128 bytes has, or half as many where those do not fill a part.
    pub fn unit(&self) -> usize {
        if self.part[1].is_multiple_of(ROW / 2) { ROW / 2 } else { ROW / 4 }
    }

    /// Bytes of what lies near of a tile: of the operand or the results, or of sums that blocks share.
    pub fn near(&self) -> usize {
        let [rows, columns] = self.tile;
        match self.shares {
            1 if self.brings || self.sends => rows * columns.next_multiple_of(self.unit()) * 2,
            1 => 0,
            _ => rows * self.pitch() * 4,
        }
    }

    /// Floats from row to row of sums in shared memory.
    pub fn pitch(&self) -> usize {
        self.tile[1] + GAP
    }

    /// Clusters along the rows and the columns.
    pub fn clusters(&self, form: Form) -> [usize; 2] {
        let along = |size: usize, axis: usize| size.div_ceil(self.tile[axis]).div_ceil(self.cluster[axis]);
        [along(form.m, 0), along(form.n, 1)]
    }

    /// Tiles of all clusters.
    pub fn tiles(&self, form: Form) -> usize {
        self.clusters(form).iter().product::<usize>() * self.blocks_of_cluster()
    }

    /// Blocks of a kernel.
    pub fn blocks(&self, form: Form, target: &Target) -> usize {
        let tiles = self.tiles(form);
        if self.teams > 1 { tiles.min(target.multiprocessors * self.beside) } else { tiles }
    }

    /// For reports, and to be found again by.
    pub fn name(&self) -> String {
        let Bulk { tile: [rows, columns], part: [high, wide], cluster: [along, across], beside, .. } = self;
        let how = match self.teams {
            1 => format!("clusters of {along}x{across}"),
            _ => format!("by turns of {high}x{wide}"),
        };
        let with = match (self.brings, self.sends) {
            (true, true) => ", operand brought, results sent",
            (true, false) => ", operand brought",
            (false, true) => ", results sent",
            (false, false) => "",
        };
        let of = if self.folded { ", of a folded image" } else { "" };
        let by = if self.shares > 1 { format!(", sums shared by {}", self.shares) } else { String::new() };
        format!("own bulk copies {rows}x{columns}, {how}, {beside} beside{with}{of}{by}")
    }

    /// Cycles that the product takes, about. The rates are those that fit timings on an H200.
    fn cost(&self, form: Form, steps: usize, target: &Target) -> f64 {
        /// Products (of an element's bytes) a cycle, of blocks of one tile and of teams that take turns; at most 4096.
        const MULTIPLIED: [f64; 2] = [2300.0, 3300.0];
        /// Bytes a cycle out of the second-level cache.
        const COPIED: f64 = 44.0;
        /// Cycles of a step, however small.
        const STEP: f64 = 340.0;
        /// Results a cycle, of all of a multiprocessor and of a team.
        const STORED: [f64; 2] = [7.0, 4.0];
        /// As many times that where they are sent.
        const SENT: f64 = 2.5;
        /// Cycles before the first product of a block.
        const BEGIN: f64 = 1800.0;
        /// Cycles until the blocks of a cluster have each other's sums.
        const SHARED: f64 = 1500.0;
        let ([rows, columns], turns) = (self.tile, self.teams > 1);
        let area = (rows * columns) as f64;
        let bytes = ((rows / self.cluster[1] + columns / self.cluster[0]) * ROW) as f64;
        let each = self.tiles(form).div_ceil(target.multiprocessors) as f64;
        let steps = steps.div_ceil(self.shares);
        let rounds = (each / self.beside as f64).ceil();
        let step = (area * ROW as f64 / MULTIPLIED[usize::from(turns)]).max(bytes / COPIED);
        let products = steps as f64 * (each * step).max(rounds * STEP);
        let end = area / STORED[usize::from(turns)] / if self.sends { SENT } else { 1.0 };
        if self.shares > 1 {
            BEGIN * rounds + products + each * (SHARED + end / self.shares as f64)
        } else if turns {
            BEGIN + products.max((products + each * end) / 2.0) + end
        } else {
            BEGIN * rounds + products + each * end
        }
    }
}

/// Offsets from place to place of one window, and corners, that a copy can be told.
const FARTHEST: usize = 127;

/// The cuts that promise most, at most `most`; none where bulk copies cannot bring the factors.
pub fn bulks(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// Of tiles and of warpgroups' parts: rows, columns; and teams.
    const TILES: [([usize; 2], [usize; 2], usize); 18] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
        ([128, 160], [64, 160], 2),
        ([128, 192], [128, 96], 2),
        ([128, 96], [128, 96], 2),
        ([256, 64], [128, 64], 2),
        ([128, 64], [128, 64], 2),
        ([64, 128], [64, 128], 2),
        ([256, 128], [128, 128], 1),
        ([128, 128], [64, 128], 1),
        ([256, 64], [128, 64], 1),
        ([128, 64], [64, 64], 1),
        ([64, 256], [64, 128], 1),
        ([64, 128], [64, 128], 1),
        ([64, 160], [64, 160], 1),
        ([64, 64], [64, 64], 1),
        ([128, 32], [64, 32], 1),
        ([64, 32], [64, 32], 1),
    ];
    /// Tiles of a cluster, and blocks for each.
    const CLUSTERS: [([usize; 2], usize); 8] = [
        ([1, 1], 1),
        ([2, 1], 1),
        ([1, 2], 1),
        ([2, 2], 1),
        ([1, 1], 2),
        ([1, 1], 3),
        ([1, 1], 4),
        ([1, 1], 6),
    ];
    let Some(form) = bulk_form(a, layer) else { return vec![] };
    let few = folded::form(a, layer);
    let (form, folded) = (few.unwrap_or(form), few.is_some());
    let steps = form.k.div_ceil(ROW);
    let (brings, sends) = (near::brings(a, layer), near::sends(a, layer));
    let mut found: Vec<(f64, Bulk)> = Vec::new();
    for (tile, part, teams) in TILES {
        for (cluster, shares) in CLUSTERS {
            let tiles = [form.m.div_ceil(tile[0]), form.n.div_ceil(tile[1])];
            let blocks = tiles[0] * tiles[1];
            // No row or column of a cluster's tiles lies beyond the product; parts of a box have whole groups of rows.
            let fits = (0..2).all(|i| tiles[i] >= cluster[i] && (tile[i] / cluster[1 - i]).is_multiple_of(8));
            if cluster != [1, 1] && !(clusters && fits && teams == 1)
                || teams > 1 && blocks <= a.target.multiprocessors
            {
                continue;
            }
            // Sums are shared where there are too few tiles, and enough to sum.
            let spread = blocks * shares <= a.target.multiprocessors && steps >= 4 * shares;
            if shares > 1 && !(clusters && teams == 1 && spread) {
                continue;
            }
            for beside in [1, 2] {
                let room = a.target.shared() / beside - 2048;
                let (brings, sends) = (brings && shares == 1, sends && shares == 1);
                let mut bulk =
                    Bulk { tile, part, cluster, teams, stages: 1, beside, brings, sends, folded, shares };
                let all = if teams > 1 { STAGES } else { (steps / shares).max(1) };
                let left = room.saturating_sub(teams * bulk.near());
                bulk.stages = (left / bulk.stage()).min(STAGES).min(all);
                // So many threads with so many sums have no room for others.
                let crowded = bulk.workers() * (part[0] * part[1] / 128 + 32) * beside > 48 << 10
                    || blocks <= a.target.multiprocessors;
                if bulk.shared() <= room && bulk.stages >= all.min(3) && !(beside > 1 && crowded) {
                    found.push((bulk.cost(form, steps, &a.target), bulk));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(most).map(|(_, bulk)| bulk).collect()
}

/// The product's size, with `k` of whole boxes, where bulk copies can bring its factors.
pub fn bulk_form(a: &mut Assembler, layer: &Layer) -> Option<Form> {
    let form = form(a, layer, Tf32::default())?;
    let halves = matches!(form.dtype, DType::F16 | DType::BF16);
    // Copies are told places as numbers of 32 bits.
    let countable = [form.m, form.n, form.k].iter().all(|n| (1..1 << 30).contains(n));
    if a.target.capability != 90 || !halves || form.batch != 1 || !countable {
        return None;
    }
    match &layer.kind {
        LayerKind::Convolution(c) => {
            let w = a.network.ty(layer.inputs[1]).shape.clone();
            let reach = |i: usize| (w[i + 2] - 1) * c.dilation[i];
            let told = |i: usize| {
                let (before, after) = c.padding[i];
                before.max(after).max(reach(i)) <= FARTHEST && (1..=8).contains(&c.stride[i])
            };
            let at_a_tap = w[1].next_multiple_of(8).div_ceil(64);
            let fits = c.stride.len() == 2 && (0..2).all(told) && a.is_static(layer.inputs[1]);
            fits.then(|| Form { k: w[2] * w[3] * at_a_tap * ROW, ..form })
        }
        LayerKind::MatMul { transpose_a, .. } => {
            let (x, rank) = (a.view(layer.inputs[0]), a.network.ty(layer.inputs[0]).rank());
            let x = if *transpose_a { x.permute(&swapped(rank)) } else { x };
            rows(&x).map(|_| form)
        }
        _ => None,
    }
}

/// The axes of matrices, the last two exchanged.
fn swapped(rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    axes
}
