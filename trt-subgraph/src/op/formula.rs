//! Scalar formulas as ordinary arithmetic: `x * x.sigmoid()` written in Rust, kept as an [`Expr`].

use super::{float_tensor, one};
use crate::DType;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use std::cell::RefCell;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// An expression being written; all its terms but conditions have type `dtype`.
#[derive(Debug)]
pub(super) struct Formula {
    dtype: DType,
    expr: RefCell<Expr>,
}

/// A step of a [`Formula`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Term<'f> {
    formula: &'f Formula,
    at: Ref,
}

/// What may stand in a formula: a term, or a number of the formula's type (truncated where that is an integer).
pub(super) trait Operand<'f> {
    /// Its position in the formula.
    fn place(self, formula: &'f Formula) -> Ref;
}

impl<'f> Operand<'f> for Term<'f> {
    fn place(self, _: &'f Formula) -> Ref {
        self.at
    }
}

impl<'f> Operand<'f> for f64 {
    fn place(self, formula: &'f Formula) -> Ref {
        let float = formula.dtype.is_float();
        let value = if float { Scalar::Float(self) } else { Scalar::Int(self as i64) };
        formula.push(Node::Const(formula.dtype, value))
    }
}

impl Formula {
    fn push(&self, node: Node) -> Ref {
        self.expr.borrow_mut().push(node)
    }
}

/// The type that arithmetic on `dtype` happens in: f32 for f16 and bf16, else the type itself.
pub(super) fn compute_type(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// The expression `f` over operands of these types. They are converted to the compute type of `result` first, except that `Bool`
/// ones stay conditions (unless `result` is `Bool`); the outcome is converted to `result`.
pub(super) fn expression<const N: usize>(
    operands: [DType; N],
    result: DType,
    f: impl for<'f> FnOnce([Term<'f>; N]) -> Term<'f>,
) -> Expr {
    let formula = Formula { dtype: compute_type(result), expr: RefCell::default() };
    let terms = std::array::from_fn(|i| {
        let at = formula.push(Node::Input(i as u32));
        let keep = operands[i] == formula.dtype || operands[i] == DType::Bool;
        Term { formula: &formula, at: if keep { at } else { formula.push(Node::Cast(formula.dtype, at)) } }
    });
    let mut root = f(terms).at;
    if result != formula.dtype {
        root = formula.push(Node::Cast(result, root));
    }
    formula.expr.into_inner().finish(root)
}

/// What enters a formula.
#[derive(Clone, Copy, Debug)]
pub(super) enum Leaf {
    /// Operand `.0` of the layer, of type `.1`.
    Input(u32, DType),
    /// A literal of the compute type.
    Literal(Scalar),
}

/// The expression `f` over these leaves, all converted to the compute type of `dtype`; an outcome that is no condition is converted
/// to `dtype`.
pub(super) fn converted(
    leaves: &[Leaf],
    dtype: DType,
    f: impl for<'f> FnOnce(&[Term<'f>]) -> Term<'f>,
) -> Expr {
    let formula = Formula { dtype: compute_type(dtype), expr: RefCell::default() };
    let mut inputs = Vec::new();
    let mut terms = Vec::new();
    for leaf in leaves {
        let at = match *leaf {
            Leaf::Literal(value) => formula.push(Node::Const(formula.dtype, value)),
            Leaf::Input(i, from) => {
                inputs.resize(inputs.len().max(i as usize + 1), from);
                inputs[i as usize] = from;
                let at = formula.push(Node::Input(i));
                if from == formula.dtype { at } else { formula.push(Node::Cast(formula.dtype, at)) }
            }
        };
        terms.push(Term { formula: &formula, at });
    }
    let root = f(&terms).at;
    let mut expr = formula.expr.into_inner().finish(root);
    let condition = |e: &Expr| e.dtypes(&inputs).is_ok_and(|t| t.last() == Some(&DType::Bool));
    if compute_type(dtype) != dtype && !condition(&expr) {
        let root = expr.root();
        expr.push(Node::Cast(dtype, root));
    }
    expr
}

/// One pointwise layer: [`expression`] over values.
pub(super) fn pointwise<const N: usize>(
    lower: &mut Lower,
    operands: [ValueId; N],
    result: DType,
    f: impl for<'f> FnOnce([Term<'f>; N]) -> Term<'f>,
) -> Result<ValueId, Refusal> {
    let expr = expression(operands.map(|v| lower.dtype(v)), result, f);
    lower.pointwise(expr, &operands)
}

/// An operator that is a floating-point function of `self`.
pub(super) fn activation(
    lower: &mut Lower,
    args: &Args,
    f: impl for<'f> FnOnce(Term<'f>) -> Term<'f>,
) -> Result<Vec<Item>, Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let dtype = lower.dtype(x);
    one(pointwise(lower, [x], dtype, |[x]| f(x))?)
}

impl<'f> Term<'f> {
    /// `f(self)`.
    pub fn unary(self, f: Unary) -> Term<'f> {
        Term { at: self.formula.push(Node::Unary(f, self.at)), ..self }
    }

    /// `f(self, other)`.
    pub fn binary(self, f: Binary, other: impl Operand<'f>) -> Term<'f> {
        let other = other.place(self.formula);
        Term { at: self.formula.push(Node::Binary(f, self.at, other)), ..self }
    }

    /// As if it had been kept in `dtype` on the way: rounded to it.
    pub fn kept_in(self, dtype: DType) -> Term<'f> {
        if dtype == self.formula.dtype {
            return self;
        }
        let narrow = self.formula.push(Node::Cast(dtype, self.at));
        Term { at: self.formula.push(Node::Cast(self.formula.dtype, narrow)), ..self }
    }

    /// `self ? a : b`; `self` is a condition.
    pub fn select(self, a: impl Operand<'f>, b: impl Operand<'f>) -> Term<'f> {
        let (a, b) = (a.place(self.formula), b.place(self.formula));
        Term { at: self.formula.push(Node::Select(self.at, a, b)), ..self }
    }
}

macro_rules! functions {
    ($(#[$m:meta] $name:ident = $f:ident;)*) => {
        impl<'f> Term<'f> { $(#[$m] pub fn $name(self) -> Term<'f> { self.unary(Unary::$f) })* }
    };
}

functions! {
    /// Absolute value.
    abs = Abs;
    /// e^x.
    exp = Exp;
    /// e^x - 1.
    expm1 = Expm1;
    /// ln(1 + x).
    ln_1p = Log1p;
    /// Hyperbolic tangent.
    tanh = Tanh;
    /// Error function.
    erf = Erf;
    /// 1 / (1 + e^-x).
    sigmoid = Sigmoid;
    /// 1 / sqrt(x).
    rsqrt = Rsqrt;
}

macro_rules! relations {
    ($(#[$m:meta] $name:ident = $f:ident;)*) => {
        impl<'f> Term<'f> {
            $(#[$m] pub fn $name(self, other: impl Operand<'f>) -> Term<'f> { self.binary(Binary::$f, other) })*
        }
    };
}

relations! {
    /// The larger; NaN if either is.
    max = Max;
    /// The smaller; NaN if either is.
    min = Min;
    /// Is it less? A condition, as all below.
    lt = Lt;
    /// Is it less or equal?
    le = Le;
    /// Is it greater?
    gt = Gt;
    /// Is it equal?
    same = Eq;
}

macro_rules! arithmetic {
    ($($op:ident :: $method:ident),*) => { $(
        impl<'f, T: Operand<'f>> $op<T> for Term<'f> {
            type Output = Term<'f>;
            fn $method(self, other: T) -> Term<'f> {
                self.binary(Binary::$op, other)
            }
        }
        impl<'f> $op<Term<'f>> for f64 {
            type Output = Term<'f>;
            fn $method(self, other: Term<'f>) -> Term<'f> {
                let at = self.place(other.formula);
                Term { at, ..other }.binary(Binary::$op, other)
            }
        }
    )* };
}

arithmetic!(Add::add, Sub::sub, Mul::mul, Div::div);

impl<'f> Neg for Term<'f> {
    type Output = Term<'f>;
    fn neg(self) -> Term<'f> {
        self.unary(Unary::Neg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_computes_in_f32() {
        let e = expression([DType::F16], DType::F16, |[x]| x * x.sigmoid());
        let types = e.dtypes(&[DType::F16]).unwrap();
        assert_eq!((types[1], *types.last().unwrap()), (DType::F32, DType::F16));
        assert_eq!(e.nodes.len(), 5);
    }

    #[test]
    fn conditions_stay_bool_and_numbers_take_the_type() {
        let e = expression([DType::Bool, DType::I32], DType::I32, |[c, x]| c.select(2.0 - x, 3.9));
        assert!(e.dtypes(&[DType::Bool, DType::I32]).is_ok());
        assert!(e.nodes.contains(&Node::Const(DType::I32, Scalar::Int(3))));
    }
}
