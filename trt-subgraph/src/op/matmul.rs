//! Products of vectors, matrices and batches of them.

use super::{Def, one};
use crate::DType;
use crate::network::expr::Binary;
use crate::network::{Expr, LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// Two tensors of one numeric type.
pub(super) fn pair(
    lower: &Lower,
    args: &Args,
    a: &'static str,
    b: &'static str,
) -> Result<(ValueId, ValueId), Refusal> {
    let (left, right) = (args.tensor(a)?, args.tensor(b)?);
    let (first, second) = (lower.dtype(left), lower.dtype(right));
    match first {
        DType::Bool => Err(Refusal::Dtype { arg: a, found: first }),
        _ if first != second => Err(Refusal::Dtype { arg: b, found: second }),
        _ => Ok((left, right)),
    }
}

/// `a @ b` for ranks of 1 and more: a vector on the left is a row, on the right a column, and that axis is dropped from the result.
pub(super) fn product(lower: &mut Lower, a: ValueId, b: ValueId) -> Result<ValueId, Refusal> {
    let (rank_a, rank_b) = (lower.ty(a).rank(), lower.ty(b).rank());
    if rank_a == 0 || rank_b == 0 {
        return Err(Refusal::Invalid("a matrix product of a 0-d tensor".into()));
    }
    let row = if rank_a == 1 { lower.reshape(a, [1, lower.shape(a)[0]])? } else { a };
    let column = if rank_b == 1 { lower.reshape(b, [lower.shape(b)[0], 1])? } else { b };
    let out = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[row, column])?;
    let mut shape = lower.shape(out).to_vec();
    if rank_b == 1 {
        shape.pop();
    }
    if rank_a == 1 {
        shape.remove(lower.ty(out).rank() - 2);
    }
    lower.reshape(out, shape)
}

/// Two tensors of one numeric type and of exactly these ranks.
pub(super) fn of_ranks(
    lower: &Lower,
    args: &Args,
    [a, b]: [&'static str; 2],
    ranks: [usize; 2],
) -> Result<(ValueId, ValueId), Refusal> {
    let (left, right) = pair(lower, args, a, b)?;
    for (arg, v, rank) in [(a, left, ranks[0]), (b, right, ranks[1])] {
        if lower.ty(v).rank() != rank {
            let expected = ["a scalar", "a vector", "a matrix", "a batch of matrices"][rank];
            return Err(Refusal::Shape { arg, found: lower.ty(v).clone(), expected });
        }
    }
    if ranks == [3, 3] && lower.shape(left)[0] != lower.shape(right)[0] {
        return Err(Refusal::Invalid("the batches differ".into()));
    }
    Ok((left, right))
}

fn ranked(
    lower: &mut Lower,
    args: &Args,
    names: [&'static str; 2],
    ranks: [usize; 2],
) -> Result<Vec<Item>, Refusal> {
    let (a, b) = of_ranks(lower, args, names, ranks)?;
    one(product(lower, a, b)?)
}

fn matmul(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = pair(lower, args, "self", "other")?;
    one(product(lower, a, b)?)
}

/// `sum(a[..., k] * b[..., k])` over every pair of leading indices; plain multiplication with a scalar.
fn inner(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = pair(lower, args, "self", "other")?;
    let (ty_a, ty_b) = (lower.ty(a).clone(), lower.ty(b).clone());
    let (Some((&k, lead_a)), Some((&m, lead_b))) = (ty_a.shape.split_last(), ty_b.shape.split_last()) else {
        return one(lower.pointwise(Expr::binary(Binary::Mul), &[a, b])?);
    };
    let a = lower.reshape(a, [lead_a.iter().product(), k])?;
    let b = lower.reshape(b, [lead_b.iter().product(), m])?;
    let out = lower.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[a, b])?;
    one(lower.reshape(out, [lead_a, lead_b].concat())?)
}

/// `a[i] * b[j]`, in the promoted type.
fn outer(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (args.tensor("self")?, args.tensor("vec2")?);
    for (arg, v) in [("self", a), ("vec2", b)] {
        if lower.ty(v).rank() != 1 {
            return Err(Refusal::Shape { arg, found: lower.ty(v).clone(), expected: "a vector" });
        }
    }
    let dtype = lower.dtype(a).promote(lower.dtype(b));
    let (a, b) = (lower.cast(a, dtype)?, lower.cast(b, dtype)?);
    let column = lower.reshape(a, [lower.shape(a)[0], 1])?;
    one(lower.pointwise(Expr::binary(Binary::Mul), &[column, b])?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::matmul(Tensor self, Tensor other) -> Tensor",
            "aten::linalg_matmul(Tensor self, Tensor other) -> Tensor",
        ],
        lower: matmul,
    },
    Def {
        schemas: &["aten::mm(Tensor self, Tensor mat2) -> Tensor"],
        lower: |l, a| ranked(l, a, ["self", "mat2"], [2, 2]),
    },
    Def {
        schemas: &["aten::bmm(Tensor self, Tensor mat2) -> Tensor"],
        lower: |l, a| ranked(l, a, ["self", "mat2"], [3, 3]),
    },
    Def {
        schemas: &["aten::mv(Tensor self, Tensor vec) -> Tensor"],
        lower: |l, a| ranked(l, a, ["self", "vec"], [2, 1]),
    },
    Def {
        schemas: &["aten::dot(Tensor self, Tensor tensor) -> Tensor"],
        lower: |l, a| ranked(l, a, ["self", "tensor"], [1, 1]),
    },
    Def {
        schemas: &["aten::vdot(Tensor self, Tensor other) -> Tensor"],
        lower: |l, a| ranked(l, a, ["self", "other"], [1, 1]),
    },
    Def { schemas: &["aten::inner(Tensor self, Tensor other) -> Tensor"], lower: inner },
    Def {
        schemas: &[
            "aten::outer(Tensor self, Tensor vec2) -> Tensor",
            "aten::ger(Tensor self, Tensor vec2) -> Tensor",
        ],
        lower: outer,
    },
];
