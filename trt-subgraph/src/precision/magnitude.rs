//! How large the result of an expression can become.

use crate::network::Expr;
use crate::network::expr::{Binary, Node, Unary};

/// An upper bound of the result's absolute value, where operand `i` stays below `bounds[i]`; infinite where there is none.
pub fn magnitude(expr: &Expr, bounds: &[f64]) -> f64 {
    let mut out: Vec<f64> = Vec::with_capacity(expr.nodes.len());
    for node in &expr.nodes {
        let of = |r: u32| out[r as usize];
        out.push(match *node {
            Node::Input(i) => bounds.get(i as usize).copied().unwrap_or(f64::INFINITY),
            Node::Const(_, value) => value.as_f64().abs(),
            Node::Unary(f, a) => unary(f, of(a)),
            Node::Binary(f, a, b) => {
                let divisor = match expr.nodes[b as usize] {
                    Node::Const(_, value) => Some(value.as_f64().abs()),
                    _ => None,
                };
                binary(f, of(a), of(b), divisor)
            }
            Node::Select(_, a, b) => of(a).max(of(b)),
            Node::Cast(_, a) => of(a),
        });
    }
    out.last().copied().unwrap_or(f64::INFINITY)
}

fn unary(f: Unary, a: f64) -> f64 {
    use Unary::*;
    match f {
        Neg | Abs | Trunc | Asinh => a,
        Floor | Ceil | Round => a + 1.0,
        Sqrt => a.sqrt(),
        Exp | Expm1 | Sinh | Cosh => a.exp(),
        Exp2 => a.exp2(),
        // Of the least positive f32 it is -104; larger numbers give less.
        Log | Log2 | Log10 | Log1p => 150.0 + a.max(1.0).log2(),
        Sin | Cos | Tanh | Erf | Sigmoid | Sign | Not | IsNan | IsInf => 1.0,
        Asin | Acos | Atan => 4.0,
        Acosh => a.max(1.0),
        Tan | Rsqrt | Recip | Atanh => f64::INFINITY,
    }
}

/// `divisor`: the absolute value of `b` where that is a literal.
fn binary(f: Binary, a: f64, b: f64, divisor: Option<f64>) -> f64 {
    use Binary::*;
    match f {
        Add | Sub => a + b,
        Mul => a * b,
        Div | FloorDiv | TruncDiv => divisor.map_or(f64::INFINITY, |d| a / d + 1.0),
        Rem | Fmod => b,
        Max | Min => a.max(b),
        Atan2 => 4.0,
        Eq | Ne | Lt | Le | Gt | Ge => 1.0,
        Pow | And | Or | Xor | Shl | Shr => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::network::expr::Scalar;

    #[test]
    fn bounds_follow_the_formula() {
        let mut e = Expr::default();
        let x = e.push(Node::Input(0));
        let sigmoid = e.push(Node::Unary(Unary::Sigmoid, x));
        let silu = e.push(Node::Binary(Binary::Mul, x, sigmoid));
        let two = e.push(Node::Const(DType::F32, Scalar::Float(2.0)));
        let half = e.push(Node::Binary(Binary::Div, silu, two));
        assert_eq!(magnitude(&e.clone().finish(half), &[128.0]), 65.0);
        let square = e.push(Node::Binary(Binary::Mul, x, x));
        assert_eq!(magnitude(&e.clone().finish(square), &[300.0]), 90000.0);
        let exp = e.push(Node::Unary(Unary::Exp, x));
        assert!(magnitude(&e.clone().finish(exp), &[128.0]) > 1e50);
        let quotient = e.push(Node::Binary(Binary::Div, two, x));
        assert!(magnitude(&e.finish(quotient), &[128.0]).is_infinite());
    }
}
