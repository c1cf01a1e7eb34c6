//! Batches that are computed in parts: each thread takes a few rows of the batch through all steps.
//!
//! Threads then wait for each other once in a call instead of once in a step, what a step leaves is still in the cache for the
//! next one, and working memory is that of the parts at work instead of the whole batch. It is done where each row of every
//! result depends on the same row of the inputs alone: the network of a part is the same network on fewer rows.

use super::machine::Machine;
use crate::cost::{Cost, cost};
use crate::network::{Layer, LayerKind, Network, ValueId};

/// Reading all weights once more takes no more than this share of the time of a part, where there are rows enough for that,
const SHARE_OF_WEIGHTS: f64 = 0.08;
/// and this one at most: steps of the whole batch read them once for all threads.
const MOST_OF_WEIGHTS: f64 = 0.15;
/// Operations in the time in which a byte of weights is read: 150 billion and 15 GB a second.
const OPERATIONS_A_BYTE: f64 = 10.0;

/// A batch in equal parts.
#[derive(Debug)]
pub struct Apart {
    /// What is computed for one part: the `run` half, inputs and outputs with fewer rows.
    pub network: Network,
    /// How many there are.
    pub parts: usize,
}

/// The parts into which a `run` half is cut on this machine, if it is.
pub fn cut(run: &Network, machine: &Machine) -> Option<Apart> {
    let rows = Rows::of(run)?;
    let all: Cost = run.layers.iter().map(|layer| cost(run, layer)).sum();
    let each = (all.operations + all.bytes) / rows.count as f64;
    let weights = rows.weights(run);
    // Rows of a part, so that reading the weights takes this share of the time. What stays in the cache is not read again.
    let rows_for = |share: f64| match weights > machine.cache / 2 {
        true => (weights as f64 * OPERATIONS_A_BYTE / (share * each)).ceil() as usize,
        false => 1,
    };
    let (few, fewest) = (rows_for(SHARE_OF_WEIGHTS), rows_for(MOST_OF_WEIGHTS));
    let even = |parts: usize| parts.next_multiple_of(machine.threads) as f64 <= 1.03 * parts as f64;
    let busiest = rows.busiest(run) / rows.count;
    let fits = |m: usize| busiest * m <= machine.cache / 2;
    let choices: Vec<usize> = (1..=rows.count / machine.threads)
        .filter(|m| rows.count.is_multiple_of(*m) && even(rows.count / m))
        .filter(|&m| m >= fewest && each * m as f64 >= machine.least_part)
        .collect();
    let enough = choices.iter().copied().filter(|&m| m >= few);
    let m = enough.clone().rfind(|&m| fits(m)).or_else(|| enough.min()).or(choices.last().copied())?;
    let parts = rows.count / m;
    (parts > 1).then(|| Apart { network: rows.part(run, parts), parts })
}

/// Which values have a row, or several, for each row of the inputs.
struct Rows {
    /// Rows of the inputs.
    count: usize,
    /// By value; others are the same for all rows.
    of: Vec<bool>,
}

impl Rows {
    /// `None` where a layer mixes rows, or an output has none.
    fn of(run: &Network) -> Option<Rows> {
        let count = *run.ty(*run.inputs.first()?).shape.first()?;
        let mut rows = Rows { count, of: vec![false; run.values.len()] };
        for &v in &run.inputs {
            if run.ty(v).shape.first() != Some(&count) {
                return None;
            }
            rows.of[v.index()] = true;
        }
        for layer in &run.layers {
            if layer.inputs.iter().any(|&v| rows.has(v)) {
                let whole = |v: &ValueId| run.ty(*v).shape.first().is_some_and(|n| n.is_multiple_of(count));
                if !layer.outputs.iter().all(whole) || !rows.keeps(run, layer) {
                    return None;
                }
                for &v in &layer.outputs {
                    rows.of[v.index()] = true;
                }
            }
        }
        (count > 1 && run.outputs.iter().all(|&v| rows.has(v))).then_some(rows)
    }

    fn has(&self, v: ValueId) -> bool {
        self.of[v.index()]
    }

    /// Does each row of the layer's results, which have axes, depend on the same row of its operands alone?
    fn keeps(&self, run: &Network, layer: &Layer) -> bool {
        let shape = |v: ValueId| &run.ty(v).shape;
        let result = shape(layer.outputs[0]);
        // Stretched to the result, rows meet rows, and what has none is the same for all of them.
        let meets = |&v: &ValueId| {
            let aligned = shape(v).len() == result.len();
            match self.has(v) {
                true => aligned && shape(v)[0] == result[0],
                false => !aligned || shape(v)[0] == 1,
            }
        };
        let own = layer.kind.arity().unwrap_or(layer.inputs.len());
        if !layer.inputs[own..].iter().all(meets) {
            return false;
        }
        let inputs = &layer.inputs[..own];
        let first = inputs[0];
        match &layer.kind {
            LayerKind::Constant(_) | LayerKind::Parameter(_) | LayerKind::Prepared(_) => false,
            LayerKind::Pointwise(_) | LayerKind::Broadcast { .. } => inputs.iter().all(meets),
            LayerKind::Reshape { .. } => true,
            LayerKind::Permute { axes } => axes[0] == 0,
            LayerKind::Slice { ranges } => {
                (ranges[0].start, ranges[0].step, ranges[0].len) == (0, 1, shape(first)[0])
            }
            LayerKind::Concat { axis } => *axis != 0 && inputs.iter().all(|&v| self.has(v)),
            LayerKind::Pad { border, .. } => border[0] == (0, 0),
            LayerKind::Gather { axis, elements } => match (self.has(first), self.has(inputs[1])) {
                (true, true) => *elements && *axis != 0 && shape(first)[0] == shape(inputs[1])[0],
                (true, false) => !elements && *axis != 0,
                (false, _) => !elements && *axis == 0,
            },
            LayerKind::Reduce { axes, .. } | LayerKind::Normalize { axes, .. } => !axes.contains(&0),
            LayerKind::Scan { axis, .. } | LayerKind::Softmax { axis, .. } | LayerKind::TopK { axis, .. } => {
                *axis != 0
            }
            LayerKind::MatMul { transpose_a, .. } => {
                let (a, b) = (inputs[0], inputs[1]);
                match result.len() {
                    2 => self.has(a) && !transpose_a && !self.has(b),
                    _ => inputs.iter().all(meets),
                }
            }
            // Which matrix meets a row depends on where it lies among all.
            LayerKind::GroupedMatMul => false,
            LayerKind::Convolution(_) => self.has(first) && !self.has(inputs[1]),
            LayerKind::Pool(_) => true,
        }
    }

    /// Bytes that the layer with most of them reads and writes, besides weights.
    fn busiest(&self, run: &Network) -> usize {
        let bytes = |layer: &Layer| {
            let touched = layer.inputs.iter().chain(&layer.outputs).filter(|&&v| self.has(v));
            touched.map(|&v| run.ty(v).bytes()).sum::<usize>()
        };
        run.layers.iter().map(bytes).max().unwrap_or(0)
    }

    /// Bytes of weights that each part reads whole; of what is picked, few rows are read.
    fn weights(&self, run: &Network) -> usize {
        let whole = |layer: &&Layer| !matches!(layer.kind, LayerKind::Gather { .. });
        let read = run.layers.iter().filter(whole).flat_map(|l| &l.inputs).copied();
        let mut weights: Vec<ValueId> = read.filter(|&v| !self.has(v)).collect();
        weights.sort_unstable_by_key(|v| v.index());
        weights.dedup();
        weights.into_iter().map(|v| run.ty(v).bytes()).sum()
    }

    /// The network of one of so many parts.
    fn part(&self, run: &Network, parts: usize) -> Network {
        let mut out = run.clone();
        for (ty, _) in out.values.iter_mut().zip(&self.of).filter(|(_, has)| **has) {
            ty.shape[0] /= parts;
        }
        for layer in out.layers.iter_mut().filter(|l| self.has(l.outputs[0])) {
            match &mut layer.kind {
                LayerKind::Reshape { shape } | LayerKind::Broadcast { shape } => shape[0] /= parts,
                LayerKind::Slice { ranges } => ranges[0].len /= parts,
                _ => {}
            }
        }
        debug_assert_eq!(out.verify(), Ok(()), "a part of a batch");
        out
    }
}
