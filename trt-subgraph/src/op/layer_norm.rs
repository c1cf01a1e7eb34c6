//! Normalisation of the last axes: layer norm and root mean square norm.

use super::batch_norm::affine;
use super::formula::{compute_type, pointwise};
use super::{Def, float_tensor, one};
use crate::network::layer::ReduceOp;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, TensorType};

/// The axes that `normalized_shape` names: the last ones, whose sizes it repeats.
fn last_axes(lower: &Lower, args: &Args, x: &TensorType) -> Result<Vec<usize>, Refusal> {
    let sizes = args.ints(lower, "normalized_shape")?;
    let n = sizes.len();
    let fits = n > 0 && n <= x.rank() && x.shape[x.rank() - n..].iter().zip(&sizes).all(|(&a, &b)| a as i64 == b);
    if fits {
        Ok((x.rank() - n..x.rank()).collect())
    } else {
        let expected = "the sizes of 'normalized_shape' at its end";
        Err(Refusal::Shape { arg: "input", found: x.clone(), expected })
    }
}

/// A factor of the normalised shape.
fn factor(
    lower: &Lower,
    args: &Args,
    name: &'static str,
    shape: &[usize],
) -> Result<Option<ValueId>, Refusal> {
    let Some(v) = args.opt_tensor(name)? else { return Ok(None) };
    let ty = lower.ty(v);
    if !ty.dtype.is_float() {
        Err(Refusal::Dtype { arg: name, found: ty.dtype })
    } else if ty.shape != shape {
        Err(Refusal::Shape { arg: name, found: ty.clone(), expected: "'normalized_shape'" })
    } else {
        Ok(Some(v))
    }
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` with the statistics of `axes`; the factors have the sizes of those axes.
pub(super) fn layer_norm_of(
    lower: &mut Lower,
    x: ValueId,
    axes: Vec<usize>,
    factors: [Option<ValueId>; 2],
    eps: f64,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let wide = lower.cast(x, compute_type(dtype))?;
    let y = lower.add(LayerKind::Normalize { axes, eps, rms: false }, &[wide])?;
    affine(lower, y, factors[0], factors[1], dtype)
}

/// The operand, the axes of its statistics, and the factors: of the operand's type, or f32 beside a 16-bit one.
struct Operands {
    x: ValueId,
    axes: Vec<usize>,
    factors: [Option<ValueId>; 2],
}

impl Operands {
    fn read(lower: &Lower, args: &Args) -> Result<Operands, Refusal> {
        let x = float_tensor(lower, args, "input")?;
        let ty = lower.ty(x).clone();
        let axes = last_axes(lower, args, &ty)?;
        let read = |name| {
            let v = factor(lower, args, name, &ty.shape[axes[0]..])?;
            match v.map(|v| lower.dtype(v)) {
                Some(found) if found != ty.dtype && found != compute_type(ty.dtype) => {
                    Err(Refusal::Dtype { arg: name, found })
                }
                _ => Ok(v),
            }
        };
        let factors = [read("weight")?, read("bias")?];
        Ok(Operands { x, axes, factors })
    }
}

fn layer_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let Operands { x, axes, factors } = Operands::read(lower, args)?;
    one(layer_norm_of(lower, x, axes, factors, args.float("eps")?)?)
}

/// Also gives the mean and the reciprocal deviation, in the type of the factors (or of the operand without any).
fn native_layer_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let Operands { x, axes, factors } = Operands::read(lower, args)?;
    let eps = args.float("eps")?;
    let out = layer_norm_of(lower, x, axes.clone(), factors, eps)?;
    let dtype = factors.into_iter().flatten().next().map_or(lower.dtype(x), |f| lower.dtype(f));
    let wide = lower.cast(x, compute_type(dtype))?;
    let average = LayerKind::Reduce { op: ReduceOp::Mean, axes, keep: true };
    let mean = lower.add(average.clone(), &[wide])?;
    let square = pointwise(lower, [wide, mean], compute_type(dtype), |[x, m]| (x - m) * (x - m))?;
    let variance = lower.add(average, &[square])?;
    let deviation = pointwise(lower, [variance], dtype, |[v]| (v + eps).rsqrt())?;
    let mean = lower.cast(mean, dtype)?;
    Ok([out, mean, deviation].map(Item::Tensor).to_vec())
}

/// `x / sqrt(mean(x^2) + eps) * weight`; without an `eps`, the spacing of the type it computes in
/// (<https://arxiv.org/abs/1910.07467>).
fn rms_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "input")?;
    let ty = lower.ty(x).clone();
    let axes = last_axes(lower, args, &ty)?;
    let weight = factor(lower, args, "weight", &ty.shape[axes[0]..])?;
    let compute = compute_type(ty.dtype);
    let eps = match (args.has("eps"), compute) {
        (true, _) => args.float("eps")?,
        (false, DType::F64) => f64::EPSILON,
        (false, _) => f32::EPSILON.into(),
    };
    let wide = lower.cast(x, compute)?;
    let y = lower.add(LayerKind::Normalize { axes, eps, rms: true }, &[wide])?;
    one(affine(lower, y, weight, None, ty.dtype)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float eps=1.0000000000000001e-05, bool cudnn_enable=True) -> Tensor",
        ],
        lower: layer_norm,
    },
    Def {
        schemas: &[
            "aten::native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias, float eps) -> (Tensor, Tensor, Tensor)",
        ],
        lower: native_layer_norm,
    },
    Def {
        schemas: &[
            "aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
        ],
        lower: rms_norm,
    },
];
