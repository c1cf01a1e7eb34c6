//! Scalar expressions over whole tensors, one thread for each 16 bytes of the result.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::narrow::is_widened_by_readers;
use super::super::render::{Draft, Loops, Tail, expression_for, indent, index_type, storage_type, width};
use crate::DType;
use crate::backend::view::View;
use crate::network::{Expr, Layer};
use std::fmt::Write;

const THREADS: usize = 256;

/// Emits `layer`, whose kind is `Pointwise(expr)`.
pub fn assemble(a: &mut Assembler, layer: &Layer, expr: &Expr) -> Result<(), Fault> {
    let value = layer.outputs[0];
    if is_read_as_it_is(a, layer, expr) {
        let view = a.view(layer.inputs[0]);
        a.define(value, view);
        return Ok(());
    }
    let shape = a.network.ty(value).shape.clone();
    let operands: Vec<View> = layer.inputs.iter().map(|&v| a.view(v).stretch(&shape)).collect();
    // The order of the operand that costs most to read across its grain.
    let weight = |v: &&View| v.shape.iter().zip(&v.strides).filter(|(n, s)| **s != 0 || **n == 1).count();
    let order = match operands.iter().rev().max_by_key(weight) {
        Some(view) => order_of(view),
        None => (0..shape.len()).collect(),
    };
    let out = a.room(value, &order);
    a.define(value, out.clone());
    emit(a, "pointwise", expr, &operands, out)
}

/// Are these halves as f32 for nobody but kernels that compute in f32 whatever they read?
fn is_read_as_it_is(a: &Assembler, layer: &Layer, expr: &Expr) -> bool {
    let ([from], value) = (&layer.inputs[..], layer.outputs[0]) else { return false };
    if !matches!(a.network.ty(*from).dtype, DType::F16 | DType::BF16) || *expr != Expr::cast(DType::F32) {
        return false;
    }
    layer.epilogue.is_none() && is_widened_by_readers(a.network, value)
}

/// Emits `out = expr(operands)`; the operands have the shape of `out`.
pub fn emit(
    a: &mut Assembler,
    what: &'static str,
    expr: &Expr,
    operands: &[View],
    out: View,
) -> Result<(), Fault> {
    let typing: Vec<DType> = operands.iter().map(|v| v.dtype).collect();
    emit_typed(a, what, expr, &typing, operands, out)
}

/// [`emit`] where the expression is written for the types `typing`, which compute as those of the operands do.
pub fn emit_typed(
    a: &mut Assembler,
    what: &'static str,
    expr: &Expr,
    typing: &[DType],
    operands: &[View],
    out: View,
) -> Result<(), Fault> {
    if out.elements() == 0 {
        return Ok(());
    }
    let tail = Tail::plain(out);
    let views: Vec<&View> = std::iter::once(&tail.out).chain(operands).collect();
    let loops = Loops::new(&views, &order_of(&tail.out));
    let pack = pack(&loops, &views);
    let (_, steps) = loops.inner(views.len());
    let loops = loops.packed(pack);
    let count = loops.len();
    let ty = index_type(&views, count);

    let mut draft = Draft::new(what);
    draft.cover(count, THREADS);
    draft.write("y", &tail.out);
    draft.aligned(pack * tail.out.dtype.size());
    let is_packed = |k: usize| pack > 1 && steps[k] != 0;
    let mut body = thread(ty, count);
    body.push_str(&loops.split("i", ty, "a"));
    let mut inputs = Vec::new();
    for (k, view) in operands.iter().enumerate() {
        let name = format!("x{k}");
        draft.read(&name, view);
        let (memory, at) = (storage_type(view.dtype), loops.offset(k + 1, "a"));
        if is_packed(k + 1) {
            draft.aligned(pack * view.dtype.size());
            let pack = format!("Pack<{memory}, {pack}>");
            let _ = writeln!(body, "const {pack} p{k} = *reinterpret_cast<const {pack}*>({name} + ({at}));");
            inputs.push(format!("get(p{k}.at[j])"));
        } else {
            let _ = writeln!(body, "const auto v{k} = get({name}[{at}]);");
            inputs.push(format!("v{k}"));
        }
    }
    // Inputs are named once, so that the expression reads registers.
    let mut element = String::new();
    for (k, input) in inputs.iter_mut().enumerate().filter(|(k, _)| is_packed(k + 1)) {
        let _ = writeln!(element, "const auto v{k} = {input};");
        *input = format!("v{k}");
    }
    let (code, result) = expression_for(tail.out.dtype, expr, typing, &inputs, "t");
    element.push_str(&code);
    let at = loops.offset(0, "a");
    if pack > 1 {
        let memory = format!("Pack<{}, {pack}>", tail.out_type());
        let _ = writeln!(element, "put(r.at[j], {result});");
        let _ = writeln!(body, "{memory} r;\n#pragma unroll\nfor (int j = 0; j < {pack}; ++j) {{");
        body.push_str(&indent(&element));
        let _ = writeln!(body, "}}\n*reinterpret_cast<{memory}*>(y + ({at})) = r;");
    } else {
        body.push_str(&element);
        let _ = writeln!(body, "put(y[{at}], {result});");
    }
    draft.body = body;
    a.launch(draft)
}

/// Declares the flat position `i` of a thread and leaves where there is no work for it.
pub fn thread(ty: &str, count: usize) -> String {
    format!("const {ty} i = ({ty})BLOCK * {THREADS} + THREAD;\nif (i >= {count}) return;\n")
}

/// How many neighbours one thread handles: as 16 bytes of the widest tensor allow, where the innermost loop is dense in the
/// first tensor (the result), and dense or constant in the others.
fn pack(loops: &Loops, views: &[&View]) -> usize {
    let (size, steps) = loops.inner(views.len());
    if steps[0] != 1 || steps.iter().any(|s| !matches!(s, 0 | 1)) {
        return 1;
    }
    let dense = || (0..views.len()).filter(|&k| steps[k] == 1);
    let mut pack = width(dense().map(|k| views[k].dtype));
    let fits = |pack: usize| {
        size.is_multiple_of(pack)
            && dense().all(|k| {
                let bytes = pack * views[k].dtype.size();
                let outer = &loops.axes[..loops.axes.len() - 1];
                outer.iter().all(|(_, s)| s[k].unsigned_abs().is_multiple_of(pack))
                    && views[k].offset.unsigned_abs().is_multiple_of(bytes)
            })
    };
    while !fits(pack) {
        pack /= 2;
    }
    pack
}
