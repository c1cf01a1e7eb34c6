//! Who computes what of a chain, and where it lies in shared memory.

use super::cut::{Cut, cost_alone};
use super::find::is_vector;
use crate::DType;
use crate::network::layer::Convolution;
use crate::network::{Layer, LayerKind, Network, ValueId};
use crate::schedule::arena::{Interval, pack};

/// Warps of a block.
pub const WARPS: usize = 8;
/// Bytes that a product on tensor cores reads of a row.
pub const STEP: usize = 32;

/// A run of convolutions that clusters of blocks compute, an image each, handing each other what the next layer reads.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    pub parts: Vec<Part>,
    pub values: Vec<Held>,
    /// Blocks of a cluster.
    pub cluster: usize,
    /// So many layers' weights are under way or being read.
    pub depth: usize,
    pub images: usize,
    pub dtype: DType,
    /// Bytes of shared memory for the weights of one layer, and for sums that warps add.
    pub slot: usize,
    pub scratch: usize,
    /// Bytes of the zeros that lie outside of images.
    pub zeros: usize,
    /// Bytes of the values.
    pub arena: usize,
}

/// An image, of which each block holds some rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    pub value: ValueId,
    /// Channels (as many as fill whole steps), rows, columns.
    pub shape: [usize; 3],
    /// By block: the first row that it holds, and the one after the last.
    pub rows: Vec<[usize; 2]>,
    /// The same as a formula, where there is one.
    pub spread: Option<Spread>,
    /// Bytes from one place to the next: 16 more than the channels take, so that neighbours lie in other banks.
    pub pitch: usize,
    /// Bytes from the start of the values.
    pub at: usize,
    /// Does it come from outside of the chain?
    pub given: bool,
}

/// Blocks `p * across` and the following hold rows from `p * step - before` to, and without, `p * step + after`, as far as there are such.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spread {
    pub across: usize,
    pub step: usize,
    pub before: usize,
    pub after: usize,
}

impl Spread {
    /// The rows of a block, of so many.
    fn rows(&self, rank: usize, high: usize) -> [usize; 2] {
        let first = rank / self.across * self.step;
        [first.saturating_sub(self.before).min(high), (first + self.after).min(high)]
    }
}

/// One convolution.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Its position in the network.
    pub at: usize,
    pub x: usize,
    /// Where later parts read its result.
    pub y: Option<usize>,
    pub operands: Vec<Operand>,
    pub taps: [usize; 2],
    pub stride: [usize; 2],
    pub before: [usize; 2],
    /// Channels, rows and columns of the result.
    pub shape: [usize; 3],
    pub cut: Cut,
    /// Do all blocks meet before it, because what they were sent does not tell that memory may be used again?
    pub meets: bool,
}

/// What an epilogue reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// An image of the chain.
    Held(usize),
    /// A number for each channel.
    Vector(ValueId),
}

impl Part {
    /// Steps of the sum at each tap.
    pub fn steps(&self, values: &[Held], dtype: DType) -> usize {
        values[self.x].shape[0] * dtype.size() / STEP
    }

    /// Bytes of a block's weights.
    pub fn weight_bytes(&self, values: &[Held], dtype: DType) -> usize {
        self.taps[0] * self.taps[1] * self.steps(values, dtype) * self.cut.tiles[1] * 256
    }

    /// Channels of a block.
    pub fn channels(&self) -> usize {
        self.shape[0] / self.cut.blocks[1]
    }
}

impl Plan {
    /// How the layers at these positions are best run by clusters, or nothing where each had better be a kernel of its own.
    pub fn of(network: &Network, layers: &[usize], multiprocessors: usize, shared: usize) -> Option<Plan> {
        let sizes = [8, 4, 2, 1].into_iter().flat_map(|cluster| [3, 2].map(|depth| (cluster, depth)));
        let plans = sizes.filter_map(|(cluster, depth)| Plan::with(network, layers, cluster, depth));
        let fitting = plans.filter(|plan| plan.shared() <= shared);
        let best = fitting.min_by(|a, b| a.cost(multiprocessors).total_cmp(&b.cost(multiprocessors)))?;
        let alone: f64 = layers.iter().map(|&at| cost_alone(network, &network.layers[at])).sum();
        (best.cost(multiprocessors) < alone).then_some(best)
    }

    /// The same for clusters of so many blocks.
    pub fn with(network: &Network, layers: &[usize], cluster: usize, depth: usize) -> Option<Plan> {
        let dtype = network.ty(network.layers[layers[0]].inputs[0]).dtype;
        let images = network.ty(network.layers[layers[0]].inputs[0]).shape[0];
        let mut out = Plan {
            parts: vec![],
            values: vec![],
            cluster,
            depth,
            images,
            dtype,
            slot: 0,
            scratch: 0,
            zeros: 0,
            arena: 0,
        };
        for &at in layers {
            let layer = &network.layers[at];
            let LayerKind::Convolution(c) = &layer.kind else { return None };
            out.add(network, at, layer, c)?;
        }
        out.place(network);
        Some(out)
    }

    fn add(&mut self, network: &Network, at: usize, layer: &Layer, c: &Convolution) -> Option<()> {
        let x = self.held(network, layer.inputs[0], true)?;
        let taps = &network.ty(layer.inputs[1]).shape;
        let out = &network.ty(layer.outputs[0]).shape;
        let mut operands = Vec::new();
        for &v in &layer.inputs[2..] {
            operands.push(match is_vector(network, layer, v) && self.find(v).is_none() {
                true => Operand::Vector(v),
                false => Operand::Held(self.find(v)?),
            });
        }
        let mut part = Part {
            at,
            x,
            y: None,
            operands,
            taps: [taps[2], taps[3]],
            stride: [c.stride[0], c.stride[1]],
            before: [c.padding[0].0, c.padding[1].0],
            shape: [out[1], out[2], out[3]],
            cut: Cut { blocks: [1, 1], warps: [1; 3], rows: 0, tiles: [0; 2] },
            meets: false,
        };
        part.cut = self.best_cut(&part)?;
        self.parts.push(part);
        let y = self.held(network, layer.outputs[0], false)?;
        self.parts.last_mut()?.y = Some(y);
        Some(())
    }

    fn find(&self, value: ValueId) -> Option<usize> {
        self.values.iter().position(|h| h.value == value)
    }

    fn held(&mut self, network: &Network, value: ValueId, given: bool) -> Option<usize> {
        if let Some(at) = self.find(value) {
            return Some(at);
        }
        let (shape, whole) = (&network.ty(value).shape, STEP / self.dtype.size());
        let channels = shape[1].next_multiple_of(if given { whole } else { 1 });
        self.values.push(Held {
            value,
            shape: [channels, shape[2], shape[3]],
            rows: vec![],
            spread: None,
            pitch: channels * self.dtype.size() + 16,
            at: 0,
            given,
        });
        Some(self.values.len() - 1)
    }

    /// Says which rows each block holds of each value, and where.
    fn place(&mut self, network: &Network) {
        let last_reader = |v: usize| {
            let reads = |p: &Part| p.x == v || p.operands.contains(&Operand::Held(v));
            self.parts.iter().rposition(reads)
        };
        let used: Vec<Option<usize>> = (0..self.values.len()).map(last_reader).collect();
        for part in &mut self.parts {
            part.y = part.y.filter(|&y| used[y].is_some());
        }
        let cluster = self.cluster;
        for v in 0..self.values.len() {
            let high = self.values[v].shape[1];
            let mut rows = vec![[usize::MAX, 0]; cluster];
            for (part, rank) in self.parts.iter().flat_map(|p| (0..cluster).map(move |r| (p, r))) {
                let [first, end] = part.cut.own(rank, part.shape[1]);
                if first >= end {
                    continue;
                }
                let mut want = |low: usize, high: usize| {
                    rows[rank] = [rows[rank][0].min(low), rows[rank][1].max(high)];
                };
                if part.x == v {
                    let low = (first * part.stride[0]).saturating_sub(part.before[0]);
                    let end = ((end - 1) * part.stride[0] + part.taps[0]).saturating_sub(part.before[0]);
                    want(low.min(high), end.min(high));
                }
                if part.operands.contains(&Operand::Held(v)) {
                    want(first, end);
                }
            }
            self.values[v].rows =
                rows.into_iter().map(|[low, end]| if low < end { [low, end] } else { [0, 0] }).collect();
            self.values[v].spread = self.spread(v);
        }
        for at in 0..self.parts.len() {
            self.parts[at].meets = self.meets(at);
        }
        let makers: Vec<usize> = (0..self.values.len())
            .map(|v| {
                let value = self.values[v].value;
                self.parts.iter().position(|p| network.layers[p.at].outputs[0] == value).unwrap_or(0)
            })
            .collect();
        let blocks: Vec<Interval> = (self.values.iter().zip(&used).zip(&makers))
            .map(|((held, used), &first)| {
                let rows = held.rows.iter().map(|[low, end]| end - low).max().unwrap_or(0);
                let bytes = if used.is_some() { rows * held.shape[2] * held.pitch } else { 0 };
                // Others may be a layer behind.
                Interval { bytes, first, last: used.unwrap_or(first) + 1 }
            })
            .collect();
        let packed = pack(&blocks);
        for (held, at) in self.values.iter_mut().zip(packed.offsets) {
            held.at = at;
        }
        self.arena = packed.bytes;
        let dtype = self.dtype;
        for part in &self.parts {
            let vectors = part.operands.iter().filter_map(|o| match o {
                Operand::Vector(v) => Some(part.channels() * network.ty(*v).dtype.size()),
                Operand::Held(_) => None,
            });
            let bytes = part.weight_bytes(&self.values, dtype) + vectors.sum::<usize>();
            self.slot = self.slot.max(bytes.next_multiple_of(128));
            let [m, n, k] = part.cut.warps;
            self.scratch = self.scratch.max((k - 1) * m * n * part.cut.wide() * 512);
            self.zeros = self.zeros.max(self.values[part.x].shape[0] * dtype.size());
        }
    }

    /// The formula of the rows that blocks hold of a value.
    fn spread(&self, v: usize) -> Option<Spread> {
        let readers = self.parts.iter().flat_map(|p| {
            let across = p.cut.blocks[1];
            let own = Spread { across, step: p.cut.rows, before: 0, after: p.cut.rows };
            let read = Spread {
                across,
                step: p.cut.rows * p.stride[0],
                before: p.before[0],
                after: ((p.cut.rows - 1) * p.stride[0] + p.taps[0]).saturating_sub(p.before[0]),
            };
            let reads = (p.x == v).then_some(read);
            reads.into_iter().chain(p.operands.contains(&Operand::Held(v)).then_some(own))
        });
        let held = &self.values[v];
        let fits = |s: &Spread| (0..self.cluster).all(|rank| s.rows(rank, held.shape[1]) == held.rows[rank]);
        readers.into_iter().find(fits)
    }

    /// Which blocks send this block some of the part's result.
    fn senders(&self, part: &Part, rank: usize) -> Vec<usize> {
        let Some(y) = part.y else { return vec![] };
        let [low, end] = self.values[y].rows[rank];
        let sends = |&from: &usize| {
            let [first, last] = part.cut.own(from, part.shape[1]);
            first.max(low) < last.min(end)
        };
        (0..self.cluster).filter(sends).collect()
    }

    /// Does every block hold all that it computes of this part itself?
    fn is_complete(&self, part: &Part) -> bool {
        let Some(y) = part.y else { return false };
        (0..self.cluster).all(|rank| {
            let ([first, last], [low, end]) = (part.cut.own(rank, part.shape[1]), self.values[y].rows[rank]);
            first >= last || (low <= first && last <= end)
        })
    }

    /// Must all blocks meet before the part at this position? Not where whoever sends has got some of the result before from each receiver,
    /// which is done with the layers ahead of that one then.
    fn meets(&self, at: usize) -> bool {
        if at == 0 {
            return false;
        }
        let (part, before) = (&self.parts[at], &self.parts[at - 1]);
        let ahead = at < 2 || self.is_complete(&self.parts[at - 2]);
        let answered = |rank: usize| {
            let known = self.senders(before, rank);
            let receives = |to: &usize| self.senders(part, *to).contains(&rank);
            (0..self.cluster).filter(receives).all(|to| to == rank || known.contains(&to))
        };
        !(ahead && self.is_complete(before) && (0..self.cluster).all(answered))
    }

    /// Bytes before the weights: barriers, then zeros.
    pub fn weights_at(&self) -> usize {
        (128 + self.zeros).next_multiple_of(128)
    }

    pub fn scratch_at(&self) -> usize {
        self.weights_at() + self.depth * self.slot
    }

    pub fn values_at(&self) -> usize {
        self.scratch_at() + self.scratch
    }

    /// Bytes of shared memory of a block.
    pub fn shared(&self) -> usize {
        self.values_at() + self.arena
    }
}
