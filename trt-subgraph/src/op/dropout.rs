//! Dropout: nothing in evaluation; in training it draws random numbers and is left to the host.

use super::{Def, one};
use crate::DType;
use crate::Literal;
use crate::source::{Args, Item, Lower, Refusal};

const DRAWS: Refusal = Refusal::Effect("dropout in training draws random numbers");

fn dropout(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    if args.flag("train")? && args.float("p")? != 0.0 {
        return Err(DRAWS);
    }
    one(args.tensor("input")?)
}

/// Also gives the mask of what was kept. Here a missing `train` means training.
fn native_dropout(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    if !args.has("train") || args.flag("train")? {
        return Err(DRAWS);
    }
    let x = args.tensor("input")?;
    let kept = lower.builder.constant(Literal::scalar(DType::Bool, 1.0));
    let kept = lower.broadcast(kept, lower.shape(x).to_vec())?;
    Ok(vec![Item::Tensor(x), Item::Tensor(kept)])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::dropout(Tensor input, float p, bool train) -> Tensor",
            "aten::feature_dropout(Tensor input, float p, bool train) -> Tensor",
            "aten::alpha_dropout(Tensor input, float p, bool train) -> Tensor",
            "aten::feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor",
        ],
        lower: dropout,
    },
    Def {
        schemas: &["aten::native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor)"],
        lower: native_dropout,
    },
];
