//! Running sums and products: a thread for each row where there are many, else a block that goes along a row in strides.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::sum_type;
use super::super::render::{Draft, Tail, compute_type, index_type, split, sum};
use crate::backend::view::View;
use crate::network::Layer;
use crate::network::layer::ScanOp;
use std::fmt::Write;

const THREADS: usize = 256;

/// Emits `layer`, which runs `op` along `axis`.
pub fn assemble(a: &mut Assembler, layer: &Layer, op: ScanOp, axis: usize) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let tail = Tail::plain(a.room(value, &order_of(&x)));
    a.define(value, tail.out.clone());
    if tail.out.elements() == 0 {
        return Ok(());
    }
    let (t, size) = (sum_type(x.dtype), x.shape[axis]);
    let (start, function) = match (op, t) {
        (ScanOp::Sum, "i64") => ("0", "add_wrap(p, q)"),
        (ScanOp::Sum, _) => ("0", "p + q"),
        (ScanOp::Prod, "i64") => ("1", "mul_wrap(p, q)"),
        (ScanOp::Prod, _) => ("1", "p * q"),
    };
    let kept: Vec<usize> = x.order().into_iter().filter(|&i| i != axis).collect();
    let rows: usize = kept.iter().map(|&i| x.shape[i]).product();
    let ty = index_type(&[&x, &tail.out], rows * size.max(THREADS));
    let near = x.strides[axis].unsigned_abs() <= 1;
    let alone = rows >= a.target.busy() / 8 || size <= 32 || (!near && rows >= 1024);
    let mut draft = Draft::new("scan");
    draft.read("x", &x);
    tail.parameters(&mut draft);
    let mut body = String::new();
    if alone {
        draft.cover(rows, THREADS);
        body.push_str(&super::pointwise::thread(ty, rows));
    } else {
        (draft.threads, draft.grid) = (THREADS, [rows, 1, 1]);
        let _ = writeln!(body, "__shared__ {t} shared[{}];\nconst {ty} i = BLOCK;", THREADS / 32);
    }
    body.push_str(&split(&kept.iter().map(|&k| x.shape[k]).collect::<Vec<_>>(), "i", ty, "g"));
    let (base, mut positions) = row(&x, &kept);
    positions[axis] = "r".to_string();
    let _ = writeln!(body, "const {ty} base = {base};");
    let _ = writeln!(
        body,
        "const auto f = []({t} p, {t} q) {{ return ({t})({function}); }};\n{t} sum = {start};"
    );
    let element = format!("({t})get(x[base + r * {}])", x.strides[axis]);
    let store = tail.store(&format!("({})sum", compute_type(x.dtype)), &positions, ty);
    if alone {
        let _ =
            write!(body, "for ({ty} r = 0; r < {size}; ++r) {{\n    sum = f(sum, {element});\n{store}}}\n");
    } else {
        let store = tail.store(&format!("({})run", compute_type(x.dtype)), &positions, ty);
        // Inclusive sums within warps, then over the warps before, then over the strides before.
        let _ = write!(
            body,
            "const int lane = THREAD % 32, warp = THREAD / 32;
for ({ty} r0 = 0; r0 < {size}; r0 += {THREADS}) {{
    const {ty} r = r0 + THREAD;
    {t} run = {start};
    if (r < {size}) run = {element};
    #pragma unroll
    for (int d = 1; d < 32; d *= 2) {{
        const {t} before = __shfl_up_sync(0xffffffffu, run, d);
        if (lane >= d) run = f(before, run);
    }}
    __syncthreads();
    if (lane == 31) shared[warp] = run;
    __syncthreads();
    {t} before = sum;
    for (int w = 0; w < {warps}; ++w) {{
        if (w < warp) before = f(before, shared[w]);
        sum = f(sum, shared[w]);
    }}
    run = f(before, run);
    if (r < {size}) {store}
}}
",
            warps = THREADS / 32
        );
    }
    draft.body = body;
    a.launch(draft)
}

/// The start of a row in `x`, and the positions of its elements in the result but for the row's own axis; the row is at `g0`, `g1`, ...
/// along the axes `kept`.
pub fn row(x: &View, kept: &[usize]) -> (String, Vec<String>) {
    let names: Vec<String> = (0..kept.len()).map(|i| format!("g{i}")).collect();
    let base = sum(&names, &kept.iter().map(|&k| x.strides[k]).collect::<Vec<_>>());
    let mut positions = vec!["0".to_string(); x.rank()];
    for (&axis, name) in kept.iter().zip(names) {
        positions[axis] = name;
    }
    (base, positions)
}
