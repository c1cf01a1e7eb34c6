//! Normalisation of groups of channels, and of each channel (instance norm).

use super::batch_norm::{Channels, statistics};
use super::formula::compute_type;
use super::{Def, one};
use crate::network::LayerKind;
use crate::source::{Args, Item, Lower, Refusal};

fn group_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let channels = Channels::read(lower, args)?;
    let groups = args.int(lower, "num_groups")?;
    let ty = &channels.ty;
    let groups = match usize::try_from(groups) {
        Ok(g) if g > 0 && ty.shape[1].is_multiple_of(g) => g,
        _ => return Err(Refusal::Invalid(format!("{groups} groups do not divide the channels"))),
    };
    let size = ty.shape[1..].iter().product::<usize>() / groups;
    let x = lower.cast(channels.x, compute_type(ty.dtype))?;
    let x = lower.reshape(x, [ty.shape[0], groups, size])?;
    let kind = LayerKind::Normalize { axes: vec![2], eps: args.float("eps")?, rms: false };
    let y = lower.add(kind, &[x])?;
    let y = lower.reshape(y, ty.shape.clone())?;
    one(channels.scaled(lower, y)?)
}

fn instance_norm(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let channels = Channels::read(lower, args)?;
    let eps = args.float("eps")?;
    let out = match (statistics(lower, args, &channels.ty)?, args.flag("use_input_stats")?) {
        (None, true) => channels.by_itself(lower, (2..channels.ty.rank()).collect(), eps)?,
        (Some((mean, var)), false) => channels.with_statistics(lower, mean, var, eps)?,
        (Some(_), true) => return Err(Refusal::Effect("instance_norm updates its running statistics")),
        (None, false) => return Err(Refusal::Invalid("'running_mean' is missing".into())),
    };
    one(out)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1.0000000000000001e-05, bool cudnn_enabled=True) -> Tensor",
        ],
        lower: group_norm,
    },
    Def {
        schemas: &[
            "aten::instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled) -> Tensor",
        ],
        lower: instance_norm,
    },
];
