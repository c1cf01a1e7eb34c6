//! Into which tiles a product is cut whose factors come by bulk copies, and who multiplies.

use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::target::Target;
use super::super::Form;
use super::super::cut::GAP;
use super::area::Area;
use super::parts::{PARTS, PRODUCTS, WIDER};

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
    /// Rooms of a team for it: with 2, it comes while the team is still at the tile before.
    pub nears: usize,
    /// Do results leave by bulk copies as well?
    pub sends: bool,
    /// Is the image folded before?
    pub folded: bool,
    /// Blocks of a cluster that each have a part of the sums of one tile.
    pub shares: usize,
    /// Is a tile one of a convolution whose taps share what its windows see?
    pub area: Option<Area>,
    /// Are the factors f32, each a sum of three parts?
    pub in_parts: bool,
}

impl Bulk {
    /// Warpgroups of a team.
    pub fn groups(&self) -> usize {
        self.tile[0] / self.part[0] * (self.tile[1] / self.part[1])
    }

    /// Threads that multiply.
    pub fn workers(&self) -> usize {
        128 * self.groups() * self.teams
    }

    /// Those, and a warp whose first lane names boxes; or a warpgroup, which gives its registers to them.
    pub fn threads(&self) -> usize {
        self.workers() + if self.moves_registers() { 128 } else { 32 }
    }

    /// Who of a warpgroup says that a stage is read: one for all where tensor cores read it, each warp where it reads for itself.
    pub fn released_by(&self) -> usize {
        if self.in_parts { 4 } else { 1 }
    }

    /// Do the threads that multiply want more registers than would be theirs?
    pub fn moves_registers(&self) -> bool {
        self.in_parts && self.groups() > 1
    }

    pub fn blocks_of_cluster(&self) -> usize {
        self.cluster.iter().product::<usize>() * self.shares
    }

    /// Bytes of a stage.
    pub fn stage(&self) -> usize {
        self.columns_at() + self.tile[1] * ROW * if self.in_parts { PARTS } else { 1 }
    }

    /// Where the columns are in it, which follow the rows.
    pub fn columns_at(&self) -> usize {
        match self.area {
            Some(_) => 0,
            None => self.tile[0] * ROW * if self.in_parts { WIDER } else { 1 },
        }
    }

    /// Registers of a thread: its sums, twice in parts, and others.
    pub fn registers(&self) -> usize {
        (self.part[0] * self.part[1] / 128 + 32) * if self.in_parts { 2 } else { 1 }
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
            + (2 * self.stages + self.barriers_of_teams() + self.area.map_or(0, |area| 2 * area.buffers)) * 8
    }

    /// Where the barriers are in shared memory.
    pub fn barriers(&self) -> usize {
        self.near_at() + self.rooms() * self.near()
    }

    /// Of all teams: one barrier for whose turn it is, and two for each room.
    pub fn barriers_of_teams(&self) -> usize {
        self.teams + 2 * self.rooms()
    }

    /// Rooms of all teams for what lies near.
    pub fn rooms(&self) -> usize {
        self.teams * self.nears
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
        let brought = match (self.brings, self.nears) {
            (false, _) => "",
            (true, 1) => ", operand brought",
            (true, _) => ", operand brought ahead",
        };
        let sent = if self.sends { ", results sent" } else { "" };
        let of = if self.folded { ", of a folded image" } else { "" };
        let seen = self.area.map_or(String::new(), |area| area.name());
        let by = if self.shares > 1 { format!(", sums shared by {}", self.shares) } else { String::new() };
        let parts = if self.in_parts { ", in parts" } else { "" };
        format!(
            "own bulk copies {rows}x{columns}, {how}, {beside} beside{seen}{brought}{sent}{of}{parts}{by}"
        )
    }

    /// Cycles that the product takes, about. The rates are those that fit timings on an H200.
    pub fn cost(&self, form: Form, steps: usize, target: &Target) -> f64 {
        /// Products (of an element's bytes) a cycle, of blocks of one tile and of teams that take turns; at most 4096.
        const MULTIPLIED: [f64; 2] = [2300.0, 3300.0];
        /// The same in parts, cycles that taking a row apart takes, and those of a step in which nobody else multiplies meanwhile.
        const IN_PARTS: f64 = 4096.0 / PRODUCTS;
        const APART: f64 = 5.0;
        const ALONE: f64 = 550.0;
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
        let of_rows = self.area.map_or(self.columns_at() / self.cluster[1], |area| area.comes_at_a_tap());
        let bytes = (of_rows + (self.stage() - self.columns_at()) / self.cluster[0]) as f64;
        let each = self.tiles(form).div_ceil(target.multiprocessors) as f64;
        let steps = steps.div_ceil(self.shares);
        let rounds = (each / self.beside as f64).ceil();
        let multiplied = MULTIPLIED[usize::from(turns || self.area.is_some())];
        let multiply = match self.in_parts {
            true => area * ROW as f64 / IN_PARTS + rows as f64 * APART,
            false => area * ROW as f64 / multiplied,
        };
        let step = multiply.max(bytes / COPIED);
        let alone = if self.in_parts && self.groups() * self.beside == 1 { ALONE } else { 0.0 };
        let products = steps as f64 * ((each * step).max(rounds * STEP) + rounds * alone);
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
