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
