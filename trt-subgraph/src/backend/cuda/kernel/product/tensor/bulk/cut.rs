//! Into which tiles a product is cut whose factors come by bulk copies, and who multiplies.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::target::Target;
use super::super::cut::GAP;
use super::super::{Form, form};
use super::area::Area;
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
    /// Is a tile one of a convolution whose taps share what its windows see?
    pub area: Option<Area>,
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
        self.columns_at() + self.tile[1] * ROW
    }

    /// Where the columns are in it, which follow the rows.
    pub fn columns_at(&self) -> usize {
        if self.area.is_some() { 0 } else { self.tile[0] * ROW }
    }

    /// Where the areas are in shared memory.
    pub fn areas(&self) -> usize {
        self.stages * self.stage()
    }

    /// Where in shared memory it is what lies near of tiles.
    pub fn near_at(&self) -> usize {
        self.areas() + self.area.map_or(0, |area| area.buffers * area.bytes(self.tile[0]))
    }

    pub fn shared(&self) -> usize {
        self.barriers()
            + (2 * self.stages + 3 * self.teams + self.area.map_or(0, |area| 2 * area.buffers)) * 8
    }

    /// Where the barriers are in shared memory.
    pub fn barriers(&self) -> usize {
        self.near_at() + self.teams * self.near()
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

    /// Tiles along the rows and the columns.
    fn all_tiles(&self, form: Form) -> [usize; 2] {
        let rows = self.area.map_or_else(|| form.m.div_ceil(self.tile[0]), |area| area.tiles());
        [rows, form.n.div_ceil(self.tile[1])]
    }

    /// Clusters along the rows and the columns.
    pub fn clusters(&self, form: Form) -> [usize; 2] {
        let along = |tiles: usize, axis: usize| tiles.div_ceil(self.cluster[axis]);
        let [high, wide] = self.all_tiles(form);
        [along(high, 0), along(wide, 1)]
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
        let seen = self.area.map_or(String::new(), |area| area.name());
        let by = if self.shares > 1 { format!(", sums shared by {}", self.shares) } else { String::new() };
        format!("own bulk copies {rows}x{columns}, {how}, {beside} beside{seen}{with}{of}{by}")
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
        let of_rows = self.area.map_or(rows * ROW / self.cluster[1], |area| area.comes_at_a_tap());
        let bytes = (of_rows + columns / self.cluster[0] * ROW) as f64;
        let each = self.tiles(form).div_ceil(target.multiprocessors) as f64;
        let steps = steps.div_ceil(self.shares);
        let rounds = (each / self.beside as f64).ceil();
        let multiplied = MULTIPLIED[usize::from(turns || self.area.is_some())];
        let step = (area * ROW as f64 / multiplied).max(bytes / COPIED);
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
    const TILES: [([usize; 2], [usize; 2], usize); 16] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
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
                let mut bulk = Bulk {
                    tile,
                    part,
                    cluster,
                    teams,
                    stages: 1,
                    beside,
                    brings,
                    sends,
                    folded,
                    shares,
                    area: None,
                };
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
    best(found, most)
}

/// The cuts of a convolution into tiles whose taps share what their windows see, at most `most` that promise most.
pub fn bulks_of_areas(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// Of tiles and of warpgroups' parts: rows, columns; and teams.
    const TILES: [([usize; 2], [usize; 2], usize); 15] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
        ([128, 96], [128, 96], 2),
        ([256, 64], [128, 64], 2),
        ([128, 64], [128, 64], 2),
        ([256, 128], [128, 128], 1),
        ([128, 160], [64, 160], 1),
        ([64, 160], [64, 160], 1),
        ([128, 128], [64, 128], 1),
        ([64, 128], [64, 128], 1),
        ([128, 96], [64, 96], 1),
        ([256, 64], [128, 64], 1),
        ([128, 64], [64, 64], 1),
        ([64, 64], [64, 64], 1),
        ([64, 32], [64, 32], 1),
    ];
    /// Tiles of a cluster, and blocks for each.
    const CLUSTERS: [([usize; 2], usize); 5] =
        [([1, 1], 1), ([2, 1], 1), ([1, 1], 2), ([1, 1], 3), ([1, 1], 4)];
    let Some(form) = bulk_form(a, layer) else { return vec![] };
    let steps = form.k.div_ceil(ROW);
    let (brings, sends) = (near::brings(a, layer), near::sends(a, layer));
    let mut found: Vec<(f64, Bulk)> = Vec::new();
    for (tile, part, teams) in TILES {
        for area in Area::all(a, layer, tile[0]) {
            for (cluster, shares) in CLUSTERS {
                let blocks = area.tiles() * form.n.div_ceil(tile[1]) * shares;
                let together = cluster[0] * shares;
                let whole = area.tiles() >= cluster[0] && (tile[1] / cluster[0]).is_multiple_of(8);
                // Fewer clusters run at the same time than there is room for: they do not reach from one part of the device into another.
                let room = a.target.multiprocessors * if shares > 2 { 5 } else { 6 } / 6;
                let spread = shares == 1 || blocks <= room && steps >= 4 * shares;
                let takes_turns = teams == 1 || blocks > a.target.multiprocessors;
                if together > 1 && !(clusters && teams == 1) || !(whole && spread && takes_turns) {
                    continue;
                }
                for beside in [1, 2] {
                    let room = a.target.shared() / beside - 2048;
                    let (brings, sends) = (brings && shares == 1, sends && shares == 1 && !area.lines());
                    let area = Some(area.of_teams(teams));
                    let mut bulk = Bulk {
                        tile,
                        part,
                        cluster,
                        teams,
                        stages: 1,
                        beside,
                        brings,
                        sends,
                        folded: false,
                        shares,
                        area,
                    };
                    let all = if teams > 1 { STAGES } else { (steps / shares).max(1) };
                    let left = room.saturating_sub(bulk.shared() - bulk.stage() + 256);
                    bulk.stages = (left / bulk.stage()).min(STAGES).min(all);
                    let crowded = bulk.workers() * (part[0] * part[1] / 128 + 32) * beside > 48 << 10
                        || blocks <= a.target.multiprocessors;
                    if bulk.shared() <= room && bulk.stages >= all.min(3) && !(beside > 1 && crowded) {
                        found.push((bulk.cost(form, steps, &a.target), bulk));
                    }
                }
            }
        }
    }
    best(found, most)
}

/// Those that cost least, at most `most`.
fn best(mut found: Vec<(f64, Bulk)>, most: usize) -> Vec<Bulk> {
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
