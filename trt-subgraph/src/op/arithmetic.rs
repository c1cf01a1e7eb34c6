//! Sums, differences and products with torch's promotion; the fused forms `addcmul`, `addcdiv`, `lerp`.

use super::formula::Term;
use super::number::Number;
use super::promote::{Value, elementwise, number_or, result_type};
use super::{Def, one};
use crate::DType;
use crate::network::expr::Binary;
use crate::source::{Args, Item, Lower, Refusal};

/// `self + alpha * other`; on `Bool` a logical or.
fn add(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    scaled_sum(lower, args, ["self", "other"], Binary::Add)
}

/// `self - alpha * other`; not where either is `Bool`.
fn sub(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    scaled_sum(lower, args, ["self", "other"], Binary::Sub)
}

/// `other - alpha * self`; not where either is `Bool`.
fn rsub(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    scaled_sum(lower, args, ["other", "self"], Binary::Sub)
}

fn scaled_sum(lower: &mut Lower, args: &Args, names: [&str; 2], f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, names)?;
    let alpha = number_or(args, "alpha", Number::Int(1))?;
    let dtype = result_type(lower, &operands);
    if f == Binary::Sub && operands.iter().any(|&o| result_type(lower, &[o]) == DType::Bool) {
        return Err(Refusal::Dtype { arg: "self", found: DType::Bool });
    }
    check_factor("alpha", alpha, dtype)?;
    // torch's kernels round numbers here on a CPU, and not on a GPU.
    let on_cpu = lower.device.0 == "cpu";
    let [a, b] = if on_cpu { Value::all_rounded(operands, lower, dtype)? } else { operands };
    one(elementwise(lower, &[a, b, Value::Number(alpha)], dtype, |x| x[0].binary(f, scale(x[1], alpha, x[2])))?)
}

/// A fractional factor does not go with integers, a truth value only with `Bool`.
fn check_factor(arg: &str, factor: Number, dtype: DType) -> Result<(), Refusal> {
    let misfit = match factor {
        Number::Float(_) => !dtype.is_float(),
        Number::Bool(_) => dtype != DType::Bool,
        Number::Int(_) => false,
    };
    if misfit {
        let why = format!("it is {}, the operands are {dtype}", factor.dtype());
        return Err(Refusal::Attribute { arg: arg.into(), why });
    }
    Ok(())
}

/// `factor * x`; `x` itself for a factor of 1.
fn scale<'f>(x: Term<'f>, factor: Number, term: Term<'f>) -> Term<'f> {
    if factor.as_f64() == 1.0 { x } else { term * x }
}

/// `self * other`; on `Bool` a logical and.
fn mul(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &operands);
    one(elementwise(lower, &operands, dtype, |x| x[0].binary(Binary::Mul, x[1]))?)
}

/// `self + value * tensor1 * tensor2`, or with a quotient, which is not for two integers.
fn addc(lower: &mut Lower, args: &Args, f: Binary) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "tensor1", "tensor2"])?;
    let value = number_or(args, "value", Number::Int(1))?;
    let dtype = result_type(lower, &operands);
    let factors = result_type(lower, &operands[1..]);
    if dtype == DType::Bool || (f == Binary::Div && !factors.is_float()) {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    check_factor("value", value, dtype)?;
    let [a, b, c] = operands;
    one(elementwise(lower, &[a, b, c, Value::Number(value)], dtype, |x| {
        x[0] + scale(x[1], value, x[3]).binary(f, x[2])
    })?)
}

/// `self + weight * (end - self)`, computed from the nearer end; all of one floating-point type.
fn lerp(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = Value::all(args, ["self", "end", "weight"])?;
    let (start, end) = (lower.dtype(args.tensor("self")?), lower.dtype(args.tensor("end")?));
    if !start.is_float() || start != end || result_type(lower, &operands) != start {
        return Err(Refusal::Dtype { arg: "end", found: end });
    }
    one(elementwise(lower, &operands, start, |x| {
        let (start, end, weight) = (x[0], x[1], x[2]);
        let distance = end - start;
        weight.lt(0.5).select(start + weight * distance, end - distance * (1.0 - weight))
    })?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
            "aten::add.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
        ],
        lower: add,
    },
    Def {
        schemas: &[
            "aten::sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
            "aten::sub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
            "aten::subtract.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
            "aten::subtract.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
        ],
        lower: sub,
    },
    Def {
        schemas: &[
            "aten::rsub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
            "aten::rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor",
        ],
        lower: rsub,
    },
    Def {
        schemas: &[
            "aten::mul.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::mul.Scalar(Tensor self, Scalar other) -> Tensor",
            "aten::multiply.Tensor(Tensor self, Tensor other) -> Tensor",
            "aten::multiply.Scalar(Tensor self, Scalar other) -> Tensor",
        ],
        lower: mul,
    },
    Def {
        schemas: &[
            "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
        ],
        lower: |l, a| addc(l, a, Binary::Mul),
    },
    Def {
        schemas: &[
            "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor",
        ],
        lower: |l, a| addc(l, a, Binary::Div),
    },
    Def {
        schemas: &[
            "aten::lerp.Scalar(Tensor self, Tensor end, Scalar weight) -> Tensor",
            "aten::lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor",
        ],
        lower: lerp,
    },
];
