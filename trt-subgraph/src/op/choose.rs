//! Choosing between values: `where`, `masked_fill`, `clamp`.

use super::promote::{Value, elementwise, result_type};
use super::{Def, one};
use crate::DType;
use crate::network::expr::{Binary, Node, Ref};
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// A tensor argument that has to be `Bool`.
fn mask(lower: &Lower, args: &Args, name: &'static str) -> Result<ValueId, Refusal> {
    let v = args.tensor(name)?;
    match lower.dtype(v) {
        DType::Bool => Ok(v),
        found => Err(Refusal::Dtype { arg: name, found }),
    }
}

/// `mask ? a : b` in `dtype`.
fn select(
    lower: &mut Lower,
    mask: ValueId,
    a: Value,
    b: Value,
    dtype: DType,
) -> Result<Vec<Item>, Refusal> {
    let mut expr = Expr::default();
    let mut inputs = vec![mask];
    let condition = expr.push(Node::Input(0));
    let mut branch = |lower: &Lower, expr: &mut Expr, operand| -> Result<Ref, Refusal> {
        Ok(match operand {
            Value::Number(n) => expr.push(Node::Const(dtype, n.literal(dtype, "scalar")?)),
            Value::Tensor(v) => {
                inputs.push(v);
                let r = expr.push(Node::Input(inputs.len() as u32 - 1));
                if lower.dtype(v) == dtype { r } else { expr.push(Node::Cast(dtype, r)) }
            }
        })
    };
    let (a, b) = (branch(lower, &mut expr, a)?, branch(lower, &mut expr, b)?);
    expr.nodes.push(Node::Select(condition, a, b));
    one(lower.pointwise(expr, &inputs)?)
}

/// `condition ? self : other` in the promoted type of the branches.
fn where_(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let mask = mask(lower, args, "condition")?;
    let [a, b] = Value::all(args, ["self", "other"])?;
    let dtype = result_type(lower, &[a, b]);
    select(lower, mask, a, b, dtype)
}

/// `mask ? value : self` in the type of `self`; a tensor value is 0-d.
fn masked_fill(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, mask) = (args.tensor("self")?, mask(lower, args, "mask")?);
    let value = Value::of(args, "value")?;
    let dtype = lower.dtype(x);
    if let Value::Tensor(v) = value
        && (!lower.shape(v).is_empty() || (lower.dtype(v).category() > dtype.category()))
    {
        let found = lower.ty(v).clone();
        return Err(Refusal::Shape { arg: "value", found, expected: "a 0-d tensor of self's category" });
    }
    select(lower, mask, value, Value::Tensor(x), dtype)
}

/// `min(max(self, lower), upper)`, each bound optional, in the promoted type; NaN stays NaN.
fn clamp(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = Value::of(args, "self")?;
    let mut operands = vec![x];
    let mut steps = Vec::new();
    for (name, f) in [("min", Binary::Max), ("max", Binary::Min)] {
        if args.has(name) {
            let bound = Value::of(args, name)?;
            if matches!(bound, Value::Number(n) if n.as_f64().is_nan()) {
                return Err(Refusal::Attribute { arg: name.into(), why: "is NaN".into() });
            }
            operands.push(bound);
            steps.push(f);
        }
    }
    let dtype = result_type(lower, &operands);
    if steps.is_empty() {
        return Err(Refusal::Invalid("at least one of 'min' and 'max' is given".into()));
    }
    if dtype == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: dtype });
    }
    one(elementwise(lower, &operands, dtype, |x| {
        steps.iter().zip(&x[1..]).fold(x[0], |v, (&f, &bound)| v.binary(f, bound))
    })?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor",
            "aten::where.ScalarSelf(Tensor condition, Scalar self, Tensor other) -> Tensor",
            "aten::where.ScalarOther(Tensor condition, Tensor self, Scalar other) -> Tensor",
            "aten::where.Scalar(Tensor condition, Scalar self, Scalar other) -> Tensor",
        ],
        lower: where_,
    },
    Def {
        schemas: &[
            "aten::masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor",
            "aten::masked_fill.Tensor(Tensor self, Tensor mask, Tensor value) -> Tensor",
        ],
        lower: masked_fill,
    },
    Def {
        schemas: &[
            "aten::clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
            "aten::clamp.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
            "aten::clip(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor",
            "aten::clip.Tensor(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor",
            "aten::clamp_min(Tensor self, Scalar min) -> Tensor",
            "aten::clamp_min.Tensor(Tensor self, Tensor min) -> Tensor",
            "aten::clamp_max(Tensor self, Scalar max) -> Tensor",
            "aten::clamp_max.Tensor(Tensor self, Tensor max) -> Tensor",
        ],
        lower: clamp,
    },
];
