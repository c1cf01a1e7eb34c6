//! Picking elements by an index tensor, which may be computed where it is read. An index out of range reads nothing: the result is 0
//! there, and the engine's fault record says so.

use super::super::assemble::{Assembler, Fault};
use super::super::program::FAULT;
use super::super::render::{
    Draft, Tail, compute_type, expression, in_runs, index_type, split, storage_type, sum,
};
use super::pointwise::thread;
use crate::DType;
use crate::backend::view::View;
use crate::network::{Expr, Layer, LayerKind, Network};
use std::collections::HashMap;
use std::fmt::Write;

/// By the position of a layer that picks: that of the scalar expression that gives its index, where nobody else reads that.
pub fn find(network: &Network) -> HashMap<usize, usize> {
    let (makers, uses) = (network.definitions(), network.uses());
    let index = |layer: &Layer| {
        let LayerKind::Gather { .. } = layer.kind else { return None };
        let index = layer.inputs[1];
        let maker = makers[index.index()].filter(|_| uses[index.index()] == 1)?;
        matches!(network.layers[maker].kind, LayerKind::Pointwise(_)).then_some(maker)
    };
    let layers = network.layers.iter().enumerate();
    layers.filter_map(|(at, layer)| index(layer).map(|maker| (at, maker))).collect()
}

/// The index: an expression of operands of its shape.
pub struct Index {
    expr: Expr,
    typing: Vec<DType>,
    pub operands: Vec<View>,
    pub shape: Vec<usize>,
}

impl Index {
    /// The index of `layer`; `maker` is the position of the expression that gives it.
    pub fn of(a: &mut Assembler, layer: &Layer, maker: Option<usize>) -> Index {
        let network = a.network;
        let shape = network.ty(layer.inputs[1]).shape.clone();
        let (expr, values) = match maker.map(|at| &network.layers[at]) {
            Some(Layer { kind: LayerKind::Pointwise(expr), inputs, .. }) => (expr.clone(), &inputs[..]),
            _ => (Expr::identity(), &layer.inputs[1..2]),
        };
        let operands: Vec<View> = values.iter().map(|&v| a.view(v).stretch(&shape)).collect();
        Index { expr, typing: operands.iter().map(|v| v.dtype).collect(), operands, shape }
    }

    /// Code that computes it at these positions, and the name of the result; the operands are the parameters `{stem}0`, ...
    pub fn value(&self, stem: &str, positions: &[String]) -> (String, String) {
        let mut code = String::new();
        for (i, view) in self.operands.iter().enumerate() {
            let _ = writeln!(code, "const auto n{i} = get({stem}{i}[{}]);", sum(positions, &view.strides));
        }
        let names: Vec<String> = (0..self.operands.len()).map(|i| format!("n{i}")).collect();
        let (steps, result) = expression(&self.expr, &self.typing, &names, "t");
        (code + &steps, result)
    }
}

/// Emits `layer`, which picks along `axis`; `at` is its position in the network, `maker` that of the expression of its index.
pub fn assemble(
    a: &mut Assembler,
    at: usize,
    layer: &Layer,
    axis: usize,
    elements: bool,
    maker: Option<usize>,
) -> Result<(), Fault> {
    let (x, value) = (a.view(layer.inputs[0]), layer.outputs[0]);
    let index = Index::of(a, layer, maker);
    let shape = a.network.ty(value).shape.clone();
    let tail = Tail::plain(a.room(value, &(0..shape.len()).collect::<Vec<_>>()));
    a.define(value, tail.out.clone());
    let count = tail.out.elements();
    if count == 0 {
        return Ok(());
    }
    let views: Vec<&View> = [&x, &tail.out].into_iter().chain(&index.operands).collect();
    let ty = index_type(&views, count);
    let mut draft = Draft::new("gather");
    // Neighbours along the last axis lie side by side in both where that is none of the index's.
    let last = shape.len().saturating_sub(1);
    let beside = |pack: usize| {
        shape[last].is_multiple_of(pack) && in_runs(&x, x.rank() - 1, pack) && in_runs(&tail.out, last, pack)
    };
    let most = if elements || axis + 1 >= x.rank() { 1 } else { 16 / x.dtype.size() };
    let pack = std::iter::successors(Some(most), |p| Some(p / 2)).find(|&p| p <= 1 || beside(p)).unwrap_or(1);
    let units: Vec<usize> = (0..shape.len()).map(|i| shape[i] / if i == last { pack } else { 1 }).collect();
    let count = count / pack;
    draft.cover(count, 256);
    draft.read("x", &x);
    draft.aligned(pack * x.dtype.size());
    for (i, view) in index.operands.iter().enumerate() {
        draft.read(&format!("index{i}"), view);
    }
    tail.parameters_packed(&mut draft, last, pack);
    draft.fault("fault", FAULT);
    let mut body = thread(ty, count);
    body.push_str(&split(&units, "i", ty, "o"));
    let mut positions: Vec<String> = (0..shape.len()).map(|i| format!("o{i}")).collect();
    if pack > 1 {
        let _ = writeln!(body, "const {ty} first = o{last} * {pack};");
        positions[last] = "first".to_string();
    }
    // Result axes that walk the index, and those that walk `x` (but for the picked axis).
    let ((code, asked), steps) = if elements {
        let mut steps = x.strides.clone();
        steps[axis] = 0;
        (index.value("index", &positions), steps)
    } else {
        let end = axis + index.shape.len();
        let mut steps = x.strides[..axis].to_vec();
        steps.extend(vec![0; index.shape.len()]);
        steps.extend(&x.strides[axis + 1..]);
        (index.value("index", &positions[axis..end]), steps)
    };
    body.push_str(&code);
    body.push_str(&picked(&asked, x.shape[axis], at, "true"));
    let from = format!("{} + ({ty})picked * {}", sum(&positions, &steps), x.strides[axis]);
    if pack > 1 {
        let unit = format!("Pack<{}, {pack}>", storage_type(x.dtype));
        let to = sum(&positions, &tail.out.strides);
        let _ = write!(
            body,
            "{unit} v = {{}};\nif (exists) v = *reinterpret_cast<const {unit}*>(x + ({from}));\n*reinterpret_cast<{unit}*>(y + ({to})) = v;\n"
        );
    } else {
        let compute = compute_type(x.dtype);
        let _ = write!(body, "{compute} v = 0;\nif (exists) v = get(x[{from}]);\n");
        body.push_str(&tail.store("v", &positions, ty));
    }
    draft.body = body;
    a.launch(draft)
}

/// Declares `picked`, the row among `size` that is meant by the number `asked`, and whether it `exists`. If it does not, the first thread
/// for which `reports` holds tells the engine, in the name of the layer at this position.
pub fn picked(asked: &str, size: usize, at: usize, reports: &str) -> String {
    format!(
        "const i64 asked = {asked};
const i64 picked = asked < 0 ? asked + {size} : asked;
const bool exists = picked >= 0 && picked < {size};
if (!exists && {reports}) {{ fault[1] = asked; fault[2] = {size}; __threadfence_system(); fault[0] = {mark}; }}
",
        mark = at + 1
    )
}
