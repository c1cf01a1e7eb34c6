//! The position of the largest or smallest element along an axis.

use super::super::assemble::{Assembler, Fault};
use super::super::render::{Draft, Tail, compute_type, storage_type};
use super::team::Team;
use crate::network::Layer;
use std::fmt::Write;

/// Emits `layer`, which finds the first extremum along `axis`; NaN wins.
pub fn assemble(a: &mut Assembler, layer: &Layer, largest: bool, axis: usize) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let keep = a.network.ty(value).rank() == x.rank();
    let order = Team::new(&x, &[axis], &[], a.target.busy()).order(keep);
    let tail = Tail::plain(a.room(value, &order));
    a.define(value, tail.out.clone());
    if tail.out.elements() == 0 {
        return Ok(());
    }
    let team = Team::new(&x, &[axis], &tail.views(), a.target.busy());
    let mut draft = Draft::new(if largest { "argmax" } else { "argmin" });
    team.cover(&mut draft);
    draft.read("x", &x);
    draft.aligned(team.pack * x.dtype.size());
    tail.parameters(&mut draft);
    let found = format!("Found<{}>", found_type(x.dtype));
    let mut body = team.shared(&found);
    body.push_str(&team.begin());
    let _ = writeln!(body, "const auto f = []({found} p, {found} q) {{ return better<{largest}>(p, q); }};");
    let _ = writeln!(body, "{found} best = {{0, 0, -1}};");
    let element = format!("best = f(best, {found}{{v, 0, (i64)r}});\n");
    body.push_str(&team.each("x", storage_type(x.dtype), &element));
    let _ = writeln!(body, "best = {};\nif (active && lane == 0) ", team.combine("best", "f"));
    body.push_str(&tail.store("best.at", &team.positions(keep), team.index));
    draft.body = body;
    a.launch(draft)
}

/// The type that values are compared in: whole words, so that warps can exchange them.
pub fn found_type(dtype: crate::DType) -> &'static str {
    match compute_type(dtype) {
        wide @ ("f32" | "f64" | "i64") => wide,
        _ => "i32",
    }
}
