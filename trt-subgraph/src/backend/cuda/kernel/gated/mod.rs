//! Products of few rows and scalar expressions over their columns in one kernel: the gates and the next state of a recurrent cell, or
//! the two halves of a gated layer.
//!
//! Unit `j` is column `j` of the results: it reads columns `start + j` of the products, one for each start. A warp holds a unit's
//! columns of one product; a block takes some units, and a thread for each row of a unit ends with the epilogues and expressions.
//! What of the weights a thread needs first is on its way before the kernels ahead are done.

mod end;
mod find;

use end::End;
pub use find::{Gated, find};

use super::super::assemble::{Assembler, Fault};
use super::super::program::{FAULT, WEIGHTS};
use super::super::render::{Draft, in_runs, indent, index_type, storage_type, sum_type};
use super::product::matrices;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind};
use std::fmt::Write;

/// Rows of the products at most.
pub const MOST_ROWS: usize = 8;
/// Accesses of 16 bytes to the weights that a thread has under way.
const UNDER_WAY: usize = 16;
/// Warps of a block at most.
const WARPS: usize = 8;

/// A product whose columns are read.
struct Side {
    x: View,
    w: View,
    k: usize,
    starts: Vec<usize>,
    /// Its first slot: the columns of a unit are numbered through all products.
    first: usize,
}

/// Emits the group, whose last gate is the layer that is being assembled.
pub fn assemble(a: &mut Assembler, gated: &Gated) -> Result<(), Fault> {
    let network = a.network;
    let last = &network.layers[*gated.gates.last().expect("a group has gates")];
    let ty = network.ty(last.outputs[0]);
    let width = ty.shape.last().copied().unwrap_or(1);
    let rows = ty.elements() / width;
    let mut sides = Vec::new();
    for (&at, starts) in gated.products.iter().zip(&gated.starts) {
        let first = sides.last().map_or(0, |s: &Side| s.first + s.starts.len());
        sides.push(side(a, &network.layers[at], starts, first)?);
    }
    let mut end = End::new(gated);
    for (&at, side) in gated.products.iter().zip(&sides) {
        end.product(a, at, side);
    }
    let mut outputs = Vec::new();
    for &at in &gated.gates {
        outputs.extend(end.gate(a, at));
    }
    let draft = draft(a.target.multiprocessors, &sides, &end, &outputs, (rows, width));
    a.launch(draft)
}

fn side(a: &mut Assembler, layer: &Layer, starts: &[usize], first: usize) -> Result<Side, Fault> {
    let LayerKind::MatMul { transpose_a, transpose_b } = layer.kind else {
        return Err("a group is made of products".to_string());
    };
    let shape = a.network.ty(layer.outputs[0]).shape.clone();
    let batch = &shape[..shape.len() - 2];
    let weight = layer.inputs[1];
    let rank = a.network.ty(weight).rank();
    let mut order: Vec<usize> = (0..rank).collect();
    if !transpose_b {
        order.swap(rank - 2, rank - 1);
    }
    // What is static may lie as the kernel likes it.
    let w = if a.is_static(weight) { a.ordered(weight, &order)? } else { a.view(weight) };
    let w = matrices(&w, transpose_b, batch);
    let x = matrices(&a.view(layer.inputs[0]), transpose_a, batch);
    let k = x.shape[x.rank() - 1];
    Ok(Side { x, w, k, starts: starts.to_vec(), first })
}

/// The kernel for results of these rows and units.
fn draft(
    multiprocessors: usize,
    sides: &[Side],
    end: &End,
    outputs: &[(usize, View)],
    (rows, units): (usize, usize),
) -> Draft {
    // As many units in a block as leave a block for each multiprocessor.
    let most = (WARPS / sides.len()).max(1);
    let each = (units / multiprocessors).next_power_of_two().clamp(1, most);
    let slots: usize = sides.iter().map(|s| s.starts.len()).sum();
    let mut views: Vec<&View> = sides.iter().flat_map(|s| [&s.x, &s.w]).collect();
    views.extend(&end.tensors);
    views.extend(outputs.iter().map(|(_, view)| view));
    let ty = index_type(&views, units * sides.len() * 32);
    let (memory, t) = (storage_type(sides[0].x.dtype), sum_type(sides[0].x.dtype));
    let pack = sides.iter().map(pack).min().unwrap_or(1);
    let size = sides[0].x.dtype.size();
    let mut draft = Draft::new("gates");
    (draft.threads, draft.grid) = (32 * each * sides.len(), [units.div_ceil(each), 1, 1]);
    for (i, side) in sides.iter().enumerate() {
        draft.read(&format!("x{i}"), &side.x);
        draft.aligned(pack * size);
        draft.read(&format!("w{i}"), &side.w);
        draft.aligned(pack * size);
    }
    for (i, view) in end.tensors.iter().enumerate() {
        draft.read(&format!("f{i}"), view);
    }
    if !end.tables.is_empty() {
        draft.fault("fault", FAULT);
    }
    for (at, view) in outputs {
        draft.write(&format!("y{at}"), view);
    }
    let packed = format!("Pack<{memory}, {pack}>");
    let columns = sides.iter().map(|s| s.starts.len()).max().unwrap_or(1);
    let streams: Vec<Stream> = (sides.iter().enumerate())
        .map(|(at, side)| Stream { at, side, rows, pack, ty, t, packed: &packed })
        .collect();
    let held = streams.iter().map(|s| s.depth() * s.side.starts.len()).max().unwrap_or(1);
    let is_fixed = sides.iter().all(|s| s.w.slot == WEIGHTS);
    let before = streams.iter().map(|s| s.guarded(&s.load("0"), sides.len())).collect::<String>();
    let wait = "await_previous();\n";
    let (early, late) = if is_fixed { (before.as_str(), "") } else { ("", before.as_str()) };
    draft.body = format!(
        "__shared__ {t} sums[{slots}][{ends}];
const int lane = THREAD % 32, side = THREAD / 32 % {sides}, unit = THREAD / {each_side};
const {ty} wanted = ({ty})BLOCK * {each} + unit, u = wanted < {units} ? wanted : {last};
const {ty} j = ({ty})BLOCK * {each} + THREAD / {rows};
const int m = THREAD % {rows};
const bool ends = THREAD < {ends} && j < {units};
{packed} q[{held}];
{t} partial[{columns}][{rows}] = {{}};
{declared}{early}if (ends) {{
{fixed}}}
{wait}{late}if (ends) {{
{given}}}
{sum}__syncthreads();
if (ends) {{
{end}}}
",
        ends = rows * each,
        sides = sides.len(),
        each_side = 32 * sides.len(),
        last = units - 1,
        declared = end.declared,
        fixed = indent(&end.fixed),
        given = indent(&end.given),
        sum = streams.iter().map(|s| s.guarded(&s.sum(), sides.len())).collect::<String>(),
        end = indent(&end.code),
    );
    draft.waits = true;
    draft
}

/// Elements along k that one access moves.
fn pack(side: &Side) -> usize {
    let mut pack = 16 / side.x.dtype.size();
    let (rank, k) = (side.x.rank(), side.k);
    while pack > 1
        && !(k.is_multiple_of(pack) && in_runs(&side.x, rank - 1, pack) && in_runs(&side.w, rank - 2, pack))
    {
        pack /= 2;
    }
    pack
}

/// How a warp sums the columns of a unit of one product.
struct Stream<'a> {
    at: usize,
    side: &'a Side,
    rows: usize,
    pack: usize,
    ty: &'a str,
    t: &'a str,
    packed: &'a str,
}

impl Stream<'_> {
    /// Accesses that each thread has under way in each column.
    fn depth(&self) -> usize {
        let most = (UNDER_WAY / self.side.starts.len()).max(1);
        (self.side.k / self.pack).div_ceil(32).clamp(1, most)
    }

    /// Code for the warps of this product alone.
    fn guarded(&self, code: &str, sides: usize) -> String {
        if sides == 1 {
            code.to_string()
        } else {
            format!("if (side == {}) {{\n{}}}\n", self.at, indent(code))
        }
    }

    /// Code for each access `c` of a round that begins `from` accesses into the columns.
    fn round(&self, from: &str, code: &str) -> String {
        let (depth, ty) = (self.depth(), self.ty);
        let accesses = self.side.k / self.pack;
        let check = if accesses.is_multiple_of(32 * depth) { "" } else { "if (a < ACCESSES) " };
        format!(
            "#pragma unroll\nfor (int c = 0; c < {depth}; ++c) {{\n    const {ty} a = {from} + c * 32 + lane, k = a * {};\n    {}{{\n{}    }}\n}}\n",
            self.pack,
            check.replace("ACCESSES", &accesses.to_string()),
            indent(&indent(code)),
        )
    }

    fn load(&self, from: &str) -> String {
        let (Stream { at, side, packed, .. }, rank) = (self, self.side.w.rank());
        let (along_k, along_n) = (side.w.strides[rank - 2], side.w.strides[rank - 1]);
        let n = side.starts.len();
        let mut code = String::new();
        for (i, start) in side.starts.iter().enumerate() {
            let _ = writeln!(
                code,
                "q[c * {n} + {i}] = *reinterpret_cast<const {packed}*>(w{at} + ((u + {start}) * {along_n} + k * {along_k}));"
            );
        }
        self.round(from, &code)
    }

    /// Sums what was loaded and the rest, and leaves the columns' sums in shared memory.
    fn sum(&self) -> String {
        let Stream { at, side, rows, pack, ty, t, packed } = self;
        let (n, rank) = (side.starts.len(), side.x.rank());
        let (along_m, along_k) = (side.x.strides[rank - 2], side.x.strides[rank - 1]);
        let step = format!(
            "#pragma unroll
for (int r = 0; r < {rows}; ++r) {{
    const {packed} p = *reinterpret_cast<const {packed}*>(x{at} + (r * {along_m} + k * {along_k}));
    #pragma unroll
    for (int i = 0; i < {pack}; ++i)
        #pragma unroll
        for (int g = 0; g < {n}; ++g) partial[g][r] = fused(({t})get(p.at[i]), ({t})get(q[c * {n} + g].at[i]), partial[g][r]);
}}
"
        );
        let round = 32 * self.depth();
        let accesses = side.k / pack;
        let sums = if accesses <= round {
            self.round("0", &step)
        } else {
            format!(
                "for ({ty} from = 0;;) {{\n{}    from += {round};\n    if (from >= {accesses}) break;\n{}}}\n",
                indent(&self.round("from", &step)),
                indent(&self.load("from"))
            )
        };
        format!(
            "{sums}#pragma unroll
for (int g = 0; g < {n}; ++g)
    #pragma unroll
    for (int r = 0; r < {rows}; ++r) {{
        const {t} v = combine_near<32>(partial[g][r], []({t} p, {t} q) {{ return p + q; }}, ({t}*)0);
        if (lane == 0) sums[{first} + g][unit * {rows} + r] = v;
    }}
",
            first = side.first
        )
    }
}
