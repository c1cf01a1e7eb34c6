//! Moving blocks between channels and space, and between channel groups.

use super::{Def, one};
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal};

/// The operand, its leading axes as one, and the last three; `n` is the factor called `name`.
struct Planes {
    x: ValueId,
    lead: Vec<usize>,
    last: [usize; 3],
    n: usize,
}

impl Planes {
    fn read(lower: &Lower, args: &Args, name: &str) -> Result<Planes, Refusal> {
        let x = args.tensor("self")?;
        let ty = lower.ty(x);
        let Some((lead, &last)) = ty.shape.split_last_chunk().filter(|_| ty.elements() > 0) else {
            let expected = "channels, height and width, none empty";
            return Err(Refusal::Shape { arg: "self", found: ty.clone(), expected });
        };
        let n = args.sizes(lower, name, 1, None)?[0];
        if n == 0 {
            return Err(Refusal::Invalid(format!("'{name}' is 0")));
        }
        Ok(Planes { x, lead: lead.to_vec(), last, n })
    }

    /// Splits into `apart` (after the leading axes as one), permutes those by `order`, and gives it the last three sizes `last`.
    fn rearrange(
        &self,
        lower: &mut Lower,
        apart: &[usize],
        order: &[usize],
        last: [usize; 3],
    ) -> Result<Vec<Item>, Refusal> {
        let v = lower.reshape(self.x, [&[self.lead.iter().product()], apart].concat())?;
        let order = std::iter::once(0).chain(order.iter().map(|a| a + 1)).collect();
        let v = lower.permute(v, order)?;
        one(lower.reshape(v, [&self.lead[..], &last].concat())?)
    }
}

/// `[C * n * n, H, W]` to `[C, H * n, W * n]`.
fn pixel_shuffle(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let planes = Planes::read(lower, args, "upscale_factor")?;
    let ([c, h, w], n) = (planes.last, planes.n);
    if !c.is_multiple_of(n * n) {
        return Err(Refusal::Invalid("the channels are no multiple of the factor's square".into()));
    }
    let c = c / (n * n);
    planes.rearrange(lower, &[c, n, n, h, w], &[0, 3, 1, 4, 2], [c, h * n, w * n])
}

/// `[C, H * n, W * n]` to `[C * n * n, H, W]`.
fn pixel_unshuffle(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let planes = Planes::read(lower, args, "downscale_factor")?;
    let ([c, h, w], n) = (planes.last, planes.n);
    if !h.is_multiple_of(n) || !w.is_multiple_of(n) {
        return Err(Refusal::Invalid("height and width are no multiple of the factor".into()));
    }
    let (h, w) = (h / n, w / n);
    planes.rearrange(lower, &[c, h, n, w, n], &[0, 2, 4, 1, 3], [c * n * n, h, w])
}

/// Channels `[groups, C / groups]` in transposed order.
fn channel_shuffle(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let ty = lower.ty(x).clone();
    let groups = args.int(lower, "groups")?;
    let [batch, channels, rest @ ..] = &ty.shape[..] else {
        return Err(Refusal::Shape { arg: "self", found: ty, expected: "at least three dimensions" });
    };
    let groups = match usize::try_from(groups) {
        Ok(g) if g > 0 && channels.is_multiple_of(g) && !rest.is_empty() => g,
        _ => return Err(Refusal::Invalid(format!("{groups} groups do not divide the channels"))),
    };
    let v = lower.reshape(x, [*batch, groups, channels / groups, rest.iter().product()])?;
    let v = lower.permute(v, vec![0, 2, 1, 3])?;
    one(lower.reshape(v, ty.shape.clone())?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor"],
        lower: pixel_shuffle,
    },
    Def {
        schemas: &["aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor"],
        lower: pixel_unshuffle,
    },
    Def {
        schemas: &[
            "aten::channel_shuffle(Tensor self, SymInt groups) -> Tensor",
            "aten::native_channel_shuffle(Tensor self, SymInt groups) -> Tensor",
        ],
        lower: channel_shuffle,
    },
];
