//! An axis cut into several tensors.

use super::slice::axis_of;
use super::Def;
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal};

/// More pieces than this are refused.
const MOST: usize = 1 << 12;

/// Pieces of these sizes, one after the other.
fn pieces(lower: &mut Lower, x: ValueId, axis: usize, sizes: &[usize]) -> Result<Vec<Item>, Refusal> {
    check_count(sizes.len())?;
    let mut start = 0;
    let mut parts = Vec::new();
    for &len in sizes {
        parts.push(Item::Tensor(lower.narrow(x, axis, start, len)?));
        start += len;
    }
    Ok(vec![Item::List(parts)])
}

fn check_count(count: usize) -> Result<(), Refusal> {
    let fits = count <= MOST;
    let why = || Refusal::Attribute { arg: "self".into(), why: format!("{count} pieces") };
    if fits { Ok(()) } else { Err(why()) }
}

/// Pieces of one size; the last is what is left.
fn even(lower: &mut Lower, x: ValueId, axis: usize, size: usize) -> Result<Vec<Item>, Refusal> {
    let n = lower.shape(x)[axis];
    if n == 0 {
        return pieces(lower, x, axis, &[0]);
    }
    if size == 0 {
        return Err(Refusal::Invalid("pieces of size 0".into()));
    }
    check_count(n.div_ceil(size))?;
    let sizes: Vec<usize> = (0..n).step_by(size).map(|at| size.min(n - at)).collect();
    pieces(lower, x, axis, &sizes)
}

fn split(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let size = args.sizes(lower, "split_size", 1, None)?[0];
    even(lower, x, axis, size)
}

fn split_sizes(lower: &mut Lower, args: &Args, name: &str) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let given = args.ints(lower, name)?;
    let sizes: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sizes = sizes.filter(|s| s.iter().sum::<usize>() == lower.shape(x)[axis]);
    let sizes = sizes.ok_or_else(|| Refusal::Invalid(format!("'{name}' is {given:?} for {}", lower.ty(x))))?;
    pieces(lower, x, axis, &sizes)
}

/// At most `chunks` pieces of one size; the last may be smaller.
fn chunk(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let chunks = args.sizes(lower, "chunks", 1, None)?[0];
    match (chunks, lower.shape(x)[axis]) {
        (count, _) if count > MOST => check_count(count).map(|()| Vec::new()),
        (0, _) => Err(Refusal::Invalid("'chunks' is 0".into())),
        (_, 0) => pieces(lower, x, axis, &vec![0; chunks]),
        (_, n) => even(lower, x, axis, n.div_ceil(chunks)),
    }
}

/// Exactly `sections` pieces whose sizes differ by at most one, or pieces between the given positions.
fn tensor_split(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, axis) = axis_of(lower, args, "dim")?;
    let n = lower.shape(x)[axis];
    if args.has("sections") {
        let count = args.sizes(lower, "sections", 1, None)?[0];
        if count == 0 {
            return Err(Refusal::Invalid("'sections' is 0".into()));
        }
        check_count(count)?;
        let sizes: Vec<usize> = (0..count).map(|i| n / count + (i < n % count) as usize).collect();
        return pieces(lower, x, axis, &sizes);
    }
    let wrap = |&v: &i64| if v < 0 { (v + n as i64).max(0) as usize } else { (v as usize).min(n) };
    let mut bounds: Vec<usize> = args.ints(lower, "indices")?.iter().map(wrap).collect();
    bounds.push(n);
    let mut start = 0;
    let mut parts = Vec::new();
    for end in bounds {
        parts.push(Item::Tensor(lower.narrow(x, axis, start, end.saturating_sub(start))?));
        start = end;
    }
    Ok(vec![Item::List(parts)])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::split.Tensor(Tensor(a -> *) self, SymInt split_size, int dim=0) -> Tensor(a)[]",
            "aten::unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
            "aten::split_copy.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]",
        ],
        lower: split,
    },
    Def {
        schemas: &["aten::split.sizes(Tensor(a -> *) self, SymInt[] split_size, int dim=0) -> Tensor(a)[]"],
        lower: |l, a| split_sizes(l, a, "split_size"),
    },
    Def {
        schemas: &[
            "aten::split(Tensor(a -> *) self, int[] split_sizes, int dim=0) -> Tensor(a)[]",
            "aten::split_with_sizes(Tensor(a -> *) self, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]",
            "aten::unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
            "aten::split_with_sizes_copy(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]",
        ],
        lower: |l, a| split_sizes(l, a, "split_sizes"),
    },
    Def {
        schemas: &[
            "aten::chunk(Tensor(a -> *) self, int chunks, int dim=0) -> Tensor(a)[]",
            "aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]",
        ],
        lower: chunk,
    },
    Def {
        schemas: &[
            "aten::tensor_split.sections(Tensor(a -> *) self, SymInt sections, int dim=0) -> Tensor(a)[]",
            "aten::tensor_split.indices(Tensor(a -> *) self, SymInt[] indices, int dim=0) -> Tensor(a)[]",
        ],
        lower: tensor_split,
    },
];
