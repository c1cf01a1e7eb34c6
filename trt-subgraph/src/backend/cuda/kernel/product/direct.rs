//! Products with few columns, or small in every way: a thread for a row and a few columns of it.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{Draft, indent, split};
use super::super::pointwise::thread;
use super::Product;
use std::fmt::Write;

/// Longest sums that are unrolled.
const UNROLLED: usize = 64;

/// Most columns of a thread, which reads the left factor once for all of them.
const COLUMNS: usize = 8;

/// Emits the product.
pub fn emit(a: &mut Assembler, p: Product) -> Result<(), Fault> {
    let columns = (1..=COLUMNS.min(p.n)).rev().find(|&c| p.n.is_multiple_of(c)).unwrap_or(1);
    let (count, strips) = (p.batch * p.m * (p.n / columns), p.n / columns);
    let (ty, t) = (p.index(), p.sum());
    let mut draft = Draft::new(p.what);
    draft.cover(count, 256);
    draft.read("x", &p.a.view);
    draft.read("w", &p.b.view);
    p.tail.parameters(&mut draft);
    let mut body = thread(ty, count);
    // Neighbouring threads on neighbouring results.
    if p.dense_along_m {
        body.push_str(&split(&[p.batch, strips, p.m], "i", ty, "i"));
        let _ = writeln!(body, "const {ty} b = i0, n0 = i1 * {columns}, m = i2;");
    } else {
        body.push_str(&split(&[p.m, p.batch, strips], "i", ty, "i"));
        let _ = writeln!(body, "const {ty} b = i1, n0 = i2 * {columns}, m = i0;");
    }
    let each = |code: &str| {
        format!(
            "#pragma unroll\nfor (int j = 0; j < {columns}; ++j) {{\n    const {ty} n = n0 + j;\n{}}}\n",
            indent(code)
        )
    };
    let _ = writeln!(body, "{t} sums[{columns}] = {{}};");
    let read_x = format!("x_ = ({t})get(x[{}]);\n", p.a.offset);
    let read_x = match &p.a.exists {
        Some(exists) => format!("if ({exists}) {read_x}"),
        None => read_x,
    };
    let add =
        format!("{}{}sums[j] = fused(x_, ({t})get(w[{}]), sums[j]);\n", p.b.outer, p.b.inner, p.b.offset);
    let step = format!("{t} x_ = 0;\n{{\n{}{}{read_x}}}\n{}", p.a.outer, p.a.inner, each(&add));
    let unroll = if p.k <= UNROLLED { "#pragma unroll\n" } else { "#pragma unroll 4\n" };
    let _ = write!(body, "{unroll}for ({ty} k = 0; k < {}; ++k) {{\n{}}}\n", p.k, indent(&step));
    body.push_str(&each(&p.store("sums[j]")));
    draft.body = body;
    a.launch(draft)
}
