//! Other views of the same memory.

use super::scope::{Generator, Tensor, Variable};
use crate::kinds::{Dim, SETS, elements};

/// A view of a tensor, or what may be one.
pub fn any(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let (rank, x) = (a.shape.len(), a.name.clone());
    let Some(axis) = g.axis(&a) else { return of_number(g, &a) };
    let at = g.axis_text(axis, rank);
    let other = g.random.below(rank);
    let sized = |size: Dim| {
        let mut shape = a.shape.clone();
        shape[axis] = size;
        shape
    };
    let without = || {
        let mut shape = a.shape.clone();
        shape.remove(axis);
        shape
    };
    let least = *a.shape[axis].iter().min().unwrap_or(&0);
    let total = elements(&a.shape);
    let (text, shape) = match g.random.below(24) {
        0 | 1 => {
            let mut shape = a.shape.clone();
            shape.swap(axis, other);
            (format!("{x}.transpose({at}, {other})"), shape)
        }
        2 if rank == 2 => (format!("{x}.t()"), vec![a.shape[1], a.shape[0]]),
        3 => {
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.rotate_left(axis);
            (format!("{x}.permute({axes:?})"), axes.iter().map(|&i| a.shape[i]).collect())
        }
        4 | 5 => return may_copy(g, &a, format!("{x}.reshape(-1)"), vec![total], total.contains(&0)),
        6 => {
            let mut shape = a.shape.clone();
            shape.insert(axis, [1; SETS]);
            (format!("{x}.unsqueeze({axis})"), shape)
        }
        7 if a.shape[axis] == [1; SETS] => (format!("{x}.squeeze({at})"), without()),
        8 | 9 if least > 0 => {
            let index = if g.random.chance(0.3) { -1 } else { g.random.below(least as usize) as i64 };
            (format!("{x}.select({at}, {index})"), without())
        }
        10 if least > 0 => (format!("{x}[0]"), a.shape[1..].to_vec()),
        11 | 12 => {
            let from = g.random.below(2) as i64;
            (slice_text(&x, axis, &format!("{from}:")), sized(a.shape[axis].map(|n| (n - from).max(0))))
        }
        13 => (slice_text(&x, axis, "::2"), sized(a.shape[axis].map(|n| (n + 1) / 2))),
        14 => (slice_text(&x, axis, ":-1"), sized(a.shape[axis].map(|n| (n - 1).max(0)))),
        15 if least > 1 => (format!("{x}.narrow({at}, 1, {})", least - 1), sized([least - 1; SETS])),
        16 if a.shape[axis] == [1; SETS] => return expand(g, &a, axis),
        17 => {
            let mut shape = a.shape.clone();
            shape.insert(0, [2; SETS]);
            let sizes = vec!["-1"; rank].join(", ");
            return g.define(format!("{x}.expand([2, {sizes}])"), a.kind, shape, a.memory, true);
        }
        18 if rank > 1 => {
            let shape = [&[elements(&a.shape[..2])], &a.shape[2..]].concat();
            return may_copy(g, &a, format!("{x}.flatten(0, 1)"), shape, false);
        }
        19 if rank == 2 => {
            (format!("{x}.diagonal()"), vec![std::array::from_fn(|i| a.shape[0][i].min(a.shape[1][i]))])
        }
        20 => return may_copy(g, &a, format!("{x}.contiguous()"), a.shape.clone(), false),
        21 => (format!("{x}.detach()"), a.shape.clone()),
        22 if least > 0 => return pieces(g, &a, axis),
        23 if least > 1 => {
            let mut shape = sized(a.shape[axis].map(|n| n - 1));
            shape.push([2; SETS]);
            return g.define(format!("{x}.unfold({at}, 2, 1)"), a.kind, shape, a.memory, true);
        }
        _ => return None,
    };
    g.define(text, a.kind, shape, a.memory, a.stretched)
}

fn of_number(g: &mut Generator, a: &Tensor) -> Option<()> {
    let form = *g.random.pick(&["$.view(1)", "$.unsqueeze(0)", "$.reshape([1])", "$[None]"]);
    g.define(form.replace('$', &a.name), a.kind, vec![[1; SETS]], a.memory, a.stretched)
}

/// A view or a copy, by how the argument lies in memory.
fn may_copy(g: &mut Generator, a: &Tensor, text: String, shape: Vec<Dim>, empty: bool) -> Option<()> {
    if empty {
        return None;
    }
    g.define(text, a.kind, shape, a.memory, a.stretched)
}

/// `x[:, :, part]`.
pub fn slice_text(x: &str, axis: usize, part: &str) -> String {
    format!("{x}[{}{part}]", ":, ".repeat(axis))
}

fn expand(g: &mut Generator, a: &Tensor, axis: usize) -> Option<()> {
    let (int, values) = g.int();
    let size = values?;
    if size.iter().any(|&n| n < 1) {
        return None;
    }
    let mut shape = a.shape.clone();
    shape[axis] = size;
    let sizes: Vec<String> =
        (0..shape.len()).map(|i| if i == axis { int.clone() } else { "-1".into() }).collect();
    g.define(format!("{}.expand([{}])", a.name, sizes.join(", ")), a.kind, shape, a.memory, true)
}

/// Several views at once.
fn pieces(g: &mut Generator, a: &Tensor, axis: usize) -> Option<()> {
    let size = a.shape[axis];
    let x = &a.name;
    let (first, second) = (g.name(), g.name());
    let half = |n: i64| (n + 1) / 2;
    let (text, left, right) = match g.random.below(3) {
        0 if size.iter().all(|&n| n > 1) => {
            (format!("{x}.chunk(2, {axis})"), size.map(half), size.map(|n| n - half(n)))
        }
        1 if size.iter().all(|&n| n == 3) => {
            (format!("torch.split({x}, [2, 1], {axis})"), [2; SETS], [1; SETS])
        }
        2 if size.iter().all(|&n| n == 2) => (format!("{x}.unbind({axis})"), [0; SETS], [0; SETS]),
        _ => return None,
    };
    let unbound = left == [0; SETS];
    g.line(format!("{first}, {second} = {text}"));
    for (name, size) in [(first, left), (second, right)] {
        let mut shape = a.shape.clone();
        if unbound {
            shape.remove(axis);
        } else {
            shape[axis] = size;
        }
        g.variables.push(Variable::Tensor(Tensor { name, shape, ..a.clone() }));
    }
    Some(())
}

/// A view whose sizes are ints in scope.
pub fn by_int(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| !t.shape.is_empty())?;
    let (int, values) = g.int();
    let (x, values) = (&a.name, values?);
    let axis = g.axis(&a)?;
    let size = a.shape[axis];
    let sized = |size: Dim| {
        let mut shape = a.shape.clone();
        shape[axis] = size;
        shape
    };
    let limited: Dim = std::array::from_fn(|set| values[set].min(size[set]));
    if values.iter().any(|&n| n < 0) {
        return None;
    }
    match g.random.below(5) {
        0 | 1 => {
            g.define(slice_text(x, axis, &format!(":{int}")), a.kind, sized(limited), a.memory, a.stretched)
        }
        2 => {
            let rest = std::array::from_fn(|set| size[set] - limited[set]);
            g.define(slice_text(x, axis, &format!("{int}:")), a.kind, sized(rest), a.memory, a.stretched)
        }
        3 if limited == values => {
            g.define(format!("{x}.narrow({axis}, 0, {int})"), a.kind, sized(values), a.memory, a.stretched)
        }
        _ => {
            let total = elements(&a.shape);
            let rest = std::array::from_fn(|set| total[set] / a.shape[0][set].max(1));
            if total.contains(&0) {
                return None;
            }
            g.define(
                format!("{x}.reshape({x}.size(0), -1)"),
                a.kind,
                vec![a.shape[0], rest],
                a.memory,
                a.stretched,
            )
        }
    }
}

/// A value, a view of it, and a write through the view.
pub fn changed(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| {
        t.shape.len() > 1 && t.kind != tch::Kind::Bool && t.shape.iter().flatten().all(|&n| n > 0)
    })?;
    let (value, view) = (g.name(), g.name());
    g.line(format!("{value} = {} * 2", a.name));
    let form = *g.random.pick(&[
        "$.transpose(0, 1)",
        "$.permute([1, 0])",
        "$.view(-1)",
        "$.flatten()",
        "$[0]",
        "$[:, 0]",
        "$.select(1, -1)",
        "$.unsqueeze(0)",
        "$.detach()",
        "$[..., 0]",
        "$.chunk(2)[0]",
        "$.unbind(1)[0]",
        "$.diagonal()",
        "$.movedim(0, 1)",
        "$.narrow(0, 0, 1)",
        "$.view_as($)",
        "$.squeeze()",
        "$.reshape(-1)",
        "$.contiguous()",
        "$.T",
        "$.swapaxes(0, 1)",
        "$.split(1)[0]",
    ]);
    if form.contains("[1, 0]") && a.shape.len() != 2 || form == "$.T" && a.shape.len() != 2 {
        return None;
    }
    g.line(format!("{view} = {}", form.replace('$', &value)));
    let write =
        *g.random.pick(&["$.add_(1)", "$.mul_(2)", "$.zero_()", "$ += 2", "$[0] = 3", "$.clamp_(0, 1)"]);
    g.line(write.replace('$', &view));
    let bits = g.bits(&a) + 5;
    let wild = g.memory(&a).wild;
    let memory = g.new_memory(a.kind, bits, wild);
    g.variables.push(Variable::Tensor(Tensor { name: value, memory, stretched: false, ..a }));
    Some(())
}
