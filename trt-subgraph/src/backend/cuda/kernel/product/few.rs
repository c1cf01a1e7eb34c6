//! Products with few rows, bound by reading the right factor: a team for each column, all rows at once.

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::program::WEIGHTS;
use super::super::super::render::{Draft, indent, split, storage_type};
use super::{Factor, Product};
use std::fmt::Write;

const THREADS: usize = 256;
/// Accesses to the right factor that a thread has under way at most.
const UNDER_WAY: usize = 8;

/// Emits the product, of at most 8 rows, where `k` walks one axis of each factor.
pub fn emit(a: &mut Assembler, p: Product) -> Result<(), Fault> {
    let (ty, t, rows) = (p.index(), p.sum(), p.m);
    let columns = p.batch * p.n;
    let near = p.b.dense_along_k;
    let threads = if near {
        if columns * 32 < a.target.busy() / 4 && p.k >= 1024 { 128 } else { 32 }
    } else {
        (a.target.busy() / columns.max(1)).max(1).next_power_of_two().min(p.k.next_power_of_two()).min(8)
    };
    let teams = THREADS / threads;
    let pack = if near { pack(&p) } else { 1 };
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.grid) = (THREADS, [columns.div_ceil(teams), 1, 1]);
    draft.read("x", &p.a.view);
    draft.aligned(pack * p.a.view.dtype.size());
    draft.read("w", &p.b.view);
    draft.aligned(pack * p.b.view.dtype.size());
    p.tail.parameters(&mut draft);
    let (lane, team) = if near {
        (format!("THREAD % {threads}"), format!("THREAD / {threads}"))
    } else {
        (format!("THREAD / {teams}"), format!("THREAD % {teams}"))
    };
    let shared = if near { THREADS / 32 } else { THREADS };
    let mut body = format!(
        "__shared__ {t} shared[{shared}];
const int lane = {lane};
const {ty} wanted = ({ty})BLOCK * {teams} + {team};
const bool active = wanted < {columns};
const {ty} i = active ? wanted : {last};\n",
        last = columns - 1
    );
    body.push_str(&split(&[p.batch, p.n], "i", ty, "i"));
    let _ = writeln!(body, "const {ty} b = i0, n = i1;\n{t} sums[{rows}] = {{}};");
    let memory = storage_type(p.a.view.dtype);
    let packed = format!("Pack<{memory}, {pack}>");
    let units = p.k / pack;
    let depth = if near { units.div_ceil(threads).clamp(1, UNDER_WAY) } else { 4 };
    let read = |f: &Factor, pointer: &str, name: &str| {
        let code = format!(
            "{}{}{name} = *reinterpret_cast<const {packed}*>({pointer} + ({}));\n",
            f.outer, f.inner, f.offset
        );
        format!("{{\n{}}}\n", indent(&code))
    };
    // A round of accesses that begins `from` accesses into the column.
    let round = |from: &str, code: &str| {
        let whole = units > 0 && units.is_multiple_of(threads * depth);
        let check = if whole { String::new() } else { format!("if (u < {units}) ") };
        format!(
            "#pragma unroll\nfor (int c = 0; c < {depth}; ++c) {{\n    const {ty} u = {from} + c * {threads} + lane, k = u * {pack};\n    {check}{{\n{}    }}\n}}\n",
            indent(&indent(code))
        )
    };
    let load = |from: &str| round(from, &read(&p.b, "w", "q[c]"));
    let step = format!(
        "#pragma unroll\nfor (int m = 0; m < {rows}; ++m) {{\n{}}}\n",
        indent(&format!(
            "{packed} v;\n{}#pragma unroll\nfor (int j = 0; j < {pack}; ++j) sums[m] = fused(({t})get(v.at[j]), ({t})get(q[c].at[j]), sums[m]);\n",
            read(&p.a, "x", "v")
        ))
    );
    // What is static may be read before the kernels ahead are done.
    let fixed = p.b.view.slot == WEIGHTS;
    let wait = "await_previous();\n";
    let (early, late) = if fixed { ("", wait) } else { (wait, "") };
    let _ = write!(
        body,
        "{packed} q[{depth}];\n{early}{}{late}for ({ty} from = 0;;) {{\n{}    from += {};\n    if (from >= {units}) break;\n{}}}\n",
        load("0"),
        indent(&round("from", &step)),
        threads * depth,
        indent(&load("from"))
    );
    let plus = format!(
        "[]({t} p, {t} q) {{ return ({t})({}); }}",
        if t == "i64" { "add_wrap(p, q)" } else { "p + q" }
    );
    let combine = if near {
        format!("combine_near<{threads}>(sums[m], {plus}, shared)")
    } else {
        format!("combine_far<{threads}, {teams}>(sums[m], {plus}, shared)")
    };
    let _ = write!(
        body,
        "#pragma unroll\nfor (int m = 0; m < {rows}; ++m) {{\n    sums[m] = {combine};\n    if (active && lane == m % {threads}) {}}}\n",
        p.store("sums[m]")
    );
    (draft.body, draft.waits) = (body, true);
    a.launch(draft)
}

/// Elements along k that both factors let a thread read at once.
fn pack(p: &Product) -> usize {
    let mut pack = 16 / p.a.view.dtype.size();
    let fits = |pack: usize| {
        p.k.is_multiple_of(pack)
            && [&p.a, &p.b].iter().all(|f| {
                let (v, Some(k)) = (&f.view, f.k_axis) else { return pack == 1 };
                let rest = (0..v.rank()).filter(|&axis| axis != k && v.shape[axis] > 1);
                (pack == 1 || v.strides[k] == 1)
                    && rest.into_iter().all(|axis| v.strides[axis].unsigned_abs().is_multiple_of(pack))
                    && v.offset.unsigned_abs().is_multiple_of(pack * v.dtype.size())
            })
    };
    while !fits(pack) {
        pack /= 2;
    }
    pack
}
