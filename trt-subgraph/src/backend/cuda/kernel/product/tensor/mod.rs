//! Products on tensor cores, of halves and, where TF32 is allowed, of f32: both factors by asynchronous copies through several stages of
//! shared memory, sums in registers, and the tile of the result back through shared memory, so that rows are stored whole.
//!
//! Where there are few tiles, the blocks of a cluster share the sums of one and add them up out of each other's shared memory.

mod bulk;
mod cut;
mod form;
mod patch;
mod rows;

pub use bulk::{Bulk, bulks, bulks_in_parts, bulks_of_areas, emit as emit_bulk};
pub use cut::{Cut, Form, cuts};
pub use form::{form, product};
pub use patch::{Patch, emit as emit_patch, patches};
pub use rows::{row_form, row_product};

use super::super::super::assemble::{Assembler, Fault};
use super::super::super::program::WEIGHTS;
use super::super::super::render::{Draft, indent, split, storage_type};
use super::{Factor, Product};
use cut::Unit;
use std::fmt::Write;

/// In a kernel's text: where a step begins along `k`.
const STEP: &str = "start";

/// Emits the product, both of whose factors are read 16 bytes along `k` at a time.
pub fn emit(a: &mut Assembler, p: Product, cut: Cut) -> Result<(), Fault> {
    let (ty, unit) = (p.index(), 16 / p.a.view.dtype.size());
    let Cut { rows, columns, warps, across, shares, depth, stages, .. } = cut;
    let tiles = [p.batch, p.m.div_ceil(rows), p.n.div_ceil(columns), shares];
    let (stage, pitch, ahead) = (cut.stage(), cut.pitch(), cut.ahead);
    let pack = p.tail.pack(p.column_axis);
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.cluster, draft.waits) = (cut.threads(), shares, true);
    (draft.grid, draft.shared) = ([tiles.iter().product(), 1, 1], cut.shared());
    draft.read("x", &p.a.view);
    draft.aligned(16);
    draft.read("w", &p.b.view);
    draft.aligned(16);
    p.tail.parameters_packed(&mut draft, p.column_axis, pack);
    // Weights are there before the kernels ahead are done.
    let first = format!("for (int s = 0; s < {ahead} && s < steps; ++s) fetch_right(s, first + s);\n");
    let wait = "await_previous();\n";
    let begin = if p.b.view.slot == WEIGHTS { first + wait } else { wait.to_string() + &first };
    let (high, wide) = (rows / warps / 16, columns / across / 8);
    let place = format!(
        "const {ty} m = m0 + row, n = n0 + column;\nconst bool exists = m < {} && n < {};\n",
        p.m, p.n
    );
    let tile = Tile { rows, columns, pitch, shares, threads: cut.threads() };
    let results = results(&p, tile, &place, "tile3", pack);
    let mut body = format!("DYNAMIC_SHARED(pool, {});\n", cut.shared());
    body.push_str(&split(&tiles, "BLOCK", ty, "tile"));
    let steps = p.k.div_ceil(unit * depth / 16);
    let units = depth / 16;
    // Rows of 128 bytes, or pairs of 64, each with its units in another order: no two of eight rows in the same banks.
    let place = if units == 8 { "(unit ^ (row & 7))" } else { "(unit ^ (row >> 1 & 3))" };
    let _ = write!(
        body,
        "const {ty} b = tile0, m0 = tile1 * {rows}, n0 = tile2 * {columns};
const int lane = THREAD % 32, wm = THREAD / 32 % {warps} * {warp_rows}, wn = THREAD / 32 / {warps} * {warp_columns};
const int first = {steps} * tile3 / {shares}, steps = {steps} * (tile3 + 1) / {shares} - first;
{rows_left}{rows_right}auto at = [&](int stage, int row, int unit) {{ return pool + stage * {stage} + row * {depth} + {place} * 16; }};
auto fetch_left = [&](int stage, int step) {{
    const int unit = THREAD % {units};
    const {ty} {STEP} = step * {elements}, k = {STEP} + unit * {unit};
{left}}};
auto fetch_right = [&](int stage, int step) {{
    const int unit = THREAD % {units};
    const {ty} {STEP} = step * {elements}, k = {STEP} + unit * {unit};
{right}}};
f32 sums[{high}][{wide}][4] = {{}};
{begin}for (int s = 0; s < {ahead}; ++s) {{
    if (s < steps) fetch_left(s, first + s);
    end_group();
}}
{ahead_of_products}for (int s = 0; s < steps; ++s) {{
    const int stage = s % {stages};
    wait_groups<{pending}>();
{multiply}}}
{end}wait_groups<0>();
",
        elements = unit * units,
        warp_rows = rows / warps,
        warp_columns = columns / across,
        pending = ahead - 1,
        ahead_of_products = results.ahead,
        multiply = indent(&match cut.unit {
            Unit::Warp => by_warps(&p, cut),
            Unit::Warpgroup => by_warpgroups(&p, cut),
        }),
        end = if cut.unit == Unit::Warpgroup { format!("wait_products<0, {wide}>(sums[0]);\n") } else { String::new() },
        rows_left = prepare(&p.a, "x", ("m", p.m), rows, ty, cut),
        rows_right = prepare(&p.b, "w", ("n", p.n), columns, ty, cut),
        left = indent(&load(&p.a, "x", (0, rows), p.k, ty, cut)),
        right = indent(&load(&p.b, "w", (rows, columns), p.k, ty, cut)),
    );
    body.push_str(&sums_to_memory(high, wide, pitch, None));
    body.push_str(&results.store);
    draft.body = body;
    a.launch(draft)
}

/// The copies for a later step begin.
fn next(cut: Cut) -> String {
    let Cut { ahead, stages, .. } = cut;
    format!(
        "if (s + {ahead} < steps) {{
    fetch_left((s + {ahead}) % {stages}, first + s + {ahead});
    fetch_right((s + {ahead}) % {stages}, first + s + {ahead});
}}
end_group();
"
    )
}

/// One step's products, of fragments that a warp loads.
fn by_warps(p: &Product, cut: Cut) -> String {
    let Cut { rows, columns, warps, across, depth, .. } = cut;
    let (high, wide) = (rows / warps / 16, columns / across / 16);
    let products = fragments(
        (high, "at(stage, wm + i * 16 + lane % 16, part * 2 + lane / 16)"),
        (
            wide,
            &format!("at(stage, {rows} + wn + j * 16 + lane / 16 * 8 + lane % 8, part * 2 + lane / 8 % 2)"),
        ),
        storage_type(p.a.view.dtype),
    );
    format!(
        "__syncthreads();
{next}#pragma unroll
for (int part = 0; part < {parts}; ++part) {{
{products}}}
",
        next = next(cut),
        parts = depth / 32,
        products = indent(&products),
    )
}

/// The products of a warp's fragments, 32 bytes along `k`: so many of each factor, and where a lane's row of number `i` or `j` is.
fn fragments((high, left): (usize, &str), (wide, right): (usize, &str), element: &str) -> String {
    format!(
        "Four left[{high}], right[{wide}];
#pragma unroll
for (int i = 0; i < {high}; ++i)
    left[i] = factor(load_matrices({left}), {element}());
#pragma unroll
for (int j = 0; j < {wide}; ++j)
    right[j] = factor(load_matrices({right}), {element}());
#pragma unroll
for (int i = 0; i < {high}; ++i)
    #pragma unroll
    for (int j = 0; j < {wide}; ++j) {{
        multiply(sums[i][2 * j], left[i], right[j].at[0], right[j].at[1], {element}());
        multiply(sums[i][2 * j + 1], left[i], right[j].at[2], right[j].at[3], {element}());
    }}
"
    )
}

/// Declares `results`, the tile in shared memory in the place of what was multiplied, and puts the sums there; those of rows from
/// `limit` on are left out.
fn sums_to_memory(high: usize, wide: usize, pitch: usize, limit: Option<usize>) -> String {
    let beyond =
        limit.map_or(String::new(), |limit| format!("        if (wm + i * 16 >= {limit}) continue;\n"));
    format!(
        "__syncthreads();
f32* results = reinterpret_cast<f32*>(pool);
#pragma unroll
for (int i = 0; i < {high}; ++i)
    #pragma unroll
    for (int j = 0; j < {wide}; ++j) {{
{beyond}        f32* to = results + (wm + i * 16 + lane / 4) * {pitch} + wn + j * 8 + lane % 4 * 2;
        *reinterpret_cast<Pack<f32, 2>*>(to) = {{sums[i][j][0], sums[i][j][1]}};
        *reinterpret_cast<Pack<f32, 2>*>(to + 8 * {pitch}) = {{sums[i][j][2], sums[i][j][3]}};
    }}
"
    )
}

/// One step's products, which warpgroups begin, and end at the step after the next.
fn by_warpgroups(p: &Product, cut: Cut) -> String {
    let Cut { rows, columns, across, .. } = cut;
    format!(
        "show_copies();
__syncthreads();
begin_products<{wide}>(sums[0]);
multiply_tiles<{wide}>(sums[0], at(stage, wm / 64 * 64, 0), at(stage, {rows} + wn, 0), {element}());
{next}wait_products<1, {wide}>(sums[0]);
",
        wide = columns / across / 8,
        next = next(cut),
        element = storage_type(p.a.view.dtype),
    )
}

/// Rows of a factor whose copies a thread begins: how many, and how far one is from the next.
fn rows_of(rows: usize, cut: Cut) -> (usize, usize) {
    let next = cut.threads() / (cut.depth / 16);
    (rows.div_ceil(next), next)
}

/// Declares what the copies of a thread's rows need at every step.
fn prepare(
    f: &Factor,
    pointer: &str,
    (row, limit): (&str, usize),
    rows: usize,
    ty: &str,
    cut: Cut,
) -> String {
    let (count, next) = rows_of(rows, cut);
    let declare: String = f.kept.iter().map(|name| format!("{ty} {pointer}_{name}[{count}];\n")).collect();
    let keep: String = f.kept.iter().map(|name| format!("{pointer}_{name}[r] = {name};\n")).collect();
    format!(
        "{declare}bool {pointer}_there[{count}];
#pragma unroll
for (int r = 0; r < {count}; ++r) {{
    const {ty} {row} = {row}0 + THREAD / {} + r * {next};
{}    {pointer}_there[r] = {row} < {limit};
}}
",
        cut.depth / 16,
        indent(&format!("{}{keep}", f.outer)),
    )
}

/// Begins the copies of a thread's share of one factor's rows of a stage, from row `start` of it on.
fn load(f: &Factor, pointer: &str, (start, rows): (usize, usize), end: usize, ty: &str, cut: Cut) -> String {
    let (units, (count, next)) = (cut.depth / 16, rows_of(rows, cut));
    let kept: String =
        f.kept.iter().map(|name| format!("const {ty} {name} = {pointer}_{name}[r];\n")).collect();
    let mut exists = vec![format!("{pointer}_there[r]")];
    if !(end * f.view.dtype.size()).is_multiple_of(cut.depth) {
        exists.push(format!("k < {end}"));
    }
    exists.extend(f.exists.clone());
    let copy = format!(
        "const bool exists = {};
const auto from = {pointer} + ({});
begin_copy(at(stage, {start} + row, unit), exists ? from : {pointer}, exists);
",
        exists.join(" && "),
        f.offset
    );
    let beyond =
        if rows.is_multiple_of(next) { String::new() } else { format!("if (row >= {rows}) break;\n") };
    format!(
        "#pragma unroll
for (int r = 0; r < {count}; ++r) {{
    const int row = THREAD / {units} + r * {next};
{}}}
",
        indent(&format!("{beyond}{kept}{}{copy}", f.inner)),
    )
}

/// A tile of results in shared memory.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    columns: usize,
    /// Floats from row to row.
    pitch: usize,
    /// Blocks that share the sums.
    shares: usize,
    threads: usize,
}

/// The code that stores a tile.
struct Results {
    /// What its operands need, before the products.
    ahead: String,
    /// After them.
    store: String,
}

/// Stores the tile, or a block's share of it, which is that of number `part`. `place` declares from `row` and `column` what `m` and `n` are,
/// and whether such a result `exists`. Where a thread stores little, what the epilogue reads is loaded ahead.
fn results(p: &Product, tile: Tile, place: &str, part: &str, pack: usize) -> Results {
    let mut out = stored(p, tile, place, part, pack);
    let [meet, leave] =
        if tile.shares > 1 { ["cluster_barrier();\n"; 2] } else { ["__syncthreads();\n", ""] };
    out.store = format!("{meet}{}{leave}", out.store);
    out
}

/// The same without waiting for those who have the sums.
fn stored(p: &Product, tile: Tile, place: &str, part: &str, pack: usize) -> Results {
    /// Most packs that are stored without a loop.
    const FEW: usize = 8;
    let (ty, Tile { rows, columns, pitch, shares, threads }) = (p.index(), tile);
    let (units, share) = (columns / pack, rows.div_ceil(shares));
    let (all, along) = (share * units, (p.column_axis, pack));
    // Neighbouring threads on neighbouring results.
    let (row, column) = if p.dense_along_m {
        (format!("e % {share}"), format!("e / {share} * {pack}"))
    } else {
        (format!("e / {units}"), format!("e % {units} * {pack}"))
    };
    let row = if shares > 1 { format!("{part} * {share} + {row}") } else { row };
    let inside = if rows.is_multiple_of(shares) { String::new() } else { format!("row < {rows} && ") };
    let gather = if shares > 1 {
        format!(
            "Pack<f32, {pack}> parts[{shares}];
#pragma unroll
for (int rank = 0; rank < {shares}; ++rank) parts[rank] = from_neighbour<{pack}>(results + row * {pitch} + column, rank);
f32 values[{pack}];
#pragma unroll
for (int j = 0; j < {pack}; ++j) {{
    values[j] = parts[0].at[j];
    #pragma unroll
    for (int rank = 1; rank < {shares}; ++rank) values[j] += parts[rank].at[j];
}}
"
        )
    } else {
        format!("const f32* values = results + row * {pitch} + column;\n")
    };
    let count = all.div_ceil(threads);
    let loaded = if count <= FEW { p.tail.load_packed(count, &p.positions, along, ty) } else { None };
    let each = |what: &str| {
        format!(
            "    const int row = {row}, column = {column};\n{}    if ({inside}exists) {{\n{}    }}\n",
            indent(place),
            indent(&indent(&format!("{}{what}", p.place)))
        )
    };
    // Pack `r` of a thread.
    let of_each = |what: &str| {
        let beyond =
            if all.is_multiple_of(threads) { String::new() } else { format!("    if (e >= {all}) break;\n") };
        format!(
            "#pragma unroll
for (int r = 0; r < {count}; ++r) {{
    const int e = THREAD + r * {threads};
{beyond}{}}}
",
            each(what)
        )
    };
    let (ahead, store) = match loaded {
        Some((arrays, load)) => {
            let store = p.tail.store_loaded("values", &p.positions, along, ty);
            (arrays + &of_each(&load), of_each(&format!("{gather}{store}")))
        }
        None => {
            let store = p.tail.store_packed("values", &p.positions, along, ty);
            let each = each(&format!("{gather}{store}"));
            let store =
                format!("#pragma unroll 4\nfor (int e = THREAD; e < {all}; e += {threads}) {{\n{each}}}\n");
            (String::new(), store)
        }
    };
    Results { ahead, store }
}
