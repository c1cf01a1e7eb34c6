//! How a cluster's results lie in memory on the host. The host's rules look at the strides of operands, and axes of one element
//! have none that mean anything: what one run shows holds for other sizes as long as the same axes, of all that the cluster
//! computes, have no element, one, or more. For others its calls are carried out once on the host.

use super::cluster::lock;
use super::entry::{Entry, Shape};
use super::replay::replay;
use crate::jit::TensorView;
use crate::layout::AxisOrder;
use std::collections::HashMap;
use std::sync::Mutex;
use tch::Tensor;
use trt_subgraph::network::Network;
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
    known: Mutex<HashMap<Pattern, Vec<AxisOrder>>>,
}

/// What decides the orders of results.
#[derive(PartialEq, Eq, Hash)]
struct Pattern {
    inputs: Vec<AxisOrder>,
    /// For each value of the network, which axes have no element, one, or more.
    sizes: Vec<Vec<u8>>,
}

impl Pattern {
    fn of(network: &Network, entry: &Entry) -> Pattern {
        let values = network.inputs.iter().chain(network.layers.iter().flat_map(|l| &l.outputs));
        let sizes = |shape: &[usize]| shape.iter().map(|&n| n.min(2) as u8).collect();
        Pattern {
            inputs: entry.orders.clone(),
            sizes: values.map(|&v| sizes(&network.ty(v).shape)).collect(),
        }
    }
}

impl Layouts {
    /// The orders of the results for what enters, for which `network` is the source graph.
    ///
    /// # Errors
    /// A sentence where the host itself fails for this entry.
    pub(super) fn of(
        &self,
        (source, seen): (&SourceGraph, Option<&Seen>),
        entry: &Entry,
        network: &Network,
        parameters: &[Tensor],
    ) -> Result<Vec<AxisOrder>, String> {
        let mut known = lock(&self.known);
        if known.is_empty()
            && let Some(seen) = seen
            && let Some(first) = seen.shape.entry(entry.border.parameters.clone())
            && let Ok(made) = specialise(source, &first.border)
        {
            known.insert(Pattern::of(&made.network, &first), seen.orders.clone());
        }
        let pattern = Pattern::of(network, entry);
        if let Some(orders) = known.get(&pattern) {
            return Ok(orders.clone());
        }
        let plain = |orders: &[AxisOrder]| orders.iter().all(|o| *o == AxisOrder::default());
        let in_order = |t: &Tensor| TensorView::of(t).is_contiguous();
        let steady = source.calls.iter().all(|call| is_steady(&call.op))
            && plain(&entry.orders)
            && known.values().all(|orders| plain(orders))
            && parameters.iter().all(in_order);
        let orders = match steady {
            true => vec![AxisOrder::default(); network.outputs.len()],
            false => tch::no_grad(|| replay(source, entry, parameters))
                .map_err(|e| format!("the host fails for these inputs: {e}"))?,
        };
        known.insert(pattern, orders.clone());
        Ok(orders)
    }
}

fn is_steady(op: &str) -> bool {
    let name = op.split("::").nth(1).unwrap_or(op);
    op == "trt::laid_as" || STEADY.contains(&name.split('.').next().unwrap_or(name))
}
