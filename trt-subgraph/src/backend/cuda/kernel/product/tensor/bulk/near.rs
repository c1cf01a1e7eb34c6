//! A tile beside the factors in shared memory: an operand of the epilogue, such as a residual, comes there by bulk copies as the factors do,
//! and results leave from there by bulk copies, in whole rows.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::{Boxes, Shape};
use super::super::super::super::super::layout::channels_last;
use super::super::super::super::super::render::{Draft, in_runs, indent};
use super::super::super::Product;
use super::Bulk;
use super::factors::rows;
use crate::DType;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, ValueId};

/// Has the layer an operand that can come so? Its result has the operand's shape and type.
pub fn brings(a: &mut Assembler, layer: &Layer) -> bool {
    let out = a.network.ty(layer.outputs[0]).clone();
    let order = order(&layer.kind, out.rank());
    let own = layer.kind.arity().unwrap_or(layer.inputs.len());
    let moves = |v: &View| v.shape == out.shape && v.dtype == out.dtype;
    let moving: Vec<ValueId> = layer.inputs[own..].iter().copied().filter(|&v| !a.is_static(v)).collect();
    moving.into_iter().any(|v| {
        let view = a.view(v);
        !a.is_given(view.slot) && moves(&view) && matrix(&view.permute(&order)).is_some()
    })
}

/// May its results leave so? They do where they have a place that is not the caller's.
pub fn sends(a: &Assembler, layer: &Layer) -> bool {
    let out = a.network.ty(layer.outputs[0]);
    let columns = order(&layer.kind, out.rank()).last().map_or(0, |&axis| out.shape[axis]);
    matches!(out.dtype, DType::F16 | DType::BF16) && columns.is_multiple_of(8)
}

/// The axes of a result as rows and columns.
fn order(kind: &LayerKind, rank: usize) -> Vec<usize> {
    if matches!(kind, LayerKind::Convolution(_)) { channels_last(rank) } else { (0..rank).collect() }
}

/// Elements from row to row of rows of the last axis, where bulk copies can move them.
fn matrix(view: &View) -> Option<isize> {
    let columns = view.rank().checked_sub(1)?;
    let halves = matches!(view.dtype, DType::F16 | DType::BF16);
    let in_units = view.shape[columns].is_multiple_of(8) && in_runs(view, columns, 8);
    (halves && in_units).then(|| rows(view))?
}

/// A matrix in boxes of so many columns and rows, if it is one and not the caller's. Rows may have several axes, each of so many.
fn boxes(a: &Assembler, view: &View, wide: usize, all: &[usize], rows: &[usize]) -> Option<Boxes> {
    let row = matrix(view).filter(|_| view.rank() == 2 && !a.is_given(view.slot))?;
    let strides = all.iter().scan(2 * row.unsigned_abs() as u64, |next, &size| {
        let stride = *next;
        *next *= size as u64;
        Some(stride)
    });
    Some(Boxes {
        dtype: view.dtype,
        sizes: [&view.shape[1..2], all].concat().iter().map(|&n| n as u64).collect(),
        strides: strides.collect(),
        shape: Shape::Box([&[wide], rows].concat().iter().map(|&n| n as u32).collect()),
    })
}

/// Code around a tile that lies near.
#[derive(Default)]
pub struct Near {
    /// Does an operand come there?
    pub brings: bool,
    /// Do results leave from there?
    pub sends: bool,
    /// Declarations, and what one thread does to begin with.
    pub declared: String,
    pub begun: String,
    /// For a tile, by the thread that names boxes: behind all of its steps, or behind the first where there is room before the team is done
    /// with the tile before.
    pub named: String,
    pub named_ahead: String,
    /// Before and after a tile's results are stored.
    pub awaited: String,
    pub left: String,
    /// When all tiles are done.
    pub ended: String,
}

impl Near {
    /// What of the product `p` can be near, if anything.
    pub fn of(a: &Assembler, draft: &mut Draft, p: &mut Product, bulk: Bulk, blocks: usize) -> Near {
        let mut near = Near::default();
        let (high, teams, rooms, unit) = (bulk.tile[0], bulk.teams, bulk.rooms(), bulk.unit());
        let row = 2 * unit;
        let start = bulk.near_at();
        let bytes = bulk.near();
        if bytes == 0 || p.tail.pack(p.column_axis) != 8 {
            return near;
        }
        // A team's rooms take turns as well.
        let room = |team: &str| match bulk.nears {
            1 => team.to_string(),
            nears => format!("({team} * {nears} + turn / {teams} % {nears})"),
        };
        let own = room("team");
        let place = format!("unsigned char* const near = pool + {start} + {own} * {bytes};\n");
        let [all, of_tile, of_part] = match bulk.area {
            Some(area) => area.results().map(|axes| axes.to_vec()),
            None => [vec![p.m], vec![high], vec![64]],
        };
        if bulk.sends
            && let Some(boxes) = boxes(a, &p.tail.out, unit, &all, &of_part)
        {
            draft.boxes_written("y", &p.tail.out, boxes);
            p.tail.kept = Some("&now.at[q]".to_string());
            near.sends = true;
            near.awaited =
                format!("{place}if (THREAD % 128 == 0) await_boxes_read();\nwarpgroup_barrier();\n");
            near.left = send(bulk, p);
            near.ended = "if (THREAD % 128 == 0) await_boxes_written();\n".to_string();
        }
        let operands = p.tail.operands.iter().enumerate();
        let fits = |view: &View| {
            (view.dtype == p.tail.out.dtype).then(|| boxes(a, view, unit, &all, &of_tile)).flatten()
        };
        let found = operands.filter(|_| bulk.brings).find_map(|(i, view)| Some((i, fits(view)?)));
        let Some((operand, boxes)) = found else { return near };
        let view = p.tail.operands[operand].clone();
        draft.boxes("brought", &view, boxes);
        let at = match near.sends {
            true => "&was[i].at[q]".to_string(),
            false => format!(
                "near + (n - n0) / {unit} * {} + swizzled<{row}>(row * {row} + (n - n0) % {unit} * 2)",
                high * row,
            ),
        };
        p.tail.brought = Some((operand, at));
        near.brings = true;
        near.declared = format!("u64 *const there = next + {teams}, *const left = there + {rooms};\n");
        near.begun = format!(
            "    for (int t = 0; t < {rooms}; ++t) {{
        begin_barrier(&there[t], 1);
        begin_barrier(&left[t], {});
    }}
",
            if near.sends { 1 } else { 128 } * bulk.groups()
        );
        let parts = bulk.tile[1].div_ceil(unit);
        let begin = if bulk.area.is_some() { "begin_area" } else { "begin_box" };
        let named = format!(
            "const int turn = (tile - BLOCK) / {blocks}, to = {};
await_bytes(&left[to], (turn / {rooms} & 1) ^ 1);
expect_bytes(&there[to], {});
for (int part = 0; part < {parts}; ++part)
    {begin}(pool + {start} + to * {bytes} + part * {}, brought, &there[to], {};
",
            room(&format!("turn % {teams}")),
            parts * of_tile.iter().product::<usize>() * unit * 2,
            high * unit * 2,
            match bulk.area {
                None => format!("0, n0 + part * {unit}, m0)"),
                Some(_) => format!("n0 + part * {unit}, place0, line0, image0)"),
            },
        );
        match bulk.nears {
            1 => near.named = named,
            _ => near.named_ahead = format!("if (s == first) {{\n{}}}\n", indent(&named)),
        }
        near.awaited = format!("{place}await_bytes(&there[{own}], turn / {rooms} & 1);\n");
        match near.sends {
            true => {
                near.left += &format!("if (THREAD % 128 == 0) await_boxes_read(), arrive(&left[{own}]);\n")
            }
            false => near.left = format!("arrive(&left[{own}]);\n"),
        }
        near
    }
}

/// A warpgroup's part goes where it belongs: a thread of it sends what all have written.
fn send(bulk: Bulk, p: &Product) -> String {
    let ([high, wide], unit) = (bulk.part, bulk.unit());
    let (send, exists, to) = match bulk.area {
        None => ("send_box", format!("m < {} && ", p.m), "m".to_string()),
        Some(area) => ("send_area", String::new(), area.corner_of_part()),
    };
    format!(
        "show_copies();
warpgroup_barrier();
if (THREAD % 128 == 0) {{
    for (int i = 0; i < {}; ++i)
        for (int part = 0; part < {}; ++part) {{
            const int m = m0 + wm + i * 64, n = n0 + wn + part * {unit};
            if ({exists}n < {}) {send}(near + (wn / {unit} + part) * {} + (wm + i * 64) * {}, y, n, {to});
        }}
    end_boxes();
}}
",
        high / 64,
        wide / unit,
        p.n,
        bulk.tile[0] * unit * 2,
        unit * 2,
    )
}

/// The epilogue of a warpgroup's part whose results leave from near, in the places where the products leave their sums: of 16 columns at a
/// time a lane has two neighbours of each eight, in two rows of each 16.
pub fn finish(p: &Product, bulk: Bulk, near: &Near) -> String {
    let ([high, wide], ty, along) = (bulk.part, p.index(), (p.column_axis, 2));
    let tiles = high / 64;
    // What a lane reads of its own exists where its place does.
    let others = p.tail.operands.iter().enumerate();
    let mut others = others.filter(|(i, _)| p.tail.brought.as_ref().is_none_or(|(brought, _)| brought != i));
    let by_row = others.any(|(_, view)| view.strides[0] != 0 && view.shape[0] > 1);
    let (place, exists) = super::place(p, bulk);
    let rows_fit = bulk.area.is_none() && p.m.is_multiple_of(bulk.tile[0]);
    let limits = [(by_row && !rows_fit, exists), (!p.n.is_multiple_of(bulk.tile[1]), format!("n < {}", p.n))];
    let limits: Vec<String> =
        limits.into_iter().filter(|(matters, _)| *matters).map(|(_, limit)| limit).collect();
    let each = |what: &str| {
        let what = match limits.is_empty() {
            true => what.to_string(),
            false => format!("if ({}) {{\n{}}}\n", limits.join(" && "), indent(what)),
        };
        format!(
            "#pragma unroll
for (int q = 0; q < 4; ++q) {{
    const int r = i * 4 + q, row = wm + i * 64 + q % 2 * 8 + lane / 4;
    const {ty} n = n0 + wn + (eight + q / 2) * 8 + lane % 4 * 2;
{}}}
",
            indent(&format!("{place}{}{what}", p.place))
        )
    };
    let every =
        |body: &str| format!("#pragma unroll\nfor (int i = 0; i < {tiles}; ++i) {{\n{}}}\n", indent(body));
    let (unit, row) = (bulk.unit(), 2 * bulk.unit());
    let place = format!(
        "near + (wn + eight * 8) / {unit} * {} + swizzled<{row}>((wm + i * 64 + lane % 16) * {row} + (wn + eight * 8) % {unit} * 2 + lane / 16 * 16)",
        bulk.tile[0] * row,
    );
    let brought = match near.brings {
        true => format!("Four was[{tiles}];\n{}", every(&format!("was[i] = load_matrices({place});\n"))),
        false => String::new(),
    };
    let values = "(&sums[i][eight + q / 2][q % 2 * 2])";
    let (ahead, store) = match p.tail.load_packed(4 * tiles, &p.positions, along, ty) {
        Some((arrays, load)) => {
            (arrays + &every(&each(&load)), p.tail.store_loaded(values, &p.positions, along, ty))
        }
        None => (String::new(), p.tail.store_packed(values, &p.positions, along, ty)),
    };
    let all = every(&format!("Four now;\n{}store_matrices({place}, now);\n", each(&store)));
    format!(
        "#pragma unroll
for (int eight = 0; eight < {}; eight += 2) {{
{}}}
",
        wide / 8,
        indent(&format!("{brought}{ahead}{all}"))
    )
}
