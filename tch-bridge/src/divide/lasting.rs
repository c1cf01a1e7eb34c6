//! Changes that last where a call fails: of arguments, of attributes. A caller that catches the error goes on with them, so what may fail
//! keeps its place before or after each of them, and no cluster has some of both.

use crate::jit::{GraphFacts, Node, NodeId, ValueId, ValueType};
use partitioner::{FlowGraph, GraphError, NodeId as FlowId};

/// Operators that no sizes, and no values, have fail: of one tensor, whose type is known, or of a tensor and a number.
const NEVER_FAIL: [&str; 71] = [
    "abs",
    "add",
    "alias",
    "asin",
    "atan",
    "bitwise_not",
    "ceil",
    "celu",
    "clamp",
    "clone",
    "contiguous",
    "cos",
    "cosh",
    "detach",
    "dropout",
    "elu",
    "erf",
    "erfc",
    "exp",
    "expm1",
    "fill",
    "flatten",
    "floor",
    "full_like",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "isfinite",
    "isinf",
    "isnan",
    "leaky_relu",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logical_not",
    "logit",
    "mean",
    "mish",
    "mul",
    "neg",
    "ones_like",
    "permute",
    "rand_like",
    "randn_like",
    "reciprocal",
    "relu",
    "relu6",
    "round",
    "rsqrt",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softmax",
    "softplus",
    "sqrt",
    "square",
    "sub",
    "sum",
    "t",
    "tan",
    "tanh",
    "to",
    "transpose",
    "unsqueeze",
    "zeros_like",
];

/// Keeps what may fail between the lasting changes before and after it.
#[derive(Default)]
pub(super) struct Lasting {
    change: Option<FlowId>,
    since: Vec<FlowId>,
}

impl Lasting {
    /// Orders the node, the last one so far, after those before it.
    pub(super) fn next(
        &mut self,
        graph: &GraphFacts,
        node: &Node,
        flow: &mut FlowGraph,
        at: FlowId,
    ) -> Result<(), GraphError> {
        if lasts(graph, node) {
            self.since.drain(..).try_for_each(|before| flow.order(before, at))?;
            self.change = Some(at);
        } else if may_fail(graph, node) {
            self.since.push(at);
            self.change.map_or(Ok(()), |before| flow.order(before, at))?;
        }
        Ok(())
    }
}

/// Does it, or a node in its blocks, change what the caller has another handle to?
fn lasts(graph: &GraphFacts, node: &Node) -> bool {
    if !node.blocks.is_empty() {
        return node
            .blocks
            .iter()
            .flat_map(|&b| &graph[b].nodes)
            .any(|&inner: &NodeId| lasts(graph, &graph[inner]));
    }
    let is_outside = |v: &ValueId| {
        let made_by = graph[*v].producer.map(|n| graph[n].kind.as_str());
        graph[*v].may_alias_input || made_by == Some("prim::GetAttr")
    };
    let first_alone = node.kind.ends_with('_')
        || matches!(node.kind.as_str(), "aten::append" | "aten::insert" | "aten::extend");
    let written = if first_alone { &node.inputs[..node.inputs.len().min(1)] } else { &node.inputs[..] };
    node.kind == "prim::SetAttr" || node.mutates && written.iter().any(is_outside)
}

/// Are there sizes or values for which it fails?
fn may_fail(graph: &GraphFacts, node: &Node) -> bool {
    if !node.blocks.is_empty() || node.kind == "prim::RaiseException" {
        return true;
    }
    let is_tensor = |v: &&ValueId| graph[**v].ty == ValueType::Tensor;
    let name = node.kind.strip_prefix("aten::").unwrap_or_default();
    let numbers_alone =
        !node.outputs.iter().any(|v| is_tensor(&v)) && !node.inputs.iter().any(|v| is_tensor(&v));
    let makes_values = node.kind.starts_with("prim::") || numbers_alone && name != "__getitem__";
    let one_tensor = node.inputs.iter().filter(is_tensor).count() <= 1;
    !(makes_values
        || matches!(name, "size" | "dim" | "len" | "numel")
        || one_tensor && NEVER_FAIL.contains(&name))
}
