//! From a source graph and what enters it to the network that is compiled: results with their axes in the order in which they lie in
//! memory, passes run, element types narrowed where that was asked for.

use crate::Precision;
use crate::layout::AxisOrder;
use trt_subgraph::network::Network;
use trt_subgraph::source::{Arg, Border, Call, SourceGraph, Var, specialise};
use trt_subgraph::{pass, precision};

/// What is to be compiled for an entry.
pub(crate) struct Laid {
    /// After all passes. Each output is a result with its axes in the order in which it lies in memory.
    pub(crate) network: Network,
    /// How each tensor result lies in memory.
    pub(crate) orders: Vec<AxisOrder>,
    /// The ints that leave it.
    pub(crate) ints: Vec<i64>,
    /// The number of layers before all passes.
    pub(crate) layers: usize,
}

/// The network of a border; `orders` says of the plain one how each of its results lies in memory.
///
/// # Errors
/// A sentence that names the operator which refuses, or that of `orders`.
pub(super) fn lay(
    source: &SourceGraph,
    border: &Border,
    precision: Precision,
    orders: impl FnOnce(&Network) -> Result<Vec<AxisOrder>, String>,
) -> Result<Laid, String> {
    let replay = |source: &SourceGraph| {
        specialise(source, border).map_err(|(at, refusal)| match source.calls.get(at) {
            Some(call) => format!("{} {}: {refusal}", call.op, call.place),
            None => refusal.to_string(),
        })
    };
    let mut made = replay(source)?;
    let orders = orders(&made.network)?;
    if orders.iter().any(|o| o.axes().is_some()) {
        made = replay(&in_order_of_memory(source, &orders))?;
    }
    let layers = made.network.run_layers();
    let options = pass::Options::default();
    let mut network = pass::optimize(made.network, &options);
    if let Some(dtype) = precision.dtype() {
        let narrow = precision::narrow(&network, dtype).map_err(|e| e.to_string())?;
        network = pass::optimize(narrow, &options);
    }
    Ok(Laid { network, orders, ints: made.ints, layers })
}

/// The graph with each tensor result's axes in its order in memory; tensors come first among the outputs.
fn in_order_of_memory(source: &SourceGraph, orders: &[AxisOrder]) -> SourceGraph {
    let mut source = source.clone();
    let defined = source.calls.iter().flat_map(|c| &c.outputs).chain(source.inputs.iter().map(|i| &i.var));
    let mut free =
        defined.chain(source.parameters.iter().map(|p| &p.0)).map(|v| v.0).max().map_or(0, |v| v + 1);
    for (at, order) in orders.iter().enumerate() {
        let Some(axes) = order.axes() else { continue };
        let axes = Arg::List(axes.map(|i| Arg::Int(i as i64)).collect());
        source.calls.push(Call {
            op: "aten::permute".into(),
            args: vec![Arg::Var(source.outputs[at]), axes],
            outputs: vec![Var(free)],
            place: String::new(),
        });
        source.outputs[at] = Var(free);
        free += 1;
    }
    source
}
