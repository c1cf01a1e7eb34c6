//! Who takes which queries and keys of an attention, and how those who share the keys become one.

use super::super::super::target::Target;

/// Queries of a warp.
pub const QUERIES: usize = 16;
/// Most warps of a team.
const WARPS: usize = 8;
/// Keys of a tile, where there is room.
const KEYS: usize = 64;
/// Bytes of shared memory that every kernel may have.
const SHARED: usize = 48 << 10;

/// Who takes what.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Warps of a team, each with queries of its own.
    pub warps: usize,
    /// Teams of a block, each with keys of its own.
    pub teams: usize,
    /// Stages of shared memory of a team.
    pub stages: usize,
    /// Keys of a tile.
    pub keys: usize,
}

impl Shares {
    /// Of so many heads, queries and keys. A row of queries takes `row` bytes, and `tile` gives those of so many stages of so many keys;
    /// there is one, unless tiles may come while others are read.
    pub fn of(
        [batch, queries, keys]: [usize; 3],
        target: &Target,
        row: usize,
        tile: &dyn Fn(usize, usize) -> usize,
        ahead: bool,
    ) -> Shares {
        let groups = queries.div_ceil(QUERIES).max(1);
        // Equal parts of the queries, each for at most so many warps.
        let even = |most: usize| groups.div_ceil(groups.div_ceil(most));
        let blocks = |warps: usize| batch * groups.div_ceil(warps);
        let few = [1, 2, 4, WARPS].map(even).into_iter().find(|&w| blocks(w) <= target.multiprocessors);
        let warps = few.unwrap_or(even(WARPS));
        let tiles = keys.div_ceil(KEYS).max(1);
        let most = if few.is_some() { (16 / warps).min(4).min(tiles) } else { 1 };
        let several = (2..=most).rev().flat_map(|teams| [(teams, 2, KEYS), (teams, 1, KEYS)]);
        several
            .chain([(1, 2, KEYS), (1, 1, KEYS), (1, 2, KEYS / 2)])
            .map(|(teams, stages, keys)| Shares {
                warps,
                teams,
                stages: stages.min(tiles.div_ceil(teams)),
                keys,
            })
            .find(|s| {
                if s.stages > 1 && !ahead {
                    return false;
                }
                // Several blocks of one team are to fit side by side.
                let room =
                    if s.teams > 1 { target.shared() - 1024 } else { (target.shared() / 3).max(SHARED) };
                s.teams * tile(s.stages, s.keys) + QUERIES * warps * row <= room
            })
            .unwrap_or(Shares { warps, teams: 1, stages: 1, keys: KEYS / 2 })
    }
}

/// All teams leave what they know in shared memory from `start` on, and each merges its part of the sums.
pub fn together(
    (teams, threads): (usize, usize),
    (wide, own): (usize, usize),
    known: usize,
    start: usize,
    weight: &dyn Fn(&str, &str) -> String,
) -> String {
    let all = known * threads;
    format!(
        "__syncthreads();
f32* const known = reinterpret_cast<f32*>(pool + {start}) + THREAD % {threads};
#pragma unroll
for (int h = 0; h < 2; ++h) {{
    known[team * {all} + h * {threads}] = top[h];
    known[team * {all} + (2 + h) * {threads}] = total[h];
}}
#pragma unroll
for (int d = 0; d < {wide}; ++d)
    #pragma unroll
    for (int c = 0; c < 4; ++c) known[team * {all} + (4 + d * 4 + c) * {threads}] = sums[d][c];
__syncthreads();
f32 merged[{own}][4] = {{}}, share[{teams}][2];
#pragma unroll
for (int h = 0; h < 2; ++h) {{
    f32 most = none;
    #pragma unroll
    for (int t = 0; t < {teams}; ++t) most = max_of(most, known[t * {all} + h * {threads}]);
    const f32 base = most == none ? 0.0f : most;
    total[h] = 0.0f;
    #pragma unroll
    for (int t = 0; t < {teams}; ++t) {{
        share[t][h] = {share};
        total[h] += share[t][h] * known[t * {all} + (2 + h) * {threads}];
    }}
}}
#pragma unroll
for (int at = 0; at < {own}; ++at) {{
    const int d = min(team * {own} + at, {last});
    #pragma unroll
    for (int c = 0; c < 4; ++c)
        #pragma unroll
        for (int t = 0; t < {teams}; ++t) merged[at][c] += share[t][c / 2] * known[t * {all} + (4 + d * 4 + c) * {threads}];
}}
",
        last = wide - 1,
        share = weight(&format!("known[t * {all} + h * {threads}]"), "base"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_blocks_are_shared_and_many_are_not() {
        let target = Target { capability: 90, multiprocessors: 132 };
        let tile = |stages: usize, keys: usize| stages * keys * 2 * 144;
        let of = |batch, queries, keys| Shares::of([batch, queries, keys], &target, 144, &tile, true);
        let few = of(12, 197, 197);
        assert_eq!((few.warps, few.teams, few.keys), (2, 4, 64));
        let many = of(384, 197, 197);
        assert_eq!((many.warps, many.teams, many.stages), (7, 1, 2));
        // One tile of keys needs neither a second stage nor a second team.
        let short = of(1, 5, 20);
        assert_eq!((short.warps, short.teams, short.stages), (1, 1, 1));
    }
}
