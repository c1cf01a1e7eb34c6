//! A weight as direction and length: `g * v / |v|`.

use super::formula::{compute_type, pointwise};
use super::{Def, float_tensor, one};
use crate::network::LayerKind;
use crate::network::expr::Unary;
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};

/// The length of each slice along `dim`; of the whole tensor where `dim` is -1.
fn weight_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (v, g) = (float_tensor(lower, args, "v")?, float_tensor(lower, args, "g")?);
    let ty = lower.ty(v).clone();
    if lower.dtype(g) != ty.dtype {
        return Err(Refusal::Dtype { arg: "g", found: lower.dtype(g) });
    }
    let dim = args.int(lower, "dim")?;
    let kept = if dim == -1 { None } else { Some(args.axis(lower, "dim", ty.rank())?) };
    let axes: Vec<usize> = (0..ty.rank()).filter(|&a| Some(a) != kept).collect();
    let wide = compute_type(ty.dtype);
    let square = pointwise(lower, [v], wide, |[v]| v * v)?;
    let sum = lower.add(LayerKind::Reduce { op: ReduceOp::Sum, axes, keep: true }, &[square])?;
    let factor = pointwise(lower, [g, sum], wide, |[g, s]| g / s.unary(Unary::Sqrt))?;
    let out = pointwise(lower, [v, factor], ty.dtype, |[v, f]| v * f)?;
    if lower.shape(out) == ty.shape {
        one(out)
    } else {
        let expected = "one length for each slice";
        Err(Refusal::Shape { arg: "g", found: lower.ty(g).clone(), expected })
    }
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &["aten::_weight_norm(Tensor v, Tensor g, int dim=0) -> Tensor"],
    lower: weight_norm,
}];
