//! The end of the kernel: epilogues of the products, and the scalar expressions that read their columns.

use super::super::super::assemble::Assembler;
use super::super::super::program::WEIGHTS;
use super::super::super::render::{compute_type, expression, indent, sum};
use super::super::gather::{Index, picked};
use super::{Gated, Side};
use crate::DType;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, ValueId};
use std::fmt::Write;

/// The end of the kernel, for row `m` of unit `j`.
pub struct End<'a> {
    gated: &'a Gated,
    /// Tensors that it reads: the parameters `f0`, `f1`, ...
    pub tensors: Vec<View>,
    /// Declares the numbers that it reads from memory, `e0`, `e1`, ...
    pub declared: String,
    /// Reads those that are static.
    pub fixed: String,
    /// Reads the others.
    pub given: String,
    /// Layers that pick rows: position, and the parameter of their table. The row is `row{position}`, or less than 0.
    pub tables: Vec<(usize, usize)>,
    pub code: String,
    /// By product and first column: the name of the value.
    values: Vec<(usize, usize, String)>,
    /// Names of the gates' results.
    names: Vec<(ValueId, String)>,
    read: usize,
}

impl<'a> End<'a> {
    pub fn new(gated: &'a Gated) -> End<'a> {
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
    pub fn product(&mut self, a: &mut Assembler, at: usize, side: &Side) {
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
    pub fn gate(&mut self, a: &mut Assembler, at: usize) -> Option<(usize, View)> {
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
