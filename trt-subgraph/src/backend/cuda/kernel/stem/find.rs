//! Which convolutions and pools are a stem.

use super::super::super::target::Target;
use super::super::chain::is_vector;
use super::plan::{Plan, Sizes};
use crate::DType;
use crate::network::layer::{Convolution, Pool, PoolOp};
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::collections::HashMap;

/// Elements of 16 bytes.
pub const UNIT: usize = 8;

/// A convolution that a maximum pool alone reads.
#[derive(Clone, Copy, Debug)]
pub struct Stem {
    /// The convolution's position.
    pub convolution: usize,
    pub sizes: Sizes,
    pub plan: Plan,
}

/// The stems of a network, by the position of the pool.
pub fn find(network: &Network, target: &Target) -> HashMap<usize, Stem> {
    let mut made_static = vec![false; network.values.len()];
    for layer in &network.layers {
        if let LayerKind::Prepared(_) = layer.kind {
            made_static[layer.outputs[0].index()] = true;
        }
    }
    let makers = network.definitions();
    let stem = |at: usize, layer: &Layer| {
        let LayerKind::Pool(pool) = &layer.kind else { return None };
        let convolution = makers[layer.inputs[0].index()]?;
        let from = &network.layers[convolution];
        let LayerKind::Convolution(c) = &from.kind else { return None };
        let value = from.outputs[0];
        let mut readers = network.layers.iter().enumerate().filter(|(_, l)| l.inputs.contains(&value));
        let alone = !network.outputs.contains(&value) && readers.all(|(reader, _)| reader == at);
        if !alone || !is_of_few_channels(network, from, c, &made_static) || !is_maximum(pool) {
            return None;
        }
        let shape = |v: ValueId| &network.ty(v).shape[..];
        let images = [shape(from.inputs[0]), shape(value), shape(layer.outputs[0])];
        let sizes = Sizes::of((c, pool), shape(from.inputs[1]), images);
        Some((at, Stem { convolution, sizes, plan: Plan::of(&sizes, target)? }))
    };
    network.layers.iter().enumerate().filter_map(|(at, layer)| stem(at, layer)).collect()
}

/// A convolution of halves by filters that are prepared, such that the channels of as many neighbours as it steps over fit into 16 bytes; its
/// epilogue's operands are numbers for each channel.
fn is_of_few_channels(network: &Network, layer: &Layer, c: &Convolution, made_static: &[bool]) -> bool {
    let [x, w] = [0, 1].map(|i| network.ty(layer.inputs[i]));
    let out = network.ty(layer.outputs[0]);
    let plain = c.stride.len() == 2 && !c.transposed && c.groups == 1 && c.dilation == [1, 1];
    let halves = matches!(x.dtype, DType::F16 | DType::BF16) && w.dtype == x.dtype && out.dtype == x.dtype;
    let fixed = |v: ValueId| made_static[v.index()];
    let of_channel = |&v: &ValueId| fixed(v) && is_vector(network, layer, v);
    plain
        && halves
        && matches!(c.stride[1], 1 | 2 | 4)
        && x.shape[1] * c.stride[1] <= UNIT
        && w.shape[0].is_multiple_of(16)
        && out.elements() > 0
        && x.elements() > 0
        && out.elements() < 1 << 30
        && x.elements() < 1 << 30
        && fixed(layer.inputs[1])
        && layer.inputs[2..].iter().all(of_channel)
}

fn is_maximum(pool: &Pool) -> bool {
    let two = pool.window.len() == 2 && pool.dilation == [1, 1];
    // Every place is seen by some window.
    two && pool.op == PoolOp::Max && !pool.indices && (0..2).all(|i| pool.stride[i] <= pool.window[i])
}
