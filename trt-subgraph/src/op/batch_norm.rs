//! Batch normalisation in evaluation: one multiply-add whose factors depend on the weights alone.

use super::formula::{compute_type, pointwise};
use super::{Def, float_tensor, one};
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, TensorType};

/// A vector with one element for each channel (axis 1 of `x`), of `x`'s type or f32 beside a 16-bit `x`.
pub(super) fn per_channel(
    lower: &Lower,
    args: &Args,
    name: &'static str,
    x: &TensorType,
) -> Result<Option<ValueId>, Refusal> {
    let Some(v) = args.opt_tensor(name)? else { return Ok(None) };
    let ty = lower.ty(v);
    if ty.dtype != x.dtype && ty.dtype != compute_type(x.dtype) {
        return Err(Refusal::Dtype { arg: name, found: ty.dtype });
    }
    if x.shape.get(1).is_some_and(|c| ty.shape == [*c]) {
        Ok(Some(v))
    } else {
        Err(Refusal::Shape { arg: name, found: ty.clone(), expected: "one value for each channel" })
    }
}

/// `v[C]` as `[C, 1, ...]`, aligned with axis 1 of a tensor of `rank` dimensions.
pub(super) fn beside_channels(lower: &mut Lower, v: ValueId, rank: usize) -> Result<ValueId, Refusal> {
    let mut shape = vec![1; rank - 1];
    shape[0] = lower.shape(v)[0];
    lower.reshape(v, shape)
}

/// `y * weight + bias` with whichever is given, stored as `dtype`; the factors broadcast to `y`.
pub(super) fn affine(
    lower: &mut Lower,
    y: ValueId,
    weight: Option<ValueId>,
    bias: Option<ValueId>,
    dtype: DType,
) -> Result<ValueId, Refusal> {
    match (weight, bias) {
        (None, None) => lower.cast(y, dtype),
        (Some(w), None) => pointwise(lower, [y, w], dtype, |[y, w]| y * w),
        (None, Some(b)) => pointwise(lower, [y, b], dtype, |[y, b]| y + b),
        (Some(w), Some(b)) => pointwise(lower, [y, w, b], dtype, |[y, w, b]| y * w + b),
    }
}

/// The operand and its optional weight and bias, as every normalisation of channels has them.
pub(super) struct Channels {
    pub x: ValueId,
    pub ty: TensorType,
    pub weight: Option<ValueId>,
    pub bias: Option<ValueId>,
}

impl Channels {
    pub fn read(lower: &Lower, args: &Args) -> Result<Channels, Refusal> {
        let x = float_tensor(lower, args, "input")?;
        let ty = lower.ty(x).clone();
        if ty.rank() < 2 {
            return Err(Refusal::Shape { arg: "input", found: ty, expected: "a batch and channels" });
        }
        let weight = per_channel(lower, args, "weight", &ty)?;
        let bias = per_channel(lower, args, "bias", &ty)?;
        Ok(Channels { x, ty, weight, bias })
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias` as `x * scale + shift`.
    pub fn with_statistics(
        &self,
        lower: &mut Lower,
        mean: ValueId,
        var: ValueId,
        eps: f64,
    ) -> Result<ValueId, Refusal> {
        let compute = compute_type(self.ty.dtype);
        let scale = match self.weight {
            Some(w) => pointwise(lower, [w, var], compute, |[w, v]| w * (v + eps).rsqrt())?,
            None => pointwise(lower, [var], compute, |[v]| (v + eps).rsqrt())?,
        };
        let shift = match self.bias {
            Some(b) => pointwise(lower, [b, mean, scale], compute, |[b, m, s]| b - m * s)?,
            None => pointwise(lower, [mean, scale], compute, |[m, s]| -(m * s))?,
        };
        let scale = beside_channels(lower, scale, self.ty.rank())?;
        let shift = beside_channels(lower, shift, self.ty.rank())?;
        affine(lower, self.x, Some(scale), Some(shift), self.ty.dtype)
    }

    /// Normalised by its own statistics over `axes`.
    pub fn by_itself(&self, lower: &mut Lower, axes: Vec<usize>, eps: f64) -> Result<ValueId, Refusal> {
        let x = lower.cast(self.x, compute_type(self.ty.dtype))?;
        let y = lower.add(LayerKind::Normalize { axes, eps, rms: false }, &[x])?;
        self.scaled(lower, y)
    }

    /// `y * weight + bias`, a factor for each channel; `y` has the shape of `x`.
    pub fn scaled(&self, lower: &mut Lower, y: ValueId) -> Result<ValueId, Refusal> {
        let mut aligned = |v: Option<ValueId>| v.map(|v| beside_channels(lower, v, self.ty.rank())).transpose();
        let (weight, bias) = (aligned(self.weight)?, aligned(self.bias)?);
        affine(lower, y, weight, bias, self.ty.dtype)
    }
}

/// The running statistics; both or neither.
pub(super) fn statistics(
    lower: &Lower,
    args: &Args,
    x: &TensorType,
) -> Result<Option<(ValueId, ValueId)>, Refusal> {
    match (per_channel(lower, args, "running_mean", x)?, per_channel(lower, args, "running_var", x)?) {
        (Some(mean), Some(var)) => Ok(Some((mean, var))),
        (None, None) => Ok(None),
        _ => Err(Refusal::Invalid("one of 'running_mean' and 'running_var' is missing".into())),
    }
}

fn normalized(lower: &mut Lower, args: &Args, training: bool) -> Result<ValueId, Refusal> {
    let channels = Channels::read(lower, args)?;
    let eps = args.float("eps")?;
    match (statistics(lower, args, &channels.ty)?, training) {
        (Some((mean, var)), false) => channels.with_statistics(lower, mean, var, eps),
        (None, true) => {
            let axes = (0..channels.ty.rank()).filter(|&a| a != 1).collect();
            channels.by_itself(lower, axes, eps)
        }
        (Some(_), true) => Err(Refusal::Effect("batch_norm in training updates its statistics")),
        (None, false) => Err(Refusal::Invalid("'running_mean' is missing in evaluation".into())),
    }
}

fn batch_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    one(normalized(lower, args, args.flag("training")?)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor",
    ],
    lower: batch_norm,
}];
