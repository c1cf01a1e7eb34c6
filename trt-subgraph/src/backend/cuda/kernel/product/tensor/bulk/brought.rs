//! An operand of the epilogue, such as a residual, that comes by bulk copies as the factors do: it is there when the products are done.

use super::super::super::super::super::assemble::Assembler;
use super::super::super::super::super::boxes::{Boxes, ROW, Shape};
use super::super::super::super::super::layout::channels_last;
use super::super::super::super::super::render::{Draft, Tail, in_runs};
use super::Bulk;
use super::factors::rows;
use crate::DType;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, ValueId};

/// Has the layer one? Its result has the operand's shape and type.
pub fn of_layer(a: &mut Assembler, layer: &Layer) -> bool {
    let out = a.network.ty(layer.outputs[0]).clone();
    let order = order(&layer.kind, out.rank());
    let own = layer.kind.arity().unwrap_or(layer.inputs.len());
    let moves = |v: &View| v.shape == out.shape && v.dtype == out.dtype;
    let moving: Vec<ValueId> = layer.inputs[own..].iter().copied().filter(|&v| !a.is_static(v)).collect();
    moving.into_iter().any(|v| {
        let view = a.view(v);
        !a.is_given(view.slot) && moves(&view) && matrix(&view, &order).is_some()
    })
}

/// The axes of a result as rows and columns.
fn order(kind: &LayerKind, rank: usize) -> Vec<usize> {
    if matches!(kind, LayerKind::Convolution(_)) { channels_last(rank) } else { (0..rank).collect() }
}

/// Elements from row to row, where bulk copies can bring it.
fn matrix(view: &View, order: &[usize]) -> Option<isize> {
    let columns = *order.last()?;
    let halves = matches!(view.dtype, DType::F16 | DType::BF16);
    let in_units = view.shape[columns].is_multiple_of(8) && in_runs(view, columns, 8);
    (halves && in_units).then(|| rows(&view.permute(order)))?
}

/// Code that brings it near.
#[derive(Default)]
pub struct Brought {
    /// Declarations, and what one thread does to begin with.
    pub declared: String,
    pub begun: String,
    /// For a tile, by the thread that names boxes.
    pub named: String,
    /// Before and after a tile's results are stored.
    pub awaited: String,
    pub left: String,
}

/// Takes one of the operands of `tail`, the first one that can be.
pub fn bring(
    a: &Assembler,
    draft: &mut Draft,
    tail: &mut Tail,
    kind: &LayerKind,
    (bulk, blocks): (Bulk, usize),
) -> Option<Brought> {
    let order = order(kind, tail.out.rank());
    let of = |view: &View| {
        let fits = !a.is_given(view.slot) && view.dtype == tail.out.dtype;
        fits.then(|| matrix(view, &order)).flatten()
    };
    if tail.pack(*order.last()?) != 8 {
        return None;
    }
    let (operand, row) = tail.operands.iter().enumerate().find_map(|(i, view)| Some((i, of(view)?)))?;
    let view = tail.operands[operand].clone();
    let columns = view.shape[*order.last()?];
    let Bulk { tile: [high, wide], teams, stages, .. } = bulk;
    let (unit, start, bytes) = (ROW / 2, stages * bulk.stage(), bulk.brought());
    let boxes = Boxes {
        dtype: view.dtype,
        sizes: vec![columns as u64, (view.elements() / columns) as u64],
        strides: vec![2 * row.unsigned_abs() as u64],
        shape: Shape::Box(vec![unit as u32, high as u32]),
    };
    draft.boxes("brought", &view, boxes);
    tail.brought = Some((
        operand,
        format!(
            "near + (n - n0) / {unit} * {} + (m - m0) * {ROW} + (((n - n0) / 8 ^ (m - m0)) & 7) * 16",
            high * ROW
        ),
    ));
    Some(Brought {
        declared: format!("__shared__ u64 there[{teams}], left[{teams}];\n"),
        begun: format!(
            "    for (int t = 0; t < {teams}; ++t) {{
        begin_barrier(&there[t], 1);
        begin_barrier(&left[t], {});
    }}
",
            128 * bulk.groups()
        ),
        named: format!(
            "const int turn = (tile - BLOCK) / {blocks}, to = turn % {teams};
await_bytes(&left[to], (turn / {teams} & 1) ^ 1);
expect_bytes(&there[to], {bytes});
for (int part = 0; part < {}; ++part)
    begin_box(pool + {start} + to * {bytes} + part * {}, brought, &there[to], 0, n0 + part * {unit}, m0);
",
            wide.div_ceil(unit),
            high * ROW,
        ),
        awaited: format!(
            "const unsigned char* const near = pool + {start} + team * {bytes};
await_bytes(&there[team], turn / {teams} & 1);
"
        ),
        left: "arrive(&left[team]);\n".to_string(),
    })
}
