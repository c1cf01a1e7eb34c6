//! Einstein summation: `bhid,bhjd->bhij` and the like.

use super::contraction::{Label, Labelled, contract, one_numeric_type};
use super::{Def, one};
use crate::source::{Args, Item, Lower, Refusal};

/// Names of the axes that `...` stands for, counted from the last.
const DOTS: Label = 1 << 16;

/// One side of an equation as it is written: letters, and where the dots are.
struct Subscripts {
    labels: Vec<Label>,
    dots: Option<usize>,
}

impl Subscripts {
    fn parse(text: &str) -> Result<Subscripts, Refusal> {
        let (mut labels, mut dots) = (Vec::new(), None);
        let mut rest = text.trim();
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("...").filter(|_| dots.is_none()) {
                dots = Some(labels.len());
                rest = after;
            } else if c.is_ascii_alphabetic() {
                labels.push(Label::from(c));
                rest = &rest[1..];
            } else if c == ' ' {
                rest = &rest[1..];
            } else {
                return Err(Refusal::Invalid(format!("'equation' has an unexpected '{c}'")));
            }
        }
        Ok(Subscripts { labels, dots })
    }

    /// All names, the dots as `hidden` axes.
    fn names(&self, hidden: usize) -> Vec<Label> {
        let mut names = self.labels.clone();
        if let Some(at) = self.dots {
            names.splice(at..at, (0..hidden as Label).rev().map(|i| DOTS + i));
        }
        names
    }
}

/// The names of each operand's axes, and of the result's: as written, or the dots and then every letter that occurs once.
fn names(equation: &str, ranks: &[usize]) -> Result<(Vec<Vec<Label>>, Vec<Label>), Refusal> {
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(Subscripts::parse(output)?)),
        None => (equation, None),
    };
    let inputs = inputs.split(',').map(Subscripts::parse).collect::<Result<Vec<_>, _>>()?;
    if inputs.len() != ranks.len() {
        return Err(Refusal::Invalid("'equation' names another number of operands".into()));
    }
    let (mut operands, mut widest) = (Vec::new(), 0);
    for (subscripts, &rank) in inputs.iter().zip(ranks) {
        let hidden = rank.checked_sub(subscripts.labels.len());
        let fits = |n: &usize| subscripts.dots.is_some() || *n == 0;
        let hidden = hidden.filter(fits).ok_or_else(|| {
            Refusal::Invalid(format!("'equation' does not fit an operand of {rank} dimensions"))
        })?;
        widest = widest.max(hidden);
        operands.push(subscripts.names(hidden));
    }
    let output = output.unwrap_or_else(|| {
        let times = |l: &Label| inputs.iter().flat_map(|s| &s.labels).filter(|m| *m == l).count();
        let mut once: Vec<Label> = inputs.iter().flat_map(|s| s.labels.clone()).collect();
        once.retain(|l| times(l) == 1);
        once.sort_unstable();
        Subscripts { labels: once, dots: Some(0) }
    });
    Ok((operands, output.names(widest)))
}

fn repeats(labels: &[Label]) -> bool {
    (1..labels.len()).any(|i| labels[..i].contains(&labels[i]))
}

/// Operands are multiplied from left to right; a path changes no result. Diagonals (`ii`) are refused.
fn einsum(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let operands = args.tensors("tensors")?;
    one_numeric_type(lower, "tensors", &operands)?;
    let ranks: Vec<usize> = operands.iter().map(|&v| lower.ty(v).rank()).collect();
    let (labels, output) = names(args.opt_str("equation")?.unwrap_or_default(), &ranks)?;
    if labels.iter().any(|l| repeats(l)) {
        let why = "an operand's diagonal is not supported".to_string();
        return Err(Refusal::Attribute { arg: "equation".into(), why });
    }
    if repeats(&output) || output.iter().any(|l| !labels.iter().any(|names| names.contains(l))) {
        return Err(Refusal::Invalid("'equation' repeats or invents a name in its result".into()));
    }
    let mut rest: Vec<Labelled> =
        operands.into_iter().zip(labels).map(|(value, labels)| Labelled { value, labels }).collect();
    rest.reverse();
    let mut product = rest.pop().ok_or_else(|| Refusal::Invalid("einsum of no operands".into()))?;
    while let Some(next) = rest.pop() {
        let later = rest.iter().flat_map(|o| &o.labels);
        let keep: Vec<Label> = output.iter().chain(later).copied().collect();
        product = contract(lower, product, next, &keep)?;
    }
    let summed = product.sum_but(lower, &output)?;
    one(summed.ordered(lower, &output)?)
}

pub(super) const OPS: &[Def] = &[Def {
    schemas: &["aten::einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor"],
    lower: einsum,
}];
