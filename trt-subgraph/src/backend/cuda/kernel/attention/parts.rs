//! Attention of f32: queries, keys, values and weights each become three parts of bf16, of whose products those that count are summed, as in
//! `product/tensor/bulk/parts.rs`. A few products at a time are summed from zero and then added in f32. Where something is not finite,
//! the block's queries are computed again as attention is defined.

use super::super::super::render::{indent, sum};
use super::Kernel;
use crate::backend::view::View;

/// Parts of a number.
pub const PARTS: usize = 3;

/// Code that takes four neighbours apart, into places that lie so far from each other.
pub const APART: &str = "bool strange = false;
auto apart = [&](bf16* to, int part, Pack<f32, 4> v) {
    #pragma unroll
    for (int i = 0; i < 4; ++i) strange = strange || !(fabsf(v.at[i]) < 3.38e38f);
    #pragma unroll
    for (int i = 0; i < 3; ++i) {
        const unsigned low = halves(v.at[0], v.at[1], bf16()), high = halves(v.at[2], v.at[3], bf16());
        *reinterpret_cast<uint2*>(to + i * part) = {low, high};
        v.at[0] -= __uint_as_float(low << 16), v.at[1] -= __uint_as_float(low & 0xffff0000u);
        v.at[2] -= __uint_as_float(high << 16), v.at[3] -= __uint_as_float(high & 0xffff0000u);
    }
};
";

/// Loads rows of a matrix, the first one `first`, and takes them apart: `from` is the first element of the matrix, rows in shared memory are
/// `pitch` apart.
pub fn fetch(
    (name, from, view): (&str, &str, &View),
    (to, pitch): (&str, usize),
    (rows, first, limit): (usize, &str, usize),
    threads: usize,
    ty: &str,
) -> String {
    let rank = view.rank();
    let units = view.shape[rank - 1] / 4;
    format!(
        "#pragma unroll 4
for (int e = THREAD % {threads}; e < {}; e += {threads}) {{
    const int row = e / {units}, unit = e % {units};
    const {ty} at = {first} + row;
    Pack<f32, 4> four = {{}};
    if (at < {limit}) four = *reinterpret_cast<const Pack<f32, 4>*>({name} + ({from} + at * {} + unit * 4));
    apart({to} + row * {pitch} + unit * 4, {}, four);
}}
",
        rows * units,
        view.strides[rank - 2],
        rows * pitch,
    )
}

/// The six products of parts that count, the small ones first, into sums of their own; those are added to `to`.
fn products(left: &str, right: &str, to: [&str; 2]) -> String {
    let mut code = "f32 now[2][4] = {};\n".to_string();
    for (a, b) in [(2, 0), (0, 2), (1, 1), (1, 0), (0, 1), (0, 0)] {
        for half in 0..2 {
            let (low, high) = (2 * half, 2 * half + 1);
            code.push_str(&format!(
                "multiply(now[{half}], {left}[{a}], {right}[{b}].at[{low}], {right}[{b}].at[{high}], bf16());\n"
            ));
        }
    }
    let [even, odd] = to;
    format!(
        "{code}#pragma unroll\nfor (int c = 0; c < 4; ++c) {even}[c] += now[0][c], {odd}[c] += now[1][c];\n"
    )
}

/// Code that makes the scores of a tile: queries and keys have rows of so many elements, and so many rows.
pub fn scores((deep, many): (usize, usize), pitch: usize, [queries, keys]: [usize; 2]) -> String {
    format!(
        "#pragma unroll
for (int i = 0; i < {deep}; ++i) {{
    Four left[{PARTS}];
    #pragma unroll
    for (int p = 0; p < {PARTS}; ++p)
        left[p] = load_matrices(queries + p * {of_queries} + (warp * 16 + lane % 16) * {pitch} + i * 16 + lane / 16 * 8);
    #pragma unroll
    for (int j = 0; j < {many} / 2; ++j) {{
        Four right[{PARTS}];
        #pragma unroll
        for (int p = 0; p < {PARTS}; ++p)
            right[p] = load_matrices(keys[stage] + p * {of_keys} + (j * 16 + lane / 16 * 8 + lane % 8) * {pitch} + i * 16 + lane / 8 % 2 * 8);
{products}    }}
}}
#pragma unroll
for (int j = 0; j < {many}; ++j)
    #pragma unroll
    for (int c = 0; c < 4; ++c) strange = strange || scores[j][c] != scores[j][c];
",
        of_queries = queries * pitch,
        of_keys = keys * pitch,
        products = indent(&indent(&products("left", "right", ["scores[2 * j]", "scores[2 * j + 1]"]))),
    )
}

/// Code that adds up the values of a tile by the weights.
pub fn values((many, wide): (usize, usize), pitch: usize, keys: usize) -> String {
    format!(
        "#pragma unroll
for (int j = 0; j < {many} / 2; ++j) {{
    f32 rest[4][2] = {{{{scores[2 * j][0], scores[2 * j][1]}}, {{scores[2 * j][2], scores[2 * j][3]}},
                     {{scores[2 * j + 1][0], scores[2 * j + 1][1]}}, {{scores[2 * j + 1][2], scores[2 * j + 1][3]}}}};
    Four weights[{PARTS}];
    #pragma unroll
    for (int p = 0; p < {PARTS}; ++p)
        #pragma unroll
        for (int i = 0; i < 4; ++i) {{
            const unsigned two = weights[p].at[i] = halves(rest[i][0], rest[i][1], bf16());
            rest[i][0] -= __uint_as_float(two << 16), rest[i][1] -= __uint_as_float(two & 0xffff0000u);
        }}
    #pragma unroll
    for (int d = 0; d < {wide} / 2; ++d) {{
        Four right[{PARTS}];
        #pragma unroll
        for (int p = 0; p < {PARTS}; ++p)
            right[p] = load_transposed(values_of[stage] + p * {of_values} + (j * 16 + lane % 16) * {pitch} + d * 16 + lane / 16 * 8);
{products}    }}
}}
",
        of_values = keys * pitch,
        products = indent(&indent(&products("weights", "right", ["sums[2 * d]", "sums[2 * d + 1]"]))),
    )
}

impl Kernel {
    /// Code that computes the block's queries again, a thread each, if anything in it was not finite, and ends the block then.
    pub fn again(&self, queries: usize, threads: usize, names: &[String], wide: usize, ty: &str) -> String {
        let Kernel { q, k, v, tail, keep, .. } = self;
        let r = q.rank();
        let origin = |v: &View| sum(names, &v.strides[..r - 2]);
        let at = |last: &str| [names, &["m".to_string(), last.to_string()]].concat();
        let (code, score) = self.of_scores.value("s", "sum", &at("n"), ty);
        let kept = match keep {
            None => "const bool kept = true;\n".to_string(),
            Some((keep, when)) => {
                let (code, condition) = keep.value("w", "0.0f", &at("0"), ty);
                format!("bool kept;\n{{\n{}    kept = {condition} == {when};\n}}\n", indent(&code))
            }
        };
        let value = "weighted[n] / (kept ? total : 1.0f)";
        format!(
            "#pragma unroll
for (int d = 0; d < {eighths}; ++d)
    #pragma unroll
    for (int c = 0; c < 4; ++c) strange = strange || sums[d][c] != sums[d][c];
if (strange) strange_here = 1;
__syncthreads();
if (strange_here) {{
    #pragma unroll 1
    for (int row = THREAD; row < {queries}; row += {threads}) {{
        const {ty} m = m0 + row;
        if (m >= {rows}) break;
{kept}        f32 most = none, total = 0.0f, weighted[{width}] = {{}};
        #pragma unroll 1
        for ({ty} n = 0; n < {keys}; ++n) {{
            f32 sum = 0.0f;
            #pragma unroll 1
            for (int d = 0; d < {depth}; ++d)
                sum = fmaf(q[{q_from} + m * {q_row} + d], k[{k_from} + n * {k_row} + d], sum);
{code}            const f32 score = {score}, was = most;
            most = max_of(most, score);
            const f32 base = most == none ? 0.0f : most;
            const f32 mend = kept ? expf(was - base) : 1.0f, weight = kept ? expf(score - base) : 0.0f;
            total = total * mend + weight;
            #pragma unroll 1
            for (int d = 0; d < {width}; ++d) weighted[d] = fmaf(weight, v[{v_from} + n * {v_row} + d], weighted[d] * mend);
        }}
        #pragma unroll 1
        for ({ty} n = 0; n < {width}; ++n) {{
{store}        }}
    }}
    return;
}}
",
            eighths = wide,
            rows = self.queries,
            keys = self.keys,
            depth = q.shape[r - 1],
            width = v.shape[r - 1],
            q_from = origin(q),
            q_row = q.strides[r - 2],
            k_from = origin(k),
            k_row = k.strides[r - 2],
            v_from = origin(v),
            v_row = v.strides[r - 2],
            code = indent(&indent(&indent(&code))),
            kept = indent(&indent(&kept)),
            store = indent(&indent(&indent(&tail.store(value, &at("n"), ty)))),
        )
    }
}
