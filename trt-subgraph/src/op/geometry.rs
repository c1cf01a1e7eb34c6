//! Cross products and sampling grids.

use super::formula::pointwise;
use super::promote::{Value, result_type};
use super::roll::rolled;
use super::{Def, one};
use crate::network::LayerKind;
use crate::network::ValueId;
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// `a * b` shifted crosswise along an axis of three; without `dim` the first such axis.
fn cross(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (args.tensor("self")?, args.tensor("other")?);
    let dtype = result_type(lower, &[Value::Tensor(a), Value::Tensor(b)]);
    let shape = broadcast([lower.shape(a), lower.shape(b)]).filter(|s| {
        dtype != DType::Bool && [a, b].iter().all(|&v| lower.shape(v).len() == s.len())
    });
    let shape = shape.ok_or_else(|| Refusal::Invalid("the vectors do not broadcast".into()))?;
    let axis = if args.has("dim") {
        Some(args.axis(lower, "dim", shape.len())?)
    } else {
        shape.iter().position(|&n| n == 3)
    };
    let axis = axis.filter(|&a| shape.get(a) == Some(&3));
    let axis = axis.ok_or_else(|| Refusal::Invalid("the axis of a cross product has size 3".into()))?;
    let mut turned = |v: ValueId, by: i64| -> Result<ValueId, Refusal> {
        let v = lower.cast(v, dtype)?;
        let v = lower.broadcast(v, shape.clone())?;
        rolled(lower, v, axis, by)
    };
    let operands = [turned(a, -1)?, turned(b, -2)?, turned(a, -2)?, turned(b, -1)?];
    one(pointwise(lower, operands, dtype, |[a1, b2, a2, b1]| a1 * b2 - a2 * b1)?)
}

/// A regular grid mapped by `theta[N, 2, 3]` to `[N, H, W, 2]`.
fn affine_grid(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let theta = args.tensor("theta")?;
    let (size, ty) = (args.ints(lower, "size")?, lower.ty(theta).clone());
    let (&[n, _, h, w], true) = (&size[..], ty.dtype.is_float()) else {
        return Err(Refusal::Attribute { arg: "size".into(), why: "not a batch of images".into() });
    };
    if ty.shape != [n.max(0) as usize, 2, 3] || h < 1 || w < 1 {
        return Err(Refusal::Shape { arg: "theta", found: ty, expected: "[N, 2, 3]" });
    }
    let (h, w) = (h as usize, w as usize);
    let align = args.flag("align_corners")?;
    let at = |i: usize, n: usize| match n {
        1 => 0.0,
        n if align => 2.0 * i as f64 / (n - 1) as f64 - 1.0,
        n => (2.0 * i as f64 + 1.0) / n as f64 - 1.0,
    };
    let points = (0..h).flat_map(|y| (0..w).flat_map(move |x| [at(x, w), at(y, h), 1.0]));
    let base = Literal::from_f64(TensorType::new(ty.dtype, [h * w, 3]), points);
    let base = lower.builder.constant(base.expect("three values a point"));
    let kind = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let grid = lower.add(kind, &[base, theta])?;
    one(lower.reshape(grid, [ty.shape[0], h, w, 2])?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::cross(Tensor self, Tensor other, int? dim=None) -> Tensor",
            "aten::linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor",
        ],
        lower: cross,
    },
    Def {
        schemas: &[
            "aten::affine_grid_generator(Tensor theta, SymInt[] size, bool align_corners) -> Tensor",
        ],
        lower: affine_grid,
    },
];
