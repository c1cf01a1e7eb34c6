//! Which layers of a network are a chain.

use crate::DType;
use crate::backend::Tf32;
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::collections::{HashMap, HashSet};

/// Fewer convolutions are better off in kernels of their own.
const FEWEST: usize = 3;
/// More are several chains: a chain's table lies in constant memory.
const MOST: usize = 256;

/// Runs of convolutions each of which reads an image that one before has made, by the position of the last; the positions of each run.
pub fn find(network: &Network, taken: &HashSet<usize>, tf32: Tf32) -> HashMap<usize, Vec<usize>> {
    let mut made_static = vec![false; network.values.len()];
    let mut runs: Vec<Vec<usize>> = vec![vec![]];
    for (at, layer) in network.layers.iter().enumerate() {
        match layer.kind {
            LayerKind::Prepared(_) => {
                made_static[layer.outputs[0].index()] = true;
                continue;
            }
            LayerKind::Parameter(_) | LayerKind::Constant(_) => continue,
            _ => {}
        }
        let run = runs.last_mut().expect("there is always one");
        let fits = !taken.contains(&at) && fits(network, layer, &made_static, tf32);
        if fits && run.len() < MOST && follows(network, run, layer, &made_static) {
            run.push(at);
        } else {
            let begins = fits && follows(network, &[], layer, &made_static);
            runs.push(if begins { vec![at] } else { vec![] });
        }
    }
    let long = runs.into_iter().filter(|run| run.len() >= FEWEST);
    long.map(|run| (*run.last().expect("it is long"), run)).collect()
}

/// Does the layer read an image of the run, if it is not the first, and nothing else that calls bring?
fn follows(network: &Network, run: &[usize], layer: &Layer, made_static: &[bool]) -> bool {
    let made = |v: ValueId| run.iter().any(|&at| network.layers[at].outputs[0] == v);
    let dtype = |layer: &Layer| network.ty(layer.inputs[0]).dtype;
    let image = |&first: &usize| made(layer.inputs[0]) && dtype(&network.layers[first]) == dtype(layer);
    run.first().is_none_or(image) && layer.inputs[2..].iter().all(|&v| made(v) || made_static[v.index()])
}

/// Has the operand a number for each channel of the result, and nothing else?
pub fn is_vector(network: &Network, layer: &Layer, operand: ValueId) -> bool {
    let (ty, out) = (network.ty(operand), network.ty(layer.outputs[0]));
    let along_channels =
        ty.rank() >= 3 && ty.elements() == out.shape[1] && ty.shape[ty.rank() - 3] == out.shape[1];
    // Eight are a whole number of the units that bulk copies move.
    along_channels && ty.dtype.size() > 1
}

/// A convolution of small windows over images of few channels that tensor cores take, its results of the type that it reads, its
/// epilogue's operands numbers for each channel or images of the result's shape.
fn fits(network: &Network, layer: &Layer, made_static: &[bool], tf32: Tf32) -> bool {
    let LayerKind::Convolution(c) = &layer.kind else { return false };
    let [x, w] = [0, 1].map(|i| network.ty(layer.inputs[i]));
    let out = network.ty(layer.outputs[0]);
    let of_type = match x.dtype {
        DType::F16 | DType::BF16 => true,
        DType::F32 => tf32.convolution,
        _ => false,
    };
    let plain = !c.transposed && c.groups == 1 && c.stride.len() == 2 && c.dilation == [1, 1];
    let small = plain && w.shape[2..].iter().all(|&n| n <= 5) && w.shape[0] <= 256 && w.shape[1] <= 256;
    let alike = w.dtype == x.dtype && out.dtype == x.dtype && made_static[layer.inputs[1].index()];
    let operand = |&v: &ValueId| {
        let image = network.ty(v).shape == out.shape && network.ty(v).dtype == x.dtype;
        (made_static[v.index()] && is_vector(network, layer, v)) || (!made_static[v.index()] && image)
    };
    of_type
        && small
        && alike
        && out.elements() > 0
        && w.shape[0] % 8 == 0
        && layer.inputs[2..].iter().all(operand)
}
