//! Lists and dicts of tensors.

use super::scope::{Generator, Tensor, Variable};
use crate::kinds::SETS;
use crate::program::Statement;

/// A list of like tensors in one scope.
fn list(g: &mut Generator) -> Option<(Tensor, [i64; SETS])> {
    let all: Vec<_> = g
        .variables
        .iter()
        .filter_map(|v| match v {
            Variable::List(t, n) => Some((t.clone(), *n)),
            _ => None,
        })
        .collect();
    (!all.is_empty()).then(|| g.random.pick(&all).clone())
}

/// A list, with everything in it taken for one memory.
pub fn made(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let b = g.tensor(|_, t| t.kind == a.kind && t.shape == a.shape)?;
    g.join(a.memory, b.memory);
    let name = g.name();
    let stretched = a.stretched || b.stretched;
    let (text, n) = match g.random.below(4) {
        0 if a.shape.first().is_some_and(|d| d.iter().all(|&n| n > 0)) => {
            let tensor = Tensor { name: name.clone(), shape: a.shape[1..].to_vec(), ..a.clone() };
            g.line(format!("{name} = list(torch.unbind({}))", a.name));
            g.variables.push(Variable::List(tensor, a.shape[0]));
            return Some(());
        }
        1 => (format!("[{}]", a.name), 1),
        2 => (format!("[t * 1 for t in [{}, {}]]", a.name, b.name), 2),
        _ => (format!("[{}, {}]", a.name, b.name), 2),
    };
    if text.contains('*') && a.kind == tch::Kind::Bool {
        return None;
    }
    g.line(format!("{name} = {text}"));
    g.variables.push(Variable::List(Tensor { name, stretched, ..a }, [n; SETS]));
    Some(())
}

/// What a list holds.
pub fn used(g: &mut Generator) -> Option<()> {
    let (list, n) = list(g)?;
    let (l, bits, wild) = (list.name.clone(), g.bits(&list), g.memory(&list).wild);
    if n.contains(&0) {
        return None;
    }
    let mut shape = list.shape.clone();
    let end = if g.random.chance(0.5) { 0 } else { -1 };
    match g.random.below(6) {
        0 | 1 => g.define(format!("{l}[{}]", end), list.kind, shape, list.memory, list.stretched),
        2 => {
            shape.insert(0, n);
            g.fresh(format!("torch.stack({l})"), list.kind, shape, bits, wild)
        }
        3 if !shape.is_empty() => {
            shape[0] = std::array::from_fn(|set| shape[0][set] * n[set]);
            g.fresh(format!("torch.cat({l}, 0)"), list.kind, shape, bits, wild)
        }
        4 => {
            let name = g.name();
            g.line(format!("{name} = len({l})"));
            g.variables.push(Variable::Int(name, Some(n)));
            Some(())
        }
        5 => g.define(format!("{{'a': {l}[0]}}['a']"), list.kind, shape, list.memory, list.stretched),
        _ => None,
    }
}

/// A list changed. Where its length then is not known, it is empty for what follows.
pub fn grown(g: &mut Generator) -> Option<()> {
    let (list, n) = list(g)?;
    let l = list.name.clone();
    let as_exact = |g: &Generator, t: &Tensor| g.loops == 0 || g.bits(t) <= g.bits(&list);
    let b =
        g.tensor(|g, t| t.kind == list.kind && t.shape == list.shape && !t.stretched && as_exact(g, t))?;
    let (text, change) = match g.random.below(5) {
        0 | 1 => (format!("{l}.append({})", b.name), 1),
        2 if n.iter().all(|&n| n > 1) => (format!("{l}.pop()"), -1),
        3 if n.iter().all(|&n| n > 0) => (format!("{l}[0] = {}", b.name), 0),
        4 => (format!("{l}.insert(0, {})", b.name), 1),
        _ => return None,
    };
    g.join(b.memory, list.memory);
    let known = g.depth == 0;
    for v in &mut g.variables {
        if let Variable::List(t, n) = v
            && t.name == l
        {
            *n = if known || change == 0 { n.map(|n| n + change) } else { [0; SETS] };
        }
    }
    g.body.push(Statement::Line(text));
    Some(())
}

/// Each tensor of a list in turn, sometimes with its number.
pub fn walked(g: &mut Generator) -> Option<()> {
    let (list, n) = list(g)?;
    if n.contains(&0) || g.depth > 1 || list.kind == tch::Kind::Bool {
        return None;
    }
    let (total, each, at) = (g.name(), g.name(), g.name());
    g.line(format!("{total} = torch.zeros_like({}[0])", list.name));
    let (head, more) = match g.random.below(3) {
        0 => (format!("for {at}, {each} in enumerate({}):", list.name), format!(" * {at}")),
        1 => (format!("for {each}, {at} in zip({0}, {0}):", list.name), format!(" * {at}")),
        _ => (format!("for {each} in {}:", list.name), String::new()),
    };
    let sum = match g.random.below(3) {
        0 => format!("{total} += {each}{more}"),
        1 => format!("{total}.add_({each}{more})"),
        _ => format!("{total} = {total} + {each}{more}"),
    };
    g.body.push(Statement::Loop(head, vec![Statement::Line(sum)]));
    let memory = g.new_memory(list.kind, super::scope::ROUGH, true);
    g.variables.push(Variable::Tensor(Tensor { name: total, memory, stretched: false, ..list }));
    Some(())
}

/// A list from lists: its elements are theirs.
pub fn derived(g: &mut Generator) -> Option<()> {
    let (first, n) = list(g)?;
    let l = first.name.clone();
    let name = g.name();
    let (text, n) = match g.random.below(5) {
        0 => (format!("{l} + {l}"), n.map(|n| 2 * n)),
        1 => (format!("{l}[1:]"), n.map(|n| (n - 1).max(0))),
        2 => (format!("list({l})"), n),
        3 => (format!("{l}.copy()"), n),
        _ => (format!("[{l}[i] for i in range(len({l}))]"), n),
    };
    g.line(format!("{name} = {text}"));
    g.variables.push(Variable::List(Tensor { name, ..first }, n));
    Some(())
}

/// A tensor that may be missing.
pub fn optional(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| t.kind != tch::Kind::Bool)?;
    let (maybe, result) = (g.name(), g.name());
    let (n, _) = g.int();
    g.line(format!("{maybe}: Optional[Tensor] = None"));
    g.body.push(Statement::If(
        format!("{n} > 1"),
        vec![Statement::Line(format!("{maybe} = {}", a.name))],
        vec![],
    ));
    g.line(format!("{result} = {} * 2", a.name));
    let use_it = format!("{result} = {result} + {maybe}");
    g.body.push(Statement::If(format!("{maybe} is not None"), vec![Statement::Line(use_it)], vec![]));
    let bits = g.bits(&a) + 3;
    let wild = g.memory(&a).wild;
    let memory = g.new_memory(a.kind, bits, wild);
    g.variables.push(Variable::Tensor(Tensor { name: result, memory, stretched: false, ..a }));
    Some(())
}

/// A dict of two tensors, of which one is replaced.
pub fn dict(g: &mut Generator) -> Option<()> {
    let a = g.any_tensor()?;
    let b = g.tensor(|_, t| t.kind == a.kind && t.shape == a.shape)?;
    g.join(a.memory, b.memory);
    let d = g.name();
    g.line(format!("{d} = {{'a': {}, 'b': {}}}", a.name, b.name));
    let stretched = a.stretched || b.stretched;
    if g.random.chance(0.5) {
        g.line(format!("{d}['a'] = {d}['b']"));
    }
    let key = *g.random.pick(&["a", "b"]);
    g.define(format!("{d}['{key}']"), a.kind, a.shape, a.memory, stretched)
}
