//! Stretching and repeating along axes.

use super::create::literal;
use super::view::with_axis;
use super::{Def, one};
use crate::network::ValueId;
use crate::network::layer::LayerKind;
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};

/// Axes of size 1 stretched to `size`, in which -1 keeps an axis.
fn expand(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (size, shape) = (args.ints(lower, "size")?, lower.shape(x));
    let fail = || Refusal::Invalid(format!("{} does not expand to {size:?}", lower.ty(x)));
    let missing = size.len().checked_sub(shape.len()).ok_or_else(fail)?;
    let resolve = |(i, &n): (usize, &i64)| match n {
        -1 if i >= missing => Ok(shape[i - missing]),
        n => usize::try_from(n).map_err(|_| fail()),
    };
    let target = size.iter().enumerate().map(resolve).collect::<Result<Vec<_>, _>>()?;
    one(lower.broadcast(x, target)?)
}

fn expand_as(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let shape = lower.shape(args.tensor("other")?).to_vec();
    one(lower.broadcast(args.tensor("self")?, shape)?)
}

fn broadcast_tensors(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let tensors = args.tensors("tensors")?;
    let shape = broadcast(tensors.iter().map(|&v| lower.shape(v)))
        .ok_or_else(|| Refusal::Invalid("the tensors do not broadcast".into()))?;
    list(tensors.into_iter().map(|v| lower.broadcast(v, shape.clone())))
}

/// A list of tensors as one result.
pub(super) fn list(
    values: impl IntoIterator<Item = Result<ValueId, Refusal>>,
) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::List(values.into_iter().map(|v| v.map(Item::Tensor)).collect::<Result<_, _>>()?)])
}

/// Coordinates on a grid: one axis for each vector; `xy` swaps the first two axes.
fn meshgrid(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let tensors = args.tensors("tensors")?;
    let swapped = match args.opt_str("indexing")? {
        None | Some("ij") => false,
        Some("xy") => tensors.len() > 1,
        Some(other) => return Err(Refusal::Invalid(format!("'indexing' is {other}"))),
    };
    if let Some(&v) = tensors.iter().find(|&&v| lower.shape(v).len() > 1) {
        let found = lower.ty(v).clone();
        return Err(Refusal::Shape { arg: "tensors", found, expected: "at most 1 dimension" });
    }
    let axis = |i: usize| if swapped && i < 2 { 1 - i } else { i };
    let mut grid = vec![1; tensors.len()];
    for (i, &v) in tensors.iter().enumerate() {
        grid[axis(i)] = lower.ty(v).elements();
    }
    list(tensors.into_iter().enumerate().map(|(i, v)| {
        let mut shape = vec![1; grid.len()];
        shape[axis(i)] = grid[axis(i)];
        let placed = lower.reshape(v, shape)?;
        lower.broadcast(placed, grid.clone())
    }))
}

/// The whole repeated along each axis; missing axes are added in front. `tile` also fills up missing counts with 1.
fn repeat(lower: &mut Lower, args: &Args, name: &str) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let mut counts = args.ints(lower, name)?;
    let rank = lower.shape(x).len();
    if name == "dims" && counts.len() < rank {
        counts.splice(0..0, std::iter::repeat_n(1, rank - counts.len()));
    }
    let fail = || Refusal::Invalid(format!("{} is not repeated by {counts:?}", lower.ty(x)));
    let count = |&n: &i64| u32::try_from(n).ok().map(|n| n as usize);
    let counts: Option<Vec<usize>> = counts.iter().map(count).collect();
    let counts = counts.filter(|c| c.len() >= rank).ok_or_else(fail)?;
    let mut shape = vec![1; counts.len() - rank];
    shape.extend(lower.shape(x));
    let spaced = shape.iter().flat_map(|&n| [1, n]).collect::<Vec<_>>();
    let stretched = counts.iter().zip(&shape).flat_map(|(&c, &n)| [c, n]).collect::<Vec<_>>();
    let result = counts.iter().zip(&shape).map(|(&c, &n)| c * n).collect::<Vec<_>>();
    if counts.iter().all(|&c| c == 1) {
        return one(lower.reshape(x, result)?);
    }
    let spaced = lower.reshape(x, spaced)?;
    let stretched = lower.broadcast(spaced, stretched)?;
    one(lower.reshape(stretched, result)?)
}

/// Every element as often in a row along `dim` as a known list says, or flattened without it.
fn repeat_each(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let mut x = args.tensor("self")?;
    let repeats = lower.known(args.tensor("repeats")?);
    let repeats = repeats.ok_or_else(|| Refusal::NotConstant { arg: "repeats".into() })?;
    if repeats.ty().elements() == 1 {
        return repeat_interleave(lower, args);
    }
    let mut axis = 0;
    if args.has("dim") && !lower.shape(x).is_empty() {
        axis = args.axis(lower, "dim", lower.shape(x).len())?;
    } else {
        x = lower.reshape(x, [lower.ty(x).elements()])?;
    }
    let n = lower.shape(x)[axis];
    let counts = (0..repeats.ty().elements()).map(|i| u16::try_from(repeats.i64_at(i)).map(usize::from));
    let counts = counts.collect::<Result<Vec<_>, _>>().ok().filter(|c| c.len() == n);
    let counts = counts.ok_or_else(|| Refusal::Invalid("'repeats' does not fit the axis".into()))?;
    let index = counts.iter().enumerate().flat_map(|(i, &c)| std::iter::repeat_n(i as i64, c));
    let index = literal(lower, vec![counts.iter().sum()], index);
    one(lower.add(LayerKind::Gather { axis, elements: false }, &[x, index])?)
}

/// Every element `repeats` times in a row along `dim`, or flattened without it.
fn repeat_interleave(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let mut x = args.tensor("self")?;
    let count = args.sizes(lower, "repeats", 1, None)?[0];
    let mut axis = 0;
    if args.has("dim") && !lower.shape(x).is_empty() {
        axis = args.axis(lower, "dim", lower.shape(x).len())?;
    } else {
        x = lower.reshape(x, [lower.ty(x).elements()])?;
    }
    let mut result = lower.shape(x).to_vec();
    result[axis] *= count;
    let spaced = with_axis(lower, x, axis + 1)?;
    let mut stretched = lower.shape(spaced).to_vec();
    stretched[axis + 1] = count;
    let stretched = lower.broadcast(spaced, stretched)?;
    one(lower.reshape(stretched, result)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)",
            "aten::broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)",
        ],
        lower: expand,
    },
    Def {
        schemas: &["aten::expand_as(Tensor(a) self, Tensor other) -> Tensor(a)"],
        lower: expand_as,
    },
    Def {
        schemas: &["aten::broadcast_tensors(Tensor[] tensors) -> Tensor[]"],
        lower: broadcast_tensors,
    },
    Def {
        schemas: &[
            "aten::meshgrid(Tensor[] tensors) -> Tensor[]",
            "aten::meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]",
        ],
        lower: meshgrid,
    },
    Def {
        schemas: &["aten::repeat(Tensor self, SymInt[] repeats) -> Tensor"],
        lower: |l, a| repeat(l, a, "repeats"),
    },
    Def {
        schemas: &["aten::tile(Tensor self, SymInt[] dims) -> Tensor"],
        lower: |l, a| repeat(l, a, "dims"),
    },
    Def {
        schemas: &[
            "aten::repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
        ],
        lower: repeat_interleave,
    },
    Def {
        schemas: &[
            "aten::repeat_interleave.self_Tensor(Tensor self, Tensor repeats, int? dim=None, *, SymInt? output_size=None) -> Tensor",
        ],
        lower: repeat_each,
    },
];
