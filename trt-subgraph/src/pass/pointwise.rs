//! Vertical fusion of elementwise work: a pointwise layer takes in the pointwise layers that it reads.
//!
//! ```text
//! t = exp(x)          y = exp(x) * s + b
//! u = t * s     =>
//! y = u + b
//! ```
//!
//! A producer is taken in when this layer alone reads it and both have the same number of elements: nothing is computed twice
//! and one round trip to memory is gone. A smaller producer (broadcast here) only if it is free, that is casts. A producer with
//! other readers is computed again in each of them when all are pointwise, it is cheap, and it reads one value of its own
//! size, unless that value's layer could take it as an epilogue. Static producers stay in `prepare`.
//!
//! A producer that reads a matrix product or convolution of its own and static values is left to that layer's epilogue, where a batch norm
//! folds into the weights: of `(convolution * s + t) + (convolution * u + v)` each scale finds its own convolution.

use super::Pass;
use super::operands::{Formula, joined};
use crate::network::expr::{Binary, Node, Unary};
use crate::network::{Draft, Edit, Expr, Layer, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "pointwise", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let formula = Formula::of_pointwise(layer)?;
    let mut taken: Vec<ValueId> = Vec::new();
    let mut fused = formula.clone();
    let mut origin = layer.origin.clone();
    for &v in &layer.inputs {
        if taken.contains(&v) || !takes_in(draft, at, v) {
            continue;
        }
        taken.push(v);
        let next = formula.inline(|v| taken.contains(&v).then(|| producer(draft, v)).flatten());
        if next.fits() {
            fused = next;
            origin = joined(&draft.producer(v)?.origin, &origin);
        } else {
            taken.pop();
        }
    }
    if taken.is_empty() {
        return None;
    }
    let mut patch = Patch::new(draft, origin);
    let new = patch.pointwise(fused.expr, &fused.values).ok()?;
    patch.only(layer.outputs[0], new)
}

fn producer(draft: &Draft, v: ValueId) -> Option<Formula> {
    Formula::of_pointwise(draft.producer(v)?)
}

fn takes_in(draft: &Draft, at: usize, v: ValueId) -> bool {
    let result = draft.layer(at).outputs[0];
    let Some(formula) = producer(draft, v) else { return false };
    if draft.is_output(v) || draft.is_static(v) != draft.is_static(result) {
        return false;
    }
    let smaller = draft.ty(v).elements() < draft.ty(result).elements();
    if (smaller && !only_casts(&formula.expr)) || is_epilogue(draft, v, &formula) {
        return false;
    }
    draft.only_reader(v, at) || (!smaller && repeats(draft, v, &formula))
}

/// Does `v` belong to the matrix product or convolution that it alone reads?
fn is_epilogue(draft: &Draft, v: ValueId, formula: &Formula) -> bool {
    let mut computed = formula.values.iter().filter(|&&o| !draft.is_static(o));
    let (Some(&source), None) = (computed.next(), computed.next()) else { return false };
    let heavy = |l: &Layer| matches!(l.kind, LayerKind::MatMul { .. } | LayerKind::Convolution(_));
    let (from, to) = (draft.ty(source), draft.ty(v));
    draft.producer(source).is_some_and(heavy)
        && draft.definition(v).is_some_and(|at| draft.only_reader(source, at))
        && from.shape == to.shape
        && to.bytes() <= from.bytes()
}

/// Does it pay to compute `v` again in every reader?
fn repeats(draft: &Draft, v: ValueId, formula: &Formula) -> bool {
    const MOST_READERS: usize = 4;
    let pointwise = |at: usize| matches!(draft.layer(at).kind, LayerKind::Pointwise(_));
    let mut large = formula.values.iter().copied().filter(|&o| draft.ty(o).shape == draft.ty(v).shape);
    let (Some(source), None) = (large.next(), large.next()) else { return false };
    let small = |o: ValueId| o == source || draft.ty(o).elements() <= draft.ty(v).elements() / 16;
    let wider = draft.ty(source).bytes() > draft.ty(v).bytes();
    let epilogue = draft.producer(source).is_some_and(|l| l.kind.takes_epilogue()) && draft.uses(source) == 1;
    !epilogue
        && !wider
        && cheap(&formula.expr)
        && draft.uses(v) <= MOST_READERS
        && draft.readers(v).all(pointwise)
        && formula.values.iter().all(|&o| small(o))
}

fn only_casts(expr: &Expr) -> bool {
    expr.nodes.iter().all(|n| matches!(n, Node::Input(_) | Node::Cast(..)))
}

/// At most a few instructions an element.
fn cheap(expr: &Expr) -> bool {
    const MOST: usize = 4;
    let is_cheap = |n: &Node| match n {
        Node::Input(_) | Node::Const(..) | Node::Cast(..) | Node::Select(..) => true,
        Node::Unary(f, _) => matches!(f, Unary::Neg | Unary::Abs | Unary::Not | Unary::IsNan),
        Node::Binary(f, ..) => {
            f.is_comparison()
                || matches!(
                    f,
                    Binary::Add
                        | Binary::Sub
                        | Binary::Mul
                        | Binary::Max
                        | Binary::Min
                        | Binary::And
                        | Binary::Or
                )
        }
    };
    let steps = expr.nodes.iter().filter(|n| !matches!(n, Node::Input(_) | Node::Const(..))).count();
    steps <= MOST && expr.nodes.iter().all(is_cheap)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, Expr, LayerKind};
    use crate::pass::check::{self, binary, f32s, unary};
    use crate::{DType, TensorType};

    #[test]
    fn a_chain_with_a_diamond_becomes_one() {
        let mut b = Builder::new();
        let (x, s) = (b.input(f32s(&[2, 8])), b.parameter("s", f32s(&[8])));
        let t = unary(&mut b, Unary::Exp, x);
        let u = binary(&mut b, Binary::Mul, t, s);
        let v = binary(&mut b, Binary::Sub, u, x);
        let y = binary(&mut b, Binary::Max, v, v);
        let out = check::pass("pointwise", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "pointwise");
        assert_eq!(out.layers.last().unwrap().inputs.len(), 2);
    }

    #[test]
    fn dear_work_is_not_repeated() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[8]));
        let t = unary(&mut b, Unary::Exp, x);
        let outputs = vec![unary(&mut b, Unary::Sin, t), unary(&mut b, Unary::Cos, t)];
        let out = check::pass("pointwise", b.finish(outputs), true);
        assert_eq!(check::kinds(&out), "pointwise pointwise pointwise");
    }

    #[test]
    fn cheap_work_is_repeated() {
        let mut b = Builder::new();
        let x = b.input(TensorType::new(DType::F16, [8]));
        let t = b.add(LayerKind::Pointwise(Expr::cast(DType::F32)), &[x]).unwrap();
        let outputs = vec![unary(&mut b, Unary::Sin, t), unary(&mut b, Unary::Cos, t)];
        let out = check::pass("pointwise", b.finish(outputs), true);
        assert_eq!(check::kinds(&out), "pointwise pointwise");
    }

    #[test]
    fn an_output_stays() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[8]));
        let t = unary(&mut b, Unary::Neg, x);
        let y = unary(&mut b, Unary::Sin, t);
        let out = check::pass("pointwise", b.finish(vec![t, y]), true);
        assert_eq!(check::kinds(&out), "pointwise pointwise");
    }

    #[test]
    fn smaller_producers_only_when_free() {
        for (f, left) in [(Some(Unary::Exp), "pointwise pointwise"), (None, "pointwise")] {
            let mut b = Builder::new();
            let (x, y) = (b.input(f32s(&[3, 8])), b.input(TensorType::new(DType::F16, [8])));
            let mut t = b.add(LayerKind::Pointwise(Expr::cast(DType::F32)), &[y]).unwrap();
            if let Some(f) = f {
                t = unary(&mut b, f, t);
            }
            let y = binary(&mut b, Binary::Add, x, t);
            assert_eq!(check::kinds(&check::pass("pointwise", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn static_work_stays_in_prepare_and_size_is_limited() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[8])), b.parameter("w", f32s(&[8])));
        let e = unary(&mut b, Unary::Exp, w);
        let mut y = binary(&mut b, Binary::Mul, x, e);
        for _ in 0..100 {
            y = unary(&mut b, Unary::Sin, y);
        }
        let out = check::pass("pointwise", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "pointwise pointwise pointwise");
        assert_eq!(check::run_kinds(&out), "pointwise pointwise");
    }
}
