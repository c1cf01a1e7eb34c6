//! Products of runs of rows with a matrix each, in tiles of one run: where a run's rows lie is read from the offsets by each block.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{Draft, compute_type, index_type, split, sum_type};
use crate::network::Layer;
use std::fmt::Write;

/// Threads along each side of a tile.
const SIDE: usize = 16;
/// Terms of the sums that are in shared memory at a time.
const DEPTH: usize = 16;

/// Emits `layer`: rows of `x[T, K]` by matrices `w[E, K, N]`.
///
/// There is a block for each tile of the result and each run; those whose run has no row in their tile end at once. The blocks of
/// one more run, which multiplies nothing, store what rows of no run get.
pub fn grouped(a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
    let tail = a.tail(layer, &[0, 1])?;
    let [x, w, offsets] = [0, 1, 2].map(|i| a.view(layer.inputs[i]));
    let (m, n) = (tail.out.shape[0], tail.out.shape[1]);
    if m * n == 0 {
        return Ok(());
    }
    let (runs, k) = (w.shape[0], w.shape[1]);
    let t = sum_type(x.dtype);
    // Runs are a part of the rows.
    let (rows, columns) = (if m > 16 * runs { 32 } else { 16 }, if n > 32 { 64 } else { 32 });
    let (high, wide) = (rows / SIDE, columns / SIDE);
    let tiles = [m.div_ceil(rows), n.div_ceil(columns)];
    let mut draft = Draft::new("grouped");
    draft.threads = SIDE * SIDE;
    draft.grid = [(runs + 1) * tiles[0] * tiles[1], 1, 1];
    draft.read("x", &x);
    draft.read("w", &w);
    draft.read("offsets", &offsets);
    tail.parameters(&mut draft);
    let views: Vec<_> = [&x, &w, &offsets].into_iter().chain(tail.views()).collect();
    let ty = index_type(&views, draft.grid[0] * draft.threads);
    let mut body = format!("__shared__ {t} left[{DEPTH}][{}], right[{DEPTH}][{}];\n", rows + 1, columns + 1);
    body.push_str(&split(&[runs + 1, tiles[0], tiles[1]], "BLOCK", ty, "tile"));
    // Neighbouring threads read neighbouring elements.
    let place = |side: usize, dense_along_k: bool| match dense_along_k {
        true => format!("u = e / {DEPTH}, d = e % {DEPTH}"),
        false => format!("u = e % {side}, d = e / {side}"),
    };
    let own = compute_type(tail.typing[0]);
    let _ = write!(
        body,
        "const {ty} run = tile0, m0 = tile1 * {rows}, n0 = tile2 * {columns};
const int tm = THREAD / {SIDE}, tn = THREAD % {SIDE};
const auto end = [&](int e) {{ return (i64)get(offsets[e * {step}]); }};
const auto holds = [&](int e, i64 m) {{ return m >= (e > 0 ? end(e - 1) : 0) && m < end(e); }};
// The rows of the tile that the run holds.
i64 first = m0, last = m0 + {rows} < {m} ? m0 + {rows} : {m};
if (run < {runs}) {{
    if (run > 0 && end(run - 1) > first) first = end(run - 1);
    if (end(run) < last) last = end(run);
}}
if (first >= last) return;
{t} sums[{high}][{wide}] = {{}};
for ({ty} k0 = 0; k0 < (run < {runs} ? {k} : 0); k0 += {DEPTH}) {{
    for (int e = THREAD; e < {left}; e += {threads}) {{
        const int {left_place};
        const {ty} m = m0 + u, k = k0 + d;
        left[d][u] = m < {m} && k < {k} ? ({t})get(x[m * {x_m} + k * {x_k}]) : 0;
    }}
    for (int e = THREAD; e < {right}; e += {threads}) {{
        const int {right_place};
        const {ty} n = n0 + u, k = k0 + d;
        right[d][u] = n < {n} && k < {k} ? ({t})get(w[run * {w_e} + k * {w_k} + n * {w_n}]) : 0;
    }}
    __syncthreads();
    #pragma unroll
    for (int d = 0; d < {DEPTH}; ++d)
        #pragma unroll
        for (int i = 0; i < {high}; ++i)
            #pragma unroll
            for (int j = 0; j < {wide}; ++j)
                sums[i][j] = fused(left[d][tm + i * {SIDE}], right[d][tn + j * {SIDE}], sums[i][j]);
    __syncthreads();
}}
#pragma unroll
for (int i = 0; i < {high}; ++i) {{
    const {ty} m = m0 + tm + i * {SIDE};
    bool mine = m >= first && m < last;
    // A row of several runs belongs to the last.
    for (int e = run < {runs} ? run + 1 : 0; mine && e < {runs}; ++e) mine = !holds(e, m);
    #pragma unroll
    for (int j = 0; j < {wide}; ++j) {{
        const {ty} n = n0 + tn + j * {SIDE};
        if (mine && n < {n}) {store}    }}
}}
",
        step = offsets.strides[0],
        left = rows * DEPTH,
        right = columns * DEPTH,
        threads = SIDE * SIDE,
        left_place = place(rows, x.strides[1].unsigned_abs() <= x.strides[0].unsigned_abs()),
        right_place = place(columns, w.strides[1].unsigned_abs() < w.strides[2].unsigned_abs()),
        x_m = x.strides[0],
        x_k = x.strides[1],
        w_e = w.strides[0],
        w_k = w.strides[1],
        w_n = w.strides[2],
        store = tail.store(&format!("({own})sums[i][j]"), &["m".to_string(), "n".to_string()], ty),
    );
    draft.body = body;
    a.launch(draft)
}
