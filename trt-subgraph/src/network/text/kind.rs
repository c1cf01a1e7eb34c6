//! The attributes of each kind of layer: one list that printing and reading share.

use super::field::Field;
use crate::cursor::{Cursor, Unexpected};
use crate::network::LayerKind;
use crate::network::expr::Expr;
use crate::network::layer::*;

/// A direction: printing walks over the attributes to write them, reading to fill them in.
pub(super) trait Walk {
    /// An attribute; with a usual value it may be left out.
    fn field<F: Field>(
        &mut self,
        name: &'static str,
        value: &mut F,
        usual: Option<F>,
    ) -> Result<(), Unexpected>;
}

/// Appends ` name=value`.
pub(super) struct Write(pub String);

impl Walk for Write {
    fn field<F: Field>(
        &mut self,
        name: &'static str,
        value: &mut F,
        usual: Option<F>,
    ) -> Result<(), Unexpected> {
        if usual.as_ref() != Some(value) {
            self.0.push_str(&format!(" {name}={}", value.write()));
        }
        Ok(())
    }
}

impl Walk for Cursor<'_> {
    fn field<F: Field>(
        &mut self,
        name: &'static str,
        value: &mut F,
        usual: Option<F>,
    ) -> Result<(), Unexpected> {
        let mut ahead = self.clone();
        *value = match usual {
            _ if ahead.eat(name) && ahead.eat("=") => {
                *self = ahead;
                F::read(self)?
            }
            Some(usual) => usual,
            None => return self.fail(name),
        };
        Ok(())
    }
}

/// A kind by its name, with attributes to be filled in; `None` for those that take no operands, which have forms of their own.
pub(super) fn blank(name: &str) -> Option<LayerKind> {
    let (axes, shape, axis) = (Vec::new(), Vec::new(), 0);
    Some(match name {
        "pointwise" => LayerKind::Pointwise(Expr::default()),
        "broadcast" => LayerKind::Broadcast { shape },
        "reduce" => LayerKind::Reduce { op: ReduceOp::Sum, axes, keep: false },
        "scan" => LayerKind::Scan { op: ScanOp::Sum, axis },
        "matmul" => LayerKind::MatMul { transpose_a: false, transpose_b: false },
        "grouped_matmul" => LayerKind::GroupedMatMul,
        "convolution" => LayerKind::Convolution(Convolution {
            stride: vec![],
            padding: vec![],
            dilation: vec![],
            groups: 1,
            transposed: false,
            output_padding: vec![],
        }),
        "pool" => LayerKind::Pool(Pool {
            op: PoolOp::Max,
            window: vec![],
            stride: vec![],
            padding: vec![],
            dilation: vec![],
            overhang: vec![],
            indices: false,
        }),
        "normalize" => LayerKind::Normalize { axes, eps: 0.0, rms: false },
        "softmax" => LayerKind::Softmax { axis, log: false },
        "reshape" => LayerKind::Reshape { shape },
        "permute" => LayerKind::Permute { axes },
        "slice" => LayerKind::Slice { ranges: vec![] },
        "concat" => LayerKind::Concat { axis },
        "pad" => LayerKind::Pad { border: vec![], mode: PadMode::Reflect },
        "gather" => LayerKind::Gather { axis, elements: false },
        "topk" => LayerKind::TopK { axis, k: 0, largest: true },
        _ => return None,
    })
}

/// Walks over the attributes. `spatial` is the number of the first operand's axes after the second.
pub(super) fn attributes(
    kind: &mut LayerKind,
    spatial: usize,
    walk: &mut impl Walk,
) -> Result<(), Unexpected> {
    let ones = || Some(vec![1; spatial]);
    let zeros = || Some(vec![0; spatial]);
    let none = || Some(vec![(0, 0); spatial]);
    match kind {
        LayerKind::Constant(_)
        | LayerKind::Parameter(_)
        | LayerKind::Prepared(_)
        | LayerKind::Pointwise(_)
        | LayerKind::GroupedMatMul => Ok(()),
        LayerKind::Broadcast { shape } | LayerKind::Reshape { shape } => walk.field("shape", shape, None),
        LayerKind::Reduce { op, axes, keep } => {
            walk.field("op", op, None)?;
            walk.field("axes", axes, None)?;
            walk.field("keep", keep, Some(false))
        }
        LayerKind::Scan { op, axis } => {
            walk.field("op", op, None)?;
            walk.field("axis", axis, None)
        }
        LayerKind::MatMul { transpose_a, transpose_b } => {
            walk.field("transpose_a", transpose_a, Some(false))?;
            walk.field("transpose_b", transpose_b, Some(false))
        }
        LayerKind::Convolution(c) => {
            walk.field("stride", &mut c.stride, ones())?;
            walk.field("padding", &mut c.padding, none())?;
            walk.field("dilation", &mut c.dilation, ones())?;
            walk.field("groups", &mut c.groups, Some(1))?;
            walk.field("transposed", &mut c.transposed, Some(false))?;
            walk.field("output_padding", &mut c.output_padding, zeros())
        }
        LayerKind::Pool(p) => {
            walk.field("op", &mut p.op, None)?;
            walk.field("window", &mut p.window, None)?;
            walk.field("stride", &mut p.stride, ones())?;
            walk.field("padding", &mut p.padding, none())?;
            walk.field("dilation", &mut p.dilation, ones())?;
            walk.field("overhang", &mut p.overhang, zeros())?;
            walk.field("indices", &mut p.indices, Some(false))
        }
        LayerKind::Normalize { axes, eps, rms } => {
            walk.field("axes", axes, None)?;
            walk.field("eps", eps, None)?;
            walk.field("rms", rms, Some(false))
        }
        LayerKind::Softmax { axis, log } => {
            walk.field("axis", axis, None)?;
            walk.field("log", log, Some(false))
        }
        LayerKind::Permute { axes } => walk.field("axes", axes, None),
        LayerKind::Slice { ranges } => walk.field("ranges", ranges, None),
        LayerKind::Concat { axis } => walk.field("axis", axis, None),
        LayerKind::Pad { border, mode } => {
            walk.field("border", border, None)?;
            walk.field("mode", mode, None)
        }
        LayerKind::Gather { axis, elements } => {
            walk.field("axis", axis, None)?;
            walk.field("elements", elements, Some(false))
        }
        LayerKind::TopK { axis, k, largest } => {
            walk.field("axis", axis, None)?;
            walk.field("k", k, None)?;
            walk.field("largest", largest, Some(true))
        }
    }
}
