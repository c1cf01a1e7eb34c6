//! `x @ weight^T + bias`, and the bilinear form.

use super::matmul::{pair, product};
use super::{Def, one};
use crate::network::expr::Binary;
use crate::network::layer::ReduceOp;
use crate::network::{Expr, LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `x[..., K] @ weight[N, K]^T + bias`; a weight `[K]` gives `[...]` and takes no bias.
pub(super) fn linear_of(
    lower: &mut Lower,
    x: ValueId,
    weight: ValueId,
    bias: Option<ValueId>,
) -> Result<ValueId, Refusal> {
    let (ty, weights) = (lower.ty(x).clone(), lower.ty(weight).clone());
    match (weights.rank(), ty.rank()) {
        (_, 0) => return Err(Refusal::Shape { arg: "input", found: ty, expected: "at least one dimension" }),
        (1, _) if bias.is_none() => return product(lower, x, weight),
        (2, _) => {}
        _ => return Err(Refusal::Shape { arg: "weight", found: weights, expected: "a matrix" }),
    }
    let rows = if ty.rank() == 1 { lower.reshape(x, [1, ty.shape[0]])? } else { x };
    let mut out = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[rows, weight])?;
    if let Some(bias) = bias {
        out = add_within(lower, out, bias)?;
    }
    let shape = [&ty.shape[..ty.rank() - 1], &weights.shape[..1]].concat();
    lower.reshape(out, shape)
}

/// `x + bias`, where the bias may not stretch `x`.
fn add_within(lower: &mut Lower, x: ValueId, bias: ValueId) -> Result<ValueId, Refusal> {
    let out = lower.pointwise(Expr::binary(Binary::Add), &[x, bias])?;
    if lower.shape(out) == lower.shape(x) {
        Ok(out)
    } else {
        let expected = "a shape that broadcasts to the result";
        Err(Refusal::Shape { arg: "bias", found: lower.ty(bias).clone(), expected })
    }
}

fn linear(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, weight) = pair(lower, args, "input", "weight")?;
    one(linear_of(lower, x, weight, args.opt_tensor("bias")?)?)
}

/// `y[..., o] = sum over i and j of input1[..., i] * weight[o, i, j] * input2[..., j] + bias[o]`.
fn bilinear(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, weight) = pair(lower, args, "input1", "weight")?;
    let (y, _) = pair(lower, args, "input2", "weight")?;
    let (tx, ty, tw) = (lower.ty(x).clone(), lower.ty(y).clone(), lower.ty(weight).clone());
    if tw.rank() != 3 {
        return Err(Refusal::Shape { arg: "weight", found: tw, expected: "three dimensions" });
    }
    let (Some((&i, lead)), Some((&j, lead_y))) = (tx.shape.split_last(), ty.shape.split_last()) else {
        return Err(Refusal::Shape { arg: "input1", found: tx, expected: "at least one dimension" });
    };
    if lead != lead_y {
        return Err(Refusal::Invalid("the inputs differ in their leading sizes".into()));
    }
    let rows: usize = lead.iter().product();
    let x = lower.reshape(x, [rows, i])?;
    let y = lower.reshape(y, [rows, j])?;
    let half = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, weight])?;
    let terms = lower.pointwise(Expr::binary(Binary::Mul), &[half, y])?;
    let sums = lower.add(LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![2], keep: false }, &[terms])?;
    let mut out = lower.permute(sums, vec![1, 0])?;
    if let Some(bias) = args.opt_tensor("bias")? {
        out = add_within(lower, out, bias)?;
    }
    one(lower.reshape(out, [lead, &tw.shape[..1]].concat())?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor"],
        lower: linear,
    },
    Def {
        schemas: &[
            "aten::bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor",
        ],
        lower: bilinear,
    },
];
