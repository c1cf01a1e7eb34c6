//! The same elements in the same order under another shape.

use super::{Def, one};
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

/// Sizes from a list in which one -1 stands for what is left of `elements`.
pub(super) fn sizes(given: &[i64], elements: usize) -> Result<Vec<usize>, Refusal> {
    let fail = || Refusal::Invalid(format!("{elements} elements do not have the shape {given:?}"));
    let sizes = given.iter().filter(|&&n| n != -1).map(|&n| n.max(0) as usize);
    let known = if given.contains(&0) { Some(0) } else { sizes.into_iter().try_fold(1usize, usize::checked_mul) };
    let known = known.ok_or_else(fail)?;
    let open = given.iter().filter(|&&n| n == -1).count();
    if open > 1 || given.iter().any(|&n| n < -1) || (open == 1 && known == 0) {
        return Err(fail());
    }
    let rest = if open == 1 { elements / known } else { 1 };
    if known * rest != elements {
        return Err(fail());
    }
    Ok(given.iter().map(|&n| if n == -1 { rest } else { n as usize }).collect())
}

fn view(lower: &mut Lower, args: &Args, name: &str) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let shape = sizes(&args.ints(lower, name)?, lower.ty(x).elements())?;
    one(lower.reshape(x, shape)?)
}

fn view_as(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("other")?).to_vec();
    one(lower.reshape(args.tensor("self")?, shape)?)
}

/// Axes `start_dim..=end_dim` become one; a 0-d tensor becomes 1-d.
fn flatten(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = at_least(lower, args.tensor("self")?, 1)?;
    let shape = lower.shape(x);
    let first = args.axis(lower, "start_dim", shape.len())?;
    let last = args.axis(lower, "end_dim", shape.len())?;
    if first > last {
        return Err(Refusal::Invalid("'start_dim' comes after 'end_dim'".into()));
    }
    let joined = shape[first..=last].iter().product();
    let flat = [&shape[..first], &[joined], &shape[last + 1..]].concat();
    one(lower.reshape(x, flat)?)
}

fn ravel(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    one(lower.reshape(x, [lower.ty(x).elements()])?)
}

/// Axis `dim` becomes several of the given sizes.
fn unflatten(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let shape = lower.shape(x);
    if shape.is_empty() {
        return Err(Refusal::Invalid("a 0-d tensor has no axis to divide".into()));
    }
    let axis = args.axis(lower, "dim", shape.len())?;
    let parts = sizes(&args.ints(lower, "sizes")?, shape[axis])?;
    let divided = [&shape[..axis], &parts, &shape[axis + 1..]].concat();
    one(lower.reshape(x, divided)?)
}

/// Drops axes of size 1: all, or those named; a named axis of another size stays.
fn squeeze(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let shape = lower.shape(x);
    let named: Vec<usize> = match args.opt_ints(lower, "dim")? {
        None => (0..shape.len()).collect(),
        Some(dims) => {
            dims.iter().map(|&d| wrap_axis("dim", d, shape.len())).collect::<Result<Vec<_>, _>>()?
        }
    };
    let stays = |&(axis, &n): &(usize, &usize)| n != 1 || !named.contains(&axis);
    let kept: Vec<usize> = shape.iter().enumerate().filter(stays).map(|(_, &n)| n).collect();
    one(lower.reshape(x, kept)?)
}

fn unsqueeze(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let axis = args.axis(lower, "dim", lower.shape(x).len() + 1)?;
    one(with_axis(lower, x, axis)?)
}

/// `x` with an axis of size 1 inserted before `axis`.
pub(super) fn with_axis(lower: &mut Lower, x: ValueId, axis: usize) -> Result<ValueId, Refusal> {
    let mut shape = lower.shape(x).to_vec();
    shape.insert(axis, 1);
    lower.reshape(x, shape)
}

/// `x` with axes of size 1 added as `atleast_1d`, `atleast_2d` (in front) and `atleast_3d` (rows and columns first) do.
pub(super) fn at_least(lower: &mut Lower, x: ValueId, rank: usize) -> Result<ValueId, Refusal> {
    let shape = lower.shape(x);
    let shape = match (rank, shape) {
        (3, &[n]) => vec![1, n, 1],
        (3, &[n, m]) => vec![n, m, 1],
        _ => {
            let missing = rank.saturating_sub(shape.len());
            std::iter::repeat_n(1, missing).chain(shape.iter().copied()).collect()
        }
    };
    lower.reshape(x, shape)
}

fn at_least_of(lower: &mut Lower, args: &Args, rank: usize) -> Result<Vec<Item>, Refusal> {
    if args.has("self") {
        return one(at_least(lower, args.tensor("self")?, rank)?);
    }
    let raise = |v| at_least(lower, v, rank).map(Item::Tensor);
    Ok(vec![Item::List(args.tensors("tensors")?.into_iter().map(raise).collect::<Result<_, _>>()?)])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::view(Tensor(a) self, SymInt[] size) -> Tensor(a)",
            "aten::_unsafe_view(Tensor self, SymInt[] size) -> Tensor",
            "aten::_reshape_alias(Tensor(a) self, SymInt[] size, SymInt[] stride) -> Tensor(a)",
        ],
        lower: |l, a| view(l, a, "size"),
    },
    Def {
        schemas: &["aten::reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)"],
        lower: |l, a| view(l, a, "shape"),
    },
    Def {
        schemas: &[
            "aten::view_as(Tensor(a) self, Tensor other) -> Tensor(a)",
            "aten::reshape_as(Tensor(a) self, Tensor other) -> Tensor(a)",
        ],
        lower: view_as,
    },
    Def {
        schemas: &[
            "aten::flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)",
        ],
        lower: flatten,
    },
    Def { schemas: &["aten::ravel(Tensor(a) self) -> Tensor(a)"], lower: ravel },
    Def {
        schemas: &["aten::unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)"],
        lower: unflatten,
    },
    Def {
        schemas: &[
            "aten::squeeze(Tensor(a) self) -> Tensor(a)",
            "aten::squeeze.dim(Tensor(a) self, int dim) -> Tensor(a)",
            "aten::squeeze.dims(Tensor(a) self, int[] dim) -> Tensor(a)",
        ],
        lower: squeeze,
    },
    Def { schemas: &["aten::unsqueeze(Tensor(a) self, int dim) -> Tensor(a)"], lower: unsqueeze },
    Def {
        schemas: &[
            "aten::atleast_1d(Tensor self) -> Tensor",
            "aten::atleast_1d.Sequence(Tensor[] tensors) -> Tensor[]",
        ],
        lower: |l, a| at_least_of(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::atleast_2d(Tensor self) -> Tensor",
            "aten::atleast_2d.Sequence(Tensor[] tensors) -> Tensor[]",
        ],
        lower: |l, a| at_least_of(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::atleast_3d(Tensor self) -> Tensor",
            "aten::atleast_3d.Sequence(Tensor[] tensors) -> Tensor[]",
        ],
        lower: |l, a| at_least_of(l, a, 3),
    },
];

#[cfg(test)]
mod tests {
    use super::sizes;

    #[test]
    fn the_open_size_is_what_is_left() {
        assert_eq!(sizes(&[2, -1], 6).unwrap(), [2, 3]);
        assert_eq!(sizes(&[3, -1], 0).unwrap(), [3, 0]);
        assert_eq!(sizes(&[], 1).unwrap(), [0; 0]);
        for (given, elements) in [(&[-1, -1][..], 4), (&[0, -1], 0), (&[4, -1], 6), (&[2], 6), (&[-2, -3], 6)] {
            assert!(sizes(given, elements).is_err(), "{given:?}");
        }
    }
}
