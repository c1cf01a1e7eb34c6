//! The kernels: for each layer kind, how it is assembled and what its steps do.

mod arg;
pub mod attention;
pub mod bias;
pub mod convolution;
mod copy;
mod direct;
mod gather;
mod grouped;
mod lookup;
mod matmul;
mod moves;
mod normalize;
mod pad;
mod plane;
mod pointwise;
pub mod pool;
mod product;
mod reduce;
mod rows;
mod scan;
mod softmax;
mod strips;
mod topk;

pub use copy::Copy;
pub use gather::{Picked, copied};
pub use pointwise::Pointwise;
pub use softmax::softmax_in_place;

use super::assemble::{Assembler, Fault};
use crate::network::layer::ReduceOp;
use crate::network::{Layer, LayerKind};

/// Emits the steps of a layer that has operands.
pub fn assemble(a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
    match &layer.kind {
        LayerKind::Constant(_) | LayerKind::Parameter(_) | LayerKind::Prepared(_) => {
            Err("a tensor that is given is no step".to_string())
        }
        LayerKind::Pointwise(expr) => moves::pointwise(a, layer, expr),
        LayerKind::Broadcast { shape } => moves::broadcast(a, layer, shape),
        LayerKind::Reshape { shape } => moves::reshape(a, layer, shape),
        LayerKind::Permute { axes } => moves::permute(a, layer, axes),
        LayerKind::Slice { ranges } => moves::slice(a, layer, ranges),
        LayerKind::Concat { axis } => moves::concat(a, layer, *axis),
        LayerKind::Pad { border, mode } => pad::assemble(a, layer, border, *mode),
        LayerKind::Gather { axis, elements } => gather::assemble(a, layer, *axis, *elements),
        LayerKind::Reduce { op: op @ (ReduceOp::ArgMax | ReduceOp::ArgMin), axes, .. } => {
            arg::assemble(a, layer, *op == ReduceOp::ArgMax, axes[0])
        }
        LayerKind::Reduce { op, axes, .. } => reduce::assemble(a, layer, *op, axes),
        LayerKind::Scan { op, axis } => scan::assemble(a, layer, *op, *axis),
        LayerKind::MatMul { transpose_a, transpose_b } => {
            matmul::assemble(a, layer, *transpose_a, *transpose_b)
        }
        LayerKind::GroupedMatMul => grouped::assemble(a, layer),
        LayerKind::Convolution(c) => convolution::assemble(a, layer, c),
        LayerKind::Pool(p) => pool::assemble(a, layer, p),
        LayerKind::Normalize { axes, eps, rms } => normalize::assemble(a, layer, axes, *eps, *rms),
        LayerKind::Softmax { axis, log } => softmax::assemble(a, layer, *axis, *log),
        LayerKind::TopK { axis, k, largest } => topk::assemble(a, layer, *axis, *k, *largest),
    }
}
