//! Sums that the blocks of a cluster have parts of: each keeps its own in shared memory, and adds up those of some rows out of all.

use super::super::super::super::super::render::indent;
use super::super::super::Product;
use super::super::{Tile, stored};
use super::Bulk;

/// A warpgroup's sums go to where the cluster finds them.
pub fn keep(bulk: Bulk) -> String {
    let ([high, wide], pitch) = (bulk.part, bulk.pitch());
    format!(
        "#pragma unroll
for (int i = 0; i < {}; ++i)
    #pragma unroll
    for (int j = 0; j < {}; ++j) {{
        f32* const to = results + (wm + i * 64 + lane / 4) * {pitch} + wn + j * 8 + lane % 4 * 2;
        *reinterpret_cast<Pack<f32, 2>*>(to) = {{sums[i][j][0], sums[i][j][1]}};
        *reinterpret_cast<Pack<f32, 2>*>(to + 8 * {pitch}) = {{sums[i][j][2], sums[i][j][3]}};
    }}
",
        high / 64,
        wide / 8,
    )
}

/// Where they are.
pub fn place(bulk: Bulk) -> String {
    format!("f32* const results = reinterpret_cast<f32*>(pool + {});\n", bulk.near_at())
}

/// A block's share of the rows is stored when all have their sums there; nobody leaves before all are done.
pub fn finish(p: &Product, bulk: Bulk, where_it_is: &str, pack: usize) -> String {
    let ([rows, columns], ty) = (bulk.tile, p.index());
    let tile = Tile { rows, columns, pitch: bulk.pitch(), shares: bulk.shares, threads: bulk.workers() };
    let (place, exists) = super::place(p, bulk);
    let place = format!("{place}const {ty} n = n0 + column;\nconst bool exists = {exists} && n < {};\n", p.n);
    let results = stored(p, tile, &place, "rank", pack);
    format!(
        "cluster_barrier();
if (THREAD < {}) {{
{}}}
cluster_barrier();
",
        bulk.workers(),
        indent(&format!("const {ty} b = 0, tile = BLOCK;\n{where_it_is}{}{}", results.ahead, results.store)),
    )
}
