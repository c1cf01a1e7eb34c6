//! From a source graph and what enters it to the network that is compiled: results with their axes in the order in which they lie in
//! memory, passes run, element types narrowed where that was asked for.

use super::parity::Parity;
use crate::Precision;
use crate::jit::TensorView;
use crate::layout::AxisOrder;
use trt_subgraph::network::{Network, ValueId};
use trt_subgraph::source::{Arg, Border, Call, SourceGraph, Var, specialise};
use trt_subgraph::{pass, precision};

/// What is to be compiled for an entry.
pub(crate) struct Laid {
    /// After all passes. Each output is a result with its axes in the order in which it lies in memory, without repetition.
    pub(crate) network: Network,
    /// Sizes and strides of each tensor result.
    pub(crate) results: Vec<(Vec<i64>, Vec<i64>)>,
    /// The ints that leave it.
    pub(crate) ints: Vec<i64>,
    /// The number of layers before all passes.
    pub(crate) layers: usize,
    /// What the guard of its precision found.
    pub(crate) parity: Option<Parity>,
}

/// How a result lies in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    Order(AxisOrder),
    /// The strides of a tensor without elements.
    Empty(Vec<i64>),
}

impl Layout {
    /// That of this tensor.
    pub(super) fn of(view: &TensorView<'_>) -> Layout {
        let (sizes, strides) = (view.sizes(), view.strides());
        match sizes.contains(&0) {
            true => Layout::Empty(strides.to_vec()),
            false => Layout::Order(AxisOrder::of(sizes, strides)),
        }
    }

    fn strides(&self, sizes: &[i64]) -> Vec<i64> {
        match self {
            Layout::Order(order) => order.strides(sizes),
            Layout::Empty(strides) => strides.clone(),
        }
    }

    /// The order that differs from that of the axes.
    fn order(&self) -> Option<&AxisOrder> {
        if let Layout::Order(order) = self { Some(order).filter(|o| o.axes().is_some()) } else { None }
    }
}

/// The network of a border; `layouts` says of the plain one how each of its results lies in memory.
///
/// # Errors
/// A sentence that names the operator which refuses, or that of `layouts`.
pub(super) fn lay(
    source: &SourceGraph,
    border: &Border,
    precision: Precision,
    layouts: impl FnOnce(&Network) -> Result<Vec<Layout>, String>,
) -> Result<Laid, String> {
    let replay = |source: &SourceGraph| {
        specialise(source, border).map_err(|(at, refusal)| match source.calls.get(at) {
            Some(call) => format!("{} {}: {refusal}", call.op, call.place),
            None => refusal.to_string(),
        })
    };
    let mut made = replay(source)?;
    let layouts = layouts(&made.network)?;
    let result = |(&v, layout): (&ValueId, &Layout)| {
        let sizes: Vec<i64> = made.network.ty(v).shape.iter().map(|&n| n as i64).collect();
        let strides = layout.strides(&sizes);
        (sizes, strides)
    };
    let results = made.network.outputs.iter().zip(&layouts).map(result).collect();
    if layouts.iter().any(|l| l.order().is_some()) {
        made = replay(&in_order_of_memory(source, &layouts))?;
    }
    let layers = made.network.run_layers();
    let options = pass::Options::default();
    let mut network = pass::optimize(made.network, &options);
    if let Some(dtype) = precision.dtype() {
        let narrow = precision::narrow(&network, dtype).map_err(|e| e.to_string())?;
        network = pass::optimize(narrow, &options);
    }
    Ok(Laid { network, results, ints: made.ints, layers, parity: None })
}

/// The graph with each tensor result's axes in its order in memory, of those that repeat one element that one; tensors come first among
/// the outputs.
fn in_order_of_memory(source: &SourceGraph, layouts: &[Layout]) -> SourceGraph {
    let mut source = source.clone();
    let defined = source.calls.iter().flat_map(|c| &c.outputs).chain(source.inputs.iter().map(|i| &i.var));
    let mut free =
        defined.chain(source.parameters.iter().map(|p| &p.0)).map(|v| v.0).max().map_or(0, |v| v + 1);
    for (at, layout) in layouts.iter().enumerate() {
        let Some(order) = layout.order() else { continue };
        let axes: Vec<usize> = order.axes().into_iter().flatten().collect();
        let mut append = |op: &str, args: Vec<Arg>| {
            let args = [vec![Arg::Var(source.outputs[at])], args].concat();
            source.calls.push(Call { op: op.into(), args, outputs: vec![Var(free)], place: String::new() });
            source.outputs[at] = Var(free);
            free += 1;
        };
        append("aten::permute", vec![Arg::List(axes.iter().map(|&i| Arg::Int(i as i64)).collect())]);
        for (place, _) in axes.iter().enumerate().filter(|(_, axis)| order.repeats(**axis)) {
            append("aten::slice.Tensor", [place as i64, 0, 1, 1].map(Arg::Int).to_vec());
        }
    }
    source
}
