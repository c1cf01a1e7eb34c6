//! How a cluster's results lie in memory on the host. The host's rules look at the strides of operands, and axes of one element
//! have none that mean anything: what one run shows holds for other sizes as long as the same axes, of all that the cluster
//! computes, have no element, one, or more. For others, and where a result has no element, its calls are carried out once on the host.

use super::cluster::lock;
use super::entry::{Entry, Shape};
use super::laid::Layout;
use super::replay::replay;
use crate::jit::TensorView;
use crate::layout::AxisOrder;
use std::collections::HashMap;
use std::sync::Mutex;
use tch::Tensor;
use trt_subgraph::network::layer::Range;
use trt_subgraph::network::{Layer, LayerKind, Network, ValueId};
use trt_subgraph::source::{SourceGraph, specialise};

/// Operators whose results lie in the order of their axes if all their operands do.
const STEADY: &[&str] = &[
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "add",
    "addmm",
    "avg_pool2d",
    "batch_norm",
    "cat",
    "conv1d",
    "conv2d",
    "conv3d",
    "_convolution",
    "div",
    "dropout",
    "flatten",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mean",
    "mul",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "size",
    "softmax",
    "sub",
    "tanh",
];

/// The orders of the results in a run that was seen, and what entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) shape: Shape,
    pub(crate) orders: Vec<AxisOrder>,
}

/// What is known so far.
#[derive(Default)]
pub(super) struct Layouts {
    known: Mutex<HashMap<Pattern, Vec<Layout>>>,
}

/// What decides the orders of results.
#[derive(PartialEq, Eq, Hash)]
struct Pattern {
    inputs: Vec<AxisOrder>,
    /// For each value of the network, which axes have no element, one, or more.
    sizes: Vec<Vec<u8>>,
    /// For each slice, along which axes its last step leads beyond the end: what encloses the axis lies nearer then than all of the
    /// axis's steps take, and does not count as enclosing it.
    beyond: Vec<Vec<bool>>,
}

impl Pattern {
    fn of(network: &Network, entry: &Entry) -> Pattern {
        let beyond = |layer: &Layer| {
            let LayerKind::Slice { ranges } = &layer.kind else { return None };
            let whole = &network.ty(layer.inputs[0]).shape;
            let leads = |(r, &n): (&Range, &usize)| r.len * r.step.unsigned_abs() > n;
            Some(ranges.iter().zip(whole).map(leads).collect())
        };
        let values = network.inputs.iter().chain(network.layers.iter().flat_map(|l| &l.outputs));
        let sizes = |shape: &[usize]| shape.iter().map(|&n| n.min(2) as u8).collect();
        Pattern {
            inputs: entry.orders.clone(),
            sizes: values.map(|&v| sizes(&network.ty(v).shape)).collect(),
            beyond: network.layers.iter().filter_map(beyond).collect(),
        }
    }
}

impl Layouts {
    /// How the results lie for what enters, for which `network` is the source graph.
    ///
    /// # Errors
    /// A sentence where the host itself fails for this entry.
    pub(super) fn of(
        &self,
        (source, seen): (&SourceGraph, Option<&Seen>),
        entry: &Entry,
        network: &Network,
        parameters: &[Tensor],
    ) -> Result<Vec<Layout>, String> {
        let by_host = || {
            tch::no_grad(|| replay(source, entry, parameters))
                .map_err(|e| format!("the host fails for these inputs: {e}"))
        };
        let is_empty = |v: &ValueId| network.ty(*v).elements() == 0;
        if network.outputs.iter().any(is_empty) {
            return by_host();
        }
        let mut known = lock(&self.known);
        if known.is_empty()
            && let Some(seen) = seen
            && let Some(first) = seen.shape.entry(entry.border.parameters.clone(), entry.tf32)
            && let Ok(made) = specialise(source, &first.border)
        {
            let orders = seen.orders.iter().copied().map(Layout::Order).collect();
            known.insert(Pattern::of(&made.network, &first), orders);
        }
        let pattern = Pattern::of(network, entry);
        if let Some(layouts) = known.get(&pattern) {
            return Ok(layouts.clone());
        }
        let in_rows = Layout::Order(AxisOrder::default());
        let in_order = |t: &Tensor| TensorView::of(t).is_contiguous();
        let steady = source.calls.iter().all(|call| is_steady(&call.op))
            && entry.orders.iter().all(|o| *o == AxisOrder::default())
            && known.values().flatten().all(|l| *l == in_rows)
            && parameters.iter().all(in_order);
        let layouts = if steady { vec![in_rows; network.outputs.len()] } else { by_host()? };
        known.insert(pattern, layouts.clone());
        Ok(layouts)
    }
}

fn is_steady(op: &str) -> bool {
    let name = op.split("::").nth(1).unwrap_or(op);
    op == "trt::laid_as" || STEADY.contains(&name.split('.').next().unwrap_or(name))
}
