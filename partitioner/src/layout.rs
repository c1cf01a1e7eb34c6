//! Where to draw boxes and arrows: a layered drawing from top to bottom.
//!
//! Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures", 1981: ranks by longest
//! path, a chain of bends for arrows that skip ranks (shared by all arrows of one source), barycentre sweeps against
//! crossings. Positions within a rank are the least-squares fit to the neighbours' positions that keeps boxes apart (pool
//! adjacent violators).

/// Space between neighbours in a rank, and between ranks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gaps {
    pub across: f64,
    pub down: f64,
}

/// What the position of a bend counts against that of a box.
const GIVE_WAY: f64 = 0.02;

/// The drawing. Coordinates grow right and down from 0.
pub(crate) struct Layout {
    /// Upper left corner of each box.
    pub corner: Vec<(f64, f64)>,
    /// For each edge its points, from the lower edge of the source to the upper edge of the target.
    pub path: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

struct Spot {
    width: f64,
    height: f64,
    rank: usize,
    /// Centre.
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

/// Draws boxes of the given sizes. Every edge goes from a lower to a higher index; edges are distinct.
pub(crate) fn layout(sizes: &[(f64, f64)], edges: &[(usize, usize)], gaps: Gaps) -> Layout {
    let rank = ranks(sizes.len(), edges);
    let mut spots: Vec<Spot> = sizes
        .iter()
        .zip(&rank)
        .map(|(&(width, height), &rank)| Spot { width, height, rank, x: 0.0, above: vec![], below: vec![] })
        .collect();
    let routes = route(&mut spots, edges, gaps);
    let mut rows = vec![vec![]; rank.iter().max().map_or(0, |last| last + 1)];
    (0..spots.len()).for_each(|spot| rows[spots[spot].rank].push(spot));
    for sweep in 0..12 {
        uncross(&mut spots, &mut rows, sweep % 2 == 0, gaps);
    }
    for sweep in 0..24 {
        settle(&mut spots, &rows, sweep % 2 == 0, gaps);
    }
    let left = spots.iter().map(|spot| spot.x - spot.width / 2.0).fold(f64::INFINITY, f64::min);
    let right = spots.iter().map(|spot| spot.x + spot.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
    let mut top = vec![0.0];
    for row in &rows {
        let height = row.iter().map(|&spot| spots[spot].height).fold(0.0, f64::max);
        top.push(top[top.len() - 1] + height + gaps.down);
    }
    let middle = |spot: &Spot| (top[spot.rank] + top[spot.rank + 1] - gaps.down) / 2.0;
    let corner = |spot: &Spot| (spot.x - spot.width / 2.0 - left, middle(spot) - spot.height / 2.0);
    let path = |route: &Vec<usize>| {
        let (first, last) = (&spots[route[0]], &spots[route[route.len() - 1]]);
        let mut points = vec![(first.x - left, middle(first) + first.height / 2.0)];
        for bend in route[1..route.len() - 1].iter().map(|&bend| &spots[bend]) {
            points.push((bend.x - left, top[bend.rank]));
            points.push((bend.x - left, top[bend.rank + 1] - gaps.down));
        }
        points.push((last.x - left, middle(last) - last.height / 2.0));
        points
    };
    Layout {
        corner: spots[..sizes.len()].iter().map(corner).collect(),
        path: routes.iter().map(path).collect(),
        width: (right - left).max(0.0),
        height: (top[rows.len()] - gaps.down).max(0.0),
    }
}

/// Longest path from the sources; a source is then moved down to just above its first reader.
fn ranks(n: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut rank = vec![0; n];
    let mut sorted = edges.to_vec();
    sorted.sort_unstable();
    for &(u, v) in &sorted {
        rank[v] = rank[v].max(rank[u] + 1);
    }
    let (mut source, mut first) = (vec![true; n], vec![usize::MAX; n]);
    for &(u, v) in &sorted {
        source[v] = false;
        first[u] = first[u].min(rank[v]);
    }
    for u in (0..n).filter(|&u| source[u] && first[u] != usize::MAX) {
        rank[u] = first[u] - 1;
    }
    rank
}

/// Adds the bends; returns for each edge the spots from source to target.
fn route(spots: &mut Vec<Spot>, edges: &[(usize, usize)], gaps: Gaps) -> Vec<Vec<usize>> {
    let mut bends: Vec<Vec<usize>> = vec![vec![]; spots.len()];
    let mut routes = vec![];
    for &(u, v) in edges {
        let mut route = vec![u];
        for step in 0..spots[v].rank - spots[u].rank - 1 {
            if bends[u].len() == step {
                bends[u].push(spots.len());
                let (above, rank) = (vec![], spots[u].rank + step + 1);
                let width = gaps.across / 2.0;
                spots.push(Spot { width, height: 0.0, rank, x: 0.0, above, below: vec![] });
            }
            route.push(bends[u][step]);
        }
        route.push(v);
        for pair in route.windows(2) {
            if !spots[pair[1]].above.contains(&pair[0]) {
                spots[pair[1]].above.push(pair[0]);
                spots[pair[0]].below.push(pair[1]);
            }
        }
        routes.push(route);
    }
    routes
}

/// Sorts every row by the mean position of its neighbours in the row before (going down) or after.
fn uncross(spots: &mut [Spot], rows: &mut [Vec<usize>], down: bool, gaps: Gaps) {
    let count = rows.len();
    for step in 0..count {
        let row = &mut rows[if down { step } else { count - 1 - step }];
        let wish: Vec<(usize, f64)> = row.iter().map(|&spot| (spot, wish(spots, spot, down, 1.0))).collect();
        let mut sorted = wish;
        sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
        *row = sorted.iter().map(|&(spot, _)| spot).collect();
        let width: f64 = row.iter().map(|&spot| spots[spot].width + gaps.across).sum();
        let mut x = -width / 2.0;
        for &spot in row.iter() {
            spots[spot].x = x + (spots[spot].width + gaps.across) / 2.0;
            x += spots[spot].width + gaps.across;
        }
    }
}

/// The mean of the neighbours' positions, in which a bend counts `bend` and a box 1.
fn wish(spots: &[Spot], spot: usize, down: bool, bend: f64) -> f64 {
    let neighbours = if down { &spots[spot].above } else { &spots[spot].below };
    let (mut sum, mut weight) = (0.0, 0.0);
    for other in neighbours.iter().map(|&other| &spots[other]) {
        let own = if other.height > 0.0 { 1.0 } else { bend };
        sum += own * other.x;
        weight += own;
    }
    if weight > 0.0 { sum / weight } else { spots[spot].x }
}

/// Moves every row as near to its neighbours in the row before (going down) or after as its order and gaps allow.
fn settle(spots: &mut [Spot], rows: &[Vec<usize>], down: bool, gaps: Gaps) {
    let count = rows.len();
    for step in 0..count {
        let row = &rows[if down { step } else { count - 1 - step }];
        let mut offset = 0.0;
        let mut blocks: Vec<(f64, f64, usize)> = vec![];
        let mut offsets = vec![];
        for (at, &spot) in row.iter().enumerate() {
            if at > 0 {
                offset += (spots[row[at - 1]].width + spots[spot].width) / 2.0 + gaps.across;
            }
            offsets.push(offset);
            let weight = if spots[spot].height > 0.0 { 1.0 } else { GIVE_WAY };
            blocks.push((weight * (wish(spots, spot, down, GIVE_WAY) - offset), weight, 1));
            while let [.., a, b] = blocks[..]
                && a.0 / a.1 > b.0 / b.1
            {
                blocks.truncate(blocks.len() - 2);
                blocks.push((a.0 + b.0, a.1 + b.1, a.2 + b.2));
            }
        }
        let starts = blocks.iter().flat_map(|&(sum, weight, n)| std::iter::repeat_n(sum / weight, n));
        for ((&spot, offset), start) in row.iter().zip(offsets).zip(starts) {
            spots[spot].x = start + offset;
        }
    }
}
