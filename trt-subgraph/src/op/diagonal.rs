//! Triangles and diagonals of matrices.

use super::create::{check_count, positions};
use super::reduce::{accumulator, over};
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::layer::{LayerKind, Range, ReduceOp};
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal, wrap_axis};

/// `relation(column, row + offset) ? x : 0` over the last two axes, of which `x` may stretch.
fn masked(
    lower: &mut Lower,
    x: ValueId,
    (rows, columns): (usize, usize),
    offset: i64,
    relation: Binary,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let row = positions(lower, offset, rows, vec![rows, 1]);
    let column = positions(lower, 0, columns, vec![columns]);
    let zero = if dtype.is_float() { Scalar::Float(0.0) } else { Scalar::Int(0) };
    let nodes = vec![
        Node::Input(0),
        Node::Input(1),
        Node::Input(2),
        Node::Binary(relation, 2, 1),
        Node::Const(dtype, zero),
        Node::Select(3, 0, 4),
    ];
    lower.pointwise(Expr { nodes }, &[x, row, column])
}

/// A distance from the diagonal, cut to where it no longer matters.
pub(super) fn offset(lower: &Lower, args: &Args, name: &str) -> Result<i64, Refusal> {
    const FAR: i64 = 1 << 31;
    Ok(args.int(lower, name)?.clamp(-FAR, FAR))
}

fn matrix(lower: &Lower, args: &Args) -> Result<ValueId, Refusal> {
    let x = args.tensor("self")?;
    if lower.shape(x).len() < 2 {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "2 dimensions or more" });
    }
    Ok(x)
}

/// What is below (`Le`) or above (`Ge`) the diagonal; the rest is 0.
fn triangle(lower: &mut Lower, args: &Args, relation: Binary) -> Result<Vec<Item>, Refusal> {
    let x = matrix(lower, args)?;
    let offset = offset(lower, args, "diagonal")?;
    let shape = lower.shape(x);
    let size = (shape[shape.len() - 2], shape[shape.len() - 1]);
    one(masked(lower, x, size, offset, relation)?)
}

/// The diagonal of the plane of two axes, as the last axis.
fn diagonal_of(lower: &mut Lower, x: ValueId, offset: i64, a: usize, b: usize) -> Result<ValueId, Refusal> {
    if a == b {
        return Err(Refusal::Invalid("the axes of a diagonal differ".into()));
    }
    let shape = lower.shape(x).to_vec();
    let (n, m) = (shape[a], shape[b]);
    let mut order: Vec<usize> = (0..shape.len()).filter(|&i| i != a && i != b).collect();
    let mut flat: Vec<usize> = order.iter().map(|&i| shape[i]).collect();
    flat.push(n * m);
    order.extend([a, b]);
    let moved = lower.permute(x, order)?;
    let plane = lower.reshape(moved, flat.clone())?;
    let (right, down) = (offset.max(0) as usize, offset.min(0).unsigned_abs() as usize);
    let len = n.saturating_sub(down).min(m.saturating_sub(right));
    let mut ranges: Vec<Range> = flat.iter().map(|&n| Range::full(n)).collect();
    let start = if len == 0 { 0 } else { down * m + right };
    *ranges.last_mut().expect("the plane") = Range { start, step: m as isize + 1, len };
    lower.add(LayerKind::Slice { ranges }, &[plane])
}

fn diagonal(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = matrix(lower, args)?;
    let rank = lower.shape(x).len();
    let (a, b) = (args.axis(lower, "dim1", rank)?, args.axis(lower, "dim2", rank)?);
    one(diagonal_of(lower, x, offset(lower, args, "offset")?, a, b)?)
}

/// The last axis as a diagonal of new last two axes; the rest is 0.
fn embedded(lower: &mut Lower, x: ValueId, offset: i64) -> Result<ValueId, Refusal> {
    let mut shape = lower.shape(x).to_vec();
    let (extra, axis) = (offset.unsigned_abs() as usize, shape.len() - 1);
    let mut border = vec![(0, 0); shape.len()];
    border[axis] = if offset < 0 { (extra, 0) } else { (0, extra) };
    let size = check_count(shape[axis] + extra)?;
    let x = if extra == 0 {
        x
    } else {
        lower.add(LayerKind::Pad { border, mode: crate::network::layer::PadMode::Constant(0.0) }, &[x])?
    };
    shape[axis] = size;
    shape.push(1);
    let column = lower.reshape(x, shape)?;
    masked(lower, column, (size, size), offset, Binary::Eq)
}

fn diag_embed(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let rank = lower.shape(x).len() + 1;
    if rank == 1 {
        return Err(Refusal::Invalid("a 0-d tensor is no diagonal".into()));
    }
    let a = wrap_axis("dim1", args.int(lower, "dim1")?, rank)?;
    let b = wrap_axis("dim2", args.int(lower, "dim2")?, rank)?;
    if a == b {
        return Err(Refusal::Invalid("the axes of a diagonal differ".into()));
    }
    let plane = embedded(lower, x, offset(lower, args, "offset")?)?;
    let mut rest = 0..rank - 2;
    let place = |i| match i {
        i if i == a => rank - 2,
        i if i == b => rank - 1,
        _ => rest.next().expect("as many axes as places"),
    };
    one(lower.permute(plane, (0..rank).map(place).collect())?)
}

/// A vector to a matrix, or a matrix to its diagonal.
fn diag(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, offset) = (args.tensor("self")?, offset(lower, args, "diagonal")?);
    match lower.shape(x).len() {
        1 => one(embedded(lower, x, offset)?),
        2 => one(diagonal_of(lower, x, offset, 0, 1)?),
        _ => {
            let found = lower.ty(x).clone();
            Err(Refusal::Shape { arg: "self", found, expected: "1 or 2 dimensions" })
        }
    }
}

/// The sum of a matrix' diagonal.
fn trace(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = matrix(lower, args)?;
    if lower.shape(x).len() != 2 || lower.dtype(x) == DType::Bool {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "a matrix of numbers" });
    }
    let diagonal = diagonal_of(lower, x, 0, 0, 1)?;
    let wide = accumulator(lower, args, diagonal)?;
    one(over(lower, wide, ReduceOp::Sum, &[0], false)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::tril(Tensor self, SymInt diagonal=0) -> Tensor"],
        lower: |l, a| triangle(l, a, Binary::Le),
    },
    Def {
        schemas: &["aten::triu(Tensor self, SymInt diagonal=0) -> Tensor"],
        lower: |l, a| triangle(l, a, Binary::Ge),
    },
    Def {
        schemas: &[
            "aten::diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)",
        ],
        lower: diagonal,
    },
    Def {
        schemas: &["aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor"],
        lower: diag_embed,
    },
    Def { schemas: &["aten::diag(Tensor self, int diagonal=0) -> Tensor"], lower: diag },
    Def { schemas: &["aten::trace(Tensor self) -> Tensor"], lower: trace },
];
