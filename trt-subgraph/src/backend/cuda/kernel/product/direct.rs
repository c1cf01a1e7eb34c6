//! Products with few columns, or small in every way: a thread for each result.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::render::{Draft, indent, split};
use super::super::pointwise::thread;
use super::Product;
use std::fmt::Write;

/// Longest sums that are unrolled.
const UNROLLED: usize = 64;

/// Emits the product.
pub fn emit(a: &mut Assembler, p: Product) -> Result<(), Fault> {
    let count = p.batch * p.m * p.n;
    let (ty, t) = (p.index(), p.sum());
    let mut draft = Draft::new(p.what);
    draft.cover(count, 256);
    draft.read("x", &p.a.view);
    draft.read("w", &p.b.view);
    p.tail.parameters(&mut draft);
    let mut body = thread(ty, count);
    // Neighbouring threads on neighbouring results.
    if p.dense_along_m {
        body.push_str(&split(&[p.batch, p.n, p.m], "i", ty, "i"));
        let _ = writeln!(body, "const {ty} b = i0, n = i1, m = i2;");
    } else {
        body.push_str(&split(&[p.m, p.batch, p.n], "i", ty, "i"));
        let _ = writeln!(body, "const {ty} b = i1, n = i2, m = i0;");
    }
    let _ = writeln!(body, "{t} sum = 0;");
    let read_w = format!("{{\n{}{}w_ = ({t})get(w[{}]);\n}}\n", p.b.outer, p.b.inner, p.b.offset);
    let read_x = format!("x_ = ({t})get(x[{}]);\n", p.a.offset);
    let read_x = match &p.a.exists {
        Some(exists) => format!("if ({exists}) {read_x}"),
        None => read_x,
    };
    let step = format!(
        "{t} x_ = 0, w_ = 0;\n{read_w}{{\n{}{}{read_x}}}\nsum = fused(x_, w_, sum);\n",
        p.a.outer, p.a.inner
    );
    let unroll = if p.k <= UNROLLED { "#pragma unroll\n" } else { "#pragma unroll 4\n" };
    let _ = write!(body, "{unroll}for ({ty} k = 0; k < {}; ++k) {{\n{}}}\n", p.k, indent(&step));
    body.push_str(&p.store("sum"));
    draft.body = body;
    a.launch(draft)
}
