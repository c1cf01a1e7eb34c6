//! The cuts that a layer may have, and those among them that promise most.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::ROW;
use super::super::super::super::super::target::Target;
use super::super::{Form, form};
use super::area::Area;
use super::cut::Bulk;
use super::factors::rows;
use super::{folded, near, parts};
use crate::DType;
use crate::backend::Tf32;
use crate::network::{Layer, LayerKind};

/// Most stages.
const STAGES: usize = 8;
/// Offsets from place to place of one window, and corners, that a copy can be told.
const FARTHEST: usize = 127;

/// The cuts that promise most, at most `most`; none where bulk copies cannot bring the factors.
pub fn bulks(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// Of tiles and of warpgroups' parts: rows, columns; and teams.
    const TILES: [([usize; 2], [usize; 2], usize); 16] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
        ([128, 96], [128, 96], 2),
        ([256, 64], [128, 64], 2),
        ([128, 64], [128, 64], 2),
        ([64, 128], [64, 128], 2),
        ([256, 128], [128, 128], 1),
        ([128, 128], [64, 128], 1),
        ([256, 64], [128, 64], 1),
        ([128, 64], [64, 64], 1),
        ([64, 256], [64, 128], 1),
        ([64, 128], [64, 128], 1),
        ([64, 160], [64, 160], 1),
        ([64, 64], [64, 64], 1),
        ([128, 32], [64, 32], 1),
        ([64, 32], [64, 32], 1),
    ];
    /// Tiles of a cluster, and blocks for each.
    const CLUSTERS: [([usize; 2], usize); 8] =
        [SINGLE, ([2, 1], 1), ([1, 2], 1), ([2, 2], 1), ([1, 1], 2), ([1, 1], 3), ([1, 1], 4), ([1, 1], 6)];
    let Some(form) = bulk_form(a, layer) else { return vec![] };
    let few = folded::form(a, layer);
    let (form, folded) = (few.unwrap_or(form), few.is_some());
    let near = [near::brings(a, layer), near::sends(a, layer)];
    let all = TILES.into_iter().flat_map(|tile| CLUSTERS.map(|cluster| (tile, cluster)));
    let all = all.filter(|&(_, cluster)| clusters || cluster == SINGLE);
    let found = all.flat_map(|(tile, cluster)| cuts(form, &a.target, tile, cluster, near, folded, false));
    best(found.collect(), most)
}

/// The cuts of a product of f32, whose factors come in parts.
pub fn bulks_in_parts(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// As above; a warpgroup has its sums twice.
    const TILES: [([usize; 2], [usize; 2], usize); 6] = [
        ([128, 128], [64, 128], 1),
        ([128, 96], [64, 96], 1),
        ([128, 64], [64, 64], 1),
        ([64, 128], [64, 128], 1),
        ([64, 64], [64, 64], 1),
        ([64, 32], [64, 32], 1),
    ];
    const CLUSTERS: [([usize; 2], usize); 6] =
        [SINGLE, ([2, 1], 1), ([1, 1], 2), ([1, 1], 3), ([1, 1], 4), ([1, 1], 6)];
    let Some(form) = parts::form(a, layer) else { return vec![] };
    let all = TILES.into_iter().flat_map(|tile| CLUSTERS.map(|cluster| (tile, cluster)));
    let all = all.filter(|&(_, cluster)| clusters || cluster == SINGLE);
    let found = all.flat_map(|(tile, cluster)| cuts(form, &a.target, tile, cluster, [false; 2], false, true));
    best(found.collect(), most)
}

/// A tile that is its own cluster, and one block for it.
const SINGLE: ([usize; 2], usize) = ([1, 1], 1);

/// Those into tiles of this size, with what they cost, for one and for two blocks a multiprocessor. `near` says whether an operand may be
/// brought and results sent.
fn cuts(
    form: Form,
    target: &Target,
    (tile, part, teams): ([usize; 2], [usize; 2], usize),
    (cluster, shares): ([usize; 2], usize),
    near: [bool; 2],
    folded: bool,
    in_parts: bool,
) -> Vec<(f64, Bulk)> {
    let steps = form.k.div_ceil(ROW);
    let tiles = [form.m.div_ceil(tile[0]), form.n.div_ceil(tile[1])];
    let blocks = tiles[0] * tiles[1];
    // No row or column of a cluster's tiles lies beyond the product; parts of a box have whole groups of rows.
    let fits = (0..2).all(|i| tiles[i] >= cluster[i] && (tile[i] / cluster[1 - i]).is_multiple_of(8));
    // Sums are shared where there are too few tiles, and enough to sum.
    let spread = blocks * shares <= target.multiprocessors && steps >= 4 * shares;
    if cluster != [1, 1] && !(fits && teams == 1)
        || teams > 1 && blocks <= target.multiprocessors
        || shares > 1 && !(teams == 1 && spread)
    {
        return vec![];
    }
    let [brings, sends] = near.map(|may| may && shares == 1);
    let bulk = Bulk {
        tile,
        part,
        cluster,
        teams,
        stages: 1,
        beside: 1,
        brings,
        nears: 1,
        sends,
        folded,
        shares,
        area: None,
        in_parts,
    };
    fitted(form, target, bulk, blocks)
}

/// The cut into so many blocks, with as many stages as there is room for, for one and for two blocks a multiprocessor, and with rooms for one
/// operand of each team and for two; and what each costs.
fn fitted(form: Form, target: &Target, mut bulk: Bulk, blocks: usize) -> Vec<(f64, Bulk)> {
    let steps = form.k.div_ceil(ROW);
    let all = if bulk.teams > 1 { STAGES } else { (steps / bulk.shares).max(1) };
    let least = if bulk.in_parts { 2 } else { 3 };
    // A second operand comes ahead only where a team has a second tile.
    let ahead = bulk.brings && bulk.teams == 2 && blocks > 2 * target.multiprocessors;
    let rooms: &[usize] = if ahead { &[1, 2] } else { &[1] };
    let mut found = Vec::new();
    for (nears, beside) in rooms.iter().flat_map(|&nears| [(nears, 1), (nears, 2)]) {
        (bulk.nears, bulk.beside, bulk.stages) = (nears, beside, 1);
        let room = target.shared() / beside - 2048;
        let others = match bulk.area {
            Some(_) => bulk.shared() - bulk.stage() + 256,
            None => bulk.rooms() * bulk.near(),
        };
        bulk.stages = (room.saturating_sub(others) / bulk.stage()).min(STAGES).min(all);
        // So many threads with so many sums have no room for others.
        let crowded =
            bulk.workers() * bulk.registers() * beside > 48 << 10 || blocks <= target.multiprocessors;
        if bulk.shared() <= room && bulk.stages >= all.min(least) && !(beside > 1 && crowded) {
            found.push((bulk.cost(form, steps, target), bulk));
        }
    }
    found
}

/// The cuts of a convolution into tiles whose taps share what their windows see, at most `most` that promise most.
pub fn bulks_of_areas(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// Of tiles and of warpgroups' parts: rows, columns; and teams.
    const TILES: [([usize; 2], [usize; 2], usize); 15] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
        ([128, 96], [128, 96], 2),
        ([256, 64], [128, 64], 2),
        ([128, 64], [128, 64], 2),
        ([256, 128], [128, 128], 1),
        ([128, 160], [64, 160], 1),
        ([64, 160], [64, 160], 1),
        ([128, 128], [64, 128], 1),
        ([64, 128], [64, 128], 1),
        ([128, 96], [64, 96], 1),
        ([256, 64], [128, 64], 1),
        ([128, 64], [64, 64], 1),
        ([64, 64], [64, 64], 1),
        ([64, 32], [64, 32], 1),
    ];
    /// Tiles of a cluster, and blocks for each.
    const CLUSTERS: [([usize; 2], usize); 5] =
        [([1, 1], 1), ([2, 1], 1), ([1, 1], 2), ([1, 1], 3), ([1, 1], 4)];
    let Some(form) = bulk_form(a, layer) else { return vec![] };
    let steps = form.k.div_ceil(ROW);
    let (brings, sends) = (near::brings(a, layer), near::sends(a, layer));
    let mut found: Vec<(f64, Bulk)> = Vec::new();
    for (tile, part, teams) in TILES {
        for area in Area::all(a, layer, tile[0]) {
            for (cluster, shares) in CLUSTERS {
                let blocks = area.tiles() * form.n.div_ceil(tile[1]) * shares;
                let together = cluster[0] * shares;
                let whole = area.tiles() >= cluster[0] && (tile[1] / cluster[0]).is_multiple_of(8);
                // Fewer clusters run at the same time than there is room for: they do not reach from one part of the device into another.
                let room = a.target.multiprocessors * if shares > 2 { 5 } else { 6 } / 6;
                let spread = shares == 1 || blocks <= room && steps >= 4 * shares;
                let takes_turns = teams == 1 || blocks > a.target.multiprocessors;
                if together > 1 && !(clusters && teams == 1) || !(whole && spread && takes_turns) {
                    continue;
                }
                let bulk = Bulk {
                    tile,
                    part,
                    cluster,
                    teams,
                    stages: 1,
                    beside: 1,
                    brings: brings && shares == 1,
                    nears: 1,
                    sends: sends && shares == 1 && !area.lines(),
                    folded: false,
                    shares,
                    area: Some(area.of_teams(teams)),
                    in_parts: false,
                };
                found.extend(fitted(form, &a.target, bulk, blocks));
            }
        }
    }
    best(found, most)
}

/// Those that cost least, at most `most`, and half as many more that cost no more than these and bring operands ahead, which the cost does not
/// tell.
fn best(mut found: Vec<(f64, Bulk)>, most: usize) -> Vec<Bulk> {
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ahead, mut found): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, bulk)| bulk.nears > 1);
    found.truncate(most);
    let dearest = found.last().map_or(0.0, |(cost, _)| *cost);
    let ahead = ahead.into_iter().take_while(|(cost, _)| *cost <= dearest).take(most / 2);
    found.into_iter().chain(ahead).map(|(_, bulk)| bulk).collect()
}

/// The product's size, with `k` of whole boxes, where bulk copies can bring its factors.
pub fn bulk_form(a: &mut Assembler, layer: &Layer) -> Option<Form> {
    let form = form(a, layer, Tf32::default())?;
    let halves = matches!(form.dtype, DType::F16 | DType::BF16);
    // Copies are told places as numbers of 32 bits.
    let countable = [form.m, form.n, form.k].iter().all(|n| (1..1 << 30).contains(n));
    if a.target.capability != 90 || !halves || form.batch != 1 || !countable {
        return None;
    }
    match &layer.kind {
        LayerKind::Convolution(c) => {
            let w = a.network.ty(layer.inputs[1]).shape.clone();
            let reach = |i: usize| (w[i + 2] - 1) * c.dilation[i];
            let told = |i: usize| {
                let (before, after) = c.padding[i];
                before.max(after).max(reach(i)) <= FARTHEST && (1..=8).contains(&c.stride[i])
            };
            let at_a_tap = w[1].next_multiple_of(8).div_ceil(64);
            let fits = c.stride.len() == 2 && (0..2).all(told) && a.is_static(layer.inputs[1]);
            fits.then(|| Form { k: w[2] * w[3] * at_a_tap * ROW, ..form })
        }
        LayerKind::MatMul { transpose_a, .. } => {
            let (x, rank) = (a.view(layer.inputs[0]), a.network.ty(layer.inputs[0]).rank());
            let x = if *transpose_a { x.permute(&swapped(rank)) } else { x };
            rows(&x).map(|_| form)
        }
        _ => None,
    }
}

/// The axes of matrices, the last two exchanged.
fn swapped(rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    axes
}
