//! Tensors made of numbers: filled, counted, listed.

use super::Def;
use super::convert::{check_device, check_layout};
use super::number::Number;
use super::one;
use crate::network::ValueId;
use crate::network::expr::Scalar;
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// A constant of i64s.
pub(super) fn literal(lower: &mut Lower, shape: Vec<usize>, values: impl IntoIterator<Item = i64>) -> ValueId {
    let literal = Literal::from_i64(TensorType::new(DType::I64, shape), values);
    lower.builder.constant(literal.expect("as many values as the shape has elements"))
}

/// Constants that are made element by element stay small: more than 2^24 are refused.
pub(super) fn check_count(count: usize) -> Result<usize, Refusal> {
    const MOST: usize = 1 << 24;
    let why = || Refusal::Attribute { arg: "end".into(), why: format!("{count} elements") };
    if count <= MOST { Ok(count) } else { Err(why()) }
}

/// `start, start + 1, ...`, `count` of them, as i64 under a shape.
pub(super) fn positions(lower: &mut Lower, start: i64, count: usize, shape: Vec<usize>) -> ValueId {
    literal(lower, shape, (0..count as i64).map(|i| start + i))
}

/// A tensor that is one number everywhere.
fn filled(lower: &mut Lower, value: Number, dtype: DType, shape: Vec<usize>) -> Result<Vec<Item>, Refusal> {
    let ty = TensorType::new(dtype, []);
    let literal = match value.literal(dtype, "fill_value")? {
        Scalar::Int(v) => Literal::from_i64(ty, [v]),
        Scalar::Float(v) => Literal::from_f64(ty, [v]),
    };
    let scalar = lower.builder.constant(literal.expect("one element"));
    one(lower.broadcast(scalar, shape)?)
}

/// A new tensor lives on the CPU unless a device is named.
pub(super) fn check_new(lower: &Lower, args: &Args) -> Result<(), Refusal> {
    if !args.has("device") && lower.device.0 != "cpu" {
        let why = format!("a new tensor is on cpu, the others are on {}", lower.device.0);
        return Err(Refusal::Attribute { arg: "device".into(), why });
    }
    check_options(lower, args)
}

fn check_options(lower: &Lower, args: &Args) -> Result<(), Refusal> {
    if args.flag("pin_memory")? {
        return Err(Refusal::Attribute { arg: "pin_memory".into(), why: "pinned memory".into() });
    }
    check_device(lower, args)?;
    check_layout(lower, args)
}

fn shape(lower: &Lower, args: &Args) -> Result<Vec<usize>, Refusal> {
    let size = args.ints(lower, "size")?;
    let shape = size.iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
    shape.map_err(|_| Refusal::Invalid(format!("a size of {size:?}")))
}

fn fill_value(args: &Args, name: &str) -> Result<Number, Refusal> {
    Number::of(args.get(name))
        .ok_or_else(|| Refusal::Invalid(format!("'{name}' is {:?}, expected a number", args.get(name))))
}

/// A new tensor of one number; without a dtype it is the default's or, for `full`, the number's.
fn new(lower: &mut Lower, args: &Args, value: Option<Number>) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let (value, default) = match value {
        Some(value) => (value, DType::F32),
        None => fill_value(args, "fill_value").map(|v| (v, v.dtype()))?,
    };
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(default);
    filled(lower, value, dtype, shape(lower, args)?)
}

/// A tensor of one number with the type of another, and its shape unless `size` is given.
fn like(lower: &mut Lower, args: &Args, value: Option<Number>) -> Result<Vec<Item>, Refusal> {
    check_options(lower, args)?;
    let x = args.tensor("self")?;
    let value = match value {
        Some(value) => value,
        None if args.has("fill_value") => fill_value(args, "fill_value")?,
        None => fill_value(args, "value")?,
    };
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(lower.dtype(x));
    let shape = if args.has("size") { shape(lower, args)? } else { lower.shape(x).to_vec() };
    filled(lower, value, dtype, shape)
}

/// A 0-d tensor everywhere, in the type and shape of `self`.
fn fill_tensor(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, value) = (args.tensor("self")?, args.tensor("value")?);
    if !lower.shape(value).is_empty() {
        let found = lower.ty(value).clone();
        return Err(Refusal::Shape { arg: "value", found, expected: "a 0-d tensor" });
    }
    let shape = lower.shape(x).to_vec();
    let value = lower.cast(value, lower.dtype(x))?;
    one(lower.broadcast(value, shape)?)
}

const ZERO: Option<Number> = Some(Number::Int(0));
const ONE: Option<Number> = Some(Number::Int(1));

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::zeros(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::empty.memory_format(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
        ],
        lower: |l, a| new(l, a, ZERO),
    },
    Def {
        schemas: &[
            "aten::ones(SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: |l, a| new(l, a, ONE),
    },
    Def {
        schemas: &[
            "aten::full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: |l, a| new(l, a, None),
    },
    Def {
        schemas: &[
            "aten::zeros_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
            "aten::empty_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
            "aten::new_zeros(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::new_empty(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::zero(Tensor self) -> Tensor",
        ],
        lower: |l, a| like(l, a, ZERO),
    },
    Def {
        schemas: &[
            "aten::ones_like(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
            "aten::new_ones(Tensor self, SymInt[] size, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: |l, a| like(l, a, ONE),
    },
    Def {
        schemas: &[
            "aten::full_like(Tensor self, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, MemoryFormat? memory_format=None) -> Tensor",
            "aten::new_full(Tensor self, SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::fill.Scalar(Tensor self, Scalar value) -> Tensor",
        ],
        lower: |l, a| like(l, a, None),
    },
    Def { schemas: &["aten::fill.Tensor(Tensor self, Tensor value) -> Tensor"], lower: fill_tensor },
];
