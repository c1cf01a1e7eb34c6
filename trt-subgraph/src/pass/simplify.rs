//! Rewriting of scalar expressions, exact to the bit for every operand: signed zeros, NaN and infinities included.
//!
//! `x + 0.0` is not `x` (it turns -0.0 into 0.0) and stays; `x + -0.0` and `x - 0.0` are. `x * 0` stays on floats.

use crate::network::Expr;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use crate::{DType, Literal, TensorType};

/// An expression with the same value for all operands of these types.
pub(super) fn simplify(expr: &Expr, inputs: &[DType]) -> Expr {
    let mut out = Simplifier { expr: Expr::default(), types: Vec::new(), inputs };
    let mut at: Vec<Ref> = Vec::with_capacity(expr.nodes.len());
    for node in &expr.nodes {
        let r = out.put(node.map(|r| at[r as usize]));
        at.push(r);
    }
    let root = *at.last().expect("an expression has at least one node");
    out.expr.finish(root)
}

struct Simplifier<'a> {
    expr: Expr,
    types: Vec<DType>,
    inputs: &'a [DType],
}

impl Simplifier<'_> {
    /// The place of a node of the same value.
    fn put(&mut self, node: Node) -> Ref {
        let same = match node {
            Node::Cast(to, a) => self.cast(to, a),
            Node::Unary(f, a) => self.unary(f, a),
            Node::Binary(f, a, b) => self.binary(f, a, b),
            Node::Select(c, a, b) => self.select(c, a, b),
            Node::Input(_) | Node::Const(..) => None,
        };
        same.unwrap_or_else(|| {
            let r = self.expr.push(node);
            if r as usize == self.types.len() {
                let dtype = self.dtype(node);
                self.types.push(dtype);
            }
            r
        })
    }

    fn dtype(&self, node: Node) -> DType {
        match node {
            Node::Input(i) => self.inputs[i as usize],
            Node::Const(d, _) | Node::Cast(d, _) => d,
            Node::Unary(Unary::IsNan | Unary::IsInf, _) => DType::Bool,
            Node::Binary(f, ..) if f.is_comparison() => DType::Bool,
            Node::Unary(_, a) | Node::Binary(_, a, _) | Node::Select(_, a, _) => self.types[a as usize],
        }
    }

    fn node(&self, r: Ref) -> Node {
        self.expr.nodes[r as usize]
    }

    /// The literal at a place, widened to f64; `None` for integers that f64 does not hold.
    fn literal(&self, r: Ref) -> Option<f64> {
        match self.node(r) {
            Node::Const(_, Scalar::Float(v)) => Some(v),
            Node::Const(_, Scalar::Int(v)) if (v as f64) as i128 == v as i128 => Some(v as f64),
            _ => None,
        }
    }

    fn cast(&mut self, to: DType, a: Ref) -> Option<Ref> {
        let from = self.types[a as usize];
        match self.node(a) {
            Node::Input(_) | Node::Cast(..) if from == to => Some(a),
            _ if from == to && !matches!(to, DType::F16 | DType::BF16) => Some(a),
            Node::Cast(_, inner) if keeps(self.types[inner as usize], from, to) => {
                Some(self.put(Node::Cast(to, inner)))
            }
            Node::Const(_, scalar) => converted(scalar, to).map(|s| self.put(Node::Const(to, s))),
            _ => None,
        }
    }

    fn unary(&mut self, f: Unary, a: Ref) -> Option<Ref> {
        use Unary::*;
        match (f, self.node(a)) {
            (Neg, Node::Unary(Neg, x)) | (Not, Node::Unary(Not, x)) => Some(x),
            (Abs, Node::Unary(Abs, _)) => Some(a),
            // Not unsigned: there a negation wraps to another magnitude.
            (Abs, Node::Unary(Neg, x)) if self.types[a as usize] != DType::U8 => {
                Some(self.put(Node::Unary(Abs, x)))
            }
            (Floor | Ceil | Round | Trunc, _) if self.types[a as usize].is_int() => Some(a),
            _ => None,
        }
    }

    fn binary(&mut self, f: Binary, a: Ref, b: Ref) -> Option<Ref> {
        use Binary::*;
        if let Some(same) = self.neutral(f, a, b) {
            return Some(same);
        }
        let commutes = matches!(f, Add | Mul | And | Or | Xor | Max | Min);
        if commutes && let Some(same) = self.neutral(f, b, a) {
            return Some(same);
        }
        match (f, self.literal(b)) {
            (Max | Min | And | Or, _) if a == b => Some(a),
            (Max | Min, Some(_)) if matches!(self.node(a), Node::Binary(g, _, c) if g == f && c == b) => {
                Some(a)
            }
            (Pow, Some(2.0)) => Some(self.put(Node::Binary(Mul, a, a))),
            (Div, Some(c)) if reciprocal_is_exact(c) => {
                let inverse = self.put(Node::Const(self.types[b as usize], Scalar::Float(1.0 / c)));
                Some(self.put(Node::Binary(Mul, a, inverse)))
            }
            _ => None,
        }
    }

    /// `a`, when `f(a, b)` is `a` for every `a`.
    fn neutral(&self, f: Binary, a: Ref, b: Ref) -> Option<Ref> {
        use Binary::*;
        let (c, float) = (self.literal(b)?, self.types[a as usize].is_float());
        let boolean = self.types[a as usize] == DType::Bool;
        let zero = |negative: bool| c == 0.0 && (!float || c.is_sign_negative() == negative);
        let holds = match f {
            Add => zero(true),
            Sub => zero(false),
            Mul | Div | Pow => c == 1.0,
            FloorDiv | TruncDiv => c == 1.0 && !float,
            Max => c == f64::NEG_INFINITY,
            Min => c == f64::INFINITY,
            And => boolean && c == 1.0,
            Or | Xor | Shl | Shr => c == 0.0,
            _ => false,
        };
        holds.then_some(a)
    }

    fn select(&mut self, c: Ref, a: Ref, b: Ref) -> Option<Ref> {
        match self.node(c) {
            _ if a == b => Some(a),
            Node::Const(_, Scalar::Int(v)) => Some(if v != 0 { a } else { b }),
            Node::Unary(Unary::Not, x) => Some(self.put(Node::Select(x, b, a))),
            _ => None,
        }
    }
}

/// Does a cast `from -> through -> to` equal `from -> to`?
fn keeps(from: DType, through: DType, to: DType) -> bool {
    let holds = |wide: DType, narrow: DType| {
        narrow == DType::Bool || (digits(wide) >= digits(narrow) && signed(wide) >= signed(narrow))
    };
    match (from.is_float(), through.is_float()) {
        (true, true) => {
            digits(through) >= digits(from)
                && (from, through) != (DType::BF16, DType::F16)
                && (from, through) != (DType::F16, DType::BF16)
        }
        (false, false) => holds(through, from) && through != DType::Bool,
        (false, true) => holds(through, from) && (to.is_float() || holds(to, from)),
        (true, false) => false,
    }
}

/// Bits of magnitude that a type holds exactly.
fn digits(d: DType) -> u32 {
    match d {
        DType::Bool => 1,
        DType::I8 => 7,
        DType::U8 | DType::BF16 => 8,
        DType::F16 => 11,
        DType::I16 => 15,
        DType::F32 => 24,
        DType::I32 => 31,
        DType::F64 => 53,
        DType::I64 => 63,
    }
}

fn signed(d: DType) -> bool {
    !matches!(d, DType::Bool | DType::U8)
}

/// A literal converted as `Node::Cast` does it; floats that an integer type does not hold are left to the backend.
fn converted(scalar: Scalar, to: DType) -> Option<Scalar> {
    let literal = match scalar {
        Scalar::Int(v) => Literal::from_i64(TensorType::new(to, []), [v])?,
        Scalar::Float(v) if to.is_int() && (v.is_nan() || v.abs() >= 2f64.powi(digits(to) as i32)) => {
            return None;
        }
        Scalar::Float(v) if to == DType::U8 && v < 0.0 => return None,
        Scalar::Float(v) => Literal::scalar(to, v),
    };
    Some(if to.is_float() { Scalar::Float(literal.f64_at(0)) } else { Scalar::Int(literal.i64_at(0)) })
}

/// Is `x / c` the same as `x * (1 / c)`? For powers of two, away from the ends of the narrowest computing type.
fn reciprocal_is_exact(c: f64) -> bool {
    const MANTISSA: u64 = (1 << 52) - 1;
    c.to_bits() & MANTISSA == 0 && (1e-4..=1e4).contains(&c.abs())
}

#[cfg(test)]
mod tests {
    use super::simplify;
    use crate::DType::{self, *};
    use crate::network::Expr;
    use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};

    fn with_literal(f: Binary, dtype: DType, c: f64) -> Expr {
        let scalar = if dtype.is_float() { Scalar::Float(c) } else { Scalar::Int(c as i64) };
        Expr { nodes: vec![Node::Input(0), Node::Const(dtype, scalar), Node::Binary(f, 0, 1)] }
    }

    fn casts(path: &[DType]) -> Expr {
        let steps = path.iter().enumerate().map(|(i, &d)| Node::Cast(d, i as Ref));
        Expr { nodes: std::iter::once(Node::Input(0)).chain(steps).collect() }
    }

    #[test]
    fn neutral_literals() {
        let gone = [
            (Binary::Mul, F32, 1.0),
            (Binary::Add, F32, -0.0),
            (Binary::Sub, F32, 0.0),
            (Binary::Div, F64, 1.0),
            (Binary::Pow, F32, 1.0),
            (Binary::Max, F16, f64::NEG_INFINITY),
            (Binary::Add, I64, 0.0),
            (Binary::Mul, U8, 1.0),
            (Binary::And, Bool, 1.0),
            (Binary::Or, I32, 0.0),
        ];
        for (f, d, c) in gone {
            assert_eq!(simplify(&with_literal(f, d, c), &[d]), Expr::identity(), "{f:?} {d} {c}");
        }
    }

    #[test]
    fn what_changes_a_signed_zero_or_nan_stays() {
        let stays = [
            (Binary::Add, F32, 0.0),
            (Binary::Sub, F32, -0.0),
            (Binary::Mul, F32, 0.0),
            (Binary::Max, F32, f64::INFINITY),
            (Binary::Div, F32, 3.0),
            (Binary::And, I32, 1.0),
        ];
        for (f, d, c) in stays {
            let e = with_literal(f, d, c);
            assert_eq!(simplify(&e, &[d]), e, "{f:?} {d} {c}");
        }
    }

    #[test]
    fn powers_of_two_divide_by_multiplication() {
        let e = simplify(&with_literal(Binary::Div, F32, 8.0), &[F32]);
        assert!(e.nodes.contains(&Node::Const(F32, Scalar::Float(0.125))));
        assert!(matches!(e.nodes.last(), Some(Node::Binary(Binary::Mul, ..))));
    }

    #[test]
    fn casts_of_casts() {
        let through = [
            (I32, vec![I64, F32], true),
            (F16, vec![F32, F16], true),
            (F32, vec![F64, I32], true),
            (U8, vec![I16, F32], true),
            (F32, vec![F16, F32], false),
            (F32, vec![I64, F32], false),
            (I64, vec![F32, I64], false),
            (I8, vec![U8, I32], false),
            (I16, vec![F32, U8], false),
            (F32, vec![Bool, F32], false),
            (BF16, vec![F16, F32], false),
        ];
        for (from, path, shrinks) in through {
            let e = simplify(&casts(&path), &[from]);
            let casts = e.nodes.iter().filter(|n| matches!(n, Node::Cast(..))).count();
            assert_eq!(casts < path.len(), shrinks, "{from} through {path:?}");
        }
    }

    #[test]
    fn double_negation_and_known_conditions() {
        let neg = Expr::unary(Unary::Neg);
        let twice = neg.compose(&[(&neg, &[0])]);
        assert_eq!(simplify(&twice, &[F32]), Expr::identity());
        let known =
            vec![Node::Input(0), Node::Input(1), Node::Const(Bool, Scalar::Int(0)), Node::Select(2, 0, 1)];
        let other = Expr { nodes: vec![Node::Input(1)] };
        assert_eq!(simplify(&Expr { nodes: known }, &[F32; 2]), other);
    }
}
