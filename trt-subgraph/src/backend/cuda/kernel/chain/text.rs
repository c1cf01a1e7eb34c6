//! The chain's kernel.

use super::super::super::render::{indent, storage_type};
use super::cut::Cut;
use super::end::{Kept, end};
use super::plan::{Held, Operand, Part, Plan, WARPS};
use crate::backend::view::View;
use crate::network::Network;
use std::fmt::Write;

/// Where a layer's weights lie among the prepared ones: the bytes of each block's after each other.
pub struct Row {
    pub weights: (isize, usize),
    /// Those of the epilogue's operands.
    pub vectors: Vec<(isize, usize)>,
}

/// The columns of the table before those of the epilogues' operands: the kind, the parts of the channels, where image and result are in shared
/// memory, where the weights are and their bytes, and whether blocks meet.
pub const FIXED: usize = 7;

/// The kernel's body, and how many bytes of the prepared weights it may touch.
pub fn body(
    plan: &Plan,
    network: &Network,
    rows: &[Row],
    given: &[(usize, View)],
    kept: &[Kept],
) -> (String, usize) {
    let most = plan.parts.iter().map(|p| p.operands.len()).max().unwrap_or(0);
    let mut kinds: Vec<String> = Vec::new();
    let mut table = String::new();
    let mut covered = 0;
    for (part, row) in plan.parts.iter().zip(rows) {
        let keeps = kept.iter().find(|k| k.part == part.at);
        let code = kind(plan, network, part, keeps);
        let at = kinds.iter().position(|k| *k == code).unwrap_or_else(|| {
            kinds.push(code);
            kinds.len() - 1
        });
        let place = |held: usize| plan.values[held].at as isize;
        let mut numbers = vec![
            at as isize,
            part.cut.blocks[1] as isize,
            place(part.x),
            part.y.map_or(0, place),
            row.weights.0,
            row.weights.1 as isize,
            isize::from(part.meets),
        ];
        let mut vectors = row.vectors.iter();
        for operand in &part.operands {
            match operand {
                Operand::Held(held) => numbers.extend([place(*held), 0]),
                Operand::Vector(_) => {
                    let &(at, bytes) = vectors.next().expect("a place for each vector");
                    numbers.extend([at, bytes as isize]);
                }
            }
        }
        numbers.resize(FIXED + 2 * most, 0);
        let ends = row.vectors.iter().chain([&row.weights]);
        let end = ends.map(|&(at, bytes)| at as usize + bytes * part.cut.blocks[1]).max().unwrap_or(0);
        covered = covered.max(end);
        let numbers: Vec<String> = numbers.iter().map(isize::to_string).collect();
        let _ = writeln!(table, "    {{{}}},", numbers.join(", "));
    }
    let cases: String = kinds
        .iter()
        .enumerate()
        .map(|(at, code)| format!("case {at}: {{\n{}    break;\n}}\n", indent(code)))
        .collect();
    let layers = plan.parts.len();
    let body = format!(
        "static __constant__ const int table[{layers}][{columns}] = {{
{table}}};
DYNAMIC_SHARED(pool, {shared});
u64 *const ready = (u64*)pool, *const full = ready + 2;
unsigned char *const zeros = pool + 128, *const scratch = pool + {scratch}, *const values = pool + {values};
const int rank = BLOCK % {cluster}, image = BLOCK / {cluster}, lane = THREAD % 32, warp = THREAD / 32;
if (THREAD == 0) {{
    begin_barrier(&ready[0], 1);
    begin_barrier(&ready[1], 1);
    for (int i = 0; i < {depth}; ++i) begin_barrier(&full[i], 1);
    show_barriers();
}}
for (int i = THREAD; i < {zeros}; i += {threads}) ((unsigned*)zeros)[i] = 0;
cluster_meeting();
// One thread has the weights of the layers before `end` brought.
int brought = 0;
const auto bring = [&](int end) {{
    #pragma unroll 1
    for (; brought < end; ++brought) {{
        const int* const row = table[brought];
        const int part = rank % row[1], at = brought % {depth};
        int bytes = row[5];
        #pragma unroll 1
        for (int i = {FIXED}; i < {columns}; i += 2) bytes += row[i + 1];
        expect_bytes(&full[at], bytes);
        unsigned char* to = pool + {weights} + at * {slot};
        begin_bytes(to, w + row[4] + part * row[5], row[5], &full[at]);
        to += row[5];
        #pragma unroll 1
        for (int i = {FIXED}; i < {columns}; i += 2) {{
            if (row[i + 1]) begin_bytes(to, w + row[i] + part * row[i + 1], row[i + 1], &full[at]);
            to += row[i + 1];
        }}
    }}
}};
if (THREAD == {last}) bring({first});
await_previous();
{loads}__syncthreads();
#pragma unroll 1
for (int l = 0; l < {layers}; ++l) {{
    const int* const row = table[l];
    const unsigned char* const weights = pool + {weights} + l % {depth} * {slot};
    await_bytes(&full[l % {depth}], l / {depth} & 1);
    if (l > 0) await_bytes(&ready[(l - 1) % 2], (l - 1) / 2 & 1);
    // No warp of a block is a layer behind the others: each waits for this very passing of its barriers. Where all blocks meet, so do warps.
    if (row[6]) cluster_meeting(); else __syncthreads();
    // Nobody here needs the weights of the layer before any more.
    if (THREAD == {last} && l > 0) bring(min(l + {depth}, {layers}));
    switch (row[0]) {{
{cases}    }}
}}
",
        columns = FIXED + 2 * most,
        shared = plan.shared(),
        scratch = plan.scratch_at(),
        values = plan.values_at(),
        cluster = plan.cluster,
        depth = plan.depth,
        slot = plan.slot,
        zeros = plan.zeros / 4,
        threads = 32 * WARPS,
        last = 32 * (WARPS - 1),
        weights = plan.weights_at(),
        first = plan.depth.min(layers),
        loads = given.iter().map(|(at, view)| load(plan, *at, view)).collect::<String>(),
        cases = indent(&indent(&cases)),
    );
    (body, covered)
}

/// Code for the first row that a block holds of a value, as the constant `name`.
pub fn first_row(name: &str, held: &Held) -> String {
    match held.spread {
        Some(s) if s.before == 0 => format!("const int {name} = rank / {} * {};\n", s.across, s.step),
        Some(s) => format!("const int {name} = max(rank / {} * {} - {}, 0);\n", s.across, s.step, s.before),
        None => of_blocks(name, held.rows.iter().map(|r| r[0])),
    }
}

/// Code for how many rows a block holds of a value, of which the constant `low` is the first.
fn row_count(name: &str, low: &str, held: &Held) -> String {
    match held.spread {
        Some(s) => format!(
            "const int {name} = min(rank / {} * {} + {}, {}) - {low};\n",
            s.across, s.step, s.after, held.shape[1]
        ),
        None => of_blocks(name, held.rows.iter().map(|r| r[1] - r[0])),
    }
}

/// A number for each block.
fn of_blocks(name: &str, numbers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<String> = numbers.map(|n| n.to_string()).collect();
    match numbers.iter().all(|n| *n == numbers[0]) {
        true => format!("const int {name} = {};\n", numbers[0]),
        false => {
            // No table in memory: a chain of choices of constants.
            let choices: String =
                (0..numbers.len() - 1).map(|i| format!("rank == {i} ? {} : ", numbers[i])).collect();
            format!("const int {name} = {choices}{};\n", numbers[numbers.len() - 1])
        }
    }
}

/// Brings an image from outside: of each block the rows that it holds, channels innermost.
fn load(plan: &Plan, at: usize, view: &View) -> String {
    let held = &plan.values[at];
    let ([channels, _, wide], t) = (held.shape, storage_type(plan.dtype));
    let s = &view.strides;
    format!(
        "{{
{}    for (int i = THREAD; i < rows * {}; i += {}) {{
        const int c = i / {wide} % {channels}, x = i % {wide}, y = i / {};
        {t}* const to = ({t}*)(values + {} + (y * {wide} + x) * {}) + c;
        {t} v = {{}};
        if (c < {}) v = x{at}[(i64)image * {} + (i64)c * {} + (i64)(low + y) * {} + (i64)x * {}];
        *to = v;
    }}
}}
",
        indent(&(first_row("low", held) + &row_count("rows", "low", held))),
        wide * channels,
        32 * WARPS,
        wide * channels,
        held.at,
        held.pitch,
        view.shape[1],
        s[0],
        s[1],
        s[2],
        s[3],
    )
}

/// What the blocks do for a layer.
fn kind(plan: &Plan, network: &Network, part: &Part, kept: Option<&Kept>) -> String {
    let layer = &network.layers[part.at];
    let x = &plan.values[part.x];
    let (cut, dtype) = (part.cut, plan.dtype);
    let [of_places, of_channels, of_sum] = cut.warps;
    let [_, high, wide] = part.shape;
    let t = storage_type(dtype);
    let steps = part.steps(&plan.values, dtype) / of_sum;
    let tiles = cut.wide();
    let mut out = format!(
        "const int wm = warp % {of_places}, wn = warp / {of_places} % {of_channels}, wk = warp / {};
const int first = rank / {} * {}, part = rank % {};
",
        of_places * of_channels,
        cut.blocks[1],
        cut.rows,
        cut.blocks[1],
    );
    out += &first_row("low", x);
    match part.y.map(|y| &plan.values[y]) {
        Some(held) => {
            let row = held.shape[2] * held.shape[0] * dtype.size();
            let rows = first_row("from", held) + &row_count("wanted", "from", held);
            let _ = write!(
                out,
                "if (THREAD == 0) {{\n{}    expect_bytes(&ready[l % 2], wanted * {row});\n}}\n",
                indent(&rows)
            );
        }
        None => out += "if (THREAD == 0) expect_bytes(&ready[l % 2], 0);\n",
    }
    let products = products(part, x, steps, tiles, t);
    let sums = if of_sum > 1 { shared_sums(cut, tiles) } else { String::new() };
    let end = end(plan, network, part, layer, kept);
    let _ = write!(
        out,
        "#pragma unroll 1
for (int round = 0; round < {rounds}; ++round) {{
    const int tile = round * {of_places} + wm;
    f32 sums[{tiles}][4] = {{}};
    if (wk < {of_sum}) {{
{products}    }}
{sums}    if (wk == 0) {{
        #pragma unroll
        for (int unit = 0; unit < {units}; unit += 4) {{
            f32 eights[8];
            gather_units<{units}>(eights, sums, unit);
            const int own = unit + lane % 4, place = tile * 16 + own % 2 * 8 + lane / 4;
            const int y = first + place / {wide}, x = place % {wide};
            const int c = (wn * {tiles} + own / 2) * 8;
            if (own < {units} && place < {places} && y < {high}) {{
{end}            }}
        }}
    }}
}}
",
        rounds = cut.rounds(),
        units = 2 * tiles,
        places = cut.rows * wide,
        products = indent(&indent(&products)),
        sums = indent(&sums),
        end = indent(&indent(&indent(&indent(&end)))),
    );
    out
}

/// A warp's products: rows of 16 places, channels of its tiles.
fn products(part: &Part, x: &Held, steps: usize, tiles: usize, t: &str) -> String {
    let [_, high, wide] = part.shape;
    let [rows, columns] = part.taps;
    let [_, in_high, in_wide] = x.shape;
    let pitch = x.pitch;
    let all = part.cut.tiles[1];
    let whole = steps * part.cut.warps[2];
    format!(
        "const int place = tile * 16 + lane % 16;
const int oy = first + place / {wide}, ox = place % {wide};
const int iy = oy * {sy} - {py}, ix = ox * {sx} - {px};
const bool exists = place < {places} && oy < {high};
const unsigned char* const from = values + row[2] + ((iy - low) * {in_wide} + ix) * {pitch} + lane / 16 * 16 + wk * {share};
const unsigned char* const nothing = zeros + lane / 16 * 16;
const unsigned char* const filters = weights + wk * {filters} + wn * {of_warp} + lane * 8;
#pragma unroll
for (int ty = 0; ty < {rows}; ++ty)
    #pragma unroll
    for (int tx = 0; tx < {columns}; ++tx) {{
        const bool inside = exists && (unsigned)(iy + ty) < {in_high} && (unsigned)(ix + tx) < {in_wide};
        const unsigned char* const at = inside ? from + (ty * {in_wide} + tx) * {pitch} : nothing;
        #pragma unroll
        for (int s = 0; s < {steps}; ++s) {{
            const Four a = factor(load_matrices(at + s * 32), {t}());
            #pragma unroll
            for (int i = 0; i < {tiles}; ++i) {{
                const uint2 b = *(const uint2*)(filters + (((ty * {columns} + tx) * {whole} + s) * {all} + i) * 256);
                const Four both = factor(Four{{b.x, b.y, 0, 0}}, {t}());
                multiply(sums[i], a, both.at[0], both.at[1], {t}());
            }}
        }}
    }}
",
        sy = part.stride[0],
        sx = part.stride[1],
        py = part.before[0],
        px = part.before[1],
        places = part.cut.rows * wide,
        share = steps * 32,
        filters = steps * all * 256,
        of_warp = tiles * 256,
    )
}

/// Adds the sums of the warps that share some.
fn shared_sums(cut: Cut, tiles: usize) -> String {
    let [of_places, of_channels, of_sum] = cut.warps;
    let each = of_places * of_channels;
    format!(
        "if (wk > 0 && wk < {of_sum})
    #pragma unroll
    for (int i = 0; i < {tiles}; ++i)
        *(Pack<f32, 4>*)(scratch + ((warp - {each}) * {tiles} + i) * 512 + lane * 16) = *(const Pack<f32, 4>*)sums[i];
__syncthreads();
if (wk == 0)
    #pragma unroll
    for (int k = 0; k < {more}; ++k)
        #pragma unroll
        for (int i = 0; i < {tiles}; ++i) {{
            const Pack<f32, 4> more = *(const Pack<f32, 4>*)(scratch + ((k * {each} + warp) * {tiles} + i) * 512 + lane * 16);
            #pragma unroll
            for (int j = 0; j < 4; ++j) sums[i][j] += more.at[j];
        }}
{again}",
        more = of_sum - 1,
        again = if cut.rounds() > 1 { "__syncthreads();\n" } else { "" },
    )
}
