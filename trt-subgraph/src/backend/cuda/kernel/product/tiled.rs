//! The general product: tiles of both factors in shared memory, a small tile of sums in each thread's registers.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{Draft, indent, split};
use super::{Factor, Product};
use std::fmt::Write;

/// Threads along each side of a tile.
const SIDE: usize = 16;
/// Depth of a tile.
const DEPTH: usize = 16;

/// Emits the product.
pub fn emit(a: &mut Assembler, p: Product) -> Result<(), Fault> {
    let (rows, columns) = tile(&p, a.target.multiprocessors);
    let (ty, t) = (p.index(), p.sum());
    let tiles = [p.m.div_ceil(rows), p.n.div_ceil(columns)];
    let mut draft = Draft::new(p.what);
    draft.threads = SIDE * SIDE;
    draft.grid = [tiles[0] * tiles[1] * p.batch, 1, 1];
    draft.read("x", &p.a.view);
    draft.read("w", &p.b.view);
    p.tail.parameters(&mut draft);
    let (high, wide) = (rows / SIDE, columns / SIDE);
    let mut body = format!("__shared__ {t} left[{DEPTH}][{}], right[{DEPTH}][{}];\n", rows + 1, columns + 1);
    body.push_str(&split(&[p.batch, tiles[0], tiles[1]], "BLOCK", ty, "tile"));
    let (fast, slow) = (format!("THREAD % {SIDE}"), format!("THREAD / {SIDE}"));
    let (tm, tn) = if p.dense_along_m { (fast, slow) } else { (slow, fast) };
    let _ = write!(
        body,
        "const {ty} b = tile0, m0 = tile1 * {rows}, n0 = tile2 * {columns};
const int tm = {tm}, tn = {tn};
{t} sums[{high}][{wide}] = {{}};
for ({ty} k0 = 0; k0 < {k}; k0 += {DEPTH}) {{
{loads}    __syncthreads();
    #pragma unroll
    for (int d = 0; d < {DEPTH}; ++d) {{
        {t} l[{high}], r[{wide}];
        #pragma unroll
        for (int i = 0; i < {high}; ++i) l[i] = left[d][tm + i * {SIDE}];
        #pragma unroll
        for (int j = 0; j < {wide}; ++j) r[j] = right[d][tn + j * {SIDE}];
        #pragma unroll
        for (int i = 0; i < {high}; ++i)
            #pragma unroll
            for (int j = 0; j < {wide}; ++j) sums[i][j] = fused(l[i], r[j], sums[i][j]);
    }}
    __syncthreads();
}}
#pragma unroll
for (int i = 0; i < {high}; ++i)
    #pragma unroll
    for (int j = 0; j < {wide}; ++j) {{
        const {ty} m = m0 + tm + i * {SIDE}, n = n0 + tn + j * {SIDE};
        if (m < {m} && n < {n}) {store}    }}
",
        k = p.k,
        m = p.m,
        n = p.n,
        loads = indent(
            &(load(&p.a, "x", "left", ("m", p.m), rows, &p)
                + &load(&p.b, "w", "right", ("n", p.n), columns, &p))
        ),
        store = p.store("sums[i][j]"),
    );
    draft.body = body;
    a.launch(draft)
}

/// Fills a tile: neighbouring threads read neighbouring elements.
fn load(
    f: &Factor,
    pointer: &str,
    tile: &str,
    (row, limit): (&str, usize),
    rows: usize,
    p: &Product,
) -> String {
    let (ty, t) = (p.index(), p.sum());
    let (u, d) = if f.dense_along_k {
        (format!("e / {DEPTH}"), format!("e % {DEPTH}"))
    } else {
        (format!("e % {rows}"), format!("e / {rows}"))
    };
    let read = format!("v = ({t})get({pointer}[{}]);\n", f.offset);
    let read = match &f.exists {
        Some(exists) => format!("if ({exists}) {read}"),
        None => read,
    };
    format!(
        "#pragma unroll
for (int e = THREAD; e < {count}; e += {threads}) {{
    const int u = {u}, d = {d};
    const {ty} {row} = {row}0 + u, k = k0 + d;
    {t} v = 0;
    if ({row} < {limit} && k < {depth}) {{
{code}    }}
    {tile}[d][u] = v;
}}
",
        count = rows * DEPTH,
        threads = SIDE * SIDE,
        depth = p.k,
        code = indent(&indent(&format!("{}{}{read}", f.outer, f.inner))),
    )
}

/// Rows and columns of a tile: large ones reuse more, small ones keep more multiprocessors busy.
fn tile(p: &Product, multiprocessors: usize) -> (usize, usize) {
    let wide = if p.sum() == "f32" { 64 } else { 32 };
    let fit = |n: usize, most: usize| {
        if n > 32 && most >= 64 {
            64
        } else if n > 16 {
            32
        } else {
            16
        }
    };
    let (mut rows, mut columns) = (fit(p.m, wide), fit(p.n, wide));
    let blocks = |r: usize, c: usize| p.batch * p.m.div_ceil(r) * p.n.div_ceil(c);
    while blocks(rows, columns) < multiprocessors && rows.max(columns) > 16 {
        if rows >= columns { rows /= 2 } else { columns /= 2 }
    }
    (rows, columns)
}
