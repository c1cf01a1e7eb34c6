//! Scalar expressions: what a pointwise layer or an epilogue computes for one element.
//!
//! An expression is a list of nodes in evaluation order; the last node is the result. Operands are positions of earlier
//! nodes. Every node has one element type, found by [`Expr::dtypes`] from the types of the inputs:
//!
//! * `Input(i)` has the type of operand `i`; `Const` carries its own; `Cast` the named one.
//! * Both sides of a `Binary` and both branches of a `Select` have the same type: casts are explicit.
//! * Comparisons give `Bool`; a `Select` condition is `Bool`.
//! * f32, f16 and bf16 compute in f32; a `Cast` to f16 or bf16, and storing, rounds to it. Integers wrap at every node.

mod function;
mod rounding;

pub use function::{Binary, Unary};

use crate::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Position of a node in its expression.
pub type Ref = u32;

/// A literal scalar.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Scalar {
    /// For floating-point types.
    Float(f64),
    /// For integers and `Bool` (0 or 1).
    Int(i64),
}

impl Scalar {
    /// Widened to f64.
    pub fn as_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
        }
    }
}

impl PartialEq for Scalar {
    /// Bitwise, so that NaN equals itself and -0.0 differs from 0.0.
    fn eq(&self, other: &Scalar) -> bool {
        match (self, other) {
            (Scalar::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            _ => false,
        }
    }
}

/// One step of an expression.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub enum Node {
    /// Operand `i` of the layer. In an epilogue `Input(0)` is the layer's own result.
    Input(u32),
    /// A literal of the given type.
    Const(DType, Scalar),
    /// A function of one value.
    Unary(Unary, Ref),
    /// A function of two values of one type.
    Binary(Binary, Ref, Ref),
    /// `condition ? a : b`.
    Select(Ref, Ref, Ref),
    /// Conversion: float to integer truncates towards zero, to `Bool` is `!= 0`.
    Cast(DType, Ref),
}

/// A scalar expression; see the module's text for its typing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Expr {
    /// The steps in evaluation order; the last is the result.
    pub nodes: Vec<Node>,
}

impl Expr {
    /// The expression that gives operand 0 back.
    pub fn identity() -> Expr {
        Expr { nodes: vec![Node::Input(0)] }
    }

    /// `f(input 0)`.
    pub fn unary(f: Unary) -> Expr {
        Expr { nodes: vec![Node::Input(0), Node::Unary(f, 0)] }
    }

    /// `f(input 0, input 1)`.
    pub fn binary(f: Binary) -> Expr {
        Expr { nodes: vec![Node::Input(0), Node::Input(1), Node::Binary(f, 0, 1)] }
    }

    /// Input 0 converted.
    pub fn cast(to: DType) -> Expr {
        Expr { nodes: vec![Node::Input(0), Node::Cast(to, 0)] }
    }

    /// Appends a node and returns its position; an equal node that is there already is used again.
    pub fn push(&mut self, node: Node) -> Ref {
        if let Some(at) = self.nodes.iter().position(|n| *n == node) {
            return at as Ref;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as Ref
    }

    /// Position of the result.
    pub fn root(&self) -> Ref {
        (self.nodes.len() - 1) as Ref
    }

    /// How many operands it reads: one more than the largest input.
    pub fn arity(&self) -> usize {
        let last = self
            .nodes
            .iter()
            .filter_map(|n| if let Node::Input(i) = n { Some(*i as usize + 1) } else { None });
        last.max().unwrap_or(0)
    }

    /// The type of every node for these operand types; the error names the node and the rule.
    pub fn dtypes(&self, inputs: &[DType]) -> Result<Vec<DType>, ExprError> {
        if self.nodes.is_empty() {
            return Err(ExprError { node: 0, rule: "an expression has at least one node" });
        }
        let mut out: Vec<DType> = Vec::with_capacity(self.nodes.len());
        for (at, node) in self.nodes.iter().enumerate() {
            let fail = |rule| ExprError { node: at, rule };
            let of = |r: Ref| out.get(r as usize).copied().ok_or(fail("operands come before their use"));
            let dtype = match *node {
                Node::Input(i) => *inputs.get(i as usize).ok_or(fail("the operand does not exist"))?,
                Node::Const(d, v) => match (d.is_float(), v) {
                    (true, Scalar::Float(_)) | (false, Scalar::Int(_)) => d,
                    _ => return Err(fail("a literal's form follows its type")),
                },
                Node::Cast(d, r) => of(r).map(|_| d)?,
                Node::Unary(f, r) => unary_dtype(f, of(r)?).ok_or(fail("the function takes no such type"))?,
                Node::Binary(f, a, b) => {
                    let (a, b) = (of(a)?, of(b)?);
                    if a != b {
                        return Err(fail("both sides have one type"));
                    }
                    binary_dtype(f, a).ok_or(fail("the function takes no such type"))?
                }
                Node::Select(c, a, b) => {
                    if of(c)? != DType::Bool {
                        return Err(fail("a condition is bool"));
                    }
                    if of(a)? != of(b)? {
                        return Err(fail("both branches have one type"));
                    }
                    of(a)?
                }
            };
            out.push(dtype);
        }
        Ok(out)
    }

    /// This expression with input `i` replaced by `parts[i]`: an expression over a new operand list, and the renaming of that
    /// part's inputs to it. Shared steps are merged.
    pub fn compose(&self, parts: &[(&Expr, &[u32])]) -> Expr {
        let mut out = Expr::default();
        let roots: Vec<Ref> =
            parts.iter().map(|(e, inputs)| out.graft(e, |i| Node::Input(inputs[i as usize]))).collect();
        let mut at = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let r = match *node {
                Node::Input(i) => roots[i as usize],
                other => out.push(other.map(|r| at[r as usize])),
            };
            at.push(r);
        }
        out.finish(*at.last().expect("an expression has at least one node"))
    }

    /// This expression with its inputs renamed.
    pub fn rename(&self, inputs: &[u32]) -> Expr {
        let mut out = Expr::default();
        let root = out.graft(self, |i| Node::Input(inputs[i as usize]));
        out.finish(root)
    }

    fn graft(&mut self, other: &Expr, input: impl Fn(u32) -> Node) -> Ref {
        let mut at: Vec<Ref> = Vec::with_capacity(other.nodes.len());
        for node in &other.nodes {
            let new = match *node {
                Node::Input(i) => input(i),
                n => n.map(|r| at[r as usize]),
            };
            at.push(self.push(new));
        }
        *at.last().expect("an expression has at least one node")
    }

    /// Drops what follows or does not feed `root`, which becomes the last node.
    pub fn finish(mut self, root: Ref) -> Expr {
        let mut used = vec![false; self.nodes.len()];
        used[root as usize] = true;
        for at in (0..=root as usize).rev() {
            if used[at] {
                self.nodes[at].map(|r| {
                    used[r as usize] = true;
                    r
                });
            }
        }
        let mut to = vec![0; self.nodes.len()];
        let mut kept = Vec::new();
        for at in 0..=root as usize {
            if used[at] {
                to[at] = kept.len() as Ref;
                kept.push(self.nodes[at].map(|r| to[r as usize]));
            }
        }
        self.nodes = kept;
        self
    }
}

impl Node {
    /// The same step with its operand positions renamed.
    pub fn map(self, mut f: impl FnMut(Ref) -> Ref) -> Node {
        match self {
            Node::Input(_) | Node::Const(..) => self,
            Node::Unary(u, a) => Node::Unary(u, f(a)),
            Node::Binary(b, x, y) => Node::Binary(b, f(x), f(y)),
            Node::Select(c, x, y) => Node::Select(f(c), f(x), f(y)),
            Node::Cast(d, a) => Node::Cast(d, f(a)),
        }
    }
}

fn unary_dtype(f: Unary, d: DType) -> Option<DType> {
    use Unary::*;
    match f {
        Neg | Abs | Sign | Floor | Ceil | Round | Trunc => (d != DType::Bool).then_some(d),
        Not => (!d.is_float()).then_some(d),
        IsNan | IsInf => d.is_float().then_some(DType::Bool),
        _ => d.is_float().then_some(d),
    }
}

fn binary_dtype(f: Binary, d: DType) -> Option<DType> {
    use Binary::*;
    match f {
        f if f.is_comparison() => Some(DType::Bool),
        Add | Mul | Max | Min => Some(d),
        Sub | FloorDiv | TruncDiv | Rem | Fmod | Pow => (d != DType::Bool).then_some(d),
        Div | Atan2 => d.is_float().then_some(d),
        And | Or | Xor => (!d.is_float()).then_some(d),
        Shl | Shr => d.is_int().then_some(d),
        Eq | Ne | Lt | Le | Gt | Ge => Some(DType::Bool),
    }
}

/// An ill-typed expression: which node, and the rule that it breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExprError {
    /// Position of the node.
    pub node: usize,
    /// The rule.
    pub rule: &'static str,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expression node {}: {}", self.node, self.rule)
    }
}

impl std::error::Error for ExprError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composition_shares_inputs() {
        // tanh(a + b) * c, with c := a
        let sum = Expr::binary(Binary::Add);
        let tanh = Expr::unary(Unary::Tanh).compose(&[(&sum, &[0, 1])]);
        let out = Expr::binary(Binary::Mul).compose(&[(&tanh, &[0, 1]), (&Expr::identity(), &[0])]);
        assert_eq!(out.arity(), 2);
        assert_eq!(out.nodes.len(), 5);
        assert_eq!(out.dtypes(&[DType::F32; 2]).unwrap()[4], DType::F32);
    }

    #[test]
    fn typing_names_the_rule() {
        let e = Expr::binary(Binary::Add);
        assert_eq!(e.dtypes(&[DType::F32, DType::I64]).unwrap_err().rule, "both sides have one type");
        assert!(Expr::unary(Unary::Exp).dtypes(&[DType::I64]).is_err());
        assert!(e.dtypes(&[DType::F32]).is_err());
        assert!(Expr::default().dtypes(&[]).is_err());
    }
}
