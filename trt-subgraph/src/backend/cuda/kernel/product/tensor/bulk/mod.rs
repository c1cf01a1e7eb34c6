//! Products of halves whose factors come by bulk copies: one thread names boxes of them, which arrive in shared memory by themselves, and
//! warpgroups multiply what has arrived.
//!
//! Either every block has one tile, and neighbours form a cluster whose tiles share rows or columns, each of which is read once. Or a block
//! stays on its multiprocessor and two teams of warpgroups take turns at its tiles: one multiplies while the other stores.
//!
//! Of an image come either the windows' places at every tap, or, once for all taps, the area that a tile's windows see. Factors of f32 are
//! multiplied in parts, which are halves.

mod area;
mod copies;
mod cut;
mod factors;
mod folded;
mod list;
mod near;
mod parts;
mod shared;

pub use cut::Bulk;
pub use list::{bulks, bulks_in_parts, bulks_of_areas};

use super::super::super::super::assemble::{Assembler, Fault};
use super::super::super::super::boxes::ROW;
use super::super::super::super::program::WEIGHTS;
use super::super::super::super::render::{Draft, in_runs, indent, storage_type};
use super::super::Product;
use super::product;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind};
use area::Area;
use copies::Copies;
use factors::factors;
use list::bulk_form;
use near::Near;
use std::fmt::Write;

/// The image or matrix, and the filters or the other, where they do not move from call to call and lie in units of 16 bytes.
fn settled(a: &mut Assembler, view: &View, axis: usize) -> Result<View, Fault> {
    let view = a.inside(view.clone())?;
    let mut inner = view.clone();
    inner.strides[axis] = 1;
    let forward = (0..inner.rank()).all(|at| inner.shape[at] == 1 || inner.strides[at] >= 0);
    if !forward || !in_runs(&inner, axis, 16 / inner.dtype.size()) {
        return Err("a factor that does not lie in units of 16 bytes".to_string());
    }
    Ok(inner)
}

/// Emits the layer, which bulk copies can bring the factors of.
pub fn emit(a: &mut Assembler, layer: &Layer, bulk: Bulk) -> Result<(), Fault> {
    let (form, (mut p, seen)) = match bulk {
        Bulk { folded: true, .. } => {
            (folded::form(a, layer), folded::product(a, layer).map(|(p, c)| (p, LayerKind::Convolution(c)))?)
        }
        Bulk { in_parts: true, .. } => {
            (parts::form(a, layer), (parts::product(a, layer)?, layer.kind.clone()))
        }
        _ => (bulk_form(a, layer), (product(a, layer, ROW)?, layer.kind.clone())),
    };
    let form = form.ok_or("a product that bulk copies do not bring")?;
    let places = |shape: &[usize]| [shape[2], shape[3]];
    let convolution = match &seen {
        LayerKind::Convolution(c) => Some((c, places(&a.network.ty(layer.outputs[0]).shape))),
        _ => None,
    };
    let [left_axis, right_axis] = match convolution {
        Some(_) => [1, 1],
        None => [p.a.view.rank() - 1, p.b.view.rank() - 2],
    };
    let x = settled(a, &p.a.view, left_axis)?;
    let w = settled(a, &p.b.view, right_axis)?;
    let parts = bulk.in_parts.then(|| parts::all(&p));
    let f = factors(&p, convolution, bulk, &x, &w)?;
    let (ty, pack) = (p.index(), p.tail.pack(p.column_axis).min(8));
    let Bulk { tile: [rows, columns], part: [high, wide], cluster: [along, across], teams, stages, .. } =
        bulk;
    let (clusters, area) = (bulk.clusters(form), bulk.area);
    let (workers, threads, cluster) = (bulk.workers(), bulk.threads(), bulk.blocks_of_cluster());
    let steps = f.taps[0] * f.taps[1] * f.steps;
    let mut draft = Draft::new(p.what);
    (draft.threads, draft.cluster, draft.waits, draft.beside) = (threads, cluster, true, bulk.beside);
    let blocks = bulk.blocks(form, &a.target);
    (draft.grid, draft.shared) = ([blocks, 1, 1], bulk.shared());
    draft.boxes("x", &x, f.left.clone());
    draft.boxes("w", parts.as_ref().unwrap_or(&w), f.right.clone());
    let again = match &parts {
        Some(parts) => parts::again(&mut draft, &p, bulk, (&x, parts))?,
        None => String::new(),
    };
    let near = Near::of(a, &mut draft, &mut p, bulk, blocks);
    p.tail.parameters_packed(&mut draft, p.column_axis, pack);
    let all = bulk.tiles(form);
    let alone = |code: String| Stores { ahead: String::new(), code };
    let store = match (bulk.shares, near.sends) {
        (1, true) => alone(near::finish(&p, bulk, &near)),
        (1, false) => stores(&p, bulk, pack),
        _ => alone(shared::keep(bulk)),
    };
    let copies = Copies::of(&f, bulk);
    let fixed = w.slot == WEIGHTS;
    let ahead = if fixed { stages.min(steps) } else { 0 };
    let where_it_is = format!(
        "const {ty} m0 = (tile / {both} * {along} + rank_m) * {rows}, n0 = (tile / {cluster} % {of_columns} * {across} + rank_n) * {columns};\n",
        both = clusters[1] * cluster,
        of_columns = clusters[1],
    ) + &area.map_or(String::new(), |area| area.corner(rows));
    let (of_areas, begun_areas) = area.map_or_else(Default::default, |area| area.begin(bulk));
    let (eighths, element) = (wide / 8, storage_type(x.dtype));
    let part = |code: fn(&Area) -> String| area.map_or(String::new(), |area| code(&area));
    // A warpgroup's steps, or some of them.
    let multiplied = |low: &str, high_end: &str, quarters: usize| {
        if bulk.in_parts {
            return parts::steps(bulk, (low, high_end), quarters);
        }
        let multiply = match area {
            None => format!(
                "multiply_tiles<{eighths}, {quarters}>(sums[i], from + (wm / 64 + i) * {}, from + ({rows} + wn) * {ROW}, {element}());",
                64 * ROW
            ),
            Some(area) => format!(
                "multiply_area<{eighths}, {quarters}, {}>(sums[i], {}, from + wn * {ROW}, {element}());",
                area.step(),
                area.left(rows)
            ),
        };
        format!(
            "#pragma unroll 1
for (int s = {low}; s < {high_end}; ++s) {{
    const unsigned char* const from = pool + at * {stage};
{area_awaited}    await_bytes(&full[at], again);
    #pragma unroll
    for (int i = 0; i < {subtiles}; ++i) begin_products<{eighths}>(sums[i]);
    #pragma unroll
    for (int i = 0; i < {subtiles}; ++i)
        {multiply}
    wait_products<{subtiles}, {eighths}>(sums[0]);
    if (s > first{still_wanted}) {{
{release}    }}
{area_released}    before = at;
    if (++at == {stages}) at = 0, again ^= 1;
{area_next}}}
",
            stage = bulk.stage(),
            subtiles = high / 64,
            // Of a block of one tile, nobody waits for the last stages.
            still_wanted = if teams > 1 { String::new() } else { format!(" && s - 1 + {stages} < last") },
            release = indent(&indent(&release(bulk))),
            area_awaited = indent(&part(Area::awaited)),
            area_released = indent(&part(Area::released)),
            area_next = indent(&part(Area::next)),
        )
    };
    let products = match area {
        None => multiplied("first", "last", f.quarters),
        Some(area) => area.steps(bulk, x.shape[1], multiplied),
    };
    let mut body = format!("DYNAMIC_SHARED(pool, {});\n", bulk.shared());
    if bulk.shares > 1 {
        body.push_str(&shared::place(bulk));
    }
    let _ = write!(
        body,
        "u64 *const full = reinterpret_cast<u64*>(pool + {barriers}), *const empty = full + {stages}, *const next = empty + {stages};
{declared}{of_areas}const int rank = BLOCK % {cluster}, rank_m = rank % {along}, rank_n = rank / {along} % {across};
const int first = {steps} * (rank % {shares}) / {shares}, last = {steps} * (rank % {shares} + 1) / {shares};
const bool names = THREAD == {workers};
const int lane = THREAD % 32, group = THREAD / 128 % {groups}, team = THREAD / {per_team};
const int wm = group % {of_rows} * {high} + THREAD / 32 % 4 * 16, wn = group / {of_rows} * {wide};
if (THREAD == 0) {{
    for (int s = 0; s < {stages}; ++s) {{
        begin_barrier(&full[s], 1);
        begin_barrier(&empty[s], {arrivals});
    }}
    for (int t = 0; t < {teams}; ++t) begin_barrier(&next[t], {groups});
{begun}{begun_areas}    show_barriers();
}}
{meet}{ahead_of_all}await_previous();
{of_names}if (names) {{
    int at = 0, again = 1{and_area};
    #pragma unroll 1
    for ({ty} tile = BLOCK; tile < {all}; tile += {blocks}) {{
{where_it_is}{per_tile}        #pragma unroll 1
        for (int s = first; s < last; ++s) {{
{fetched}            if ({beyond}) {{
                await_bytes(&empty[at], again);
                expect_bytes(&full[at], {stage});
{right}            }}
{left}{named_ahead}            if (++at == {stages}) at = 0, again ^= 1;
        }}
{named}    }}
}} else if (THREAD < {workers}) {{
{of_workers}    #pragma unroll 1
    for (int turn = team; BLOCK + ({ty})turn * {blocks} < {all}; turn += {teams}) {{
        const {ty} b = 0, tile = BLOCK + ({ty})turn * {blocks};
{where_it_is}{loaded}        f32 sums[{subtiles}][{eighths}][4] = {{}};
        int at = turn * {steps} % {stages}, again = turn * {steps} / {stages} & 1, before = at;
{my_turn}{products}{others_turn}        #pragma unroll
        for (int i = 0; i < {subtiles}; ++i) wait_products<0, {eighths}>(sums[i]);
{release_last}{again}{awaited}{store}{left_to_others}    }}
{ended}}}
",
        barriers = bulk.barriers(),
        declared = near.declared,
        shares = bulk.shares,
        begun = near.begun,
        named = indent(&indent(&near.named)),
        named_ahead = indent(&indent(&indent(&near.named_ahead))),
        again = indent(&indent(&again)),
        awaited = indent(&indent(&near.awaited)),
        left_to_others = indent(&indent(&near.left)),
        ended = indent(&near.ended),
        groups = bulk.groups(),
        per_team = 128 * bulk.groups(),
        of_rows = rows / high,
        arrivals = bulk.groups() * bulk.released_by() * (along + across - 1),
        meet = if cluster > 1 { "cluster_meeting();\n" } else { "__syncthreads();\n" },
        ahead_of_all = if fixed { copies.ahead_of_all(bulk, ahead, &where_it_is, ty) } else { String::new() },
        of_names = if bulk.moves_registers() { format!("if (THREAD >= {workers}) give_registers<40>();\n") } else { String::new() },
        of_workers = if bulk.moves_registers() { "    take_registers<232>();\n" } else { "" },
        where_it_is = indent(&indent(&where_it_is)),
        per_tile = indent(&indent(&copies.per_tile)),
        beyond = if fixed { format!("tile != BLOCK || s - first >= {ahead}") } else { "true".to_string() },
        stage = bulk.stage(),
        right = indent(&indent(&indent(&indent(&copies.right)))),
        left = indent(&indent(&indent(&copies.left))),
        loaded = indent(&indent(&store.ahead)),
        subtiles = high / 64,
        my_turn = match teams {
            1 => String::new(),
            _ => "        await_bytes(&next[team], (turn / 2 + team + 1) & 1);\n".to_string(),
        },
        others_turn = match teams {
            1 => String::new(),
            _ => "        if (THREAD % 128 == 0) arrive(&next[1 - team]);\n".to_string(),
        },
        and_area = if area.is_some() { ", area = 0, in_use = 1" } else { "" },
        fetched = indent(&indent(&indent(&area.map_or(String::new(), |area| area.fetch(bulk))))),
        products = indent(&indent(&products)),
        release_last = match teams {
            1 => String::new(),
            _ => indent(&indent(&format!("{}{}", release(bulk), part(Area::left_to_others)))),
        },
        store = indent(&indent(&store.code)),
    );
    if bulk.shares > 1 {
        body.push_str(&shared::finish(&p, bulk, &where_it_is, pack));
    } else if cluster > 1 {
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

/// Each lane stores eight neighbours at a time, in packs. What the epilogue reads is loaded for many of them at a time: for all before the
/// products where that is little and there is one tile, else for some before they are stored, so that they wait for memory once.
fn stores(p: &Product, bulk: Bulk, pack: usize) -> Stores {
    let ([high, wide], ty, along) = (bulk.part, p.index(), (p.column_axis, pack));
    let (packs, (place, exists)) = (8 / pack, place(p, bulk));
    // Loops over a warpgroup's part, the first one outermost, and how many packs each turn of them has.
    let loops = [
        format!("for (int i = 0; i < {}; ++i)", high / 64),
        "for (int half = 0; half < 2; ++half)".to_string(),
        format!("for (int eight = 0; eight < {}; eight += 4)", wide / 8),
    ];
    let [halves, quads] = [2, wide / 32];
    let each_turn = [high / 64 * halves * quads, halves * quads, quads, 1].map(|n| n * packs);
    let position = ["i", "half", "eight / 4"];
    // The inner loops from the first one, `what` with each pack, which is number `r` of theirs.
    let all = |first: usize, gather: &str, what: &str| {
        let number = (first..3).map(|at| format!("{} * {}", position[at], each_turn[at + 1]));
        let number: Vec<String> = number.chain(["part".to_string()]).collect();
        let body = format!(
            "{gather}#pragma unroll
for (int part = 0; part < {packs}; ++part) {{
    const int r = {}, row = wm + i * 64 + half * 8 + lane / 4;
{}    const {ty} n = n0 + wn + (eight + lane % 4) * 8 + part * {pack};
    if ({exists} && n < {}) {{
{}    }}
}}
",
            number.join(" + "),
            indent(&place),
            p.n,
            indent(&indent(&format!("{}{what}", p.place))),
        );
        nested(&loops[first..], &body)
    };
    let values = format!("(eights + part * {pack})");
    let gather = "f32 eights[8];\ngather_eights(eights, &sums[i][eight], half);\n";
    let loaded = |first: usize| p.tail.load_packed(each_turn[first], &p.positions, along, ty);
    let Some((first, (arrays, load))) = (0..4).find_map(|first| Some((first, loaded(first)?))) else {
        let store = p.tail.store_packed(&values, &p.positions, along, ty);
        return Stores { ahead: String::new(), code: all(0, gather, &store) };
    };
    let (load, store) =
        (all(first, "", &load), all(first, gather, &p.tail.store_loaded(&values, &p.positions, along, ty)));
    if first == 0 && bulk.teams == 1 && p.tail.brought.is_none() {
        return Stores { ahead: arrays + &load, code: store };
    }
    Stores { ahead: String::new(), code: nested(&loops[..first], &format!("{arrays}{load}{store}")) }
}

/// Code that says which row of the product `row` of a tile is, and whether there is such a one.
fn place(p: &Product, bulk: Bulk) -> (String, String) {
    match bulk.area {
        Some(area) => area.place(p.index(), bulk),
        None => (format!("const {} m = m0 + row;\n", p.index()), format!("m < {}", p.m)),
    }
}

/// Unrolled loops, the first one outermost, around `body`.
fn nested(loops: &[String], body: &str) -> String {
    loops
        .iter()
        .rfold(body.to_string(), |code, head| format!("#pragma unroll\n{head} {{\n{}}}\n", indent(&code)))
}

/// One lane of each warpgroup, or warp, for each block says that the stage `before` may be filled again: to all whose copies fill it.
fn release(bulk: Bulk) -> String {
    let ([along, across], threads) = (bulk.cluster, 128 / bulk.released_by());
    match along * across {
        1 => format!("if (THREAD % {threads} == 0) arrive(&empty[before]);\n"),
        blocks => format!(
            "const int to = THREAD % {threads};
if (to < {blocks} && (to % {along} == rank_m || to / {along} == rank_n)) arrive_at(&empty[before], to);
"
        ),
    }
}
