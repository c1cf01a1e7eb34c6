//! What a warp does with a tile of keys: scores, weights, and the values added up by them.

use super::super::super::render::{compute_type, indent, storage_type};
use super::{GAP, Kernel, parts};
use crate::DType;
use crate::network::expr::{Binary, Node, Scalar};
use std::fmt::Write;

/// A tile.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Keys of it that are looked at, in whole products of 16.
    pub keys: usize,
    /// Keys that there is room for.
    pub room: usize,
    /// Do all keys exist?
    pub whole: bool,
}

impl Kernel {
    /// Code of one turn, of queries in groups of so many; `names` are those of the position in the batch.
    pub fn turn(&self, tile: Tile, queries: usize, names: &[String], ty: &str) -> String {
        let r = self.q.rank();
        let (depth, width) = (self.q.shape[r - 1], self.v.shape[r - 1]);
        let (deep, wide, many) = (depth / 16, width / 8, tile.keys / 8);
        let in_parts = self.q.dtype == DType::F32;
        let element = storage_type(self.q.dtype);
        let products = match in_parts {
            true => parts::scores((deep, many), depth + GAP, [queries, tile.room]),
            false => scores((deep, many), depth + GAP, element),
        };
        let weigh = match in_parts {
            true => parts::values((many, wide), width + GAP, tile.room),
            false => weigh((many, wide), width + GAP, element),
        };
        format!(
            "f32 scores[{many}][4] = {{}};
{products}{changed}f32 base[2], mend[2];
#pragma unroll
for (int h = 0; h < 2; ++h) {{
    f32 most[2] = {{top[h], none}};
    #pragma unroll
    for (int j = 0; j < {many}; ++j) most[j % 2] = max_of(most[j % 2], max_of(scores[j][2 * h], scores[j][2 * h + 1]));
    most[0] = max_of(most[0], most[1]);
    most[0] = max_of(most[0], across_lanes(most[0], 1));
    most[0] = max_of(most[0], across_lanes(most[0], 2));
    // Where nothing is left so far, the weights are 0.
    base[h] = most[0] == none ? 0.0f : most[0], mend[h] = {of_top};
    top[h] = most[0];
}}
if (any_lane(mend[0] != 1.0f || mend[1] != 1.0f)) {{
    #pragma unroll
    for (int h = 0; h < 2; ++h) {{
        total[h] *= mend[h];
        #pragma unroll
        for (int d = 0; d < {wide}; ++d) {{
            sums[d][2 * h] *= mend[h];
            sums[d][2 * h + 1] *= mend[h];
        }}
    }}
}}
#pragma unroll
for (int j = 0; j < {many}; ++j)
    #pragma unroll
    for (int h = 0; h < 2; ++h) {{
        #pragma unroll
        for (int c = 2 * h; c < 2 * h + 2; ++c) scores[j][c] = {of_score};
        total[h] += scores[j][2 * h] + scores[j][2 * h + 1];
    }}
{weigh}",
            changed = self.changed(tile, names, ty),
            of_top = self.weight("top[h]", "base[h]"),
            of_score = self.weight("scores[j][c]", "base[h]"),
        )
    }

    /// Code for the weight of a score beside that of weight 1.
    pub fn weight(&self, score: &str, base: &str) -> String {
        match self.factor() {
            // The base's product is the same for many.
            Some(factor) => {
                let factor = f64::from(factor) * std::f64::consts::LOG2_E;
                format!("exp2_near(fmaf({score}, {factor:e}f, -({base} * {factor:e}f)))")
            }
            None if self.q.dtype == DType::F32 => format!("expf({score} - {base})"),
            None => format!("exp_near({score} - {base})"),
        }
    }

    /// The positive number that scores of halves are products with, and nothing else: it is applied to differences of scores.
    fn factor(&self) -> Option<f32> {
        if self.q.dtype == DType::F32 {
            return None;
        }
        let Some(expr) = &self.of_scores.expr else { return Some(1.0) };
        let scores = |at: u32| {
            let input = |at: u32| matches!(expr.nodes[at as usize], Node::Input(0));
            input(at) || matches!(expr.nodes[at as usize], Node::Cast(DType::F32, from) if input(from))
        };
        let last = expr.nodes.len() as u32 - 1;
        let factor = match expr.nodes[last as usize] {
            _ if scores(last) => 1.0,
            Node::Binary(Binary::Mul, a, b) => {
                let (of, by) = if scores(a) { (a, b) } else { (b, a) };
                match expr.nodes[by as usize] {
                    Node::Const(DType::F32, Scalar::Float(factor)) if scores(of) => factor as f32,
                    _ => return None,
                }
            }
            _ => return None,
        };
        (factor > 1e-30 && factor < 1e30).then_some(factor)
    }

    /// Code that makes of the products the scores, which count nothing where there is no key; as far as that is not done later.
    fn changed(&self, tile: Tile, names: &[String], ty: &str) -> String {
        let plain = self.factor().is_some();
        if plain && tile.whole {
            return String::new();
        }
        let n_own = format!("tile * {} + j * 8 + lane % 4 * 2 + c % 2", tile.room);
        let mut code = String::new();
        if plain {
            let _ = writeln!(code, "if ({n_own} >= {}) scores[j][c] = none;", self.keys);
        } else {
            let mut positions = names.to_vec();
            positions.extend(["m".to_string(), "n".to_string()]);
            let own = compute_type(self.of_scores.typing[0]);
            let (steps, score) = self.of_scores.value("s", &format!("({own})scores[j][c]"), &positions, ty);
            let n = if tile.whole { n_own } else { format!("min({n_own}, ({ty}){})", self.keys.max(1) - 1) };
            let beyond = match tile.whole {
                true => String::new(),
                false => format!(
                    "if (tile * {} + j * 8 + lane % 4 * 2 + c % 2 >= {}) score = none;\n",
                    tile.room, self.keys
                ),
            };
            let _ = write!(
                code,
                "const {ty} m = min(m0 + warp * 16 + lane / 4 + c / 2 * 8, ({ty}){});
const {ty} n = {n};
{steps}f32 score = {score};
{beyond}scores[j][c] = score;
",
                self.queries.max(1) - 1,
            );
        }
        format!(
            "#pragma unroll
for (int j = 0; j < {}; ++j)
    #pragma unroll
    for (int c = 0; c < 4; ++c) {{
{}    }}
",
            tile.keys / 8,
            indent(&indent(&code))
        )
    }
}

/// Code that loads a warp's queries, of so many times 16 elements.
pub fn fragments(deep: usize, pitch: usize) -> String {
    format!(
        "Four left[{deep}];
#pragma unroll
for (int i = 0; i < {deep}; ++i)
    left[i] = load_matrices(queries + (warp * 16 + lane % 16) * {pitch} + i * 16 + lane / 16 * 8);
"
    )
}

/// Code that makes the scores of a tile.
fn scores((deep, many): (usize, usize), pitch: usize, element: &str) -> String {
    format!(
        "const {element}* const key = keys[stage] + (lane / 16 * 8 + lane % 8) * {pitch} + lane / 8 % 2 * 8;
#pragma unroll
for (int i = 0; i < {deep}; ++i)
    #pragma unroll
    for (int j = 0; j < {many} / 2; ++j) {{
        const Four right = load_matrices(key + j * 16 * {pitch} + i * 16);
        multiply(scores[2 * j], left[i], right.at[0], right.at[1], {element}());
        multiply(scores[2 * j + 1], left[i], right.at[2], right.at[3], {element}());
    }}
"
    )
}

/// Code that adds up the values of a tile by the weights.
fn weigh((many, wide): (usize, usize), pitch: usize, element: &str) -> String {
    format!(
        "const {element}* const value = values_of[stage] + lane % 16 * {pitch} + lane / 16 * 8;
#pragma unroll
for (int j = 0; j < {many} / 2; ++j) {{
    const f32 *near = scores[2 * j], *far = scores[2 * j + 1];
    const Four weights = {{halves(near[0], near[1], {element}()), halves(near[2], near[3], {element}()),
                           halves(far[0], far[1], {element}()), halves(far[2], far[3], {element}())}};
    #pragma unroll
    for (int d = 0; d < {wide} / 2; ++d) {{
        const Four right = load_transposed(value + j * 16 * {pitch} + d * 16);
        multiply(sums[2 * d], weights, right.at[0], right.at[1], {element}());
        multiply(sums[2 * d + 1], weights, right.at[2], right.at[3], {element}());
    }}
}}
"
    )
}
