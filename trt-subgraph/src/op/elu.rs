//! Activations with an exponential tail: elu, selu, celu, softplus, log-sigmoid.

use super::formula::{Term, activation};
use super::Def;
use crate::source::{Args, Item, Lower, Refusal};

/// `scale * (x > 0 ? x : alpha * (e^(input_scale * x) - 1))`.
fn curve(x: Term<'_>, alpha: f64, scale: f64, input_scale: f64) -> Term<'_> {
    x.gt(0.0).select(x * scale, (x * input_scale).expm1() * (alpha * scale))
}

fn elu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (alpha, scale, input_scale) =
        (args.float("alpha")?, args.float("scale")?, args.float("input_scale")?);
    activation(lower, args, |x| curve(x, alpha, scale, input_scale))
}

/// The self-normalising constants of <https://arxiv.org/abs/1706.02515>.
fn selu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    const ALPHA: f64 = 1.673_263_242_354_377_2;
    const SCALE: f64 = 1.050_700_987_355_480_5;
    activation(lower, args, |x| curve(x, ALPHA, SCALE, 1.0))
}

fn celu(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let alpha = args.float("alpha")?;
    if alpha == 0.0 {
        return Err(Refusal::Invalid("'alpha' of celu is 0".into()));
    }
    activation(lower, args, |x| curve(x, alpha, 1.0, 1.0 / alpha))
}

/// `ln(1 + e^(beta x)) / beta`, and `x` itself where `beta x` exceeds `threshold`.
fn softplus(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (beta, threshold) = (args.float("beta")?, args.float("threshold")?);
    activation(lower, args, |x| {
        let scaled = x * beta;
        scaled.gt(threshold).select(x, scaled.exp().ln_1p() / beta)
    })
}

/// `ln(sigmoid(x))`, without overflow.
fn log_sigmoid(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    activation(lower, args, |x| x.min(0.0) - (-x.abs()).exp().ln_1p())
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor"],
        lower: elu,
    },
    Def { schemas: &["aten::selu(Tensor self) -> Tensor"], lower: selu },
    Def { schemas: &["aten::celu(Tensor self, Scalar alpha=1.) -> Tensor"], lower: celu },
    Def {
        schemas: &["aten::softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor"],
        lower: softplus,
    },
    Def { schemas: &["aten::log_sigmoid(Tensor self) -> Tensor"], lower: log_sigmoid },
];
