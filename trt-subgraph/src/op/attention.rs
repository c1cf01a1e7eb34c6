//! Scaled dot-product attention: `softmax(q @ k^T * scale + mask) @ v`, sums and softmax in f32 or wider.

use super::formula::{compute_type, pointwise};
use super::resample::repeat;
use super::softmax::zero_if_masked;
use super::{Def, float_tensor, one};
use crate::network::layer::ReduceOp;
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// `q[..., L, E] @ k[..., S, E]^T` in the compute type.
pub(super) fn scores(lower: &mut Lower, q: ValueId, k: ValueId) -> Result<ValueId, Refusal> {
    let wide = compute_type(lower.dtype(q));
    let scores = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[q, k])?;
    lower.cast(scores, wide)
}

/// `weights[..., L, S] @ v[..., S, E]` in the type of `v`, to which the weights are rounded.
pub(super) fn weighted(lower: &mut Lower, weights: ValueId, v: ValueId) -> Result<ValueId, Refusal> {
    let weights = lower.cast(weights, lower.dtype(v))?;
    lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[weights, v])
}

/// The positions of an axis of `size`, to be compared in floating point: exact for any axis that fits in memory twice.
fn positions(lower: &mut Lower, dtype: DType, shape: &[usize]) -> ValueId {
    let size = shape[0];
    let iota = Literal::from_f64(TensorType::new(dtype, shape), (0..size).map(|i| i as f64));
    lower.builder.constant(iota.expect("one for each position"))
}

/// Minus infinity where the column exceeds the row.
fn causal(lower: &mut Lower, scores: ValueId) -> Result<ValueId, Refusal> {
    let ty = lower.ty(scores).clone();
    let [rows, columns] = [ty.shape[ty.rank() - 2], ty.shape[ty.rank() - 1]];
    let row = positions(lower, ty.dtype, &[rows, 1]);
    let column = positions(lower, ty.dtype, &[columns]);
    pointwise(lower, [scores, row, column], ty.dtype, |[s, row, column]| {
        column.gt(row).select(f64::NEG_INFINITY, s)
    })
}

/// Softmax of the scores under a mask: `Bool` keeps where true, a number is added. A row with nothing left gives zeros.
fn softmax_masked(
    lower: &mut Lower,
    scores: ValueId,
    scale: f64,
    mask: Option<ValueId>,
    is_causal: bool,
) -> Result<ValueId, Refusal> {
    let ty = lower.ty(scores).clone();
    let mut masked = match mask {
        None => pointwise(lower, [scores], ty.dtype, |[s]| s * scale)?,
        Some(m) if lower.dtype(m) == DType::Bool => {
            pointwise(lower, [scores, m], ty.dtype, |[s, m]| m.select(s * scale, f64::NEG_INFINITY))?
        }
        Some(m) => pointwise(lower, [scores, m], ty.dtype, |[s, m]| s * scale + m)?,
    };
    if lower.shape(masked) != ty.shape {
        return Err(Refusal::Invalid("'attn_mask' does not broadcast to the scores".into()));
    }
    if is_causal {
        masked = causal(lower, masked)?;
    }
    let axis = ty.rank() - 1;
    let out = lower.add(LayerKind::Softmax { axis, log: false }, &[masked])?;
    match mask {
        None => Ok(out),
        Some(_) if ty.shape[axis] == 0 => Ok(out),
        Some(m) if lower.ty(m).rank() > 0 => {
            let along = lower.ty(m).rank() - 1;
            if lower.dtype(m) != DType::Bool {
                return zero_if_masked(lower, out, m, along);
            }
            let any = LayerKind::Reduce { op: ReduceOp::Any, axes: vec![along], keep: true };
            let any = lower.add(any, &[m])?;
            pointwise(lower, [out, any], ty.dtype, |[v, any]| any.select(v, 0.0))
        }
        Some(_) => zero_if_masked(lower, out, masked, axis),
    }
}

/// With `enable_gqa` each head of key and value serves several of the query's.
fn attention(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    if args.float("dropout_p")? != 0.0 {
        return Err(Refusal::Effect("attention with dropout draws random numbers"));
    }
    let q = float_tensor(lower, args, "query")?;
    let (mut k, mut v) = (float_tensor(lower, args, "key")?, float_tensor(lower, args, "value")?);
    let ty = lower.ty(q).clone();
    for (arg, operand) in [("query", q), ("key", k), ("value", v)] {
        let found = lower.ty(operand).clone();
        if found.dtype != ty.dtype {
            return Err(Refusal::Dtype { arg, found: found.dtype });
        }
        if found.rank() < 2 {
            return Err(Refusal::Shape { arg, found, expected: "at least two dimensions" });
        }
    }
    if args.flag("enable_gqa")? {
        (k, v) = (share_heads(lower, q, k)?, share_heads(lower, q, v)?);
    }
    let mask = args.opt_tensor("attn_mask")?;
    if let Some(found) = mask.map(|m| lower.dtype(m)).filter(|d| !d.is_float() && *d != DType::Bool) {
        return Err(Refusal::Dtype { arg: "attn_mask", found });
    }
    let is_causal = args.flag("is_causal")?;
    if is_causal && mask.is_some() {
        return Err(Refusal::Attribute { arg: "is_causal".into(), why: "'attn_mask' is given as well".into() });
    }
    let scale = match args.has("scale") {
        true => args.float("scale")?,
        false => (ty.shape[ty.rank() - 1] as f64).sqrt().recip(),
    };
    let scores = scores(lower, q, k)?;
    let weights = softmax_masked(lower, scores, scale, mask, is_causal)?;
    one(weighted(lower, weights, v)?)
}

/// The heads of `x[..., heads, length, size]`, each repeated for the query heads that share it.
fn share_heads(lower: &mut Lower, q: ValueId, x: ValueId) -> Result<ValueId, Refusal> {
    let head = |v| lower.ty(v).rank().checked_sub(3).map(|axis| (axis, lower.shape(v)[axis]));
    match (head(q), head(x)) {
        (Some((_, many)), Some((axis, few))) if few > 0 && many.is_multiple_of(few) => {
            repeat(lower, x, &[(axis, many / few)])
        }
        _ => Err(Refusal::Invalid("the heads of the query are no multiple of the key's".into())),
    }
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None, float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False) -> Tensor",
    ],
    lower: attention,
}];
