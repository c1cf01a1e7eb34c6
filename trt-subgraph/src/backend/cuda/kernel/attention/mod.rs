//! Attention in one kernel, of halves or, in parts of halves, of f32: `softmax(epilogue(q k^T)) v` without the scores in memory.
//!
//! A warp takes 16 queries and walks over the keys in tiles, which the warps of a team share; maxima, totals and weighted sums of what was
//! seen are mended when a later tile has a larger score (Milakov and Gimelshein, *Online normalizer calculation for softmax*, 2018; Dao et
//! al., *FlashAttention*, 2022). Where that makes few blocks, several teams share the keys of one. Weights are rounded to halves before
//! they meet the values, as the layers say.

mod find;
mod parts;
mod share;
mod turn;

pub use find::{Attention, find};

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::{Draft, Tail, in_runs, indent, index_type, split, storage_type, sum};
use super::super::target::Target;
use super::product::matrices;
use crate::backend::view::View;
use crate::network::{Expr, Layer, LayerKind};
use crate::{DType, TensorType};
use share::{QUERIES, Shares, together};
use std::fmt::Write;
use turn::{Tile, fragments};

/// Elements between the rows of a tile, besides their own: an odd number of 16-byte units from row to row meets every bank.
const GAP: usize = 8;
/// Emits the attention whose product with the values is `layer`.
pub fn assemble(a: &mut Assembler, layer: &Layer, attention: Attention) -> Result<(), Fault> {
    let network = a.network;
    let scores = &network.layers[attention.scores];
    let shape = network.ty(scores.outputs[0]).shape.clone();
    let (r, batch) = (shape.len(), shape[..shape.len() - 2].to_vec());
    let (LayerKind::MatMul { transpose_a, transpose_b }, LayerKind::MatMul { transpose_b: of_values, .. }) =
        (&scores.kind, &layer.kind)
    else {
        return Err("an attention is made of two products".to_string());
    };
    let q = matrices(&a.view(scores.inputs[0]), *transpose_a, &batch);
    let order = order_of(&q);
    let q = in_units(a, q)?;
    let k = matrices(&a.view(scores.inputs[1]), !*transpose_b, &batch);
    let k = in_units(a, k)?;
    let v = matrices(&a.view(layer.inputs[1]), *of_values, &batch);
    let v = in_units(a, v)?;
    let operands: Vec<View> = scores.inputs[2..].iter().map(|&v| a.view(v).stretch(&shape)).collect();
    let mut typing = vec![q.dtype];
    typing.extend(operands.iter().map(|v| v.dtype));
    let out = View::row_major(q.slot, network.ty(scores.outputs[0]));
    let expr = scores.epilogue.clone().unwrap_or_else(Expr::identity);
    let of_scores = Tail::of(out, Some(expr), typing, operands);
    let cast = &network.layers[attention.weights[1]];
    let keep = find::cast(network, cast).flatten().map(|keep| {
        let operands: Vec<View> = cast.inputs[1..].iter().map(|&v| a.view(v).stretch(&shape)).collect();
        let mut typing = vec![DType::F32];
        typing.extend(operands.iter().map(|v| v.dtype));
        let out = View::row_major(q.slot, &TensorType::new(DType::Bool, shape.clone()));
        (Tail::of(out, Some(keep.condition), typing, operands), keep.when)
    });
    let tail = a.tail(layer, &order)?;
    let (queries, keys) = (shape[r - 2], shape[r - 1]);
    let kernel = Kernel { batch, queries, keys, q, k, v, of_scores, keep, tail };
    let draft = kernel.draft(&a.target);
    a.launch(draft)
}

/// The matrices with 16-byte units along their rows.
fn in_units(a: &mut Assembler, view: View) -> Result<View, Fault> {
    let axis = view.rank() - 1;
    if in_runs(&view, axis, 16 / view.dtype.size()) {
        return Ok(view);
    }
    let to = a.temporary(&view.ty(), &(0..view.rank()).collect::<Vec<_>>());
    a.copy(&view, to.clone())?;
    Ok(to)
}

struct Kernel {
    batch: Vec<usize>,
    queries: usize,
    keys: usize,
    q: View,
    k: View,
    v: View,
    /// What becomes of each score.
    of_scores: Tail,
    /// Whether a query's weights are kept, and when they are; they are 0 otherwise.
    keep: Option<(Tail, bool)>,
    tail: Tail,
}

impl Kernel {
    fn draft(&self, target: &Target) -> Draft {
        let Kernel { q, k, v, of_scores, keep, tail, .. } = self;
        let r = q.rank();
        let (depth, width) = (q.shape[r - 1], v.shape[r - 1]);
        let pack = if tail.pack(r - 1) >= 2 { 2 } else { 1 };
        let mut views = vec![q, k, v];
        let of_keep: &[View] = keep.as_ref().map_or(&[], |(keep, _)| &keep.operands);
        views.extend(of_scores.operands.iter().chain(of_keep));
        views.extend(tail.views());
        let ty = index_type(&views, tail.out.elements());
        // Numbers are as many halves.
        let (in_parts, parts) = (q.dtype == DType::F32, if q.dtype == DType::F32 { parts::PARTS } else { 1 });
        let bytes = |rows: usize, columns: usize| rows * (columns + GAP) * 2 * parts;
        let tile = |stages: usize, keys: usize| stages * (bytes(keys, depth) + bytes(keys, width));
        let batch = self.batch.iter().product::<usize>();
        let shares = Shares::of([batch, self.queries, self.keys], target, bytes(1, depth), &tile, !in_parts);
        let Shares { warps, teams, stages, keys: tile_keys } = shares;
        let (queries, threads) = (QUERIES * warps, 32 * warps);
        let blocks = batch * self.queries.div_ceil(queries);
        // What a thread knows when it has seen its keys: sums, and for two rows the largest score and the total.
        let known = width / 2 + 4;
        let shared = bytes(queries, depth)
            + teams * tile(stages, tile_keys).max(if teams > 1 { known * threads * 4 } else { 0 });
        let mut draft = Draft::new("attention");
        draft.threads = teams * threads;
        draft.grid = [blocks, 1, 1];
        // Sums, scores and queries of a thread, and what it counts with, in 128 registers.
        if width / 2 + tile_keys / 2 + depth / 4 <= 80 && blocks > target.multiprocessors {
            draft.beside = 512 / draft.threads;
        }
        draft.shared = shared;
        for (name, view) in [("q", q), ("k", k), ("v", v)] {
            draft.read(name, view);
            draft.aligned(16);
        }
        for (i, view) in of_scores.operands.iter().enumerate() {
            draft.read(&format!("s{}", i + 1), view);
        }
        for (i, view) in of_keep.iter().enumerate() {
            draft.read(&format!("w{}", i + 1), view);
        }
        tail.parameters_packed(&mut draft, r - 1, pack);
        let names: Vec<String> = (0..r - 2).map(|i| format!("c{i}")).collect();
        let origin = |v: &View| sum(&names, &v.strides[..r - 2]);
        let element = if in_parts { "bf16" } else { storage_type(q.dtype) };
        let mut positions = names.clone();
        positions.extend(["m".to_string(), "n".to_string()]);
        let store = tail.store_packed("values", &positions, (r - 1, pack), ty);
        let fetch = |name: &str, to: &str, view: &View, rows: usize, first: &str, limit: usize| {
            let pitch = view.shape[r - 1] + GAP;
            if in_parts {
                let from = (name, &*origin(view), view);
                return parts::fetch(from, (to, pitch), (rows, first, limit), threads, ty);
            }
            let units = view.shape[r - 1] / 8;
            format!(
                "#pragma unroll
for (int e = THREAD % {threads}; e < {}; e += {threads}) {{
    const int row = e / {units}, unit = e % {units};
    const {ty} at = {first} + row;
    const bool exists = at < {limit};
    begin_copy({to} + row * {} + unit * 8, {name} + ({} + (exists ? at : 0) * {} + unit * 8), exists);
}}
",
                rows * units,
                pitch,
                origin(view),
                view.strides[r - 2],
            )
        };
        let turns = self.keys.div_ceil(tile_keys).div_ceil(teams).max(1);
        // Where teams share the keys, each ends with the sums of a part of a query's numbers.
        let own_wide = (width / 8).div_ceil(teams);
        let sum = if teams > 1 { "merged[at][c + j]" } else { "sums[at][c + j]" };
        let next = format!(
            "{}{}end_group();\n",
            fetch("k", "keys[stage]", k, tile_keys, &format!("tile * {tile_keys}"), self.keys),
            fetch("v", "values_of[stage]", v, tile_keys, &format!("tile * {tile_keys}"), self.keys),
        );
        let [of_keys, of_values] = [depth, width].map(|columns| bytes(tile_keys, columns) / 2);
        let (deep, wide) = (depth / 16, width / 8);
        // Turns in which all teams have whole tiles; at most one follows.
        let whole = self.keys / tile_keys / teams;
        let left = if teams > 1 { tile_keys } else { self.keys - whole * tile_keys };
        let left = left.next_multiple_of(16).max(16);
        let turn = |keys: usize, whole: bool| {
            let tile = Tile { keys, room: tile_keys, whole };
            indent(&self.turn(tile, queries, &names, ty))
        };
        let next_fetched =
            |turn: &str, stage: &str| format!("if ({turn} + 1 < {turns}) fetch({stage}, tile + {teams});\n");
        let [ahead, behind] = match stages {
            1 => [
                String::new(),
                format!(
                    "__syncthreads();\n{}wait_groups<0>();\n__syncthreads();\n",
                    next_fetched("turn", "0")
                ),
            ],
            _ => [
                next_fetched("turn", &format!("(turn + 1) % {stages}")),
                "wait_groups<0>();\n__syncthreads();\n".to_string(),
            ],
        };
        let mut products = String::new();
        if whole > 0 {
            let _ = write!(
                products,
                "for (int turn = 0; turn < {whole}; ++turn) {{
    const int stage = turn % {stages}, tile = turn * {teams} + team;
{}{}{}}}
",
                indent(&ahead),
                turn(tile_keys, true),
                indent(&behind),
            );
        }
        if whole < turns {
            let stage = whole % stages;
            let _ = write!(
                products,
                "{{\n    const int stage = {stage}, tile = {whole} * {teams} + team;\n{}}}\n",
                turn(left, false)
            );
        }
        let mut body = format!(
            "DYNAMIC_SHARED(pool, {shared});
const int lane = THREAD % 32, warp = THREAD / 32 % {warps}, team = THREAD / {threads};
{element}* const queries = reinterpret_cast<{element}*>(pool);
{element}* const tiles = queries + {} + team * {};
{element} (*const keys)[{of_keys}] = reinterpret_cast<{element} (*)[{of_keys}]>(tiles);
{element} (*const values_of)[{of_values}] = reinterpret_cast<{element} (*)[{of_values}]>(tiles + {});\n",
            bytes(queries, depth) / 2,
            stages * (of_keys + of_values),
            stages * of_keys,
        );
        body.push_str(&split(&[batch, self.queries.div_ceil(queries)], "BLOCK", ty, "block"));
        body.push_str(&split(&self.batch, "block0", ty, "c"));
        let _ = write!(
            body,
            "const {ty} m0 = block1 * {queries};
{apart}auto fetch = [&](int stage, int tile) {{
{next}}};
if (team == 0) {{
{of_queries}}}
fetch(0, team);
wait_groups<0>();
__syncthreads();
{left}const f32 none = -__int_as_float(0x7f800000);
f32 sums[{wide}][4] = {{}}, top[2] = {{none, none}}, total[2] = {{}};
{products}#pragma unroll
for (int h = 0; h < 2; ++h) {{
    total[h] += across_lanes(total[h], 1);
    total[h] += across_lanes(total[h], 2);
}}
{again}{together}{kept}const f32 inverse[2] = {{1.0f / total[0], 1.0f / total[1]}};
#pragma unroll
for (int at = 0; at < {own_wide}; ++at) {{
    const int d = {own_first} + at;
    #pragma unroll
    for (int c = 0; c < 4; c += {pack}) {{
        const {ty} m = m0 + warp * 16 + lane / 4 + c / 2 * 8, n = d * 8 + lane % 4 * 2 + c % 2;
        f32 values[{pack}];
        #pragma unroll
        for (int j = 0; j < {pack}; ++j) values[j] = {value};
        if ({exists}m < {queries_count}) {{
{store}        }}
    }}
}}
",
            next = indent(&next),
            of_queries = indent(&fetch("q", "queries", q, queries, "m0", self.queries)),
            together = if teams > 1 {
                {
                    let weight = |score: &str, base: &str| self.weight(score, base);
                    together((teams, threads), (width / 8, own_wide), known, bytes(queries, depth), &weight)
                }
            } else {
                String::new()
            },
            own_first = if teams > 1 { format!("team * {own_wide}") } else { "0".to_string() },
            exists =
                if own_wide * teams > width / 8 { format!("d < {} && ", width / 8) } else { String::new() },
            kept = self.kept(&names, ty),
            apart = if in_parts {
                format!("__shared__ int strange_here;\nif (THREAD == 0) strange_here = 0;\n{}", parts::APART)
            } else {
                String::new()
            },
            left = if in_parts { String::new() } else { fragments(deep, depth + GAP) },
            again =
                if in_parts { self.again(queries, teams * threads, &names, wide, ty) } else { String::new() },
            // Weights of 0 still make NaN of values that are not finite.
            value = match keep {
                Some(_) => format!("kept[c / 2] ? {sum} * inverse[c / 2] : 0.0f * {sum}"),
                None => format!("{sum} * inverse[c / 2]"),
            },
            queries_count = self.queries,
            store = indent(&indent(&indent(&store))),
        );
        draft.body = body;
        draft
    }

    /// Code that declares of both rows of a thread whether their weights are kept.
    fn kept(&self, names: &[String], ty: &str) -> String {
        let Some((keep, when)) = &self.keep else { return String::new() };
        let mut positions = names.to_vec();
        positions.extend(["m".to_string(), "0".to_string()]);
        let (code, condition) = keep.value("w", "0.0f", &positions, ty);
        format!(
            "bool kept[2];
#pragma unroll
for (int h = 0; h < 2; ++h) {{
    const {ty} row = m0 + warp * 16 + lane / 4 + h * 8, m = row < {rows} ? row : {last};
{code}    kept[h] = {condition} == {when};
}}
",
            rows = self.queries,
            last = self.queries - 1,
            code = indent(&code),
        )
    }
}
