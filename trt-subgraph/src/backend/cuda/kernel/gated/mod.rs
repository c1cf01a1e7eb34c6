//! Products of few rows and scalar expressions over their columns in one kernel: the gates and the next state of a recurrent cell, or
//! the two halves of a gated layer.
//!
//! Unit `j` is column `j` of the results: it reads columns `start + j` of the products, one for each start. A warp holds a unit's
//! columns of one product; a block takes some units, and a thread for each row of a unit ends with the epilogues and expressions.
//! What of the weights a thread needs first is on its way before the kernels ahead are done.

mod find;

pub use find::{Gated, find};

use super::super::assemble::{Assembler, Fault};
use super::super::program::{FAULT, WEIGHTS};
use super::super::render::{
    Draft, compute_type, expression, in_runs, indent, index_type, storage_type, sum, sum_type,
};
use super::gather::{Index, picked};
use super::product::matrices;
use crate::DType;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, ValueId};
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

/// The end of the kernel, for row `m` of unit `j`.
struct End<'a> {
    gated: &'a Gated,
    /// Tensors that it reads: the parameters `f0`, `f1`, ...
    tensors: Vec<View>,
    /// Declares the numbers that it reads from memory, `e0`, `e1`, ...
    declared: String,
    /// Reads those that are static.
    fixed: String,
    /// Reads the others.
    given: String,
    /// Layers that pick rows: position, and the parameter of their table. The row is `row{position}`, or less than 0.
    tables: Vec<(usize, usize)>,
    code: String,
    /// By product and first column: the name of the value.
    values: Vec<(usize, usize, String)>,
    /// Names of the gates' results.
    names: Vec<(ValueId, String)>,
    read: usize,
}

impl<'a> End<'a> {
    fn new(gated: &'a Gated) -> End<'a> {
        let text = String::new;
        End {
            gated,
            tensors: vec![],
            declared: text(),
            fixed: text(),
            given: text(),
            tables: vec![],
            code: text(),
            values: vec![],
            names: vec![],
            read: 0,
        }
    }

    fn declare(&mut self, dtype: DType) -> String {
        self.read += 1;
        let name = format!("e{}", self.read - 1);
        let _ = writeln!(self.declared, "{} {name} = 0;", compute_type(dtype));
        name
    }

    /// Reads an operand, which is stretched to `shape`, at a column.
    fn read(&mut self, a: &mut Assembler, value: ValueId, shape: &[usize], column: &str) -> String {
        if let Some(&at) = self.gated.lookups.get(&value) {
            return self.look_up(a, at, column);
        }
        let view = a.view(value).stretch(shape);
        let name = self.declare(view.dtype);
        let at = sum(&positions(shape, column), &view.strides);
        let code = if view.slot == WEIGHTS { &mut self.fixed } else { &mut self.given };
        let _ = writeln!(code, "{name} = get(f{}[{at}]);", self.tensors.len());
        self.tensors.push(view);
        name
    }

    /// Reads the row that the layer at a position picks, at a column.
    fn look_up(&mut self, a: &mut Assembler, at: usize, column: &str) -> String {
        let layer = &a.network.layers[at];
        let table = match self.tables.iter().find(|(picks, _)| *picks == at) {
            Some(&(_, table)) => table,
            None => {
                let index = Index::of(a, layer, a.index_maker(at));
                let mut shape = index.shape.clone();
                shape.push(1);
                let mut place = positions(&shape, "0");
                place.pop();
                let size = a.network.ty(layer.inputs[0]).shape[0];
                let stem = format!("i{at}_");
                let (code, asked) = index.value(&stem, &place);
                let first = self.tensors.len();
                // The parameters under the index's own names.
                let names =
                    (0..index.operands.len()).map(|i| format!("const auto {stem}{i} = f{};\n", first + i));
                let body = names.collect::<String>() + &code + &picked(&asked, size, at, "j == 0");
                let body = body + &format!("if (exists) row{at} = picked;\n");
                let _ = write!(self.given, "i64 row{at} = -1;\n{{\n{}}}\n", indent(&body));
                self.tensors.extend(index.operands);
                self.tensors.push(a.view(layer.inputs[0]));
                self.tables.push((at, self.tensors.len() - 1));
                self.tensors.len() - 1
            }
        };
        let view = &self.tensors[table];
        let (along_row, along_column, dtype) = (view.strides[0], view.strides[1], view.dtype);
        let name = self.declare(dtype);
        let place = format!("row{at} * {along_row} + ({column}) * {along_column}");
        let _ = writeln!(self.given, "if (row{at} >= 0) {name} = get(f{table}[{place}]);");
        name
    }

    fn value(&self, product: usize, start: usize) -> Option<String> {
        self.values.iter().find(|(p, s, _)| (*p, *s) == (product, start)).map(|(_, _, name)| name.clone())
    }

    /// A product's columns, with its epilogue.
    fn product(&mut self, a: &mut Assembler, at: usize, side: &Side) {
        let network = a.network;
        let layer = &network.layers[at];
        let shape = network.ty(layer.outputs[0]).shape.clone();
        let own = network.ty(layer.inputs[0]).dtype;
        for (i, &start) in side.starts.iter().enumerate() {
            let slot = side.first + i;
            let raw = format!("({})sums[{slot}][THREAD]", compute_type(own));
            let _ = writeln!(self.code, "const {} s{slot} = {raw};", compute_type(own));
            let mut name = format!("s{slot}");
            if let Some(epilogue) = &layer.epilogue {
                let (mut inputs, mut typing) = (vec![name], vec![own]);
                for v in &layer.inputs[2..] {
                    typing.push(network.ty(*v).dtype);
                    let inside =
                        self.gated.pieces.get(v).and_then(|p| self.value(p.product, p.start + start));
                    let column = format!("j + {start}");
                    inputs.push(inside.unwrap_or_else(|| self.read(a, *v, &shape, &column)));
                }
                let (code, result) = expression(epilogue, &typing, &inputs, &format!("p{slot}_"));
                self.code.push_str(&code);
                name = result;
            }
            self.values.push((at, start, rounded(&name, network.ty(layer.outputs[0]).dtype)));
        }
    }

    /// A gate: what it computes, and where that is written if others read it.
    fn gate(&mut self, a: &mut Assembler, at: usize) -> Option<(usize, View)> {
        let network = a.network;
        let layer = &network.layers[at];
        let LayerKind::Pointwise(expr) = &layer.kind else { return None };
        let value = layer.outputs[0];
        let shape = network.ty(value).shape.clone();
        let (mut inputs, mut typing) = (vec![], vec![]);
        for v in &layer.inputs {
            typing.push(network.ty(*v).dtype);
            let gate = self.names.iter().find(|(gate, _)| gate == v).map(|(_, name)| name.clone());
            let column = self.gated.pieces.get(v).and_then(|p| self.value(p.product, p.start));
            inputs.push(gate.or(column).unwrap_or_else(|| self.read(a, *v, &shape, "j")));
        }
        let (code, result) = expression(expr, &typing, &inputs, &format!("g{at}_"));
        self.code.push_str(&code);
        self.names.push((value, rounded(&result, network.ty(value).dtype)));
        let inside = |reader: &Layer| !reader.inputs.contains(&value);
        let others = network.layers.iter().enumerate().filter(|(at, _)| !self.gated.gates.contains(at));
        if !network.outputs.contains(&value) && others.map(|(_, l)| l).all(inside) {
            return None;
        }
        let out = a.room(value, &(0..shape.len()).collect::<Vec<_>>());
        a.define(value, out.clone());
        let _ = writeln!(self.code, "put(y{at}[{}], {result});", sum(&positions(&shape, "j"), &out.strides));
        Some((at, out))
    }
}

/// A value in registers as it would be read back from memory: what a layer gives is rounded, as the layers say.
fn rounded(value: &str, dtype: DType) -> String {
    match dtype {
        DType::F16 | DType::BF16 => format!("round_{}({value})", dtype.name()),
        _ => value.to_string(),
    }
}

/// Where row `m` and this column are in a tensor of this shape, whose rows are counted through all axes but the last.
fn positions(shape: &[usize], column: &str) -> Vec<String> {
    let mut out = vec!["0".to_string(); shape.len()];
    let mut below = 1;
    for axis in (0..shape.len().saturating_sub(1)).rev().filter(|&axis| shape[axis] > 1) {
        out[axis] = format!("(m / {below} % {})", shape[axis]);
        below *= shape[axis];
    }
    if let Some(last) = out.last_mut() {
        *last = format!("({column})");
    }
    out
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
