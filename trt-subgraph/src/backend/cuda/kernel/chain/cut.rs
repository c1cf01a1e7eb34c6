//! How the results of a chain are divided among blocks and warps, and what that costs.

use super::plan::{Part, Plan, STEP, WARPS};
use crate::DType;
use crate::network::{Layer, Network};

/// How a result is divided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Blocks along the rows of the image, and along its channels.
    pub blocks: [usize; 2],
    /// Warps of a block along places, channels and the sum.
    pub warps: [usize; 3],
    /// Rows of a block.
    pub rows: usize,
    /// Tiles of 16 places in a block, and of 8 channels.
    pub tiles: [usize; 2],
}

impl Cut {
    /// Times that a warp goes through the sum, and tiles of channels each time.
    pub fn rounds(&self) -> usize {
        self.tiles[0].div_ceil(self.warps[0])
    }

    pub fn wide(&self) -> usize {
        self.tiles[1] / self.warps[1]
    }

    /// The rows of the result that a block computes.
    pub fn own(&self, rank: usize, rows: usize) -> [usize; 2] {
        let first = rank / self.blocks[1] * self.rows;
        [first.min(rows), (first + self.rows).min(rows)]
    }
}

impl Plan {
    /// The cut of least time, in cycles as they were measured on an H200.
    pub fn best_cut(&self, part: &Part) -> Option<Cut> {
        let x = &self.values[part.x];
        if !(x.shape[0] * self.dtype.size()).is_multiple_of(STEP) {
            return None;
        }
        let [channels, high, wide] = part.shape;
        let (steps, taps) = (part.steps(&self.values, self.dtype), part.taps[0] * part.taps[1]);
        let mut best: Option<(f64, Cut)> = None;
        for across in (0..4).map(|p| 1 << p).filter(|&n| n <= self.cluster) {
            let along = self.cluster / across;
            if !channels.is_multiple_of(8 * across) || along > high {
                continue;
            }
            let rows = high.div_ceil(along);
            let tiles = [(rows * wide).div_ceil(16), channels / across / 8];
            for warps in warps() {
                let [_, of_channels, of_sum] = warps;
                if !tiles[1].is_multiple_of(of_channels) || !steps.is_multiple_of(of_sum) {
                    continue;
                }
                let cut = Cut { blocks: [along, across], warps, rows, tiles };
                if cut.wide() > 8 {
                    continue;
                }
                let added = if of_sum > 1 { 120.0 * cut.rounds() as f64 } else { 0.0 };
                // What the block hands on: its rows' borders to neighbours, and all to those of other channels.
                let handed = (rows * wide * channels / across * self.dtype.size()) as f64;
                let sent = handed * (across as f64 + 2.0 / rows as f64) / 32.0;
                let brought = (taps * steps * tiles[1] * 256) as f64 / 24.0;
                let time = (self.computed(part, &cut) + added + sent).max(brought);
                if best.as_ref().is_none_or(|(least, _)| time < *least) {
                    best = Some((time, cut));
                }
            }
        }
        best.map(|(_, cut)| cut)
    }

    /// Cycles in which a warp multiplies and ends its tiles of the part.
    fn computed(&self, part: &Part, cut: &Cut) -> f64 {
        // Factors of 32 bits are rounded first.
        let slower = if self.dtype == DType::F32 { 1.5 } else { 1.0 };
        let steps = part.taps[0] * part.taps[1] * part.steps(&self.values, self.dtype) / cut.warps[2];
        let [products, ends] = [steps, cut.wide().div_ceil(2)].map(|n| (cut.rounds() * n) as f64);
        products * slower * (50.0 + 28.0 * cut.wide() as f64) + ends * 110.0
    }

    /// Microseconds of all images.
    pub fn cost(&self, multiprocessors: usize) -> f64 {
        /// Cycles that a layer takes besides: waiting for what the others send.
        const WAITING: f64 = 1300.0;
        /// How much longer two blocks on a multiprocessor take than one.
        const BESIDE: f64 = 1.35;
        let layer = |part: &Part| {
            let brought = part.weight_bytes(&self.values, self.dtype) as f64 / 24.0;
            WAITING + self.computed(part, &part.cut).max(brought)
        };
        // Groups of multiprocessors are not all of the same size: some have no room for a last cluster.
        let usable = if self.cluster > 2 { multiprocessors * 15 / 16 } else { multiprocessors };
        let alone = (usable / self.cluster).max(1);
        let fit = if (220 << 10) / self.shared().max(1) > 1 { 2 } else { 1 };
        let waves = self.images.div_ceil(alone * fit) as f64;
        let slower = if self.images > alone && fit > 1 { BESIDE } else { 1.0 };
        4.0 + waves * slower * self.parts.iter().map(layer).sum::<f64>() / 1750.0
    }
}

/// All divisions of the warps.
fn warps() -> Vec<[usize; 3]> {
    let powers = || (0..4).map(|p| 1usize << p);
    let all = powers().flat_map(|m| powers().flat_map(move |n| powers().map(move |k| [m, n, k])));
    all.filter(|w| w.iter().product::<usize>() <= WARPS).collect()
}

/// Microseconds of the layer in a kernel of its own, as they were measured on an H200.
pub fn cost_alone(network: &Network, layer: &Layer) -> f64 {
    let (w, out) = (network.ty(layer.inputs[1]), network.ty(layer.outputs[0]));
    let operations = 2.0 * out.elements() as f64 * w.shape[1..].iter().product::<usize>() as f64;
    let bytes = network.ty(layer.inputs[0]).bytes() + out.bytes() + w.bytes();
    2.6 + (operations / 3e8).max(bytes as f64 / 3e6)
}
