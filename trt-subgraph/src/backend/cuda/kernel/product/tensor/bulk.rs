//! Products of halves whose factors come by bulk copies: one thread names boxes of them, which arrive in shared memory by themselves, and
//! warpgroups multiply what has arrived.
//!
//! Either every block has one tile, and neighbours form a cluster whose tiles share rows or columns, each of which is read once. Or a block
//! stays on its multiprocessor and two teams of warpgroups take turns at its tiles: one multiplies while the other stores.

use super::super::super::super::assemble::{Assembler, Fault};
use super::super::super::super::boxes::{Boxes, ROW, Shape};
use super::super::super::super::program::WEIGHTS;
use super::super::super::super::render::{Draft, in_runs, indent, storage_type};
use super::super::super::super::target::Target;
use super::super::Product;
use super::{Form, product};
use crate::DType;
use crate::backend::Tf32;
use crate::backend::view::View;
use crate::network::layer::Convolution;
use crate::network::{Layer, LayerKind};
use std::fmt::Write;

/// How a product is cut into tiles, and these into what a warpgroup multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bulk {
    /// Rows and columns of a tile.
    tile: [usize; 2],
    /// Rows and columns of a warpgroup's part of it.
    part: [usize; 2],
    /// Tiles of a cluster along the rows and the columns.
    cluster: [usize; 2],
    /// Teams that take turns, 2, or 1 for a block of one tile.
    teams: usize,
    /// Stages of shared memory.
    stages: usize,
    /// Blocks that share a multiprocessor.
    beside: usize,
}

/// Most stages.
const STAGES: usize = 8;
/// Offsets from place to place of one window, and corners, that a copy can be told.
const FARTHEST: usize = 127;

impl Bulk {
    /// Warpgroups of a team.
    fn groups(&self) -> usize {
        self.tile[0] / self.part[0] * (self.tile[1] / self.part[1])
    }

    /// Threads that multiply.
    fn workers(&self) -> usize {
        128 * self.groups() * self.teams
    }

    /// Those, and a warp whose first lane names boxes.
    fn threads(&self) -> usize {
        self.workers() + 32
    }

    fn blocks_of_cluster(&self) -> usize {
        self.cluster.iter().product()
    }

    /// Bytes of a stage.
    fn stage(&self) -> usize {
        (self.tile[0] + self.tile[1]) * ROW
    }

    fn shared(&self) -> usize {
        self.stages * self.stage()
    }

    /// Clusters along the rows and the columns.
    fn clusters(&self, form: Form) -> [usize; 2] {
        let along = |size: usize, axis: usize| size.div_ceil(self.tile[axis]).div_ceil(self.cluster[axis]);
        [along(form.m, 0), along(form.n, 1)]
    }

    /// Blocks of a kernel.
    fn blocks(&self, form: Form, target: &Target) -> usize {
        let tiles = self.clusters(form).iter().product::<usize>() * self.blocks_of_cluster();
        if self.teams > 1 { tiles.min(target.multiprocessors * self.beside) } else { tiles }
    }

    /// For reports, and to be found again by.
    pub fn name(&self) -> String {
        let Bulk { tile: [rows, columns], part: [high, wide], cluster: [along, across], beside, .. } = self;
        let how = match self.teams {
            1 => format!("clusters of {along}x{across}"),
            _ => format!("by turns of {high}x{wide}"),
        };
        format!("own bulk copies {rows}x{columns}, {how}, {beside} beside")
    }

    /// Cycles that the product takes, about. The rates are those that fit timings on an H200.
    fn cost(&self, form: Form, steps: usize, target: &Target) -> f64 {
        /// Products (of an element's bytes) a cycle, of blocks of one tile and of teams that take turns; at most 4096.
        const MULTIPLIED: [f64; 2] = [2300.0, 3300.0];
        /// Bytes a cycle out of the second-level cache.
        const COPIED: f64 = 44.0;
        /// Cycles of a step, however small.
        const STEP: f64 = 340.0;
        /// Results a cycle, of all of a multiprocessor and of a team.
        const STORED: [f64; 2] = [7.0, 4.0];
        /// Cycles before the first product of a block.
        const BEGIN: f64 = 1800.0;
        let ([rows, columns], turns) = (self.tile, self.teams > 1);
        let area = (rows * columns) as f64;
        let bytes = ((rows / self.cluster[1] + columns / self.cluster[0]) * ROW) as f64;
        let tiles = self.clusters(form).iter().product::<usize>() * self.blocks_of_cluster();
        let each = tiles.div_ceil(target.multiprocessors) as f64;
        let rounds = (each / self.beside as f64).ceil();
        let step = (area * ROW as f64 / MULTIPLIED[usize::from(turns)]).max(bytes / COPIED);
        let products = steps as f64 * (each * step).max(rounds * STEP);
        let end = area / STORED[usize::from(turns)];
        if turns {
            BEGIN + products.max((products + each * end) / 2.0) + end
        } else {
            BEGIN * rounds + products + each * end
        }
    }
}

/// The factors as bulk copies see them, and how a kernel walks `k`.
struct Factors {
    left: Boxes,
    right: Boxes,
    /// Columns of windows of the image, of which each row of the product is one, and how far they are apart; none of a matrix.
    windows: Option<Windows>,
    /// Taps of a window, rows first; 1 of a matrix.
    taps: [usize; 2],
    /// Steps along `k` at one tap.
    steps: usize,
}

struct Windows {
    /// Rows and columns of the result.
    places: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    before: [usize; 2],
}

/// The cuts that promise most, at most `most`; none where bulk copies cannot bring the factors.
pub fn bulks(a: &mut Assembler, layer: &Layer, clusters: bool, most: usize) -> Vec<Bulk> {
    /// Of tiles and of warpgroups' parts: rows, columns; and teams.
    const TILES: [([usize; 2], [usize; 2], usize); 18] = [
        ([128, 128], [128, 128], 2),
        ([128, 128], [64, 128], 2),
        ([128, 160], [64, 160], 2),
        ([128, 192], [128, 96], 2),
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
    let Some(form) = bulk_form(a, layer) else { return vec![] };
    let steps = form.k.div_ceil(ROW);
    let mut found: Vec<(f64, Bulk)> = Vec::new();
    for (tile, part, teams) in TILES {
        for cluster in [[1, 1], [2, 1], [1, 2], [2, 2]] {
            let tiles = [form.m.div_ceil(tile[0]), form.n.div_ceil(tile[1])];
            let blocks = tiles[0] * tiles[1];
            // No row or column of a cluster's tiles lies beyond the product; parts of a box have whole groups of rows.
            let fits = (0..2).all(|i| tiles[i] >= cluster[i] && (tile[i] / cluster[1 - i]).is_multiple_of(8));
            if cluster != [1, 1] && !(clusters && fits && teams == 1)
                || teams > 1 && blocks <= a.target.multiprocessors
            {
                continue;
            }
            for beside in [1, 2] {
                let room = a.target.shared() / beside - 2048;
                let mut bulk = Bulk { tile, part, cluster, teams, stages: 1, beside };
                let all = if teams > 1 { STAGES } else { steps.max(1) };
                bulk.stages = (room / bulk.stage()).min(STAGES).min(all);
                // So many threads with so many sums have no room for others.
                let crowded = bulk.workers() * (part[0] * part[1] / 128 + 32) * beside > 48 << 10
                    || blocks <= a.target.multiprocessors;
                if bulk.shared() <= room && bulk.stages >= all.min(3) && !(beside > 1 && crowded) {
                    found.push((bulk.cost(form, steps, &a.target), bulk));
                }
            }
        }
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().take(most).map(|(_, bulk)| bulk).collect()
}

/// The product's size, with `k` of whole boxes, where bulk copies can bring its factors.
fn bulk_form(a: &mut Assembler, layer: &Layer) -> Option<Form> {
    let form = super::form(a, layer, Tf32::default())?;
    let halves = matches!(form.dtype, DType::F16 | DType::BF16);
    if a.target.capability != 90 || !halves || form.batch != 1 || form.m == 0 || form.n == 0 || form.k == 0 {
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

/// Elements from row to row of matrices whose rows follow each other through the batch; `None` where they do not.
fn rows(x: &View) -> Option<isize> {
    let mut from_row = None;
    let mut count = 1;
    for axis in (0..x.rank() - 1).rev().filter(|&axis| x.shape[axis] != 1) {
        let step = *from_row.get_or_insert(x.strides[axis]);
        if x.strides[axis] != step * count {
            return None;
        }
        count *= x.shape[axis] as isize;
    }
    let row = from_row.unwrap_or(x.shape[x.rank() - 1].next_multiple_of(8) as isize);
    (row > 0).then_some(row)
}

/// Bytes of so many elements.
fn bytes(elements: isize) -> u64 {
    2 * elements.unsigned_abs() as u64
}

fn factors(p: &Product, layer: &Layer, bulk: Bulk, x: &View, w: &View) -> Result<Factors, Fault> {
    let [per_left, per_right] =
        [bulk.tile[0] / bulk.cluster[1], bulk.tile[1] / bulk.cluster[0]].map(|n| n as u32);
    let dtype = x.dtype;
    let unit = (ROW / 2) as u32;
    match &layer.kind {
        LayerKind::Convolution(c) => {
            // Axes of size 1 may have any stride, and a copy wants it to be a multiple of 16 bytes.
            let stride = |v: &View, at: usize| {
                let inner = v.shape[1].next_multiple_of(8) as isize;
                bytes(if v.shape[at] == 1 { inner } else { v.strides[at] })
            };
            let sizes = [1, 3, 2, 0].map(|at| x.shape[at] as u64).to_vec();
            let strides = [3, 2, 0].map(|at| stride(x, at)).to_vec();
            let taps = [w.shape[2], w.shape[3]];
            let corner = |i: usize| {
                let reach = (taps[i] - 1) * c.dilation[i];
                let last = c.padding[i].1 as i32 - reach as i32;
                [-(c.padding[i].0 as i32), last]
            };
            let [down, along] = [corner(0), corner(1)];
            if down[1].unsigned_abs() as usize > FARTHEST {
                return Err("windows that bulk copies cannot be told".to_string());
            }
            let corners = [[along[0], down[0]], [along[1], down[1]]];
            let steps = [c.stride[1] as u32, c.stride[0] as u32];
            let shape = Shape::Windows { corners, steps, places: per_left };
            let all_taps = (taps[0] * taps[1]) as u64;
            let right = Boxes {
                dtype,
                sizes: vec![w.shape[1] as u64, all_taps, w.shape[0] as u64],
                strides: vec![
                    bytes(w.shape[1] as isize),
                    stride(w, 0).max(all_taps * bytes(w.shape[1] as isize)),
                ],
                shape: Shape::Box(vec![unit, 1, per_right]),
            };
            Ok(Factors {
                left: Boxes { dtype, sizes, strides, shape },
                right,
                windows: Some(windows(c, &p.tail.out)),
                taps,
                steps: w.shape[1].div_ceil(unit as usize),
            })
        }
        _ => {
            let row = rows(x).ok_or("rows that do not follow each other")?;
            let matrix = |k: usize, rows: usize, row: isize, many: u32| Boxes {
                dtype,
                sizes: vec![k as u64, rows as u64],
                strides: vec![bytes(row)],
                shape: Shape::Box(vec![unit, many]),
            };
            let rank = w.rank();
            let line = if p.n == 1 { p.k.next_multiple_of(8) as isize } else { w.strides[rank - 1] };
            Ok(Factors {
                left: matrix(p.k, p.m, row, per_left),
                right: matrix(p.k, p.n, line, per_right),
                windows: None,
                taps: [1, 1],
                steps: p.k.div_ceil(unit as usize),
            })
        }
    }
}

fn windows(c: &Convolution, out: &View) -> Windows {
    let two = |v: &[usize]| -> [usize; 2] { [v[0], v[1]] };
    Windows {
        places: two(&out.shape[2..]),
        stride: two(&c.stride),
        dilation: two(&c.dilation),
        before: [c.padding[0].0, c.padding[1].0],
    }
}

/// The image or matrix, and the filters or the other, where they do not move from call to call and lie in units of 16 bytes.
fn settled(a: &mut Assembler, view: &View, axis: usize) -> Result<View, Fault> {
    let view = a.inside(view.clone())?;
    let mut inner = view.clone();
    inner.strides[axis] = 1;
    let forward = (0..inner.rank()).all(|at| inner.shape[at] == 1 || inner.strides[at] >= 0);
    if !forward || !in_runs(&inner, axis, 8) {
        return Err("a factor that does not lie in units of 16 bytes".to_string());
    }
    Ok(inner)
}

/// Emits the layer, which bulk copies can bring the factors of.
pub fn emit(a: &mut Assembler, layer: &Layer, bulk: Bulk) -> Result<(), Fault> {
    let form = bulk_form(a, layer).ok_or("a product that bulk copies do not bring")?;
    let p = product(a, layer, ROW)?;
    let of_images = matches!(layer.kind, LayerKind::Convolution(_));
    let [left_axis, right_axis] = if of_images { [1, 1] } else { [p.a.view.rank() - 1, p.b.view.rank() - 2] };
    let x = settled(a, &p.a.view, left_axis)?;
    let w = settled(a, &p.b.view, right_axis)?;
    let f = factors(&p, layer, bulk, &x, &w)?;
    let (ty, pack) = (p.index(), p.tail.pack(p.column_axis).min(8));
    let Bulk { tile: [rows, columns], part: [high, wide], cluster: [along, across], teams, stages, .. } =
        bulk;
    let clusters = bulk.clusters(form);
    let (workers, threads, cluster) = (bulk.workers(), bulk.threads(), bulk.blocks_of_cluster());
    let steps = f.taps[0] * f.taps[1] * f.steps;
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.cluster, draft.waits, draft.beside) = (threads, cluster, true, bulk.beside);
    let blocks = bulk.blocks(form, &a.target);
    (draft.grid, draft.shared) = ([blocks, 1, 1], bulk.shared());
    draft.boxes("x", &x, f.left.clone());
    draft.boxes("w", &w, f.right.clone());
    p.tail.parameters_packed(&mut draft, p.column_axis, pack);
    let all = clusters.iter().product::<usize>() * cluster;
    let store = stores(&p, bulk, pack);
    let copies = Copies::of(&f, bulk);
    let fixed = w.slot == WEIGHTS;
    let first = if fixed { stages.min(steps) } else { 0 };
    let where_it_is = format!(
        "const {ty} m0 = (tile / {both} * {along} + rank_m) * {rows}, n0 = (tile / {cluster} % {of_columns} * {across} + rank_n) * {columns};\n",
        both = clusters[1] * cluster,
        of_columns = clusters[1],
    );
    let mut body = format!("DYNAMIC_SHARED(pool, {});\n", bulk.shared());
    let _ = write!(
        body,
        "__shared__ u64 full[{stages}], empty[{stages}], next[{teams}];
const int rank = BLOCK % {cluster}, rank_m = rank % {along}, rank_n = rank / {along};
const bool names = THREAD == {workers};
const int lane = THREAD % 32, group = THREAD / 128 % {groups}, team = THREAD / {per_team};
const int wm = group % {of_rows} * {high} + THREAD / 32 % 4 * 16, wn = group / {of_rows} * {wide};
if (THREAD == 0) {{
    for (int s = 0; s < {stages}; ++s) {{
        begin_barrier(&full[s], 1);
        begin_barrier(&empty[s], {arrivals});
    }}
    for (int t = 0; t < {teams}; ++t) begin_barrier(&next[t], {groups});
    show_barriers();
}}
{meet}{ahead_of_all}await_previous();
if (names) {{
    int at = 0, again = 1;
    #pragma unroll 1
    for ({ty} tile = BLOCK; tile < {all}; tile += {blocks}) {{
{where_it_is}{per_tile}        #pragma unroll 1
        for (int s = 0; s < {steps}; ++s) {{
            if ({beyond}) {{
                await_bytes(&empty[at], again);
                expect_bytes(&full[at], {stage});
{right}            }}
{left}            if (++at == {stages}) at = 0, again ^= 1;
        }}
    }}
}} else if (THREAD < {workers}) {{
    #pragma unroll 1
    for (int turn = team; BLOCK + ({ty})turn * {blocks} < {all}; turn += {teams}) {{
        const {ty} b = 0, tile = BLOCK + ({ty})turn * {blocks};
{where_it_is}{loaded}        f32 sums[{subtiles}][{eighths}][4] = {{}};
        int at = turn * {steps} % {stages}, again = turn * {steps} / {stages} & 1, last = at;
{my_turn}        #pragma unroll 1
        for (int s = 0; s < {steps}; ++s) {{
            const unsigned char* const from = pool + at * {stage};
            await_bytes(&full[at], again);
            #pragma unroll
            for (int i = 0; i < {subtiles}; ++i) begin_products<{eighths}>(sums[i]);
            #pragma unroll
            for (int i = 0; i < {subtiles}; ++i)
                multiply_tiles<{eighths}>(sums[i], from + (wm / 64 + i) * {subtile}, from + ({rows} + wn) * {ROW}, {element}());
            wait_products<{subtiles}, {eighths}>(sums[0]);
            if (s > 0{still_wanted}) {{
{release}            }}
            last = at;
            if (++at == {stages}) at = 0, again ^= 1;
        }}
{others_turn}        #pragma unroll
        for (int i = 0; i < {subtiles}; ++i) wait_products<0, {eighths}>(sums[i]);
{release_last}{store}    }}
}}
",
        groups = bulk.groups(),
        per_team = 128 * bulk.groups(),
        of_rows = rows / high,
        arrivals = bulk.groups() * (along + across - 1),
        meet = if cluster > 1 { "cluster_meeting();\n" } else { "__syncthreads();\n" },
        ahead_of_all = if fixed { copies.ahead_of_all(bulk, first, &where_it_is, ty) } else { String::new() },
        where_it_is = indent(&indent(&where_it_is)),
        per_tile = indent(&indent(&copies.per_tile)),
        beyond = if fixed { format!("tile != BLOCK || s >= {first}") } else { "true".to_string() },
        stage = bulk.stage(),
        right = indent(&indent(&indent(&indent(&copies.right)))),
        left = indent(&indent(&indent(&copies.left))),
        loaded = indent(&indent(&store.ahead)),
        subtiles = high / 64,
        eighths = wide / 8,
        my_turn = match teams {
            1 => String::new(),
            _ => "        await_bytes(&next[team], (turn / 2 + team + 1) & 1);\n".to_string(),
        },
        others_turn = match teams {
            1 => String::new(),
            _ => "        if (THREAD % 128 == 0) arrive(&next[1 - team]);\n".to_string(),
        },
        subtile = 64 * ROW,
        element = storage_type(x.dtype),
        // Of a block of one tile, nobody waits for the last stages.
        still_wanted = if teams > 1 { String::new() } else { format!(" && s - 1 + {stages} < {steps}") },
        release = indent(&indent(&indent(&indent(&release(bulk))))),
        release_last = if teams > 1 { indent(&indent(&release(bulk))) } else { String::new() },
        store = indent(&indent(&store.code)),
    );
    if cluster > 1 {
        body.push_str("cluster_meeting();\n");
    }
    draft.body = body;
    a.launch(draft)
}

/// Code for a warpgroup's results: what their operands need before the products, and what stores them.
struct Stores {
    ahead: String,
    code: String,
}

/// Each lane stores eight neighbours at a time, in packs. Where it has few, and there is one tile, what the epilogue reads is loaded ahead.
fn stores(p: &Product, bulk: Bulk, pack: usize) -> Stores {
    /// Most packs whose operands are loaded ahead.
    const FEW: usize = 8;
    let ([high, wide], ty) = (bulk.part, p.index());
    let (subtiles, eighths, packs) = (high / 64, wide / 8, 8 / pack);
    let along = (p.column_axis, pack);
    let count = subtiles * 2 * eighths / 4 * packs;
    let loaded = match bulk.teams {
        1 if count <= FEW => p.tail.load_packed(count, &p.positions, along, ty),
        _ => None,
    };
    let each = |gather: &str, what: &str| {
        format!(
            "#pragma unroll
for (int i = 0; i < {subtiles}; ++i)
    #pragma unroll
    for (int half = 0; half < 2; ++half)
        #pragma unroll
        for (int eight = 0; eight < {eighths}; eight += 4) {{
{gather}            #pragma unroll
            for (int part = 0; part < {packs}; ++part) {{
                const int r = ((i * 2 + half) * {quarter} + eight / 4) * {packs} + part;
                const {ty} m = m0 + wm + i * 64 + half * 8 + lane / 4, n = n0 + wn + (eight + lane % 4) * 8 + part * {pack};
                if (m < {} && n < {}) {{
{}                }}
            }}
        }}
",
            p.m,
            p.n,
            indent(&indent(&indent(&indent(&indent(&format!("{}{what}", p.place)))))),
            quarter = eighths / 4,
        )
    };
    let values = format!("(eights + part * {pack})");
    let (ahead, store) = match loaded {
        Some((arrays, load)) => {
            (arrays + &each("", &load), p.tail.store_loaded(&values, &p.positions, along, ty))
        }
        None => (String::new(), p.tail.store_packed(&values, &p.positions, along, ty)),
    };
    let gather = "            f32 eights[8];\n            gather_eights(eights, &sums[i][eight], half);\n";
    Stores { ahead, code: each(gather, &store) }
}

/// One lane of each warpgroup for each block says that the stage `last` may be filled again: to all whose copies fill it.
fn release(bulk: Bulk) -> String {
    let [along, across] = bulk.cluster;
    match along * across {
        1 => "if (THREAD % 128 == 0) arrive(&empty[last]);\n".to_string(),
        blocks => format!(
            "const int to = THREAD % 128;
if (to < {blocks} && (to % {along} == rank_m || to / {along} == rank_n)) arrive_at(&empty[last], to);
"
        ),
    }
}

/// Code that begins the copies of step `s` into stage `at`: this block's part of the rows, for all blocks that share them, and of the columns.
struct Copies {
    /// What they need of a tile.
    per_tile: String,
    left: String,
    right: String,
}

impl Copies {
    fn of(f: &Factors, bulk: Bulk) -> Copies {
        let ([rows, columns], [along, across], stage) = (bulk.tile, bulk.cluster, bulk.stage());
        let [per_left, per_right] = [rows / across, columns / along];
        let every: usize = (0..across).map(|j| 1 << (along * j)).sum();
        let shared = |blocks: String, alone: bool| if alone { "0".to_string() } else { blocks };
        let left_to = shared(format!("{every}u << rank_m"), across == 1);
        let right_to = shared(format!("{}u << rank_n * {along}", (1 << along) - 1), along == 1);
        let to_left = format!("pool + at * {stage} + rank_n * {}", per_left * ROW);
        let to_right = format!("pool + at * {stage} + {} + rank_m * {}", rows * ROW, per_right * ROW);
        let (k, tap) = (format!("s % {} * {}", f.steps, ROW / 2), format!("s / {}", f.steps));
        let (first_row, first_column) =
            (format!("m0 + rank_n * {per_left}"), format!("n0 + rank_m * {per_right}"));
        let Some(w) = &f.windows else {
            return Copies {
                per_tile: String::new(),
                left: format!("begin_box({to_left}, x, &full[at], {left_to}, {k}, {first_row});\n"),
                right: format!("begin_box({to_right}, w, &full[at], {right_to}, {k}, {first_column});\n"),
            };
        };
        let ([high, wide], taps) = (w.places, f.taps[1]);
        Copies {
            per_tile: format!(
                "const int place = {first_row}, image = place / {}, row = place / {wide} % {high} * {} - {}, column = place % {wide} * {} - {};\n",
                high * wide,
                w.stride[0],
                w.before[0],
                w.stride[1],
                w.before[1],
            ),
            left: format!(
                "const int tap = {tap};
begin_windows({to_left}, x, &full[at], {left_to}, {k}, column, row, image, tap % {taps} * {}, tap / {taps} * {});
",
                w.dilation[1], w.dilation[0],
            ),
            right: format!("begin_box({to_right}, w, &full[at], {right_to}, {k}, {tap}, {first_column});\n"),
        }
    }

    /// Code that begins the copies of weights of the first steps, which are there before the kernels ahead are done.
    fn ahead_of_all(&self, bulk: Bulk, steps: usize, where_it_is: &str, ty: &str) -> String {
        format!(
            "if (names) {{
    const {ty} tile = BLOCK;
{}    for (int s = 0; s < {steps}; ++s) {{
        const int at = s;
        expect_bytes(&full[at], {});
{}    }}
}}
",
            indent(where_it_is),
            bulk.stage(),
            indent(&indent(&self.right)),
        )
    }
}
