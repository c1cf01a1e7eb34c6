//! The product of two tensors, summed over pairs of axes.

use super::contraction::{Label, Labelled, contract, one_numeric_type};
use super::{Def, one};
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

/// The remaining axes of `self`, then those of `other`.
fn tensordot(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (a, b) = (args.tensor("self")?, args.tensor("other")?);
    one_numeric_type(lower, "other", &[a, b])?;
    let (rank_a, rank_b) = (lower.ty(a).rank(), lower.ty(b).rank());
    let axes = |name, rank| -> Result<Vec<usize>, Refusal> {
        args.ints(lower, name)?.into_iter().map(|axis| wrap_axis(name, axis, rank)).collect()
    };
    let (of_a, of_b) = (axes("dims_self", rank_a)?, axes("dims_other", rank_b)?);
    let twice = |axes: &[usize]| (1..axes.len()).any(|i| axes[..i].contains(&axes[i]));
    if of_a.len() != of_b.len() || twice(&of_a) || twice(&of_b) {
        return Err(Refusal::Invalid("the summed axes do not pair up".into()));
    }
    let left: Vec<Label> = (0..rank_a as Label).collect();
    let mut right: Vec<Label> = (0..rank_b as Label).map(|i| rank_a as Label + i).collect();
    for (&i, &j) in of_a.iter().zip(&of_b) {
        right[j] = left[i];
    }
    let keep: Vec<Label> =
        left.iter().filter(|l| !right.contains(l)).chain(right.iter().filter(|l| !left.contains(l))).copied().collect();
    let out = contract(lower, Labelled { value: a, labels: left }, Labelled { value: b, labels: right }, &keep)?;
    one(out.ordered(lower, &keep)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &[
        "aten::tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor",
    ],
    lower: tensordot,
}];
