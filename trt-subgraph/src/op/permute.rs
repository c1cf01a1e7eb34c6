//! Axes in another order.

use super::{Def, one};
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

fn permute(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    let dims = args.ints(lower, "dims")?;
    let axes = dims.iter().map(|&d| wrap_axis("dims", d, rank)).collect::<Result<Vec<_>, _>>()?;
    if axes.len() != rank {
        return Err(Refusal::Invalid(format!("{} axes for a tensor of {rank}", axes.len())));
    }
    one(lower.permute(x, axes)?)
}

fn swap(lower: &mut Lower, args: &Args, names: [&str; 2]) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    let (a, b) = (args.axis(lower, names[0], rank)?, args.axis(lower, names[1], rank)?);
    let mut axes: Vec<usize> = (0..rank).collect();
    if rank > 0 {
        axes.swap(a, b);
    }
    one(lower.permute(x, axes)?)
}

/// The two axes of a matrix swapped; vectors and 0-d tensors stay.
fn t(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.shape(x).len() > 2 {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "at most 2 dimensions" });
    }
    reverse(lower, args)
}

/// All axes in reverse order.
fn reverse(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    one(lower.permute(x, (0..lower.shape(x).len()).rev().collect())?)
}

/// The last two axes swapped.
fn matrix(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    if rank == 0 {
        return one(x);
    }
    if rank == 1 {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "2 dimensions or more" });
    }
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    one(lower.permute(x, axes)?)
}

/// Axes `source` at the positions `destination`; the others keep their order.
fn movedim(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len();
    let read = |name: &str| -> Result<Vec<usize>, Refusal> {
        let dims = args.ints(lower, name)?;
        let axes = dims.iter().map(|&d| wrap_axis(name, d, rank)).collect::<Result<Vec<_>, _>>()?;
        let twice = axes.iter().enumerate().any(|(i, a)| axes[..i].contains(a));
        if twice { Err(Refusal::Invalid(format!("'{name}' names an axis twice"))) } else { Ok(axes) }
    };
    let (from, to) = (read("source")?, read("destination")?);
    if from.len() != to.len() {
        return Err(Refusal::Invalid("'source' and 'destination' differ in length".into()));
    }
    let mut rest = (0..rank).filter(|a| !from.contains(a));
    let place = |at: usize| match to.iter().position(|&t| t == at) {
        Some(i) => from[i],
        None => rest.next().expect("as many places as axes"),
    };
    let axes = (0..rank).map(place).collect();
    one(lower.permute(x, axes)?)
}

pub(super) const OPS: &[Def] = &[
    Def { schemas: &["aten::permute(Tensor(a) self, int[] dims) -> Tensor(a)"], lower: permute },
    Def {
        schemas: &[
            "aten::transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
            "aten::swapdims(Tensor(a) self, int dim0, int dim1) -> Tensor(a)",
        ],
        lower: |l, a| swap(l, a, ["dim0", "dim1"]),
    },
    Def {
        schemas: &["aten::swapaxes(Tensor(a) self, int axis0, int axis1) -> Tensor(a)"],
        lower: |l, a| swap(l, a, ["axis0", "axis1"]),
    },
    Def { schemas: &["aten::t(Tensor(a) self) -> Tensor(a)"], lower: t },
    Def {
        schemas: &[
            "aten::numpy_T(Tensor(a) self) -> Tensor(a)",
            "aten::numpy_T.a(Tensor(a) self) -> Tensor(a)",
        ],
        lower: reverse,
    },
    Def {
        schemas: &[
            "aten::mT(Tensor(a) self) -> Tensor(a)",
            "aten::mT.a(Tensor(a) self) -> Tensor(a)",
            "aten::mH(Tensor(a) self) -> Tensor(a)",
            "aten::mH.a(Tensor(a) self) -> Tensor(a)",
            "aten::adjoint(Tensor(a) self) -> Tensor(a)",
        ],
        lower: matrix,
    },
    Def {
        schemas: &[
            "aten::movedim.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
            "aten::movedim.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)",
            "aten::moveaxis.int(Tensor(a) self, int source, int destination) -> Tensor(a)",
            "aten::moveaxis.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)",
        ],
        lower: movedim,
    },
];
