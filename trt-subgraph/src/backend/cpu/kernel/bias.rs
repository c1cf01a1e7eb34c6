//! The part of an epilogue that a primitive does itself: adding a vector to the channels.

use crate::DType;
use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::view::View;
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::{Expr, Layer, ValueId};

/// The bias of a layer whose channels are `axis` of its result, and what remains of `epilogue`, which has to begin with the sum of the
/// layer's own result and a vector along the channels.
pub fn split(
    a: &Assembler,
    layer: &Layer,
    axis: usize,
    epilogue: Option<&Expr>,
) -> Option<(ValueId, Option<Expr>)> {
    let own = layer.kind.arity()?;
    let shape = a.network.ty(layer.outputs[0]).shape.clone();
    let (operand, rest) = peel(epilogue?)?;
    let value = *layer.inputs.get(own + operand - 1)?;
    let ty = a.network.ty(value);
    let missing = shape.len() - ty.rank();
    let vector = shape[axis] > 0
        && axis >= missing
        && (0..ty.rank()).all(|i| ty.shape[i] == if i + missing == axis { shape[axis] } else { 1 });
    vector.then_some((value, rest))
}

/// [`split`] of the layer's epilogue, with the bias as a dense vector where it lies as one, in f32.
pub fn split_dense(a: &mut Assembler, layer: &Layer, axis: usize) -> Option<(View, Option<Expr>)> {
    let (value, rest) = split(a, layer, axis, layer.epilogue.as_ref())?;
    let ty = a.network.ty(value).clone();
    if ty.dtype != DType::F32 {
        return None;
    }
    let view = a.view(value).reshape(&[ty.elements()])?;
    view.is_row_major().then_some((view, rest))
}

/// Cuts `input 0 + input i` off the start of an expression that reads input 0 nowhere else: gives `i`, and what remains where
/// that is not input 0 alone.
pub fn peel(expr: &Expr) -> Option<(usize, Option<Expr>)> {
    peel_off(Binary::Add, expr)
}

/// The same for another function of both, whose operands may stand in either order.
pub fn peel_off(function: Binary, expr: &Expr) -> Option<(usize, Option<Expr>)> {
    let (other, rest) = first_with_own(function, expr)?;
    let Node::Input(operand) = other else { return None };
    Some((operand as usize, rest))
}

/// Cuts `input 0 * v` off the start in the same way, where `v` is a literal of f32.
pub fn peel_factor(expr: &Expr) -> Option<(f32, Option<Expr>)> {
    let (other, rest) = first_with_own(Binary::Mul, expr)?;
    let Node::Const(DType::F32, Scalar::Float(factor)) = other else { return None };
    Some((factor as f32, rest))
}

/// The other operand of the function that an expression begins with, where its one operand is input 0, which is read nowhere else; and
/// what remains.
fn first_with_own(function: Binary, expr: &Expr) -> Option<(Node, Option<Expr>)> {
    let own = expr.nodes.iter().position(|n| *n == Node::Input(0))? as u32;
    let mut users = Vec::new();
    for (at, node) in expr.nodes.iter().enumerate() {
        node.map(|r| {
            if r == own {
                users.push(at);
            }
            r
        });
    }
    let [at] = users[..] else { return None };
    let Node::Binary(found, x, y) = expr.nodes[at] else { return None };
    if found != function {
        return None;
    }
    let other = expr.nodes[if x == own { y } else { x } as usize];
    let mut rest = expr.clone();
    rest.nodes[at] = Node::Input(0);
    let root = rest.root();
    let rest = rest.finish(root);
    Some((other, (rest != Expr::identity()).then_some(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::Unary;

    #[test]
    fn a_sum_is_peeled_off_the_start() {
        let sum = Expr::binary(Binary::Add);
        assert_eq!(peel(&sum), Some((1, None)));
        let tanh = Expr::unary(Unary::Tanh).compose(&[(&sum, &[0, 1])]);
        assert_eq!(peel(&tanh), Some((1, Some(Expr::unary(Unary::Tanh)))));
        let twice = Expr::binary(Binary::Mul).compose(&[(&tanh, &[0, 1]), (&Expr::identity(), &[0])]);
        assert_eq!(peel(&twice), None);
        assert_eq!(peel(&Expr::unary(Unary::Tanh)), None);
    }

    #[test]
    fn a_factor_is_peeled_off_the_start() {
        let mut scaled = Expr::identity();
        let own = scaled.root();
        let factor = scaled.push(Node::Const(DType::F32, Scalar::Float(0.125)));
        scaled.push(Node::Binary(Binary::Mul, factor, own));
        assert_eq!(peel_factor(&scaled), Some((0.125, None)));
        assert_eq!((peel(&scaled), peel_off(Binary::Mul, &scaled)), (None, None));
        let sum = Expr::binary(Binary::Add).compose(&[(&scaled, &[0]), (&Expr::identity(), &[1])]);
        assert_eq!(peel_factor(&sum), Some((0.125, Some(Expr::binary(Binary::Add)))));
    }
}
