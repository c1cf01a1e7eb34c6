//! Copies between views: along the grain through pointwise kernels, across it in tiles through shared memory.

use super::super::assemble::{Assembler, Fault};
use super::super::layout::order_of;
use super::super::render::{Draft, Loops, index_type, split, storage_type};
use super::pointwise;
use crate::backend::view::View;
use crate::network::Expr;
use std::fmt::Write;

/// Side of a tile, in elements.
const TILE: usize = 32;
/// Rows of threads in a block of `TILE` columns.
const ROWS: usize = 8;

/// Emits a copy between views of one type and shape.
pub fn copy(a: &mut Assembler, from: &View, to: View) -> Result<(), Fault> {
    let views = [&to, from];
    let loops = Loops::new(&views, &order_of(&to));
    match across(&loops) {
        Some((column, row)) => tiled(a, from, to, &loops, column, row),
        None => pointwise::emit(a, "copy", &Expr::identity(), std::slice::from_ref(from), to),
    }
}

/// The innermost loop of the result, and the loop that is dense in the source, where they differ and both are long.
fn across(loops: &Loops) -> Option<(usize, usize)> {
    let column = loops.axes.len().checked_sub(1)?;
    let row = loops.axes.iter().position(|(_, s)| s[1].abs() == 1)?;
    let dense = loops.axes[column].1[0] == 1;
    let long = |axis: usize| loops.axes[axis].0 >= 8;
    (dense && row != column && long(row) && long(column)).then_some((column, row))
}

/// Reads tiles along the source's dense loop `row` and writes them along the result's dense loop `column`.
fn tiled(
    a: &mut Assembler,
    from: &View,
    to: View,
    loops: &Loops,
    column: usize,
    row: usize,
) -> Result<(), Fault> {
    let ty = index_type(&[&to, from], to.elements());
    let ((columns, column_steps), (rows, row_steps)) = (&loops.axes[column], &loops.axes[row]);
    let outer: Vec<usize> = (0..loops.axes.len()).filter(|&i| i != column && i != row).collect();
    let outer = Loops { axes: outer.iter().map(|&i| loops.axes[i].clone()).collect() };
    let tiles = [columns.div_ceil(TILE), rows.div_ceil(TILE)];
    let mut draft = Draft::new("transpose");
    draft.threads = TILE * ROWS;
    draft.grid = [tiles[0] * tiles[1] * outer.len(), 1, 1];
    draft.read("x", from);
    draft.write("y", &to);
    let mut body = format!("__shared__ {} tile[{TILE}][{}];\n", storage_type(to.dtype), TILE + 1);
    body.push_str(&split(&[outer.len(), tiles[1], tiles[0]], "BLOCK", ty, "b"));
    body.push_str(&outer.split("b0", ty, "a"));
    let _ = write!(
        body,
        "const int u = THREAD % {TILE}, v = THREAD / {TILE};
const {ty} column = b2 * {TILE}, row = b1 * {TILE};
const {ty} source = {source}, target = {target};
#pragma unroll
for (int j = 0; j < {TILE}; j += {ROWS})
    if (row + u < {rows} && column + v + j < {columns})
        tile[v + j][u] = x[source + (row + u) * {row_from} + (column + v + j) * {column_from}];
__syncthreads();
#pragma unroll
for (int j = 0; j < {TILE}; j += {ROWS})
    if (column + u < {columns} && row + v + j < {rows})
        y[target + (column + u) * {column_to} + (row + v + j) * {row_to}] = tile[u][v + j];
",
        source = outer.offset(1, "a"),
        target = outer.offset(0, "a"),
        row_from = row_steps[1],
        row_to = row_steps[0],
        column_from = column_steps[1],
        column_to = column_steps[0],
    );
    draft.body = body;
    a.launch(draft)
}
