//! Distances from a target, element by element, as they are or averaged or summed.

use super::formula::{Term, compute_type};
use super::promote::{Value, elementwise, result_type};
use super::reduce::over;
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Unary};
use crate::network::layer::ReduceOp;
use crate::source::{Args, Item, Lower, Refusal};

/// `f(self, target, extra...)`, all of one type; `reduction` 0 keeps the elements, 1 averages, 2 sums them. Where they are reduced, f16 and bf16
/// compute in f32.
fn loss(
    lower: &mut Lower,
    args: &Args,
    extra: &[&str],
    f: impl for<'f> FnOnce(&[Term<'f>]) -> Term<'f>,
) -> Result<Vec<Item>, Refusal> {
    let mut values = Value::all(args, ["self", "target"])?.to_vec();
    for name in extra {
        values.push(Value::of(args, name)?);
    }
    let types: Vec<DType> = values.iter().map(|&v| result_type(lower, &[v])).collect();
    if let Some(&found) = types.iter().find(|t| !t.is_float()) {
        return Err(Refusal::Dtype { arg: "target", found });
    }
    let dtype = types[0];
    if let Some(&found) = types.iter().find(|&&t| t != dtype) {
        return Err(Refusal::Dtype { arg: "target", found });
    }
    let op = match args.int(lower, "reduction")? {
        0 => return one(elementwise(lower, &values, dtype, f)?),
        1 => ReduceOp::Mean,
        2 => ReduceOp::Sum,
        other => return Err(Refusal::Invalid(format!("'reduction' is {other}"))),
    };
    let each = elementwise(lower, &values, compute_type(dtype), f)?;
    let axes: Vec<usize> = (0..lower.shape(each).len()).collect();
    let total = over(lower, each, op, &axes, false)?;
    one(lower.cast(total, dtype)?)
}

/// Quadratic within `beta`, linear beyond; linear everywhere for 0.
fn smooth_l1(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let beta = args.float("beta")?;
    if beta == 0.0 {
        return loss(lower, args, &[], |x| (x[0] - x[1]).abs());
    }
    loss(lower, args, &[], |x| {
        let distance = (x[0] - x[1]).abs();
        distance.lt(beta).select(distance * distance * 0.5 / beta, distance - 0.5 * beta)
    })
}

fn huber(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let delta = args.float("delta")?;
    loss(lower, args, &[], |x| {
        let distance = (x[0] - x[1]).abs();
        distance.le(delta).select(distance * distance * 0.5, (distance - 0.5 * delta) * delta)
    })
}

/// Logarithms are cut at -100.
fn binary_cross_entropy(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let weight: &[&str] = if args.has("weight") { &["weight"] } else { &[] };
    loss(lower, args, weight, |x| {
        let (p, target) = (x[0], x[1]);
        let (hit, miss) = (p.unary(Unary::Log).max(-100.0), (-p).ln_1p().max(-100.0));
        let each = (target - 1.0) * miss - target * hit;
        x.get(2).map_or(each, |&w| each * w)
    })
}

/// The same of a sigmoid, in one stable form.
fn binary_cross_entropy_with_logits(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let given = |name| args.has(name);
    let extra: &[&str] = match (given("weight"), given("pos_weight")) {
        (false, false) => &[],
        (true, false) => &["weight"],
        (false, true) => &["pos_weight"],
        (true, true) => &["weight", "pos_weight"],
    };
    let positive = given("pos_weight");
    loss(lower, args, extra, |x| {
        let (v, target) = (x[0], x[1]);
        let log_sigmoid = v.min(0.0) - (-v.abs()).exp().ln_1p();
        let rest = (1.0 - target) * v;
        let each = if positive {
            let weight = target * (x[x.len() - 1] - 1.0) + 1.0;
            rest - weight * log_sigmoid
        } else {
            rest - log_sigmoid
        };
        if extra.first() == Some(&"weight") { each * x[2] } else { each }
    })
}

/// Divergence of the logarithms `self` from `target`.
fn kl_div(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    if args.flag("log_target")? {
        return loss(lower, args, &[], |x| x[1].exp() * (x[1] - x[0]));
    }
    loss(lower, args, &[], |x| {
        let (input, target) = (x[0], x[1]);
        target.binary(Binary::Eq, 0.0).select(0.0, target * target.unary(Unary::Log)) - target * input
    })
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::mse_loss(Tensor self, Tensor target, int reduction=1) -> Tensor"],
        lower: |l, a| loss(l, a, &[], |x| (x[0] - x[1]) * (x[0] - x[1])),
    },
    Def {
        schemas: &["aten::l1_loss(Tensor self, Tensor target, int reduction=1) -> Tensor"],
        lower: |l, a| loss(l, a, &[], |x| (x[0] - x[1]).abs()),
    },
    Def {
        schemas: &[
            "aten::smooth_l1_loss(Tensor self, Tensor target, int reduction=1, float beta=1.) -> Tensor",
        ],
        lower: smooth_l1,
    },
    Def {
        schemas: &["aten::huber_loss(Tensor self, Tensor target, int reduction=1, float delta=1.) -> Tensor"],
        lower: huber,
    },
    Def {
        schemas: &[
            "aten::binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=1) -> Tensor",
        ],
        lower: binary_cross_entropy,
    },
    Def {
        schemas: &[
            "aten::binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None, Tensor? pos_weight=None, int reduction=1) -> Tensor",
        ],
        lower: binary_cross_entropy_with_logits,
    },
    Def {
        schemas: &[
            "aten::kl_div(Tensor self, Tensor target, int reduction=1, *, bool log_target=False) -> Tensor",
        ],
        lower: kl_div,
    },
];
