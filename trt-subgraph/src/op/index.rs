//! Picking elements by integer tensors.

use super::create::literal;
use super::places::no_negative;
use super::promote::{Value, elementwise};
use super::{Def, one};
use crate::DType;
use crate::network::ValueId;
use crate::network::expr::Binary;
use crate::network::layer::LayerKind;
use crate::network::ty::broadcast;
use crate::source::{Args, Item, Lower, Refusal};

/// A tensor argument of positions: i32 or i64.
fn index(lower: &Lower, args: &Args, name: &'static str) -> Result<ValueId, Refusal> {
    let v = args.tensor(name)?;
    match lower.dtype(v) {
        DType::I32 | DType::I64 => Ok(v),
        found => Err(Refusal::Dtype { arg: name, found }),
    }
}

fn gather(lower: &mut Lower, x: ValueId, at: ValueId, axis: usize, elements: bool) -> Result<ValueId, Refusal> {
    lower.add(LayerKind::Gather { axis, elements }, &[x, at])
}

/// Slices of an axis by a vector of positions, none of which counts from the end.
fn index_select(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, at) = (args.tensor("self")?, index(lower, args, "index")?);
    let shape = lower.shape(x).to_vec();
    if lower.shape(at).len() > 1 {
        let found = lower.ty(at).clone();
        return Err(Refusal::Shape { arg: "index", found, expected: "at most 1 dimension" });
    }
    let axis = args.axis(lower, "dim", shape.len())?;
    let vector = lower.reshape(x, if shape.is_empty() { vec![1] } else { shape.clone() })?;
    let at = lower.reshape(at, [lower.ty(at).elements()])?;
    let size = lower.shape(vector)[axis];
    let at = no_negative(lower, at, size)?;
    let picked = gather(lower, vector, at, axis, false)?;
    one(if shape.is_empty() { lower.reshape(picked, [])? } else { picked })
}

/// Element by element along an axis; the index has the rank of `self`, and no entry counts from the end.
fn gather_elements(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, at) = (args.tensor("self")?, index(lower, args, "index")?);
    let axis = args.axis(lower, "dim", lower.shape(x).len())?;
    let result = lower.shape(at).to_vec();
    if lower.ty(at).elements() == 0 {
        let none = lower.reshape(at, result)?;
        return one(lower.cast(none, lower.dtype(x))?);
    }
    let vector = |lower: &mut Lower, v| {
        let shape = lower.shape(v).to_vec();
        lower.reshape(v, if shape.is_empty() { vec![1] } else { shape })
    };
    let (x, at) = (vector(lower, x)?, vector(lower, at)?);
    let size = lower.shape(x)[axis];
    let at = no_negative(lower, at, size)?;
    let picked = gather(lower, x, at, axis, true)?;
    one(lower.reshape(picked, result)?)
}

/// Like `gather`, with `self` and the index broadcast in every other axis, and entries that may count from the end; without an axis,
/// in the flattened tensor, by entries that may not.
fn take_along_dim(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, at) = (args.tensor("self")?, index(lower, args, "indices")?);
    if !args.has("dim") {
        let flat = lower.reshape(x, [lower.ty(x).elements()])?;
        let at = lower.reshape(at, [lower.ty(at).elements()])?;
        let size = lower.shape(flat)[0];
        let at = no_negative(lower, at, size)?;
        return one(gather(lower, flat, at, 0, true)?);
    }
    let (mut data, mut wanted) = (lower.shape(x).to_vec(), lower.shape(at).to_vec());
    if data.len() != wanted.len() || data.is_empty() {
        return Err(Refusal::Invalid("'indices' has the rank of 'self', at least 1".into()));
    }
    let axis = args.axis(lower, "dim", data.len())?;
    let (along_data, along_index) = (data[axis], wanted[axis]);
    (data[axis], wanted[axis]) = (1, 1);
    let common = broadcast([&data[..], &wanted]);
    let mut common = common.ok_or_else(|| Refusal::Invalid("'self' and 'indices' do not broadcast".into()))?;
    common[axis] = along_data;
    let x = lower.broadcast(x, common.clone())?;
    common[axis] = along_index;
    let at = lower.broadcast(at, common)?;
    one(gather(lower, x, at, axis, true)?)
}

/// Positions in the flattened tensor, in the shape of the index.
fn take(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, at) = (args.tensor("self")?, index(lower, args, "index")?);
    if lower.dtype(at) != DType::I64 {
        return Err(Refusal::Dtype { arg: "index", found: lower.dtype(at) });
    }
    let flat = lower.reshape(x, [lower.ty(x).elements()])?;
    one(gather(lower, flat, at, 0, false)?)
}

/// The axes of a tensor of this shape that are indexed, each with its tensor of positions.
pub(super) fn picked(
    lower: &mut Lower,
    items: &[Item],
    shape: &[usize],
) -> Result<Vec<(usize, ValueId)>, Refusal> {
    let (mut picked, mut axis) = (Vec::new(), 0);
    for item in items {
        let positions = match item {
            Item::None => {
                axis += 1;
                continue;
            }
            Item::Tensor(v) => match lower.dtype(*v) {
                DType::I32 | DType::I64 => vec![*v],
                DType::Bool => held(lower, *v, shape.get(axis..).unwrap_or_default())?,
                found => return Err(Refusal::Dtype { arg: "indices", found }),
            },
            _ => return Err(Refusal::Invalid("'indices' holds something else than tensors".into())),
        };
        for at in positions {
            picked.push((axis, at));
            axis += 1;
        }
    }
    if axis > shape.len() {
        return Err(Refusal::Invalid(format!("{axis} indices for {} dimensions", shape.len())));
    }
    Ok(picked)
}

/// Where a mask over the first axes of `shape` holds: the positions along each axis. How many they are is a size, so the mask's value has to
/// be known.
fn held(lower: &mut Lower, mask: ValueId, shape: &[usize]) -> Result<Vec<ValueId>, Refusal> {
    let covered = lower.shape(mask).to_vec();
    if covered.is_empty() || !shape.starts_with(&covered) {
        let found = lower.ty(mask).clone();
        return Err(Refusal::Shape { arg: "indices", found, expected: "a mask over axes of self" });
    }
    let known = lower.known(mask).ok_or(Refusal::NotConstant { arg: "indices".into() })?;
    let places: Vec<usize> = (0..known.ty().elements()).filter(|&i| known.i64_at(i) != 0).collect();
    let along = |axis: usize| {
        let each: usize = covered[axis + 1..].iter().product();
        let positions = places.iter().map(|&i| (i / each % covered[axis]) as i64);
        literal(lower, vec![places.len()], positions)
    };
    Ok((0..covered.len()).map(along).collect())
}

/// `self[indices]` as in numpy, where every index is a tensor of positions, a mask of known value or nothing. Several indices are
/// broadcast and pick together. The picked axes stand where the indexed ones were if those are adjacent, else in front.
fn advanced(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let mut x = args.tensor("self")?;
    let Item::List(items) = args.get("indices") else {
        return Err(Refusal::Invalid("'indices' is not a list".into()));
    };
    let shape = lower.shape(x).to_vec();
    let picked = picked(lower, items, &shape)?;
    let rank = shape.len();
    let none = || Refusal::Invalid("no index is a tensor".into());
    let mut first = picked.first().ok_or_else(none)?.0;
    let axes: Vec<usize> = picked.iter().map(|p| p.0).collect();
    if axes.windows(2).any(|w| w[0] + 1 != w[1]) {
        let rest = (0..rank).filter(|a| !axes.contains(a));
        x = lower.permute(x, axes.iter().copied().chain(rest).collect())?;
        first = 0;
    }
    let shape = lower.shape(x).to_vec();
    let (sizes, after) = (&shape[first..first + axes.len()], &shape[first + axes.len()..]);
    let indices: Vec<ValueId> = picked.iter().map(|p| p.1).collect();
    if let [only] = indices[..] {
        return one(gather(lower, x, only, first, false)?);
    }
    let at = joint_index(lower, &indices, sizes)?;
    let merged = [&shape[..first], &[sizes.iter().product()], after].concat();
    let x = lower.reshape(x, merged)?;
    one(gather(lower, x, at, first, false)?)
}

/// Positions in axes of these sizes as one position in their product, broadcast. Where one is out of range, so is the result.
pub(super) fn joint_index(lower: &mut Lower, indices: &[ValueId], sizes: &[usize]) -> Result<ValueId, Refusal> {
    let values: Vec<Value> = indices.iter().map(|&v| Value::Tensor(v)).collect();
    let out_of_range = sizes.iter().product::<usize>() as f64;
    elementwise(lower, &values, DType::I64, |terms| {
        let mut joint = None;
        let mut inside = None;
        for (&term, &size) in terms.iter().zip(sizes) {
            let n = size as f64;
            let position = term.lt(0.0).select(term + n, term);
            let valid = position.binary(Binary::Ge, 0.0).binary(Binary::And, position.lt(n));
            joint = Some(joint.map_or(position, |j| position + n * j));
            inside = Some(inside.map_or(valid, |i| valid.binary(Binary::And, i)));
        }
        let (joint, inside) = (joint.expect("two indices or more"), inside.expect("two indices or more"));
        inside.select(joint, out_of_range)
    })
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::index_select(Tensor self, int dim, Tensor index) -> Tensor"],
        lower: index_select,
    },
    Def {
        schemas: &["aten::gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor"],
        lower: gather_elements,
    },
    Def {
        schemas: &["aten::take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor"],
        lower: take_along_dim,
    },
    Def { schemas: &["aten::take(Tensor self, Tensor index) -> Tensor"], lower: take },
    Def {
        schemas: &[
            "aten::index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
            "aten::index.Tensor_hacked_twin(Tensor self, Tensor[] indices) -> Tensor",
            "aten::_unsafe_index.Tensor(Tensor self, Tensor?[] indices) -> Tensor",
        ],
        lower: advanced,
    },
];
