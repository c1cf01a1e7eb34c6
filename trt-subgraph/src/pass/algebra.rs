//! Scalar algebra: every expression is simplified, constants of one value move into it, operands that it does not need go.

use super::Pass;
use super::operands::{Formula, RESULT};
use super::simplify::simplify;
use crate::network::expr::{Node, Scalar};
use crate::network::{Draft, Edit, Expr, LayerKind, Patch, TensorType, ValueId};
use crate::{DType, Literal};

pub(super) const PASS: Pass = Pass { name: "algebra", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    match &layer.kind {
        LayerKind::Pointwise(_) => pointwise(draft, at),
        kind if layer.epilogue.is_some() => {
            let old = Formula::of_epilogue(layer)?;
            let new = simplified(draft, &old, epilogue_dtype(draft, at)?);
            if new == old {
                return None;
            }
            let (inputs, epilogue) = new.into_epilogue(&layer.inputs[..kind.arity()?]);
            let mut patch = Patch::new(draft, &layer.origin);
            let value = patch.fused(kind.clone(), &inputs, epilogue).ok()?;
            patch.only(layer.outputs[0], value[0])
        }
        _ => None,
    }
}

fn pointwise(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let (result, ty) = (layer.outputs[0], draft.ty(layer.outputs[0]));
    let old = Formula::of_pointwise(layer)?;
    let new = simplified(draft, &old, ty.dtype);
    let mut patch = Patch::new(draft, &layer.origin);
    let value = match new.expr.nodes.last()? {
        &Node::Const(dtype, scalar) => patch.add(LayerKind::Constant(literal(dtype, scalar)), &[]).ok()?,
        Node::Input(_) => new.values[0],
        _ if new == old || new.values.is_empty() => return None,
        _ => patch.pointwise(new.expr, &new.values).ok()?,
    };
    if patch.ty(value).shape == ty.shape {
        return patch.only(result, value);
    }
    let stretched = patch.add(LayerKind::Broadcast { shape: ty.shape.clone() }, &[value]).ok()?;
    patch.only(result, stretched)
}

fn simplified(draft: &Draft, formula: &Formula, result: DType) -> Formula {
    let mut expr = Expr::default();
    let known: Vec<Option<Node>> = formula.values.iter().map(|&v| uniform(draft, v)).collect();
    for node in &formula.expr.nodes {
        expr.nodes.push(match *node {
            Node::Input(i) => known[i as usize].unwrap_or(*node),
            other => other,
        });
    }
    let expr = simplify(&expr, &formula.dtypes(draft, result));
    let distinct = Formula { expr, values: formula.values.clone() }.inline(|_| None);
    distinct.pruned()
}

/// The node for a constant whose elements are all one value, bit for bit.
fn uniform(draft: &Draft, v: ValueId) -> Option<Node> {
    if v == RESULT {
        return None;
    }
    let LayerKind::Constant(literal) = &draft.producer(v)?.kind else { return None };
    let dtype = literal.ty().dtype;
    let mut elements = literal.bytes().chunks_exact(dtype.size());
    let first = elements.next()?;
    elements.all(|e| e == first).then(|| {
        let scalar =
            if dtype.is_float() { Scalar::Float(literal.f64_at(0)) } else { Scalar::Int(literal.i64_at(0)) };
        Node::Const(dtype, scalar)
    })
}

fn literal(dtype: DType, scalar: Scalar) -> Literal {
    let ty = TensorType::new(dtype, []);
    match scalar {
        Scalar::Float(v) => Literal::scalar(dtype, v),
        Scalar::Int(v) => Literal::from_i64(ty, [v]).expect("one element"),
    }
}

/// The type of the layer's own result, before its epilogue.
fn epilogue_dtype(draft: &Draft, at: usize) -> Option<DType> {
    let layer = draft.layer(at);
    let own: Vec<&TensorType> = layer.inputs[..layer.kind.arity()?].iter().map(|&v| draft.ty(v)).collect();
    Some(crate::network::infer(&layer.kind, None, &own).ok()?[0].dtype)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, binary, f32s, unary};
    use crate::{DType, Literal};

    #[test]
    fn uniform_constants_move_into_expressions() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[3]));
        let twos = b.constant(Literal::from_f64(f32s(&[2, 3]), [2.0; 6]).unwrap());
        let y = binary(&mut b, Binary::Mul, x, twos);
        let out = check::pass("algebra", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "pointwise broadcast");
        assert_eq!(out.layers.len(), 2);
    }

    #[test]
    fn neutral_operations_vanish_and_others_stay() {
        for (c, left) in [(-0.0, ""), (0.0, "pointwise")] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[8]));
            let zero = b.constant(Literal::scalar(DType::F32, c));
            let y = binary(&mut b, Binary::Add, x, zero);
            assert_eq!(check::kinds(&check::pass("algebra", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn an_epilogue_that_does_nothing_goes() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[4, 4])), b.parameter("w", f32s(&[4, 4])));
        let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, w]).unwrap();
        let y = unary(&mut b, Unary::Neg, y);
        let y = unary(&mut b, Unary::Neg, y);
        assert_eq!(
            check::kinds(&check::pass("algebra", b.finish(vec![y]), true)),
            "matmul pointwise pointwise"
        );

        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[4, 4])), b.parameter("w", f32s(&[4, 4])));
        let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, w]).unwrap();
        let y = unary(&mut b, Unary::Neg, y);
        let y = unary(&mut b, Unary::Neg, y);
        assert_eq!(check::kinds(&check::optimize(b.finish(vec![y]))), "matmul");
    }

    #[test]
    fn an_operand_read_twice_is_one() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[8]));
        let y = binary(&mut b, Binary::Add, x, x);
        let out = check::pass("algebra", b.finish(vec![y]), true);
        assert_eq!(out.layers[0].inputs.len(), 1);
    }
}
