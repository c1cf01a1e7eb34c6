//! Tensors and numbers from nothing, or from a tensor's form.

use super::scope::{Generator, ROUGH, Variable};
use crate::kinds::{Dim, SETS, is_float, name};
use tch::Kind;

/// A new tensor of given sizes.
pub fn tensor(g: &mut Generator) -> Option<()> {
    let kinds = g.kinds.clone();
    let kind = *g.random.pick(&kinds);
    let (n, values) = g.int();
    let size = values?.map(|n| n.max(0));
    if size != values? {
        return None;
    }
    let options = format!("dtype={}", name(kind));
    match g.random.below(6) {
        0 => g.fresh(format!("torch.zeros([{n}, 3], {options})"), kind, vec![size, [3; SETS]], 1, false),
        1 => g.fresh(format!("torch.ones([{n}], {options})"), kind, vec![size], 1, false),
        2 => g.fresh(format!("torch.full([2, {n}], 2, {options})"), kind, vec![[2; SETS], size], 2, false),
        3 => g.fresh(format!("torch.arange({n})"), Kind::Int64, vec![size], 0, false),
        4 if kind != Kind::Bool => {
            g.fresh(format!("torch.eye({n}, {options})"), kind, vec![size, size], 1, false)
        }
        _ => g.fresh(
            "torch.tensor([1.5, -0.5, 2.0], dtype=torch.float32)",
            Kind::Float,
            vec![[3; SETS]],
            4,
            false,
        ),
    }
}

/// A new tensor like another one.
pub fn like(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let x = &a.name;
    let text = match g.random.below(5) {
        0 => format!("torch.zeros_like({x})"),
        1 => format!("torch.ones_like({x})"),
        2 => format!("torch.full_like({x}, 1)"),
        3 => format!("{x}.new_zeros({x}.size())"),
        _ => format!("torch.zeros({x}.shape, dtype={x}.dtype)"),
    };
    g.fresh(text, a.kind, a.shape, 1, false)
}

/// An int, from sizes or other ints.
pub fn number(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let result = g.name();
    let (text, values): (String, Option<Dim>) = match (g.random.below(7), g.axis(&a)) {
        (0 | 1, Some(axis)) => (format!("{}.size({axis})", a.name), Some(a.shape[axis])),
        (2, Some(axis)) => (format!("{}.shape[{axis}]", a.name), Some(a.shape[axis])),
        (3, Some(_)) => (format!("len({})", a.name), Some(a.shape[0])),
        (4, _) => (format!("{}.dim()", a.name), Some([a.shape.len() as i64; SETS])),
        (5, _) => {
            let (n, values) = g.int();
            (format!("{n} // 2 + 1"), values.map(|v| v.map(|n| n / 2 + 1)))
        }
        (6, _) if !is_float(a.kind) && a.shape.is_empty() && a.kind != Kind::Bool => {
            (format!("int({})", a.name), None)
        }
        _ => return None,
    };
    g.line(format!("{result} = {text}"));
    g.variables.push(Variable::Int(result, values));
    Some(())
}

/// An int that tells how a tensor lies in memory.
pub fn layout(g: &mut Generator) -> Option<()> {
    // Strides of axes of one element follow from nothing.
    let a = g.tensor(|_, t| {
        !t.name.starts_with("self") && !t.shape.is_empty() && t.shape.iter().flatten().all(|&n| n > 1)
    })?;
    let axis = g.axis(&a)?;
    let x = &a.name;
    let text = match g.random.below(4) {
        0 | 1 => format!("int({x}.is_contiguous())"),
        2 => format!("{x}.storage_offset() % 5"),
        _ => format!("{x}.stride({axis}) % 5"),
    };
    let result = g.name();
    g.line(format!("{result} = {text}"));
    g.variables.push(Variable::Int(result, None));
    Some(())
}

/// Random numbers: as many in the same order as on the host.
pub fn random(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| is_float(t.kind))?;
    let form = *g.random.pick(&[
        "torch.rand_like($)",
        "torch.dropout($, 0.5, True)",
        "torch.rand($.shape, dtype=$.dtype) + $",
    ]);
    g.fresh(form.replace('$', &a.name), a.kind, a.shape, ROUGH, true)
}
