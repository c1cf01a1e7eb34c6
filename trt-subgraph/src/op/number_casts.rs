//! Numbers to tensors and back, where the value is known while lowering.

use super::number::Number;
use super::{Def, one};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal};

/// The first number that is too large for an int, which libtorch takes for one all the same.
const I64_END: f64 = 9223372036854775808.0;

/// The number that the first argument holds: itself, or the one element of a tensor of known value.
fn known(lower: &Lower, args: &Args) -> Result<Number, Refusal> {
    let name = args.schema.params[0].name.clone();
    match args.get(&name) {
        Item::Tensor(v) => {
            let literal = lower.known(*v).filter(|l| l.ty().elements() == 1);
            let literal = literal.ok_or(Refusal::NotConstant { arg: name })?;
            Ok(match literal.ty().dtype {
                DType::Bool => Number::Bool(literal.i64_at(0) != 0),
                d if d.is_float() => Number::Float(literal.f64_at(0)),
                _ => Number::Int(literal.i64_at(0)),
            })
        }
        item => Number::of(item).ok_or_else(|| Refusal::Invalid(format!("{item:?} is not a number"))),
    }
}

/// A 0-d tensor: f64, i64 or `Bool`, as the number is.
fn tensor(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let literal = match known(lower, args)? {
        Number::Float(v) => Literal::scalar(DType::F64, v),
        Number::Int(v) => Literal::from_i64(crate::TensorType::new(DType::I64, []), [v]).expect("one element"),
        Number::Bool(v) => Literal::scalar(DType::Bool, v as i64 as f64),
    };
    one(lower.builder.constant(literal))
}

fn int(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let number = known(lower, args)?;
    // Of a number itself, as a cast; of a tensor's, an error.
    if let (Item::Tensor(_), Number::Float(v)) = (args.get(&args.schema.params[0].name), number)
        && !(-I64_END..=I64_END).contains(&v)
    {
        return Err(Refusal::Invalid(format!("{v} is no int")));
    }
    Ok(vec![Item::Int(number.as_i64())])
}

fn float(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Float(known(lower, args)?.as_f64())])
}

fn bool(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Bool(known(lower, args)?.as_f64() != 0.0)])
}

fn number(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![known(lower, args)?.item()])
}

fn not(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    Ok(vec![Item::Bool(known(lower, args)?.as_f64() == 0.0)])
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["prim::NumToTensor.Scalar(Scalar a) -> Tensor", "prim::NumToTensor.bool(bool a) -> Tensor"],
        lower: tensor,
    },
    Def {
        schemas: &[
            "aten::Int.Tensor(Tensor a) -> int",
            "aten::Int.Scalar(Scalar a) -> int",
            "aten::Int.bool(bool a) -> int",
            "aten::Int.float(float a) -> int",
            "aten::IntImplicit(Tensor a) -> int",
        ],
        lower: int,
    },
    Def {
        schemas: &[
            "aten::Float.Tensor(Tensor a) -> float",
            "aten::Float.Scalar(Scalar a) -> float",
            "aten::Float.bool(bool a) -> float",
            "aten::Float.int(int a) -> float",
            "aten::FloatImplicit(Tensor a) -> float",
        ],
        lower: float,
    },
    Def {
        schemas: &[
            "aten::Bool.Tensor(Tensor a) -> bool",
            "aten::Bool.int(int a) -> bool",
            "aten::Bool.float(float a) -> bool",
            "aten::is_nonzero(Tensor self) -> bool",
        ],
        lower: bool,
    },
    Def {
        schemas: &["aten::ScalarImplicit(Tensor a) -> Scalar", "aten::item(Tensor self) -> Scalar"],
        lower: number,
    },
    Def { schemas: &["aten::__not__(bool self) -> bool"], lower: not },
];
