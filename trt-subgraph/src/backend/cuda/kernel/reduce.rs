//! Reductions: one pass over the operand, in two launches where one group alone would leave the device idle.

use super::super::assemble::{Assembler, Fault};
use super::super::render::sum_type;
use super::super::render::{Draft, Tail, compute_type, storage_type};
use super::team::Team;
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::layer::ReduceOp;
use crate::{DType, TensorType};
use std::fmt::Write;

/// Emits `layer`, which reduces `axes` with `op`.
pub fn assemble(a: &mut Assembler, layer: &Layer, op: ReduceOp, axes: &[usize]) -> Result<(), Fault> {
    let x = a.view(layer.inputs[0]);
    let keep = a.network.ty(layer.outputs[0]).rank() == x.rank();
    let team = Team::new(&x, axes, &[], a.target.busy());
    let tail = a.tail(layer, &team.order(keep))?;
    let size = team.size;
    match parts(&x, &team, a.target.busy()) {
        Some(rows) => {
            // First every part of a group, then the parts of each.
            let sum = if matches!(op, ReduceOp::Mean) { ReduceOp::Sum } else { op };
            let dtype = wide(x.dtype);
            let partial = a.temporary(&TensorType::new(dtype, [rows.shape[0]]), &[0]);
            let first = Tail { typing: vec![dtype], ..Tail::plain(partial.clone()) };
            emit(a, &rows, &[1], sum, false, first, size)?;
            emit(a, &partial, &[0], op, false, tail, size)
        }
        None => emit(a, &x, axes, op, keep, tail, size),
    }
}

/// The type that partial results are kept in: that of sums.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        DType::Bool => DType::Bool,
        d if d.is_float() => DType::F32,
        _ => DType::I64,
    }
}

/// Where all of a dense operand is one large group: its elements as rows, enough of them to keep the device busy.
fn parts(x: &View, team: &Team, busy: usize) -> Option<View> {
    let parts = (busy / 256).next_power_of_two();
    let whole = team.groups == 1 && team.size == x.elements() && x.is_dense_in(&x.order());
    let large = team.size >= 64 * parts && team.size.is_multiple_of(parts);
    let length = team.size / parts;
    (whole && large).then(|| View {
        shape: vec![parts, length],
        strides: vec![length as isize, 1],
        ..x.clone()
    })
}

/// One launch: `op` over `axes` of `x`, each group's result through `tail`. A mean divides by `size`.
fn emit(
    a: &mut Assembler,
    x: &View,
    axes: &[usize],
    op: ReduceOp,
    keep: bool,
    tail: Tail,
    size: usize,
) -> Result<(), Fault> {
    if tail.out.elements() == 0 {
        return Ok(());
    }
    let team = Team::new(x, axes, &tail.views(), a.target.busy());
    let own = tail.typing[0];
    let (sum, compute) = (sum_type(x.dtype), compute_type(own));
    let boolean = x.dtype == DType::Bool;
    let (start, function) = match op {
        ReduceOp::Sum | ReduceOp::Mean if sum == "i64" => ("0", "add_wrap(p, q)"),
        ReduceOp::Sum | ReduceOp::Mean => ("0", "p + q"),
        ReduceOp::Prod if sum == "i64" => ("1", "mul_wrap(p, q)"),
        ReduceOp::Prod => ("1", "p * q"),
        ReduceOp::Max if sum == "i64" => ("(-9223372036854775807LL - 1)", "max_of(p, q)"),
        ReduceOp::Max | ReduceOp::ArgMax => ("-1.0f / 0.0f", "max_of(p, q)"),
        ReduceOp::Min if sum == "i64" => ("9223372036854775807LL", "min_of(p, q)"),
        ReduceOp::Min | ReduceOp::ArgMin => ("1.0f / 0.0f", "min_of(p, q)"),
        ReduceOp::Any => ("0", "p | q"),
        ReduceOp::All => ("1", "p & q"),
    };
    let mut draft = Draft::new("reduce");
    team.cover(&mut draft);
    draft.read("x", x);
    draft.aligned(team.pack * x.dtype.size());
    tail.parameters(&mut draft);
    let mut body = team.shared(sum);
    body.push_str(&team.begin());
    let _ = writeln!(body, "const auto f = []({sum} p, {sum} q) {{ return ({sum})({function}); }};");
    let _ = writeln!(body, "{sum} sum = {start};");
    body.push_str(&team.each("x", storage_type(x.dtype), &format!("sum = f(sum, ({sum})v);\n")));
    let _ = writeln!(body, "sum = {};", team.combine("sum", "f"));
    let value = match op {
        ReduceOp::Mean => format!("sum / ({sum}){size}.0"),
        _ if boolean => "sum != 0".to_string(),
        _ => "sum".to_string(),
    };
    let _ = writeln!(body, "const {compute} result = ({compute})({value});");
    body.push_str("if (active && lane == 0) ");
    body.push_str(&tail.store("result", &team.positions(keep), team.index));
    draft.body = body;
    a.launch(draft)
}
