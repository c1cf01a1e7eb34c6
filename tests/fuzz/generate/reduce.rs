//! Sums, extremes, statistics, running sums, order.

use super::scope::{Generator, ROUGH, Tensor, Variable};
use crate::kinds::{category, elements, is_float};
use tch::Kind;

fn is_never_empty(t: &Tensor) -> bool {
    elements(&t.shape).iter().all(|&n| n > 0)
}

/// One value of all, or of each line of an axis.
pub fn fold(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| is_never_empty(t))?;
    let (x, float) = (a.name.clone(), is_float(a.kind));
    let (bits, wild, exact) = (g.bits(&a), g.memory(&a).wild, g.is_exact(&a));
    let axis = g.axis(&a).filter(|_| g.random.chance(0.7));
    let keep = g.random.chance(0.5);
    let mut shape = a.shape.clone();
    let arguments = match axis {
        None => {
            shape.clear();
            String::new()
        }
        Some(axis) if keep => {
            shape[axis] = [1; crate::kinds::SETS];
            format!("[{axis}], True")
        }
        Some(axis) => {
            shape.remove(axis);
            format!("[{axis}]")
        }
    };
    let comma = |text: &str| if text.is_empty() { String::new() } else { format!(", {text}") };
    let counted = if float { a.kind } else { Kind::Int64 };
    let not_bool = a.kind != Kind::Bool;
    let list = axis.is_some();
    let (text, kind, bits) = match g.random.below(13) {
        0..=2 => (format!("{x}.sum({arguments})"), counted, bits + 11),
        3 | 4 if float => (format!("{x}.mean({arguments})"), a.kind, ROUGH),
        5 if not_bool && list => (format!("{x}.amax({arguments})"), a.kind, bits),
        5 if not_bool => (format!("{x}.max()"), a.kind, bits),
        6 if not_bool && list => (format!("{x}.amin({arguments})"), a.kind, bits),
        7 if float && !wild && list => {
            let keep = if keep { "True" } else { "False" };
            (
                format!("torch.var({x}, [{}], unbiased=False, keepdim={keep})", axis.unwrap_or(0)),
                a.kind,
                ROUGH,
            )
        }
        8 if float && list => (format!("torch.logsumexp({x}, {arguments})"), a.kind, ROUGH),
        9 if exact => {
            let form = if g.random.chance(0.5) { "any" } else { "all" };
            let arguments = arguments.replace(['[', ']'], "");
            (format!("({x} > 0).{form}({arguments})"), Kind::Bool, 0)
        }
        10 if exact && not_bool && !wild => {
            let arguments = arguments.replace(['[', ']'], "");
            (format!("{x}.{}({arguments})", *g.random.pick(&["argmax", "argmin"])), Kind::Int64, 0)
        }
        11 if float && list => (format!("torch.norm({x}, 2{})", comma(&arguments)), a.kind, ROUGH),
        12 => {
            let arguments = arguments.replace(['[', ']'], "");
            (format!("{x}.prod({arguments})"), counted, ROUGH)
        }
        _ => return None,
    };
    g.fresh(text, kind, shape, bits, wild)
}

/// As many values as before, along an axis.
pub fn along(g: &mut Generator) -> Option<()> {
    let a = g.tensor(|_, t| !t.shape.is_empty())?;
    let axis = g.axis(&a)?;
    let at = g.axis_text(axis, a.shape.len());
    let (x, wild, bits) = (&a.name, g.memory(&a).wild, g.bits(&a));
    let counted = if is_float(a.kind) { a.kind } else { Kind::Int64 };
    let (text, kind, bits) = match g.random.below(6) {
        0 | 1 if is_float(a.kind) => (format!("torch.softmax({x}, {at})"), a.kind, ROUGH),
        2 if is_float(a.kind) => (format!("torch.log_softmax({x}, {at})"), a.kind, ROUGH),
        3 | 4 => (format!("torch.cumsum({x}, {at})"), counted, bits + 11),
        5 => (format!("torch.cumprod({x}, {at})"), counted, ROUGH),
        _ => return None,
    };
    g.fresh(text, kind, a.shape, bits, wild)
}

/// Sorted values and where they were; the place of one among equals is torch's to choose, so it is not looked at.
pub fn order(g: &mut Generator) -> Option<()> {
    let a =
        g.tensor(|g, t| is_never_empty(t) && !t.shape.is_empty() && category(t.kind) > 0 && g.is_exact(t))?;
    let axis = g.axis(&a)?;
    let (x, first, second) = (a.name.clone(), g.name(), g.name());
    let (bits, wild) = (g.bits(&a), g.memory(&a).wild);
    let mut shape = a.shape.clone();
    match g.random.below(3) {
        0 => g.line(format!("{first}, {second} = torch.sort({x}, {axis})")),
        1 => {
            shape[axis] = [1; crate::kinds::SETS];
            g.line(format!("{first}, {second} = torch.topk({x}, 1, {axis})"));
        }
        _ => {
            shape.remove(axis);
            g.line(format!("{first}, {second} = torch.max({x}, {axis})"));
        }
    }
    let memory = g.new_memory(a.kind, bits, wild);
    g.variables.push(Variable::Tensor(Tensor { name: first, kind: a.kind, shape, memory, stretched: false }));
    Some(())
}
