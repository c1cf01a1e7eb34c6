//! The kernels: for each layer kind, how it is assembled and what its kernels do.

mod arg;
pub mod attention;
pub mod chain;
mod copy;
pub mod gated;
pub mod gather;
mod moves;
pub mod pad;
pub mod pointwise;
mod pool;
pub mod product;
mod reduce;
mod rows;
mod scan;
mod sort;
pub mod stem;
mod team;

pub use copy::copy;

use super::assemble::{Assembler, Fault};
use super::tactic;
use crate::network::layer::ReduceOp;
use crate::network::{Layer, LayerKind};

/// Emits the steps of a layer that has operands; `at` is its position in the network, `index` that of the expression of its index.
pub fn assemble(a: &mut Assembler, at: usize, layer: &Layer, index: Option<usize>) -> Result<(), Fault> {
    match &layer.kind {
        LayerKind::Constant(_) | LayerKind::Parameter(_) | LayerKind::Prepared(_) => {
            Err("a tensor that is given is no step".to_string())
        }
        LayerKind::Pointwise(expr) => pointwise::assemble(a, layer, expr),
        LayerKind::Broadcast { shape } => moves::broadcast(a, layer, shape),
        LayerKind::Reshape { shape } => moves::reshape(a, layer, shape),
        LayerKind::Permute { axes } => moves::permute(a, layer, axes),
        LayerKind::Slice { ranges } => moves::slice(a, layer, ranges),
        LayerKind::Concat { axis } => moves::concat(a, at, layer, *axis),
        LayerKind::Pad { border, mode } => pad::assemble(a, layer, border, *mode),
        LayerKind::Gather { axis, elements } => gather::assemble(a, at, layer, *axis, *elements, index),
        LayerKind::Reduce { op: op @ (ReduceOp::ArgMax | ReduceOp::ArgMin), axes, .. } => {
            arg::assemble(a, layer, *op == ReduceOp::ArgMax, axes[0])
        }
        LayerKind::Reduce { op, axes, .. } => reduce::assemble(a, layer, *op, axes),
        LayerKind::Scan { op, axis } => scan::assemble(a, layer, *op, *axis),
        LayerKind::MatMul { .. } | LayerKind::Convolution(_) => tactic::emit(a, layer),
        LayerKind::GroupedMatMul => product::grouped(a, layer),
        LayerKind::Pool(p) => pool::assemble(a, layer, p),
        LayerKind::Normalize { axes, eps, rms } => rows::normalize(a, layer, axes, *eps, *rms),
        LayerKind::Softmax { axis, log } => rows::softmax(a, layer, *axis, *log),
        LayerKind::TopK { axis, k, largest } => sort::assemble(a, layer, *axis, *k, *largest),
    }
}
