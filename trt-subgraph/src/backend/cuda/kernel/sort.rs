//! The first `k` elements of sorted rows. Few of many are found one after the other, each as the best of those behind the last;
//! otherwise every element counts how many sort before it, which is its place.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::{Draft, Tail, index_type, split, storage_type};
use super::arg::found_type;
use super::scan::row;
use crate::backend::view::View;
use crate::network::Layer;
use std::fmt::Write;

const THREADS: usize = 256;

/// Emits `layer`, which sorts along `axis`.
pub fn assemble(a: &mut Assembler, layer: &Layer, axis: usize, k: usize, largest: bool) -> Result<(), Fault> {
    let x = a.view(layer.inputs[0]);
    let order = order_of(&x);
    let [values, places] = [0, 1].map(|i| {
        let room = a.room(layer.outputs[i], &order);
        a.define(layer.outputs[i], room.clone());
        room
    });
    if values.elements() == 0 {
        return Ok(());
    }
    let kept: Vec<usize> = x.order().into_iter().filter(|&i| i != axis).collect();
    let size = x.shape[axis];
    let rows: usize = kept.iter().map(|&i| x.shape[i]).product();
    let tail = Tail::plain(values);
    let ty = index_type(&[&x, &tail.out, &places], rows * size.max(THREADS));
    let mut draft = Draft::new(if k * 16 <= size { "top" } else { "sort" });
    draft.read("x", &x);
    tail.parameters(&mut draft);
    draft.write("z", &places);
    // Where there are few elements, threads share one.
    let spare = a.target.busy() / (rows * size).max(1);
    let lanes = [8, 4, 2].into_iter().find(|&n| n <= spare && n * 8 <= size).unwrap_or(1);
    let blocks = if k * 16 <= size { 1 } else { (size * lanes).div_ceil(THREADS) };
    (draft.threads, draft.grid) = (THREADS, [rows * blocks, 1, 1]);
    let mut body = split(&[rows, blocks], "BLOCK", ty, "b");
    body.push_str(&split(&kept.iter().map(|&i| x.shape[i]).collect::<Vec<_>>(), "b0", ty, "g"));
    let (base, mut positions) = row(&x, &kept);
    positions[axis] = "rank".to_string();
    let _ = writeln!(body, "const {ty} base = {base};");
    let places = Tail::plain(places).store("(i64)at", &positions, ty).replace("y[", "z[");
    let context = Context { size, k, largest, step: x.strides[axis], ty, t: found_type(x.dtype), lanes };
    let store = |value: &str| format!("{}{places}", tail.store(value, &positions, ty));
    body.push_str(&if k * 16 <= size {
        context.select(&store("get(x[base + at * STEP])"))
    } else {
        context.rank(&store("get(own)"), &x)
    });
    draft.body = body.replace("STEP", &x.strides[axis].to_string());
    a.launch(draft)
}

struct Context {
    size: usize,
    k: usize,
    largest: bool,
    step: isize,
    ty: &'static str,
    t: &'static str,
    /// Threads that share what an element is compared with, a power of 2.
    lanes: usize,
}

impl Context {
    /// A block for each row and part of it, several threads for each element; `store` sees the element `own`, its place `rank` and
    /// position `at`.
    fn rank(&self, store: &str, x: &View) -> String {
        let Context { size, k, largest, step, ty, t, lanes } = self;
        let memory = storage_type(x.dtype);
        let key = match *t {
            "f32" | "i32" => "u64".to_string(),
            wide => format!("Keyed<{largest}, {wide}>"),
        };
        format!(
            "__shared__ {key} others[{THREADS}];
const {ty} at = b1 * {elements} + THREAD / {lanes};
{memory} own = x[base + (at < {size} ? at : 0) * {step}];
const {key} mine = sort_key<{largest}>(({t})get(own), at);
int rank = 0;
for ({ty} r0 = 0; r0 < {size}; r0 += {THREADS}) {{
    __syncthreads();
    const {ty} r = r0 + THREAD;
    if (r < {size}) others[THREAD] = sort_key<{largest}>(({t})get(x[base + r * {step}]), r);
    __syncthreads();
    const int count = min(({ty}){THREADS}, {size} - r0);
    #pragma unroll 8
    for (int j = THREAD % {lanes}; j < count; j += {lanes}) rank += sorts_sooner(others[j], mine);
}}
#pragma unroll
for (int d = {lanes} / 2; d; d >>= 1) rank += across_lanes(rank, d);
if (THREAD % {lanes} == 0 && at < {size} && rank < {k}) {{
{store}}}
",
            elements = THREADS / lanes,
        )
    }

    /// A block for each row; `store` sees the place `rank` and position `at`.
    fn select(&self, store: &str) -> String {
        let Context { size, k, largest, step, ty, t, .. } = self;
        format!(
            "__shared__ Found<{t}> shared[{warps}];
const auto f = [](Found<{t}> p, Found<{t}> q) {{
    return p.at < 0 ? q : q.at < 0 ? p : sorts_before<{largest}>(p.value, p.at, q.value, q.at) ? p : q;
}};
Found<{t}> last = {{0, 0, -1}};
for (int rank = 0; rank < {k}; ++rank) {{
    Found<{t}> best = {{0, 0, -1}};
    for ({ty} r = THREAD; r < {size}; r += {THREADS}) {{
        const Found<{t}> v = {{({t})get(x[base + r * {step}]), 0, (i64)r}};
        if (last.at < 0 || sorts_before<{largest}>(last.value, last.at, v.value, v.at)) best = f(best, v);
    }}
    last = combine_near<{THREADS}>(best, f, shared);
    const {ty} at = last.at;
    if (THREAD == 0) {{
{store}    }}
}}
",
            warps = THREADS / 32
        )
    }
}
