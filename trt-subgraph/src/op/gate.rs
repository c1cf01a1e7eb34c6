//! Activations that gate their operand: silu, gelu, mish, hardswish, hardsigmoid, glu.

use super::formula::{Term, activation, pointwise};
use super::{Def, float_tensor, one};
use crate::source::{Args, Item, Lower, Refusal};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, SQRT_2};

/// `x` times the normal distribution function, exact or by `tanh` (<https://arxiv.org/abs/1606.08415>).
pub(super) fn gelu_of(x: Term<'_>, tanh: bool) -> Term<'_> {
    const CUBIC: f64 = 0.044715;
    if !tanh {
        return x * 0.5 * ((x * FRAC_1_SQRT_2).erf() + 1.0);
    }
    let inner = (x + x * x * x * CUBIC) * (FRAC_2_SQRT_PI / SQRT_2);
    x * 0.5 * (inner.tanh() + 1.0)
}

fn gelu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let tanh = match args.opt_str("approximate")? {
        Some("none") | None => false,
        Some("tanh") => true,
        Some(other) => return Err(Refusal::Invalid(format!("'approximate' is {other}"))),
    };
    activation(lower, args, |x| gelu_of(x, tanh))
}

fn hard_gate(x: Term<'_>) -> Term<'_> {
    (x + 3.0).max(0.0).min(6.0)
}

/// The first half of axis `dim` times the sigmoid of the second.
fn glu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let ty = lower.ty(x).clone();
    if ty.rank() == 0 {
        return Err(Refusal::Shape { arg: "self", found: ty, expected: "at least one dimension" });
    }
    let axis = args.axis(lower, "dim", ty.rank())?;
    if !ty.shape[axis].is_multiple_of(2) {
        return Err(Refusal::Shape { arg: "self", found: ty, expected: "an even size along 'dim'" });
    }
    let len = ty.shape[axis] / 2;
    let (value, gate) = (lower.narrow(x, axis, 0, len)?, lower.narrow(x, axis, len, len)?);
    one(pointwise(lower, [value, gate], ty.dtype, |[v, g]| v * g.sigmoid())?)
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::gelu(Tensor self, *, str approximate=\"none\") -> Tensor"], lower: gelu },
    Def { schemas: &["aten::silu(Tensor self) -> Tensor"], lower: |l, a| activation(l, a, |x| x * x.sigmoid()) },
    Def {
        schemas: &["aten::mish(Tensor self) -> Tensor"],
        lower: |l, a| activation(l, a, |x| x * x.exp().ln_1p().tanh()),
    },
    Def {
        schemas: &["aten::hardsigmoid(Tensor self) -> Tensor"],
        lower: |l, a| activation(l, a, |x| hard_gate(x) / 6.0),
    },
    Def {
        schemas: &["aten::hardswish(Tensor self) -> Tensor"],
        lower: |l, a| activation(l, a, |x| x * hard_gate(x) / 6.0),
    },
    Def { schemas: &["aten::glu(Tensor self, int dim=-1) -> Tensor"], lower: glu },
];
