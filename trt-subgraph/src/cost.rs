//! What a layer costs: operations and bytes, the currency of the partitioner and the reports.

use crate::network::{Layer, LayerKind, Network};
use serde::{Deserialize, Serialize};
use std::iter::Sum;

/// Arithmetic and memory traffic of a piece of work.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Floating-point (or integer) operations; a multiply-add is two.
    pub operations: f64,
    /// Bytes read and written when nothing stays in cache.
    pub bytes: f64,
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| Cost {
            operations: a.operations + b.operations,
            bytes: a.bytes + b.bytes,
        })
    }
}

/// The cost of one layer, computed alone. Reshapes and constants are free.
pub fn cost(network: &Network, layer: &Layer) -> Cost {
    let elements = |at: usize| network.ty(layer.outputs[at]).elements() as f64;
    let input = |at: usize| network.ty(layer.inputs[at]);
    let epilogue = layer.epilogue.as_ref().map_or(0, |e| e.nodes.len()) as f64 * elements(0);
    let operations = match &layer.kind {
        LayerKind::Constant(_)
        | LayerKind::Parameter(_)
        | LayerKind::Prepared(_)
        | LayerKind::Reshape { .. } => {
            return Cost::default();
        }
        LayerKind::Pointwise(e) => e.nodes.len() as f64 * elements(0),
        LayerKind::MatMul { transpose_a, .. } => {
            let a = input(0);
            let inner = a.shape[a.rank() - if *transpose_a { 2 } else { 1 }];
            2.0 * elements(0) * inner as f64
        }
        LayerKind::GroupedMatMul => 2.0 * elements(0) * input(0).shape[1] as f64,
        LayerKind::Convolution(c) => {
            let taps: usize = input(1).shape[1..].iter().product();
            let points = if c.transposed { input(0).elements() as f64 } else { elements(0) };
            2.0 * points * taps as f64
        }
        LayerKind::Pool(p) => elements(0) * p.window.iter().product::<usize>() as f64,
        LayerKind::Normalize { .. } => 5.0 * elements(0),
        LayerKind::Softmax { .. } => 4.0 * elements(0),
        LayerKind::Reduce { .. } | LayerKind::Scan { .. } => input(0).elements() as f64,
        LayerKind::TopK { .. } => {
            let n = input(0).elements() as f64;
            n * n.max(2.0).log2()
        }
        LayerKind::Broadcast { .. }
        | LayerKind::Permute { .. }
        | LayerKind::Slice { .. }
        | LayerKind::Concat { .. }
        | LayerKind::Pad { .. }
        | LayerKind::Gather { .. } => 0.0,
    };
    let read: usize = match layer.kind {
        LayerKind::Gather { .. } | LayerKind::Slice { .. } => network.ty(layer.outputs[0]).bytes(),
        _ => layer.inputs.iter().map(|&v| network.ty(v).bytes()).sum(),
    };
    let written: usize = layer.outputs.iter().map(|&v| network.ty(v).bytes()).sum();
    Cost { operations: operations + epilogue, bytes: (read + written) as f64 }
}
