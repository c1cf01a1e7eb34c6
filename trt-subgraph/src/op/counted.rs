//! Tensors counted or listed: `arange`, `linspace`, `eye`, `tensor`.

use super::create::{check_count, check_new, positions};
use super::formula::compute_type;
use super::number::{Number, rounded};
use super::promote::{Value, elementwise};
use super::{Def, one};
use crate::network::{Expr, ValueId};
use crate::network::expr::{Binary, Node};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

fn number(args: &Args, name: &str, default: Number) -> Result<Number, Refusal> {
    match args.get(name) {
        Item::None => Ok(default),
        item => Number::of(item).ok_or_else(|| Refusal::Invalid(format!("'{name}' is {item:?}"))),
    }
}

fn is_float(n: Number) -> bool {
    matches!(n, Number::Float(_))
}

/// From `start` (0) up to but without `end` by `step` (1); i64, or f32 where one of them is a float, unless a dtype is given.
fn arange(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let start = number(args, "start", Number::Int(0))?;
    let (end, step) = (number(args, "end", Number::Int(0))?, number(args, "step", Number::Int(1))?);
    let float = [start, end, step].into_iter().any(is_float);
    let default = if float { DType::F32 } else { DType::I64 };
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(default);
    let fail = || Refusal::Invalid("the step does not lead from start to end".into());
    let whole = [start, end, step].into_iter().all(|n| n.as_f64() == n.as_i64() as f64);
    if float && !whole && !dtype.is_float() {
        return Err(Refusal::Attribute { arg: "dtype".into(), why: format!("fractions as {dtype}") });
    }
    let literal = if float && dtype.is_float() {
        let (start, end, step) = (start.as_f64(), end.as_f64(), step.as_f64());
        let count = ((end - start) / step).ceil();
        if !(count.is_finite() && count >= 0.0) {
            return Err(fail());
        }
        let count = check_count(count as usize)?;
        let ty = TensorType::new(dtype, [count]);
        Literal::from_f64(ty, (0..count).map(|i| start + step * i as f64))
    } else {
        let (start, end, step) = (start.as_i64(), end.as_i64(), step.as_i64());
        let distance = end.checked_sub(start).filter(|d| step != 0 && d.signum() * step.signum() >= 0);
        let distance = distance.filter(|_| dtype != DType::Bool).ok_or_else(fail)?;
        let count = check_count(distance.unsigned_abs().div_ceil(step.unsigned_abs()) as usize)?;
        let ty = TensorType::new(dtype, [count]);
        Literal::from_i64(ty, (0..count as i64).map(|i| start + step * i))
    };
    one(lower.builder.constant(literal.expect("as many values as counted")))
}

/// `steps` values at equal distances from `start` to `end`, both included, which are numbers or 0-d tensors; f32 unless a dtype is given.
fn linspace(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let ends = Value::all(args, ["start", "end"])?;
    let steps = check_count(args.sizes(lower, "steps", 1, None)?[0])?;
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(DType::F32);
    if !dtype.is_float() {
        return Err(Refusal::Dtype { arg: "dtype", found: dtype });
    }
    let [Value::Number(start), Value::Number(end)] = ends else {
        return one(between(lower, ends, steps, dtype)?);
    };
    let (start, end) = (start.as_f64(), end.as_f64());
    let step = if steps > 1 { (end - start) / (steps - 1) as f64 } else { 0.0 };
    let near = |i: usize| i < steps / 2 || steps == 1;
    let value = |i| if near(i) { start + step * i as f64 } else { end - step * (steps - 1 - i) as f64 };
    let literal = Literal::from_f64(TensorType::new(dtype, [steps]), (0..steps).map(value));
    one(lower.builder.constant(literal.expect("as many values as steps")))
}

/// [`linspace`] where an end is a tensor: each value is computed from the nearer end.
fn between(lower: &mut Lower, ends: [Value; 2], steps: usize, dtype: DType) -> Result<ValueId, Refusal> {
    for (value, arg) in ends.into_iter().zip(["start", "end"]) {
        if let Value::Tensor(v) = value
            && !lower.shape(v).is_empty()
        {
            return Err(Refusal::Shape { arg, found: lower.ty(v).clone(), expected: "a 0-d tensor" });
        }
    }
    let [start, end] = Value::all_rounded(ends, lower, dtype)?;
    let at = Value::Tensor(positions(lower, 0, steps, vec![steps]));
    let values = elementwise(lower, &[start, end, at], compute_type(dtype), |x| {
        let (start, end, at) = (x[0], x[1], x[2]);
        if steps == 1 {
            return at.lt(1.0).select(start, end);
        }
        let last = steps as f64 - 1.0;
        let step = (end - start) / last;
        at.lt((steps / 2) as f64).select(start + step * at, end - step * (last - at))
    })?;
    lower.cast(values, dtype)
}

/// Ones on the diagonal of an `n` by `m` matrix.
fn eye(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let rows = args.sizes(lower, "n", 1, None)?[0];
    let columns = if args.has("m") { args.sizes(lower, "m", 1, None)?[0] } else { rows };
    check_count(rows.max(columns))?;
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(DType::F32);
    let (row, column) =
        (positions(lower, 0, rows, vec![rows, 1]), positions(lower, 0, columns, vec![columns]));
    let mut expr = Expr::binary(Binary::Eq);
    if dtype != DType::Bool {
        expr.push(Node::Cast(dtype, 2));
    }
    one(lower.pointwise(expr, &[row, column])?)
}

/// The positions (two rows) of the lower or upper triangle of a matrix, in reading order.
fn triangle(lower: &mut Lower, args: &Args, keeps: fn(i64, i64) -> bool) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let (rows, columns) = (args.int(lower, "row")?, args.int(lower, "col")?);
    let offset = args.int(lower, "offset")?;
    if rows < 0 || columns < 0 {
        return Err(Refusal::Invalid(format!("a matrix of {rows} by {columns}")));
    }
    check_count((rows as usize).saturating_mul(columns.max(1) as usize))?;
    let cells = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c)));
    let cells: Vec<(i64, i64)> = cells.filter(|&(r, c)| keeps(c - r, offset)).collect();
    let ty = TensorType::new(args.opt_dtype(lower, "dtype")?.unwrap_or(DType::I64), [2, cells.len()]);
    let values = cells.iter().map(|c| c.0).chain(cells.iter().map(|c| c.1));
    let literal = Literal::from_i64(ty, values).expect("a row and a column a cell");
    one(lower.builder.constant(literal))
}

/// A number, or nested lists of numbers, as a tensor: f32, i64 or `Bool` as they are, unless a dtype is given. Each level of
/// lists is an axis. A float alone is rounded to f32 first, whatever the dtype.
fn tensor(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_new(lower, args)?;
    let (mut shape, mut numbers) = (Vec::new(), Vec::new());
    flatten(&args.items[0], 0, &mut shape, &mut numbers)?;
    if let (Item::Float(v), &[]) = (&args.items[0], &shape[..]) {
        numbers = vec![Number::Float(rounded(*v, DType::F32))];
    }
    let untyped = || Refusal::Attribute { arg: "data".into(), why: "an empty list does not tell its type".into() };
    let found = numbers.iter().map(|n| n.dtype()).reduce(DType::promote).ok_or_else(untyped)?;
    let dtype = args.opt_dtype(lower, "dtype")?.unwrap_or(found);
    let ty = TensorType::new(dtype, shape);
    let literal = if dtype.is_float() || found.is_float() {
        Literal::from_f64(ty, numbers.iter().map(|n| n.as_f64()))
    } else {
        Literal::from_i64(ty, numbers.iter().map(|n| n.as_i64()))
    };
    let literal = literal.ok_or_else(|| Refusal::Invalid("the lists differ in length".into()))?;
    one(lower.builder.constant(literal))
}

fn flatten(
    item: &Item,
    depth: usize,
    shape: &mut Vec<usize>,
    numbers: &mut Vec<Number>,
) -> Result<(), Refusal> {
    let Item::List(items) = item else {
        let number = Number::of(item).filter(|_| depth == shape.len());
        numbers.push(number.ok_or_else(|| Refusal::Invalid(format!("{item:?} in a list of numbers")))?);
        return Ok(());
    };
    match shape.get(depth) {
        None if numbers.is_empty() => shape.push(items.len()),
        Some(&n) if n == items.len() => {}
        _ => return Err(Refusal::Invalid("the lists differ in length".into())),
    }
    items.iter().try_for_each(|i| flatten(i, depth + 1, shape, numbers))
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::arange(Scalar end, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::arange.start(Scalar start, Scalar end, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::arange.start_step(Scalar start, Scalar end, Scalar step=1, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: arange,
    },
    Def {
        schemas: &[
            "aten::linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::linspace.Tensor_Scalar(Tensor start, Scalar end, int steps, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::linspace.Scalar_Tensor(Scalar start, Tensor end, int steps, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::linspace(Scalar start, Scalar end, int steps, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: linspace,
    },
    Def {
        schemas: &[
            "aten::eye(SymInt n, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
            "aten::eye.m(SymInt n, SymInt m, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: eye,
    },
    Def {
        schemas: &[
            "aten::tril_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: |l, a| triangle(l, a, |distance, offset| distance <= offset),
    },
    Def {
        schemas: &[
            "aten::triu_indices(int row, int col, int offset=0, *, ScalarType? dtype=4, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
        ],
        lower: |l, a| triangle(l, a, |distance, offset| distance >= offset),
    },
    Def {
        schemas: &[
            "aten::tensor(t[] data, *, ScalarType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor",
            "aten::tensor.int(int t, *, ScalarType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor",
            "aten::tensor.float(float t, *, ScalarType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor",
            "aten::tensor.bool(bool t, *, ScalarType? dtype=None, Device? device=None, bool requires_grad=False) -> Tensor",
            "aten::as_tensor.list(t[] data, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
            "aten::as_tensor.int(int t, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
            "aten::as_tensor.float(float t, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
            "aten::as_tensor.bool(bool t, *, ScalarType? dtype=None, Device? device=None) -> Tensor",
        ],
        lower: tensor,
    },
];
