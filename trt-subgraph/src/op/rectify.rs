//! Piecewise linear activations: relu6, hardtanh, leaky relu, prelu, threshold and the shrinks. NaN stays NaN.

use super::formula::{Term, activation, pointwise};
use super::number::rounded;
use super::{Def, float_tensor, one};
use crate::DType;
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal};

/// The operand, which must be a number; its type converts the scalar arguments.
fn numeric(lower: &Lower, args: &Args) -> Result<ValueId, Refusal> {
    let x = args.tensor("self")?;
    match lower.dtype(x) {
        DType::Bool => Err(Refusal::Dtype { arg: "self", found: DType::Bool }),
        _ => Ok(x),
    }
}

/// `min(max(x, low), high)`; integers too, but unsigned ones need a bound that they can hold.
fn clip(lower: &mut Lower, args: &Args, low: f64, high: f64) -> Result<Vec<Item>, Refusal> {
    let x = numeric(lower, args)?;
    let dtype = lower.dtype(x);
    if dtype == DType::U8 && low < 0.0 {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    one(pointwise(lower, [x], dtype, |[x]| x.max(low).min(high))?)
}

fn hardtanh(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    clip(lower, args, args.float("min_val")?, args.float("max_val")?)
}

/// `x > threshold ? x : value`, where NaN counts as greater.
fn threshold(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = numeric(lower, args)?;
    let (limit, value) = (args.float("threshold")?, args.float("value")?);
    let dtype = lower.dtype(x);
    one(pointwise(lower, [x], dtype, |[x]| x.le(limit).select(value, x))?)
}

fn leaky(x: Term<'_>, slope: f64) -> Term<'_> {
    x.gt(0.0).select(x, x * slope)
}

fn leaky_relu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let slope = args.float("negative_slope")?;
    activation(lower, args, |x| leaky(x, slope))
}

/// In evaluation the slope is the middle of the range; in training it is drawn.
fn rrelu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    if args.flag("training")? {
        return Err(Refusal::Effect("rrelu in training draws random numbers"));
    }
    let slope = (args.float("lower")? + args.float("upper")?) / 2.0;
    activation(lower, args, |x| leaky(x, slope))
}

/// The slope is a tensor: one for all, or one for each channel (axis 1).
fn prelu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let mut weight = float_tensor(lower, args, "weight")?;
    let (ty, slopes) = (lower.ty(x).clone(), lower.ty(weight).clone());
    if slopes.dtype != ty.dtype {
        return Err(Refusal::Dtype { arg: "weight", found: slopes.dtype });
    }
    if slopes.elements() == 1 {
        weight = lower.reshape(weight, [])?;
    } else if ty.rank() >= 2 && slopes.shape == [ty.shape[1]] {
        let mut shape = vec![1; ty.rank() - 1];
        shape[0] = ty.shape[1];
        weight = lower.reshape(weight, shape)?;
    } else {
        return Err(Refusal::Shape { arg: "weight", found: slopes, expected: "one slope, or one a channel" });
    }
    one(pointwise(lower, [x, weight], ty.dtype, |[x, w]| x.gt(0.0).select(x, x * w))?)
}

/// [`prelu`] with a weight that broadcasts already.
fn prelu_kernel(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, weight) = (float_tensor(lower, args, "self")?, float_tensor(lower, args, "weight")?);
    let dtype = lower.dtype(x);
    one(pointwise(lower, [x, weight], dtype, |[x, w]| x.gt(0.0).select(x, x * w))?)
}

/// `x`, and 0 within `lambd`, which is rounded to the type of `x`.
fn hardshrink(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let limit = rounded(args.float("lambd")?, lower.dtype(args.tensor("self")?));
    activation(lower, args, |x| x.abs().le(limit).select(0.0, x))
}

/// `x` moved towards 0 by `lambd`, and 0 within it.
fn softshrink(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let limit = args.float("lambd")?;
    if limit < 0.0 {
        return Err(Refusal::Invalid(format!("'lambd' is {limit}, expected no less than 0")));
    }
    activation(lower, args, |x| x.gt(limit).select(x - limit, x.lt(-limit).select(x + limit, x * 0.0)))
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::relu6(Tensor self) -> Tensor"], lower: |l, a| clip(l, a, 0.0, 6.0) },
    Def {
        schemas: &["aten::hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor"],
        lower: hardtanh,
    },
    Def {
        schemas: &["aten::threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor"],
        lower: threshold,
    },
    Def {
        schemas: &["aten::leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor"],
        lower: leaky_relu,
    },
    Def {
        schemas: &[
            "aten::rrelu(Tensor self, Scalar lower=0.125, Scalar upper=0.33333333333333331, bool training=False, Generator? generator=None) -> Tensor",
        ],
        lower: rrelu,
    },
    Def { schemas: &["aten::prelu(Tensor self, Tensor weight) -> Tensor"], lower: prelu },
    Def { schemas: &["aten::_prelu_kernel(Tensor self, Tensor weight) -> Tensor"], lower: prelu_kernel },
    Def { schemas: &["aten::hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor"], lower: hardshrink },
    Def { schemas: &["aten::softshrink(Tensor self, Scalar lambd=0.5) -> Tensor"], lower: softshrink },
];
