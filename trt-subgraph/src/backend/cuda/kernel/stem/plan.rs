//! How a stem is cut into blocks.

use super::super::super::target::Target;
use super::find::UNIT;
use crate::network::layer::{Convolution, Pool};

/// Warps of a team.
pub const WARPS: usize = 4;
/// Tiles of 16 places of a row that a warp computes in a step.
pub const TILES: usize = 4;
/// Bytes between rows of shared memory that meet other banks.
const GAP: usize = 16;

/// The sizes that decide; rows first.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    pub images: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Rows and columns of the convolution's result, and of the pool's.
    pub places: [usize; 2],
    pub pooled: [usize; 2],
    pub taps: [usize; 2],
    /// Rows that the convolution steps over.
    pub stride: usize,
    /// Neighbours of a row that are one unit.
    pub together: usize,
    /// Units of a row that a window sees; even, since a product takes two at a time.
    pub units: usize,
    /// Neighbours ahead of the first tap in the first of them.
    pub ahead: usize,
    pub before: [usize; 2],
    pub window: [usize; 2],
    pub pool_stride: [usize; 2],
    pub pool_before: [usize; 2],
}

impl Sizes {
    /// Of the convolution by filters of the shape `w` and the pool, from the shapes of the image, of the convolution's result and of the
    /// pool's.
    pub fn of((c, p): (&Convolution, &Pool), w: &[usize], [x, conv, out]: [&[usize]; 3]) -> Sizes {
        let two = |v: &[usize]| -> [usize; 2] { [v[0], v[1]] };
        let before = [c.padding[0].0, c.padding[1].0];
        let (together, wide) = (c.stride[1], w[3]);
        let units = |ahead: usize| (ahead + wide).div_ceil(together).next_multiple_of(2);
        // Units of an even number of neighbours begin at even ones, where that costs nothing.
        let even = before[1] % together;
        let ahead = if units(even) == units(0) { even } else { 0 };
        Sizes {
            images: x[0],
            outputs: conv[1],
            places: two(&conv[2..]),
            pooled: two(&out[2..]),
            taps: two(&w[2..]),
            stride: c.stride[0],
            together,
            units: units(ahead),
            ahead,
            before,
            window: two(&p.window),
            pool_stride: two(&p.stride),
            pool_before: [p.padding[0].0, p.padding[1].0],
        }
    }

    /// Channels of a place in a unit, of which those beyond the image's are zero.
    pub fn channels(&self) -> usize {
        UNIT / self.together
    }
}

/// How it is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Tiles of a step next to each other in a row.
    pub across: usize,
    /// Columns of the pool's result of a team.
    pub strip: usize,
    /// Rows of it.
    pub part: usize,
    /// Channels of it.
    pub outputs: usize,
    /// Teams of a block, two of which take turns.
    pub teams: usize,
    /// Blocks for which a multiprocessor has room.
    pub beside: usize,
}

impl Plan {
    /// The plan that promises most; `None` where a block has no room for any.
    pub fn of(s: &Sizes, target: &Target) -> Option<Plan> {
        let outputs = [64, 48, 32, 16].into_iter().find(|&n| s.outputs.is_multiple_of(n))?;
        let mut best: Option<(f64, Plan)> = None;
        for across in [1, 2, 4] {
            let high = WARPS * TILES / across;
            if 16 * across < s.window[1] || high < s.window[0] {
                continue;
            }
            let most = (16 * across - s.window[1]) / s.pool_stride[1] + 1;
            let strip = s.pooled[1].div_ceil(s.pooled[1].div_ceil(most));
            let parts = 1..=s.pooled[0].min(64);
            for (parts, teams) in parts.flat_map(|parts| [(parts, 1), (parts, 2)]) {
                let part = s.pooled[0].div_ceil(parts);
                let mut plan = Plan { across, strip, part, outputs, teams, beside: 1 };
                // So many sums leave registers for two teams.
                plan.beside = (target.shared() / (plan.shared(s) + 1024)).min(2 / teams);
                if plan.beside == 0 {
                    continue;
                }
                let cost = plan.cost(s, target);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, plan));
                }
            }
        }
        best.map(|(_, plan)| plan)
    }

    /// Cycles, about.
    fn cost(&self, s: &Sizes, target: &Target) -> f64 {
        /// Products a cycle of a multiprocessor; cycles before a block's first step, of a step beside its products, and of a unit of its
        /// part of the image.
        const MULTIPLIED: f64 = 1400.0;
        const BEGIN: f64 = 2500.0;
        const STEP: f64 = 2500.0;
        const SEEN: f64 = 1.5;
        let tiles = self.tiles(s).iter().product::<usize>();
        let blocks = tiles.div_ceil(self.teams) * s.outputs / self.outputs;
        let each = blocks.div_ceil(target.multiprocessors);
        let products = (WARPS * TILES * 16 * self.outputs * s.taps[0] * s.units * UNIT) as f64 / MULTIPLIED;
        let rest = STEP + SEEN * (self.lines(s) * self.wide(s)) as f64;
        let step = match self.teams {
            1 => each.min(self.beside) as f64 * products + rest,
            _ => (2.0 * products).max(products + rest),
        };
        each.div_ceil(self.beside) as f64 * (BEGIN + self.steps(s) as f64 * step)
    }

    /// Images, and parts and strips of each: what a team takes.
    pub fn tiles(&self, s: &Sizes) -> [usize; 3] {
        [s.images, s.pooled[0].div_ceil(self.part), s.pooled[1].div_ceil(self.strip)]
    }

    /// Rows of the convolution's result that a step computes.
    pub fn high(&self) -> usize {
        WARPS * TILES / self.across
    }

    /// Columns of it.
    pub fn columns(&self) -> usize {
        16 * self.across
    }

    /// Steps of a block.
    pub fn steps(&self, s: &Sizes) -> usize {
        ((self.part - 1) * s.pool_stride[0] + s.window[0]).div_ceil(self.high())
    }

    /// Rows of the image that a step sees, and units of each.
    pub fn lines(&self, s: &Sizes) -> usize {
        (self.high() - 1) * s.stride + s.taps[0]
    }

    pub fn wide(&self, s: &Sizes) -> usize {
        self.columns() + s.units - 1
    }

    /// Bytes of a row of units.
    pub fn row(&self, s: &Sizes) -> usize {
        self.wide(s) * 16
    }

    /// Bytes from filter to filter.
    pub fn filter_pitch(&self, s: &Sizes) -> usize {
        let own = s.taps[0] * s.units * 16;
        // An odd number of units: eight filters meet all banks.
        if (own / 16).is_multiple_of(2) { own + GAP } else { own }
    }

    /// Bytes of a place of the convolution's result.
    pub fn place(&self) -> usize {
        self.outputs * 2 + GAP
    }

    /// Rows of it that are kept: a step's, and those before that the pool sees again.
    pub fn ring(&self, s: &Sizes) -> usize {
        self.high() + s.window[0] - 1
    }

    /// Bytes of a step's part of the image, of the filters and of the results.
    pub fn memory(&self, s: &Sizes) -> [usize; 3] {
        [
            self.lines(s) * self.row(s),
            self.outputs * self.filter_pitch(s),
            self.ring(s) * self.columns() * self.place(),
        ]
    }

    /// Bytes of what a team has for itself: parts of the image of two steps, and results.
    pub fn of_team(&self, s: &Sizes) -> usize {
        let [image, _, results] = self.memory(s);
        2 * image + results
    }

    /// Bytes of shared memory of a block.
    pub fn shared(&self, s: &Sizes) -> usize {
        let [_, filters, _] = self.memory(s);
        filters + self.teams * self.of_team(s)
    }
}
