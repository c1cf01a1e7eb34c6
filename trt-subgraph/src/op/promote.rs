//! Values of elementwise operators, the type they compute in, and the one layer that they become.
//!
//! Promotion is torch's: tensors with dimensions come before 0-d tensors, and these before numbers; a lower class counts only
//! when its category (boolean, integral, floating) is higher
//! (<https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc>).

use super::formula::{Leaf, Term, compute_type, converted};
use super::number::{Number, rounded};
use crate::DType;
use crate::network::Expr;
use crate::network::ValueId;
use crate::source::{Args, Item, Lower, Refusal};

/// What an elementwise operator reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// A tensor.
    Tensor(ValueId),
    /// A number.
    Number(Number),
}

impl Value {
    /// The argument `name`: a tensor or a number.
    pub(super) fn of(args: &Args, name: &str) -> Result<Value, Refusal> {
        match args.get(name) {
            Item::Tensor(v) => Ok(Value::Tensor(*v)),
            item => number(item, name).map(Value::Number),
        }
    }

    /// The arguments of these names, in order.
    pub(super) fn all<const N: usize>(args: &Args, names: [&str; N]) -> Result<[Value; N], Refusal> {
        let list = names.iter().map(|n| Value::of(args, n)).collect::<Result<Vec<_>, _>>()?;
        Ok(list.try_into().expect("one operand a name"))
    }
}

impl Value {
    /// Itself, rounded to the floating-point type `dtype`: for operators whose kernels in torch read numbers, and tensors of another type,
    /// in that type.
    pub(super) fn rounded(self, lower: &mut Lower, dtype: DType) -> Result<Value, Refusal> {
        Ok(match self {
            Value::Number(n) if dtype.is_float() => {
                let value = rounded(n.as_f64(), dtype);
                // One that the type cannot hold is refused as it is.
                if value.is_finite() { Value::Number(Number::Float(value)) } else { self }
            }
            Value::Tensor(v) if compute_type(dtype) != dtype => Value::Tensor(in_type(lower, v, dtype)?),
            other => other,
        })
    }

    /// All of them [rounded](Value::rounded).
    pub(super) fn all_rounded<const N: usize>(
        values: [Value; N],
        lower: &mut Lower,
        dtype: DType,
    ) -> Result<[Value; N], Refusal> {
        let rounded = values.into_iter().map(|v| v.rounded(lower, dtype)).collect::<Result<Vec<_>, _>>()?;
        Ok(rounded.try_into().expect("as many as there were"))
    }
}

/// A tensor in another type, but for truth values, which every type holds.
fn in_type(lower: &mut Lower, v: ValueId, dtype: DType) -> Result<ValueId, Refusal> {
    if lower.dtype(v) == dtype || lower.dtype(v) == DType::Bool { Ok(v) } else { lower.cast(v, dtype) }
}

fn number(item: &Item, name: &str) -> Result<Number, Refusal> {
    Number::of(item).ok_or_else(|| Refusal::Attribute {
        arg: name.to_string(),
        why: format!("expected a tensor or a number, found {item:?}"),
    })
}

/// The numeric argument `name`, or `default` where it is missing.
pub(super) fn number_or(args: &Args, name: &str, default: Number) -> Result<Number, Refusal> {
    if args.has(name) { number(args.get(name), name) } else { Ok(default) }
}

/// The type that the values compute in.
pub(super) fn result_type(lower: &Lower, values: &[Value]) -> DType {
    let mut classes = [None; 3];
    for value in values {
        let (class, dtype) = match *value {
            Value::Tensor(v) => ((lower.shape(v).is_empty()) as usize, lower.dtype(v)),
            Value::Number(n) => (2, n.dtype()),
        };
        classes[class] = Some(classes[class].map_or(dtype, |d: DType| d.promote(dtype)));
    }
    let combined = classes
        .into_iter()
        .flatten()
        .reduce(|high, low| if low.category() > high.category() { low } else { high });
    combined.unwrap_or(DType::F32)
}

/// Like [`result_type`], where integers and `Bool` become torch's default F32.
pub(super) fn float_result_type(lower: &Lower, values: &[Value]) -> DType {
    let dtype = result_type(lower, values);
    if dtype.is_float() { dtype } else { DType::F32 }
}

/// `args`' dtype argument, or the type of `x`.
pub(super) fn dtype_or(lower: &Lower, args: &Args, x: ValueId) -> Result<DType, Refusal> {
    Ok(args.opt_dtype(lower, "dtype")?.unwrap_or(lower.dtype(x)))
}

/// One pointwise layer: the values converted to `dtype`, broadcast, and `f` of them. At least one value is a tensor.
///
/// f16 and bf16 work in f32, where a number, and on a CPU a tensor without dimensions, keeps the precision that they lack, as in most of
/// torch's kernels; for others there is [`Value::rounded`].
pub(super) fn elementwise(
    lower: &mut Lower,
    values: &[Value],
    dtype: DType,
    f: impl for<'f> FnOnce(&[Term<'f>]) -> Term<'f>,
) -> Result<ValueId, Refusal> {
    let (mut inputs, mut leaves) = (Vec::new(), Vec::new());
    for value in values {
        leaves.push(match *value {
            Value::Tensor(v) => {
                let read_first = !lower.shape(v).is_empty() || lower.device.0 != "cpu";
                let v =
                    if read_first && compute_type(dtype) != dtype { in_type(lower, v, dtype)? } else { v };
                let at = inputs.iter().position(|&i| i == v).unwrap_or_else(|| {
                    inputs.push(v);
                    inputs.len() - 1
                });
                Leaf::Input(at as u32, lower.dtype(v))
            }
            Value::Number(n) => {
                n.literal(dtype, "scalar")?;
                Leaf::Literal(n.literal(compute_type(dtype), "scalar")?)
            }
        });
    }
    let expr = converted(&leaves, dtype, f);
    if expr == Expr::identity() { Ok(inputs[0]) } else { lower.pointwise(expr, &inputs) }
}
