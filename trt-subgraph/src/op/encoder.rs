//! The fused transformer pieces that torch's modules call in evaluation: attention with its projections, and a whole encoder layer.

use super::attention::{scores, weighted};
use super::formula::pointwise;
use super::gate::gelu_of;
use super::layer_norm::layer_norm_of;
use super::linear::linear_of;
use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::expr::Binary;
use crate::network::layer::ReduceOp;
use crate::network::{Expr, LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// Attention over operands `[N, L, E]`: the arguments that both operators share.
struct Attention {
    heads: usize,
    /// Projections to query, key and value in one, then back; weight and bias of each.
    inward: (ValueId, ValueId),
    outward: (ValueId, ValueId),
    /// True where a score is left out, broadcast to `[N, heads, L, L]`.
    masked: Option<ValueId>,
}

impl Attention {
    fn read(lower: &mut Lower, args: &Args, heads: &str, x: ValueId) -> Result<Attention, Refusal> {
        let ty = lower.ty(x).clone();
        let &[batch, length, size] = &ty.shape[..] else {
            return Err(Refusal::Shape { arg: "query", found: ty, expected: "batch, length and size" });
        };
        let heads = match usize::try_from(args.int(lower, heads)?) {
            Ok(n) if n > 0 && size.is_multiple_of(n) => n,
            _ => return Err(Refusal::Invalid("the heads do not divide the size".into())),
        };
        let masked = args.opt_tensor("mask")?.map(|m| {
            let m = lower.cast(m, DType::Bool)?;
            match (args.opt_int(lower, "mask_type")?, lower.shape(m)) {
                (Some(0), [l, s]) if (*l, *s) == (length, length) => Ok(m),
                (Some(1), [n, l]) if (*n, *l) == (batch, length) => lower.reshape(m, [batch, 1, 1, length]),
                (Some(2), shape) if shape == [batch, heads, length, length] => Ok(m),
                _ => {
                    let expected = "the shape of its 'mask_type'";
                    Err(Refusal::Shape { arg: "mask", found: lower.ty(m).clone(), expected })
                }
            }
        });
        Ok(Attention {
            heads,
            inward: (args.tensor("qkv_weight")?, args.tensor("qkv_bias")?),
            outward: (args.tensor("proj_weight")?, args.tensor("proj_bias")?),
            masked: masked.transpose()?,
        })
    }

    /// Query, key and value `[N, heads, L, E / heads]`: one product where they come from one value, else one each.
    fn project(&self, lower: &mut Lower, from: [ValueId; 3]) -> Result<[ValueId; 3], Refusal> {
        let ty = lower.ty(from[0]).clone();
        let (batch, length, size) = (ty.shape[0], ty.shape[1], ty.shape[2]);
        let (weight, bias) = self.inward;
        if lower.shape(weight) != [3 * size, size] || lower.shape(bias) != [3 * size] {
            let found = lower.ty(weight).clone();
            return Err(Refusal::Shape { arg: "qkv_weight", found, expected: "three square matrices" });
        }
        let apart = [batch, length, self.heads, size / self.heads];
        let mut parts = from;
        if from == [from[0]; 3] {
            let all = linear_of(lower, from[0], weight, Some(bias))?;
            let all = lower.reshape(all, [batch, length, 3, self.heads, size / self.heads])?;
            let all = lower.permute(all, vec![2, 0, 3, 1, 4])?;
            for (at, part) in parts.iter_mut().enumerate() {
                let one = lower.narrow(all, 0, at, 1)?;
                *part = lower.reshape(one, [batch, self.heads, length, size / self.heads])?;
            }
        } else {
            for (at, part) in parts.iter_mut().enumerate() {
                let weight = lower.narrow(weight, 0, at * size, size)?;
                let bias = lower.narrow(bias, 0, at * size, size)?;
                let projected = linear_of(lower, *part, weight, Some(bias))?;
                let projected = lower.reshape(projected, apart)?;
                *part = lower.permute(projected, vec![0, 2, 1, 3])?;
            }
        }
        Ok(parts)
    }

    /// The result `[N, L, E]` and the weights `[N, heads, L, L]`; the three operands have one type.
    fn lower(&self, lower: &mut Lower, from: [ValueId; 3]) -> Result<(ValueId, ValueId), Refusal> {
        let ty = lower.ty(from[0]).clone();
        let head = ty.shape[2] / self.heads;
        let [q, k, v] = self.project(lower, from)?;
        let scores = scores(lower, q, k)?;
        let wide = lower.dtype(scores);
        let scale = (head as f64).sqrt().recip();
        let scaled = match self.masked {
            None => pointwise(lower, [scores], wide, |[s]| s * scale)?,
            Some(m) => {
                pointwise(lower, [scores, m], wide, |[s, m]| m.select(f64::NEG_INFINITY, s * scale))?
            }
        };
        let weights = lower.add(LayerKind::Softmax { axis: 3, log: false }, &[scaled])?;
        let out = weighted(lower, weights, v)?;
        let out = lower.permute(out, vec![0, 2, 1, 3])?;
        let out = lower.reshape(out, ty.shape.clone())?;
        let out = linear_of(lower, out, self.outward.0, Some(self.outward.1))?;
        Ok((out, lower.cast(weights, ty.dtype)?))
    }
}

/// Query, key and value of one type. The weights come averaged over the heads, or as `None` when not needed.
fn multi_head_attention(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "query")?;
    let from = [x, args.tensor("key")?, args.tensor("value")?];
    for (arg, v) in [("key", from[1]), ("value", from[2])] {
        if lower.ty(v) != lower.ty(x) {
            let found = lower.ty(v).clone();
            return Err(Refusal::Shape { arg, found, expected: "the type of the query" });
        }
    }
    let attention = Attention::read(lower, args, "num_head", x)?;
    let (out, weights) = attention.lower(lower, from)?;
    let weights = if !args.flag("need_weights")? {
        Item::None
    } else if args.flag("average_attn_weights")? {
        let mean = LayerKind::Reduce { op: ReduceOp::Mean, axes: vec![1], keep: false };
        Item::Tensor(lower.add(mean, &[weights])?)
    } else {
        Item::Tensor(weights)
    };
    Ok(vec![Item::Tensor(out), weights])
}

/// Attention and feed-forward, each with a residual sum and a norm after it (or before it: `norm_first`).
fn encoder_layer(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "src")?;
    let attention = Attention::read(lower, args, "num_heads", x)?;
    let norm_first = args.flag("norm_first")?;
    let attended = if norm_first { norm(lower, args, x, 1)? } else { x };
    let (attended, _) = attention.lower(lower, [attended; 3])?;
    let mut y = lower.pointwise(Expr::binary(Binary::Add), &[attended, x])?;
    if !norm_first {
        y = norm(lower, args, y, 1)?;
    }
    let inner = if norm_first { norm(lower, args, y, 2)? } else { y };
    let fed = feed_forward(lower, args, inner)?;
    let out = lower.pointwise(Expr::binary(Binary::Add), &[fed, y])?;
    one(if norm_first { out } else { norm(lower, args, out, 2)? })
}

fn norm(lower: &mut Lower, args: &Args, x: ValueId, which: usize) -> Result<ValueId, Refusal> {
    let (weight, bias) = [("norm_weight_1", "norm_bias_1"), ("norm_weight_2", "norm_bias_2")][which - 1];
    let factors = [Some(args.tensor(weight)?), Some(args.tensor(bias)?)];
    layer_norm_of(lower, x, vec![2], factors, args.float("eps")?)
}

fn feed_forward(lower: &mut Lower, args: &Args, x: ValueId) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let gelu = args.flag("use_gelu")?;
    let inner = linear_of(lower, x, args.tensor("ffn_weight_1")?, Some(args.tensor("ffn_bias_1")?))?;
    let inner =
        pointwise(lower, [inner], dtype, |[x]| if gelu { gelu_of(x, false) } else { x.max(0.0) })?;
    linear_of(lower, inner, args.tensor("ffn_weight_2")?, Some(args.tensor("ffn_bias_2")?))
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::_native_multi_head_attention(Tensor query, Tensor key, Tensor value, int embed_dim, int num_head, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, Tensor? mask=None, bool need_weights=True, bool average_attn_weights=True, int? mask_type=None) -> (Tensor, Tensor)"], lower: multi_head_attention },
    Def { schemas: &["aten::_transformer_encoder_layer_fwd(Tensor src, int embed_dim, int num_heads, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias, bool use_gelu, bool norm_first, float eps, Tensor norm_weight_1, Tensor norm_bias_1, Tensor norm_weight_2, Tensor norm_bias_2, Tensor ffn_weight_1, Tensor ffn_bias_1, Tensor ffn_weight_2, Tensor ffn_bias_2, Tensor? mask=None, int? mask_type=None) -> Tensor"], lower: encoder_layer },
];
