//! Branches, loops, early ends.

use super::scope::{Generator, ROUGH, Tensor, Variable};
use super::{block, step};
use crate::program::Statement;

/// The deepest nesting of blocks.
const DEEPEST: usize = 3;

/// A condition that rounding does not change.
fn condition(g: &mut Generator) -> String {
    // An element that a number picks: the counter of a loop picks another in each round.
    if g.random.chance(0.2)
        && let Some(t) =
            g.tensor(|g, t| g.is_exact(t) && !t.shape.is_empty() && t.shape.iter().flatten().all(|&n| n > 0))
    {
        let (n, _) = g.int();
        return format!("bool({}.reshape(-1)[{n} % max({}.numel(), 1)] > 0)", t.name, t.name);
    }
    let exact = g.tensor(|g, t| g.is_exact(t) && t.shape.is_empty());
    match (g.random.below(4), exact) {
        (0 | 1, Some(t)) => format!("bool({} > 0)", t.name),
        (2, _) => match g.any_tensor() {
            Some(t) => format!("{}.dim() == {}", t.name, g.random.below(4)),
            None => "True".into(),
        },
        _ => {
            let (n, _) = g.int();
            format!("{n} {} {}", *g.random.pick(&[">", "<", "==", "!="]), 1 + g.random.below(4))
        }
    }
}

/// Names of tensors that a block may give new values of the same form.
fn reassign(g: &mut Generator, of: &Tensor) {
    let (name, kind, shape) = (&of.name, of.kind, of.shape.clone());
    let other =
        g.tensor(|_, t| t.kind == kind && t.shape == shape && !t.name.starts_with("self") && t.name != *name);
    let text = match (g.random.below(3), other) {
        (0, Some(t)) if !t.stretched => {
            g.join(t.memory, of.memory);
            format!("{name} = {}", t.name)
        }
        (1, _) if crate::kinds::is_float(kind) => format!("{name} = torch.tanh({name})"),
        _ if kind == tch::Kind::Bool => format!("{name} = torch.logical_not({name})"),
        _ => format!("{name} = {name} * 2"),
    };
    g.line(text);
    g.blur(of, ROUGH, true);
}

fn statements(g: &mut Generator, most: usize, changed: &[Tensor]) {
    for _ in 0..1 + g.random.below(most) {
        match g.random.below(4) {
            0 if !changed.is_empty() => {
                let of = g.random.pick(changed).clone();
                reassign(g, &of);
            }
            _ => step(g),
        }
    }
}

/// Variables of the method, which blocks may assign: their values leave the block.
fn assignable(g: &mut Generator) -> Vec<Tensor> {
    let own = |v: &Variable| match v {
        Variable::Tensor(t) if !t.name.starts_with("self") && !t.stretched => Some(t.clone()),
        _ => None,
    };
    let mut all: Vec<Tensor> = g.variables.iter().filter_map(own).collect();
    while all.len() > 2 {
        all.remove(g.random.below(all.len()));
    }
    all
}

/// `if`, sometimes with `else`.
pub fn branch(g: &mut Generator) -> Option<()> {
    if g.depth >= DEEPEST {
        return None;
    }
    let condition = condition(g);
    let changed: Vec<Tensor> = assignable(g).into_iter().filter(|t| !g.memory(t).kept).collect();
    let then = block(g, |g| statements(g, 3, &changed));
    let other = if g.random.chance(0.5) { block(g, |g| statements(g, 3, &changed)) } else { vec![] };
    g.body.push(Statement::If(condition, then, other));
    Some(())
}

/// `for` or `while`.
pub fn repetition(g: &mut Generator) -> Option<()> {
    if g.depth >= DEEPEST || g.loops >= 2 {
        return None;
    }
    let mut changed: Vec<Tensor> = assignable(g).into_iter().filter(|t| !g.memory(t).kept).collect();
    changed.truncate(1);
    // What the loop changes is rough from its second round on; everything else stays as it is.
    for t in &changed {
        g.blur(t, ROUGH, true);
    }
    let all: Vec<Tensor> = g
        .variables
        .iter()
        .filter_map(|v| match v {
            Variable::Tensor(t) | Variable::List(t, _) => Some(t.clone()),
            Variable::Int(..) => None,
        })
        .collect();
    let before: Vec<bool> = all.iter().map(|t| g.memory(t).kept).collect();
    for t in &all {
        g.keep(t, !changed.iter().any(|c| g.is_same_memory(c, t)));
    }
    let counter = g.name();
    let (n, values) = g.int();
    let bounded = values.is_some_and(|v| v.iter().all(|&n| n < 7));
    let n = if bounded { n } else { "3".into() };
    let waiting = g.random.chance(0.25);
    g.loops += 1;
    let mut body = block(g, |g| {
        g.variables.push(Variable::Int(counter.clone(), None));
        statements(g, 4, &changed);
        if g.random.chance(0.2) {
            let word = if waiting { "break" } else { *g.random.pick(&["break", "continue"]) };
            let end = Statement::If(format!("{counter} == 1"), vec![Statement::Line(word.into())], vec![]);
            let at = g.random.below(g.body.len() + 1);
            g.body.insert(at, end);
        }
    });
    g.loops -= 1;
    for (t, kept) in all.iter().zip(before) {
        g.keep(t, kept);
    }
    if waiting {
        g.line(format!("{counter} = 0"));
        body.push(Statement::Line(format!("{counter} += 1")));
        g.body.push(Statement::Loop(format!("while {counter} < {n}:"), body));
    } else {
        g.body.push(Statement::Loop(format!("for {counter} in range({n}):"), body));
    }
    Some(())
}

/// A result before the end, or an exception.
pub fn early_end(g: &mut Generator) -> Option<()> {
    if g.loops > 0 || g.depth > 1 {
        return None;
    }
    let condition = condition(g);
    if g.random.chance(0.3) {
        g.line(format!("assert not ({condition}), 'no'"));
        return g.random.chance(0.3).then_some(());
    }
    let values = g.returned();
    g.body.push(Statement::If(condition, vec![Statement::Return(values)], vec![]));
    Some(())
}
