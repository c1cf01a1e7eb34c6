//! Writes in place.

use super::scope::{Generator, ROUGH, Tensor, Variable};
use crate::kinds::{SETS, broadcast, category, is_float, joint};
use tch::Kind;

/// A whole tensor, which may be a view of another one.
pub fn in_place(g: &mut Generator) -> Option<()> {
    let a = g.writable()?;
    write_whole(g, &a)
}

fn write_whole(g: &mut Generator, a: &Tensor) -> Option<()> {
    let x = &a.name;
    let float = is_float(a.kind);
    let bits = g.bits(a);
    if g.random.chance(0.5) {
        let (form, bits) = match g.random.below(16) {
            0 => ("$.zero_()", 1),
            1 => ("$.fill_(1)", 1),
            2 if a.kind != Kind::Bool => ("$.add_(1)", bits + 3),
            3 if a.kind != Kind::Bool => ("$.mul_(2)", bits + 1),
            4 if a.kind != Kind::Bool => ("$ += 1", bits + 3),
            5 if a.kind != Kind::Bool => ("$ *= 2", bits + 1),
            6 if a.kind != Kind::Bool => ("$.relu_()", bits),
            7 if a.kind != Kind::Bool => ("$.clamp_(0, 2)", bits),
            8 if float => ("$.tanh_()", ROUGH),
            9 if float => ("$.sigmoid_()", ROUGH),
            10 if float => ("torch.silu_($)", ROUGH),
            11 if float => ("torch.hardswish_($)", ROUGH),
            12 if float => ("torch.leaky_relu_($, 0.1)", ROUGH),
            13 if a.kind != Kind::Bool => ("$.neg_()", bits),
            14 if float => ("$.div_(3)", ROUGH),
            15 if a.kind != Kind::Bool => {
                ("$.masked_fill_($ > 0, 1)", if g.is_exact(a) { bits } else { return None })
            }
            _ => return None,
        };
        g.line(form.replace('$', x));
        g.blur(a, bits, false);
        return Some(());
    }
    let b = g.fitting(a)?;
    if g.is_same_memory(a, &b) {
        return None;
    }
    let kind = joint(a.kind, b.kind, (a.shape.len(), b.shape.len()));
    if category(kind) > category(a.kind) || a.kind == Kind::Bool {
        return None;
    }
    let other = if is_float(b.kind) { g.bits(&b) } else { 8 };
    let y = &b.name;
    let (text, bits) = match g.random.below(7) {
        0 => (format!("{x}.add_({y})"), bits.max(other) + 1),
        1 if b.kind != Kind::Bool => (format!("{x}.sub_({y})"), bits.max(other) + 1),
        2 => (format!("{x}.mul_({y})"), bits + other),
        3 | 4 if is_float(a.kind) || !is_float(b.kind) => (format!("{x}.copy_({y})"), other),
        5 => (format!("{x} += {y}"), bits.max(other) + 1),
        6 if float && b.kind == a.kind => (format!("{x}.addcmul_({y}, {y})"), ROUGH),
        _ => return None,
    };
    let wild = g.memory(&b).wild;
    g.line(text);
    g.blur(a, bits, wild);
    Some(())
}

/// A part of a tensor.
pub fn part(g: &mut Generator) -> Option<()> {
    let a =
        g.tensor(|g, t| !t.stretched && !g.memory(t).kept && !t.shape.is_empty() && t.kind != Kind::Bool)?;
    let axis = g.axis(&a)?;
    let x = a.name.clone();
    let least = *a.shape[axis].iter().min()?;
    let bits = g.bits(&a);
    let value = *g.random.pick(&["0", "1", "2"]);
    let mut inner = a.shape.clone();
    let place = match g.random.below(7) {
        0 if least > 0 => {
            inner.remove(axis);
            super::views::slice_text(&x, axis, "0")
        }
        1 => {
            inner[axis] = a.shape[axis].map(|n| (n - 1).max(0));
            super::views::slice_text(&x, axis, "1:")
        }
        2 => {
            inner[axis] = a.shape[axis].map(|n| (n + 1) / 2);
            super::views::slice_text(&x, axis, "::2")
        }
        3 if least > 0 => {
            inner[axis] = [2; SETS];
            super::views::slice_text(&x, axis, &format!("torch.tensor([0, {}])", least - 1))
        }
        4 => {
            let mask =
                g.tensor(|g, t| t.kind == Kind::Bool && t.shape == a.shape && !g.is_same_memory(t, &a))?;
            let text = match g.random.below(3) {
                0 => format!("{x}[{}] = {value}", mask.name),
                1 => format!("{x}.masked_fill_({}, {value})", mask.name),
                _ => format!("{x}.masked_scatter_({}, torch.zeros_like({x}))", mask.name),
            };
            g.line(text);
            g.blur(&a, bits.max(3), false);
            return Some(());
        }
        5 if least > 0 && a.shape.iter().flatten().all(|&n| n > 0) => {
            let index = format!("torch.zeros_like({x}, dtype=torch.int64)");
            let form = match g.random.below(3) {
                0 => format!("{x}.scatter_({axis}, {index}, {value})"),
                1 => format!("{x}.scatter_add_({axis}, {index}, torch.ones_like({x}))"),
                _ => format!("{x}.index_fill_({axis}, torch.tensor([0]), {value})"),
            };
            g.line(form);
            g.blur(&a, bits + 11, false);
            return Some(());
        }
        6 if a.shape.len() == 2 => {
            g.line(format!("{x}.diagonal().fill_({value})"));
            g.blur(&a, bits.max(3), false);
            return Some(());
        }
        _ => return None,
    };
    if g.random.chance(0.4) {
        g.line(format!("{place} = {value}"));
        g.blur(&a, bits.max(3), false);
        return Some(());
    }
    let b = g.tensor(|g, t| {
        broadcast(&t.shape, &inner).as_ref() == Some(&inner) && t.kind == a.kind && !g.is_same_memory(t, &a)
    })?;
    let sum = g.random.chance(0.3);
    let (new, wild) = (g.bits(&b), g.memory(&b).wild);
    g.line(format!("{place} {} {}", if sum { "+=" } else { "=" }, b.name));
    g.blur(&a, if sum { bits.max(new) + 1 } else { new }, wild);
    Some(())
}

/// What the module keeps.
pub fn attribute(g: &mut Generator) -> Option<()> {
    let ints: Vec<String> = g
        .variables
        .iter()
        .filter_map(|v| match v {
            Variable::Int(name, None) if name.starts_with("self.") => Some(name.clone()),
            _ => None,
        })
        .collect();
    if !ints.is_empty() && g.random.chance(0.5) {
        let name = g.random.pick(&ints).clone();
        g.line(format!("{name} = {name} + 1"));
        return Some(());
    }
    let buffer = g.tensor(|g, t| t.name.starts_with("self.b") && !g.memory(t).kept)?;
    if g.random.chance(0.5) {
        return write_whole(g, &buffer);
    }
    let new = g.tensor(|_, t| t.shape == buffer.shape && t.kind == buffer.kind && !t.stretched)?;
    g.line(format!("{} = {}", buffer.name, new.name));
    g.join(new.memory, buffer.memory);
    Some(())
}

/// The form of a tensor, not what it holds, sometimes beside a view that was made before and a write after it. Arguments keep
/// theirs: the names of others stand for the same tensor.
pub fn form(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|g, t| {
        let n = t.shape.len();
        n > 0 && n < 5 && t.kind != Kind::Bool && g.loops == 0 && t.shape.iter().flatten().all(|&n| n > 0)
    })?;
    let (axis, other) = (g.axis(&a)?, g.axis(&a)?);
    let mut shape = a.shape.clone();
    let text = match g.random.below(8) {
        0 if shape.len() == 2 => {
            shape.swap(0, 1);
            "$.t_()".into()
        }
        1 | 2 => {
            shape.swap(axis, other);
            let name = *g.random.pick(&["transpose_", "swapaxes_"]);
            format!("$.{name}({axis}, {other})")
        }
        3 | 4 => {
            shape.insert(axis, [1; SETS]);
            format!("$.unsqueeze_({axis})")
        }
        5 if shape[axis] == [1; SETS] => {
            shape.remove(axis);
            format!("$.squeeze_({axis})")
        }
        6 => {
            shape = vec![crate::kinds::elements(&a.shape)];
            format!("$.resize_([{}.numel()])", a.name)
        }
        7 => {
            shape[0] = [1; SETS];
            let rest: Vec<String> = (1..shape.len()).map(|i| format!(", {}.size({i})", a.name)).collect();
            format!("$.resize_([1{}])", rest.concat())
        }
        _ => return None,
    };
    let (value, view) = (g.name(), g.name());
    let make = *g.random.pick(&["$.clone()", "$ * 1", "torch.relu($)", "$.abs()"]);
    g.line(format!("{value} = {}", make.replace('$', &a.name)));
    let bits = g.bits(&a) + 5;
    let wild = g.memory(&a).wild;
    let memory = g.new_memory(a.kind, bits, wild);
    let mut tensors = Vec::new();
    if g.random.chance(0.5) {
        let (form, shape) = match g.random.below(4) {
            0 => (".select(0, 0)", a.shape[1..].to_vec()),
            1 => (".detach()", a.shape.clone()),
            2 => (".unsqueeze(0)", [&[[1; SETS]], &a.shape[..]].concat()),
            _ => ("[:1]", [&[[1; SETS]], &a.shape[1..]].concat()),
        };
        g.line(format!("{view} = {value}{form}"));
        tensors.push(Tensor { name: view, shape, memory, ..a.clone() });
    }
    g.line(text.replace('$', &value));
    if g.random.chance(0.4) {
        let write = *g.random.pick(&["$.add_(1)", "$.mul_(2)", "$[0] = 3"]);
        g.line(write.replace('$', &value));
    }
    tensors.push(Tensor { name: value, shape, memory, ..a });
    for tensor in tensors {
        g.variables.push(Variable::Tensor(Tensor { stretched: false, ..tensor }));
    }
    Some(())
}
