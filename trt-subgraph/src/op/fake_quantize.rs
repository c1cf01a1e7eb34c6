//! Rounding to the values that a quantised tensor could hold, kept in floating point.

use super::formula::{Operand, Term, pointwise};
use super::{Def, float_tensor, one};
use crate::network::ValueId;
use crate::network::expr::Unary;
use crate::DType;
use crate::source::{Args, Item, Lower, Refusal};

/// The operand. The host computes an f64 one in f32, which is not imitated.
fn quantisable(lower: &Lower, args: &Args) -> Result<ValueId, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    match lower.dtype(x) {
        DType::F64 => Err(Refusal::Dtype { arg: "self", found: DType::F64 }),
        _ => Ok(x),
    }
}

/// The range of the quantised values.
fn range(lower: &Lower, args: &Args) -> Result<(f64, f64), Refusal> {
    let (low, high) = (args.int(lower, "quant_min")?, args.int(lower, "quant_max")?);
    if low > high {
        return Err(Refusal::Invalid(format!("'quant_min' {low} exceeds 'quant_max' {high}")));
    }
    Ok((low as f64, high as f64))
}

/// `(clamp(round(x / scale) + zero) - zero) * scale`, given the reciprocal of the scale and the range less `zero`. NaN gets the least value.
fn rounded<'f, T: Operand<'f> + Copy>(x: Term<'f>, inverse: T, scale: T, low: T, high: T) -> Term<'f> {
    let whole = (x * inverse).unary(Unary::Round);
    whole.gt(low).select(whole, low).min(high) * scale
}

/// The same as the host computes it with values for each position of an axis, by way of i64: what that does not hold gets the least value.
fn rounded_in_i64<'f, T: Operand<'f> + Copy>(x: Term<'f>, inverse: T, scale: T, low: T, high: T) -> Term<'f> {
    let whole = (x * inverse).unary(Unary::Round);
    whole.abs().lt(2f64.powi(63)).select(whole, low).max(low).min(high) * scale
}

fn per_tensor(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = quantisable(lower, args)?;
    let (low, high) = range(lower, args)?;
    let (scale, zero) = (args.float("scale")?, args.int(lower, "zero_point")? as f64);
    if !(low..=high).contains(&zero) {
        return Err(Refusal::Invalid("'zero_point' lies outside the range".into()));
    }
    let dtype = lower.dtype(x);
    let inverse = f64::from(1.0 / scale as f32);
    one(pointwise(lower, [x], dtype, |[x]| rounded(x, inverse, scale, low - zero, high - zero))?)
}

/// Scale (f32) and (integer) zero point are tensors, one value each (no `shape`) or one for each position of an axis.
fn by_tensors(lower: &mut Lower, args: &Args, shape: &[usize]) -> Result<ValueId, Refusal> {
    let x = quantisable(lower, args)?;
    let (low, high) = range(lower, args)?;
    let (scale, zero) = (args.tensor("scale")?, args.tensor("zero_point")?);
    if lower.dtype(scale) != DType::F32 {
        return Err(Refusal::Dtype { arg: "scale", found: lower.dtype(scale) });
    }
    if !lower.dtype(zero).is_int() {
        return Err(Refusal::Dtype { arg: "zero_point", found: lower.dtype(zero) });
    }
    let dtype = lower.dtype(x);
    let count: usize = shape.iter().product();
    for (arg, v) in [("scale", scale), ("zero_point", zero)] {
        if lower.ty(v).elements() != count {
            return Err(Refusal::Shape { arg, found: lower.ty(v).clone(), expected: "a value for each slice" });
        }
    }
    let (scale, zero) = (lower.reshape(scale, shape)?, lower.reshape(zero, shape)?);
    pointwise(lower, [x, scale, zero], dtype, |[x, scale, zero]| {
        let rounded = if shape.is_empty() { rounded } else { rounded_in_i64 };
        rounded(x, 1.0 / scale, scale, low - zero, high - zero)
    })
}

fn per_channel(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let ty = lower.ty(args.tensor("self")?).clone();
    let axis = args.axis(lower, "axis", ty.rank())?;
    let mut shape = vec![1; ty.rank() - axis];
    shape[0] = ty.shape[axis];
    one(by_tensors(lower, args, &shape)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::fake_quantize_per_tensor_affine(Tensor self, float scale, int zero_point, int quant_min, int quant_max) -> Tensor",
        ],
        lower: per_tensor,
    },
    Def {
        schemas: &[
            "aten::fake_quantize_per_tensor_affine.tensor_qparams(Tensor self, Tensor scale, Tensor zero_point, int quant_min, int quant_max) -> Tensor",
        ],
        lower: |l, a| one(by_tensors(l, a, &[])?),
    },
    Def {
        schemas: &[
            "aten::fake_quantize_per_channel_affine(Tensor self, Tensor scale, Tensor zero_point, int axis, int quant_min, int quant_max) -> Tensor",
        ],
        lower: per_channel,
    },
];
