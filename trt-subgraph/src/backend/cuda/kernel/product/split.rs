//! Products of few elements and long sums: a warp for a row and a few columns of it, whose lanes share the sums.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{Draft, indent, split, storage_type};
use super::Product;
use std::fmt::Write;

const THREADS: usize = 256;

/// Most columns of a warp, which reads the left factor once for all of them.
const COLUMNS: usize = 4;

/// Emits the product.
pub fn emit(a: &mut Assembler, p: Product) -> Result<(), Fault> {
    let (ty, t, pack) = (p.index(), p.sum(), p.together());
    let warps = |columns: usize| p.batch * p.m * (p.n / columns);
    let fits = |c: &usize| p.n.is_multiple_of(*c) && warps(*c) * 32 >= a.target.busy() / 4;
    let columns = (1..=COLUMNS.min(p.n)).rev().find(fits).unwrap_or(1);
    let (count, strips) = (warps(columns), p.n / columns);
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.grid) = (THREADS, [count.div_ceil(THREADS / 32), 1, 1]);
    draft.read("x", &p.a.view);
    draft.aligned(pack * p.a.view.dtype.size());
    draft.read("w", &p.b.view);
    draft.aligned(pack * p.b.view.dtype.size());
    p.tail.parameters(&mut draft);
    let mut body = format!(
        "const int lane = THREAD % 32;
const {ty} wanted = ({ty})BLOCK * {} + THREAD / 32;
const bool active = wanted < {count};
const {ty} i = active ? wanted : {};\n",
        THREADS / 32,
        count - 1
    );
    body.push_str(&split(&[p.batch, p.m, strips], "i", ty, "i"));
    let _ = writeln!(body, "const {ty} b = i0, m = i1, n0 = i2 * {columns};\n{t} sums[{columns}] = {{}};");
    let each = |code: &str| {
        format!(
            "#pragma unroll\nfor (int j = 0; j < {columns}; ++j) {{\n    const {ty} n = n0 + j;\n{}}}\n",
            indent(code)
        )
    };
    let packed = format!("Pack<{}, {pack}>", storage_type(p.a.view.dtype));
    let read = |name: &str, from: &str, offset: &str| {
        format!("{name} = *reinterpret_cast<const {packed}*>({from} + ({offset}));\n")
    };
    let read_x = read("p", "x", &p.a.offset);
    let read_x = match &p.a.exists {
        Some(exists) => format!("if ({exists}) {read_x}"),
        None => read_x,
    };
    let add = format!(
        "{}{}{}#pragma unroll\nfor (int c = 0; c < {pack}; ++c) sums[j] = fused(({t})get(p.at[c]), ({t})get(q.at[c]), sums[j]);\n",
        p.b.outer,
        p.b.inner,
        read(&format!("const {packed} q"), "w", &p.b.offset)
    );
    let step = format!(
        "const {ty} k = u * {pack};\n{packed} p = {{}};\n{{\n{}}}\n{}",
        indent(&format!("{}{}{read_x}", p.a.outer, p.a.inner)),
        each(&add)
    );
    let plus = if t == "i64" { "add_wrap(p, q)" } else { "p + q" };
    let _ = write!(
        body,
        "#pragma unroll 4\nfor ({ty} u = lane; u < {}; u += 32) {{\n{}}}\n{}",
        p.k / pack,
        indent(&step),
        each(&format!(
            "const {t} sum = combine_near<32>(sums[j], []({t} p, {t} q) {{ return ({t})({plus}); }}, ({t}*)0);\nif (active && lane == j) {}",
            p.store("sum")
        ))
    );
    draft.body = body;
    a.launch(draft)
}
