//! Windows over spatial axes, one thread for each result.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::sum_type;
use super::super::render::{Draft, Tail, compute_type, index_type, split, storage_type, sum};
use super::pointwise::thread;
use crate::DType;
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::layer::{Pool, PoolOp};
use std::fmt::Write;

/// Emits `layer`, whose kind is `Pool(p)`.
pub fn assemble(a: &mut Assembler, layer: &Layer, p: &Pool) -> Result<(), Fault> {
    let x = a.view(layer.inputs[0]);
    let order = order_of(&x);
    let tail = a.tail(layer, &order)?;
    let indices = layer.outputs.get(1).map(|&v| {
        let room = a.room(v, &order);
        a.define(v, room.clone());
        room
    });
    let count = tail.out.elements();
    if count == 0 {
        return Ok(());
    }
    let mut views = vec![&x];
    views.extend(tail.views());
    views.extend(&indices);
    let lanes = if indices.is_none() { lanes(&x, &tail) } else { 1 };
    let count = count / lanes;
    let ty = index_type(&views, count);
    let mut draft = Draft::new("pool");
    draft.cover(count, 256);
    draft.read("x", &x);
    draft.aligned(lanes * x.dtype.size());
    tail.parameters(&mut draft);
    if lanes > 1 {
        draft.aligned(lanes * tail.out.dtype.size());
    }
    let mut body = thread(ty, count);
    // Neighbouring threads on neighbouring results in memory.
    let mut sizes: Vec<usize> = order.iter().map(|&axis| tail.out.shape[axis]).collect();
    let channel = order.iter().position(|&o| o == 1).expect("a permutation");
    sizes[channel] /= lanes;
    body.push_str(&split(&sizes, "i", ty, "o"));
    let at = |axis: usize| format!("o{}", order.iter().position(|&o| o == axis).expect("a permutation"));
    let mut positions: Vec<String> = (0..x.rank()).map(at).collect();
    if lanes > 1 {
        positions[1] = format!("(o{channel} * {lanes})");
    }
    let _ = writeln!(body, "const {ty} base = {};", sum(&positions[..2], &x.strides[..2]));
    let max = matches!(p.op, PoolOp::Max);
    let own = compute_type(x.dtype);
    let t = if max { own } else { sum_type(x.dtype) };
    let start = if max { least(x.dtype) } else { "0".to_string() };
    let _ = writeln!(body, "{t} best[{lanes}];\ni64 at[{lanes}];\nint inside = 0;\n#pragma unroll");
    let _ = writeln!(body, "for (int j = 0; j < {lanes}; ++j) {{ best[j] = {start}; at[j] = 0; }}");
    let step = match max {
        true => format!(
            "if (inside == 0 || v > best[j] || is_nan(v)) {{ best[j] = v; at[j] = {}; }}",
            plane_position(&x)
        ),
        false => "best[j] += v;".to_string(),
    };
    let memory = format!("Pack<{}, {lanes}>", storage_type(x.dtype));
    let load = format!("const {memory} c = *reinterpret_cast<const {memory}*>(x + (w));\n");
    let step = format!(
        "#pragma unroll
for (int j = 0; j < {lanes}; ++j) {{
    const {t} v = get(c.at[j]);
    {step}
}}
++inside;
"
    );
    body.push_str(&windows(p, &x, ty, &load, &step));
    if let Some(room) = &indices {
        draft.write("z", room);
        let _ = writeln!(body, "z[{}] = at[0];", sum(&positions, &room.strides));
    }
    let value = |lane: &str| match max {
        true => format!("best[{lane}]"),
        false => format!("({own})(inside ? best[{lane}] / ({t})({}) : ({t})0)", cells(p, &x, ty)),
    };
    if lanes > 1 {
        let out = format!("Pack<{}, {lanes}>", tail.out_type());
        let _ = write!(
            body,
            "{out} r;
#pragma unroll
for (int j = 0; j < {lanes}; ++j) put(r.at[j], {});
*reinterpret_cast<{out}*>(y + ({})) = r;
",
            value("j"),
            sum(&positions, &tail.out.strides)
        );
    } else {
        body.push_str(&tail.store(&value("0"), &positions, ty));
    }
    draft.body = body;
    a.launch(draft)
}

/// How many neighbouring channels a thread handles: as 16 bytes allow, where channels lie innermost and nothing is done to the results.
fn lanes(x: &View, tail: &Tail) -> usize {
    let out = &tail.out;
    let plain = tail.expr.is_none() && out.dtype == x.dtype && x.strides[1] == 1 && out.strides[1] == 1;
    let mut lanes = if plain { 16 / x.dtype.size() } else { 1 };
    let fits = |lanes: usize| {
        let view = |v: &View| {
            let bytes = lanes * v.dtype.size();
            let outer = (0..v.rank()).filter(|&axis| axis != 1 && v.shape[axis] > 1);
            outer.into_iter().all(|axis| v.strides[axis].unsigned_abs().is_multiple_of(lanes))
                && v.offset.unsigned_abs().is_multiple_of(bytes)
        };
        x.shape[1].is_multiple_of(lanes) && view(x) && view(out)
    };
    while !fits(lanes) {
        lanes /= 2;
    }
    lanes
}

/// Loops over the cells of a window that lie inside the input. `load` sees the position of the cell in `x` as `w`, and `body` what it
/// declares; where cells are few, it loads others in the place of those outside.
fn windows(p: &Pool, x: &View, ty: &str, load: &str, body: &str) -> String {
    /// Most cells that are all loaded before they are looked at.
    const TOGETHER: usize = 25;
    let together = p.window.iter().product::<usize>() <= TOGETHER && x.elements() > 0;
    let (mut open, mut close) = (String::new(), String::new());
    let mut terms = vec!["base".to_string()];
    for i in 0..p.window.len() {
        let (stride, dilation, before, size) = (p.stride[i], p.dilation[i], p.padding[i].0, x.shape[i + 2]);
        let unroll = if together { "#pragma unroll\n" } else { "" };
        let _ = writeln!(
            open,
            "{unroll}for (int k{i} = 0; k{i} < {}; ++k{i}) {{\nconst {ty} p{i} = q{i} * {stride} - {before} + k{i} * {dilation};",
            p.window[i],
        );
        if together {
            terms.push(format!("min(max(p{i}, ({ty})0), ({ty}){}) * {}", size - 1, x.strides[i + 2]));
        } else {
            let _ = writeln!(open, "if (p{i} < 0 || p{i} >= {size}) continue;");
            terms.push(format!("p{i} * {}", x.strides[i + 2]));
        }
        close.push_str("}\n");
    }
    let exists: Vec<String> =
        (0..p.window.len()).map(|i| format!("p{i} >= 0 && p{i} < {}", x.shape[i + 2])).collect();
    let exists = if together { exists.join(" && ") } else { "true".to_string() };
    let order = order_of(x);
    let declare: String = (0..p.window.len())
        .map(|i| {
            let at = order.iter().position(|&o| o == i + 2).expect("a permutation");
            format!("const {ty} q{i} = o{at};\n")
        })
        .collect();
    format!("{declare}{open}const {ty} w = {};\n{load}if ({exists}) {{\n{body}}}\n{close}", terms.join(" + "))
}

/// The cell's position in the row-major spatial plane.
fn plane_position(x: &View) -> String {
    let strides = crate::network::ty::row_major(&x.shape[2..]);
    let terms: Vec<String> = strides.iter().enumerate().map(|(i, s)| format!("(i64)p{i} * {s}")).collect();
    terms.join(" + ")
}

/// What an average divides by.
fn cells(p: &Pool, x: &View, ty: &str) -> String {
    let PoolOp::Average { count_padding, divisor } = p.op else { return "1".to_string() };
    if let Some(divisor) = divisor {
        return divisor.to_string();
    }
    if !count_padding {
        return "inside".to_string();
    }
    // Cells of the window before the end of the padding; windows start inside of it.
    let along = |i: usize| {
        let end = p.padding[i].0 + x.shape[i + 2] + p.padding[i].1;
        format!("min(({ty}){}, ({ty}){end} - q{i} * {})", p.window[i], p.stride[i])
    };
    (0..p.window.len()).map(along).collect::<Vec<_>>().join(" * ")
}

/// What a window of padding alone gives.
fn least(dtype: DType) -> String {
    match dtype {
        DType::F64 => "-1.0 / 0.0".to_string(),
        d if d.is_float() => "-1.0f / 0.0f".to_string(),
        DType::U8 | DType::Bool => "0".to_string(),
        DType::I64 => "-9223372036854775807LL - 1".to_string(),
        d => format!("({})(-1LL << {})", d.name(), 8 * d.size() - 1),
    }
}
