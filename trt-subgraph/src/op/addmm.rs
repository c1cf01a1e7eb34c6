//! `beta * self + alpha * product`: a matrix product with something added to it.

use super::formula::pointwise;
use super::matmul::{of_ranks, product};
use super::{Def, one};
use crate::DType;
use crate::network::expr::Binary;
use crate::network::layer::ReduceOp;
use crate::network::{Expr, LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// `beta * self + alpha * product`; `self` broadcasts to the product and is not read when `beta` is 0. Where the host's routine `skips` it, the
/// product of f32 or f64 is not read either when `alpha` is 0: what is no number in it does not count.
fn blend(lower: &mut Lower, args: &Args, product: ValueId, skips: bool) -> Result<Vec<Item>, Refusal> {
    let this = args.tensor("self")?;
    let (beta, alpha) = (args.float("beta")?, args.float("alpha")?);
    let ty = lower.ty(product).clone();
    if lower.dtype(this) != ty.dtype {
        return Err(Refusal::Dtype { arg: "self", found: lower.dtype(this) });
    }
    for name in ["beta", "alpha"] {
        if ty.dtype.is_int() && matches!(args.get(name), Item::Float(_)) {
            let why = "a float cannot scale integers".to_string();
            return Err(Refusal::Attribute { arg: name.into(), why });
        }
    }
    let out = if skips && alpha == 0.0 && matches!(ty.dtype, DType::F32 | DType::F64) {
        let scaled = match beta {
            0.0 => lower.scalar(ty.dtype, 0.0),
            _ => pointwise(lower, [this], ty.dtype, |[s]| s * beta)?,
        };
        lower.broadcast(scaled, ty.shape.clone())?
    } else if beta == 0.0 && alpha == 1.0 {
        product
    } else if beta == 0.0 {
        pointwise(lower, [product], ty.dtype, |[p]| p * alpha)?
    } else if (beta, alpha) == (1.0, 1.0) {
        lower.pointwise(Expr::binary(Binary::Add), &[product, this])?
    } else {
        pointwise(lower, [product, this], ty.dtype, |[p, s]| p * alpha + s * beta)?
    };
    if lower.shape(out) == ty.shape {
        one(out)
    } else {
        let expected = "a shape that broadcasts to the product";
        Err(Refusal::Shape { arg: "self", found: lower.ty(this).clone(), expected })
    }
}

fn ranked(
    lower: &mut Lower,
    args: &Args,
    names: [&'static str; 2],
    ranks: [usize; 2],
) -> Result<Vec<Item>, Refusal> {
    let (a, b) = of_ranks(lower, args, names, ranks)?;
    let out = product(lower, a, b)?;
    blend(lower, args, out, ranks[0] == 2)
}

/// The products of a batch, summed over it.
fn addbmm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = of_ranks(lower, args, ["batch1", "batch2"], [3, 3])?;
    let products = product(lower, a, b)?;
    let sum = lower.add(LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![0], keep: false }, &[products])?;
    blend(lower, args, sum, true)
}

/// The outer product of two vectors.
fn addr(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = of_ranks(lower, args, ["vec1", "vec2"], [1, 1])?;
    let column = lower.reshape(a, [lower.shape(a)[0], 1])?;
    let out = lower.pointwise(Expr::binary(Binary::Mul), &[column, b])?;
    blend(lower, args, out, false)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        ],
        lower: |l, a| ranked(l, a, ["mat1", "mat2"], [2, 2]),
    },
    Def {
        schemas: &[
            "aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        ],
        lower: |l, a| ranked(l, a, ["batch1", "batch2"], [3, 3]),
    },
    Def {
        schemas: &[
            "aten::addmv(Tensor self, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        ],
        lower: |l, a| ranked(l, a, ["mat", "vec"], [2, 1]),
    },
    Def {
        schemas: &[
            "aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        ],
        lower: addbmm,
    },
    Def {
        schemas: &[
            "aten::addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor",
        ],
        lower: addr,
    },
];
