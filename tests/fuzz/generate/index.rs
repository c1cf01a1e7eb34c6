//! Elements picked, joined, moved and replaced by position.

use super::scope::{Generator, ROUGH};

use crate::inputs::device;
use crate::kinds::{SETS, is_float};
use tch::{Device, Kind};

/// Elements picked by numbers, or moved.
pub fn picked(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| !t.shape.is_empty())?;
    let axis = g.axis(&a)?;
    let (x, rank) = (a.name.clone(), a.shape.len());
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    let least = *a.shape[axis].iter().min()?;
    let at = g.random.below(least.max(1) as usize);
    let sized = |size: [i64; SETS]| {
        let mut shape = a.shape.clone();
        shape[axis] = size;
        shape
    };
    let index = format!("torch.tensor([{at}, 0, {at}])");
    let (text, shape) = match g.random.below(12) {
        0 if least > 0 => (format!("torch.index_select({x}, {axis}, {index})"), sized([3; SETS])),
        1 if least > 0 => (super::views::slice_text(&x, axis, &index), sized([3; SETS])),
        2 if least > 0 && a.shape.iter().flatten().all(|&n| n > 0) => (
            format!("torch.gather({x}, {axis}, torch.zeros_like({x}, dtype=torch.int64) + {at})"),
            a.shape.clone(),
        ),
        3 => (format!("torch.flip({x}, [{axis}])"), a.shape.clone()),
        4 => (format!("torch.roll({x}, [1], [{axis}])"), a.shape.clone()),
        5 => {
            let sizes: Vec<&str> = (0..rank).map(|i| if i == axis { "2" } else { "1" }).collect();
            (format!("{x}.repeat([{}])", sizes.join(", ")), sized(a.shape[axis].map(|n| 2 * n)))
        }
        6 => (format!("torch.repeat_interleave({x}, 2, {axis})"), sized(a.shape[axis].map(|n| 2 * n))),
        7 if rank == 2 => (format!("torch.tril({x})"), a.shape.clone()),
        8 if rank == 2 => (format!("torch.triu({x}, 1)"), a.shape.clone()),
        9 if is_float(a.kind) && rank < 4 => {
            let mut shape = a.shape.clone();
            *shape.last_mut()? = a.shape[rank - 1].map(|n| n + 3);
            (format!("torch.pad({x}, [1, 2], 'constant', 0.5)"), shape)
        }
        10 if a.kind == Kind::Int64 && rank < 3 => {
            let mut shape = a.shape.clone();
            shape.push([2; SETS]);
            let table = "torch.tensor([[0.5, 1.0], [-1.0, 2.0], [0.25, 0.0]], dtype=torch.float32)";
            return g.fresh(
                format!("torch.embedding({table}, {x}.remainder(3))"),
                Kind::Float,
                shape,
                5,
                false,
            );
        }
        11 if least > 0 => (format!("{x}[..., None]"), [&a.shape[..], &[[1; SETS]]].concat()),
        _ => return None,
    };
    if text.ends_with("None]") {
        return g.define(text, a.kind, shape, a.memory, a.stretched);
    }
    g.fresh(text, a.kind, shape, bits, wild)
}

/// Two tensors as one.
pub fn joined(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let b = g.tensor(|_, t| t.shape == a.shape && t.kind == a.kind)?;
    let (bits, wild) = (g.bits(&a).max(g.bits(&b)), g.memory(&a).wild || g.memory(&b).wild);
    let mut shape = a.shape.clone();
    match g.axis(&a).filter(|_| g.random.chance(0.6)) {
        Some(axis) => {
            shape[axis] = a.shape[axis].map(|n| 2 * n);
            g.fresh(format!("torch.cat([{}, {}], {axis})", a.name, b.name), a.kind, shape, bits, wild)
        }
        None => {
            shape.insert(0, [2; SETS]);
            g.fresh(format!("torch.stack([{}, {}])", a.name, b.name), a.kind, shape, bits, wild)
        }
    }
}

/// A copy with some places replaced or added to. What puts a part back keeps the strides of what it copies, also where elements
/// share a place.
pub fn replaced(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| !t.shape.is_empty() && t.shape.iter().flatten().all(|&n| n > 0))?;
    let axis = g.axis(&a)?;
    let (x, wild) = (a.name.clone(), g.memory(&a).wild);
    let bits = g.bits(&a) + 2;
    let index = format!("torch.zeros_like({x}, dtype=torch.int64)");
    let line = super::views::slice_text(&x, axis, ":1");
    let (text, bits) = match g.random.below(14) {
        0 => (format!("torch.scatter({x}, {axis}, {index}, 2)"), bits.max(6)),
        1 if a.kind != Kind::Bool => (format!("torch.scatter_add({x}, {axis}, {index}, {x})"), bits + 9),
        2 if a.kind != Kind::Bool => {
            (format!("torch.index_add({x}, {axis}, torch.tensor([0]), {line})"), bits)
        }
        3 => (format!("torch.index_copy({x}, {axis}, torch.tensor([0]), {line})"), bits),
        4 => (format!("torch.index_fill({x}, {axis}, torch.tensor([0]), 1)"), bits),
        5 if !a.stretched => (format!("torch.select_scatter({x}, {x}.select({axis}, 0), {axis}, -1)"), bits),
        6 if !a.stretched => (format!("torch.slice_scatter({x}, {line}, {axis}, 0, 1)"), bits),
        7 if a.shape.len() == 2 && !a.stretched => {
            (format!("torch.diagonal_scatter({x}, torch.zeros_like({x}.diagonal()))"), bits)
        }
        8 if is_float(a.kind) => {
            let way = *g.random.pick(&["amax", "amin", "sum"]);
            (format!("torch.scatter_reduce({x}, {axis}, {index}, {x}, '{way}')"), bits + 9)
        }
        9 if is_float(a.kind) => {
            let (way, own) = (*g.random.pick(&["mean", "prod", "amax"]), *g.random.pick(&["True", "False"]));
            let rest = format!("{x} * 0.5, '{way}', include_self={own}");
            (format!("torch.scatter_reduce({x}, {axis}, {index}, {rest})"), ROUGH)
        }
        // Which of several numbers for one place stays is not said on a GPU.
        10 | 13 if device() != Device::Cpu => return None,
        10 => (format!("torch.scatter({x}, {axis}, {index}, {x}.clone())"), bits),
        11 => (format!("torch.masked_scatter({x}, {x} > 0, {x}.flip([{axis}]))"), bits),
        12 if a.kind != Kind::Bool => {
            let source = format!("torch.cat([{line}, {line}], {axis})");
            (format!("torch.index_add({x}, {axis}, torch.tensor([0, 0]), {source}, alpha=2)"), bits + 3)
        }
        13 => {
            let source = format!("torch.cat([{line}, -{line}], {axis})");
            if a.kind == Kind::Bool {
                return None;
            }
            (format!("torch.index_copy({x}, {axis}, torch.tensor([0, 0]), {source})"), bits)
        }
        _ => return None,
    };
    g.fresh(text, a.kind, a.shape, bits, wild)
}

/// As many elements as the data say.
pub fn dynamic(g: &mut Generator) -> Option<()> {
    let mask = g.tensor(|_, t| t.kind == Kind::Bool && !t.shape.is_empty())?;
    let a = g.tensor(|_, t| t.shape == mask.shape)?;
    let (x, m) = (&a.name, &mask.name);
    let kind = if is_float(a.kind) { a.kind } else { Kind::Int64 };
    match g.random.below(3) {
        0 => g.fresh(format!("{x}[{m}].sum()"), kind, vec![], ROUGH, true),
        1 => g.fresh(format!("torch.masked_select({x}, {m}).sum()"), kind, vec![], ROUGH, true),
        _ => g.fresh(
            format!("torch.nonzero({m}).sum(0)"),
            Kind::Int64,
            vec![[mask.shape.len() as i64; SETS]],
            0,
            false,
        ),
    }
}
