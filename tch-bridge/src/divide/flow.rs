//! One block of a graph as the dataflow graph that is partitioned: a verdict, a role and a cost for each node.

use super::call::{op_name, place_of};
use super::known::Knowledge;
use super::lasting::Lasting;
use crate::Options;
use crate::jit::{BlockId, Fact, Node, NodeId, ValueId, ValueType};
use partitioner::{Code, Cost, Crossing, FlowGraph, Role, Verdict};
use std::collections::HashMap;
use trt_subgraph::backend::Backend;
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::source::{Known, Refusal, judge};

/// A block's flow graph and how its ids relate to the graph's.
pub(crate) struct Flow {
    pub(crate) block: BlockId,
    pub(crate) graph: FlowGraph,
    /// The graph's node of each flow node.
    pub(crate) nodes: Vec<NodeId>,
    /// The graph's value of each flow value.
    pub(crate) values: Vec<ValueId>,
    /// Packings that move with a flow node, inner ones first.
    pub(crate) packings: Vec<Vec<NodeId>>,
    /// Was the flow node taken because the value of a computed tensor is known?
    pub(crate) leans: Vec<bool>,
}

/// Builds the flow graph of one block and judges each of its nodes.
pub(crate) fn flow(
    knowledge: &mut Knowledge<'_>,
    block: BlockId,
    backend: &dyn Backend,
    options: &Options,
) -> Result<Flow, partitioner::GraphError> {
    let mut out = Flow {
        block,
        graph: FlowGraph::new(),
        nodes: vec![],
        values: vec![],
        packings: vec![],
        leans: vec![],
    };
    let mut ids: HashMap<ValueId, partitioner::ValueId> = HashMap::new();
    let (mut places, mut lasting) = (Places::default(), Lasting::default());
    let graph = knowledge.graph;
    let made = graph[block].nodes.iter().flat_map(|&id| &graph[id].outputs);
    let ran = made.clone().count() == 0 || made.clone().any(|&v| knowledge.fact(v).is_some());
    for &id in &graph[block].nodes {
        let node = &graph[id];
        if knowledge.is_read(id) {
            continue;
        }
        let packs = node.outputs.first().is_some_and(|&v| knowledge.packing(v).is_some());
        if packs && !graph[block].outputs.contains(&node.outputs[0]) {
            continue;
        }
        let (reads, packings) = knowledge.leaves(&node.inputs);
        let judged = examine(knowledge, node, &reads, backend, options);
        let judged = judged.and_then(|ok| if ran { Ok(ok) } else { Err(not_seen()) });
        out.leans.push(judged.as_ref().is_ok_and(|ok| ok.leans));
        let (verdict, role, kernels, cost, results, effect) = match judged {
            Ok(ok) => (Verdict::Accept, ok.role, ok.kernels, ok.cost, ok.results, false),
            Err((code, why)) => {
                let effect = has_effect(knowledge, node, &reads);
                // What does not run takes no time.
                let cost = if code == Code::NotSeen { Cost::default() } else { host_cost(knowledge, node) };
                (Verdict::refuse(code, why), host_role(knowledge, node), 1, cost, vec![], effect)
            }
        };
        let name = op_name(node);
        let flow_node = out.graph.add(partitioner::Node {
            name,
            place: place_of(node),
            verdict,
            role,
            kernels,
            cost,
            effect,
        });
        out.nodes.push(id);
        out.packings.push(packings);
        if node.mutates || node.side_effects {
            places.written(&mut out.graph, flow_node)?;
        } else if touched(node, &reads).any(|v| graph[v].written) {
            places.touched(&mut out.graph, flow_node)?;
        }
        lasting.next(graph, node, &mut out.graph, flow_node)?;
        let mut captured = reads;
        captured.extend(captures(knowledge, node));
        for value in captured {
            if graph[value].producer.is_some_and(|n| knowledge.is_read(n)) {
                continue;
            }
            let flow_value = match ids.get(&value) {
                Some(&known) => known,
                None => {
                    let new = out.graph.input(
                        crossing(knowledge, value),
                        bytes(knowledge, value),
                        text(knowledge, value),
                    );
                    out.graph.name(new, given_name(knowledge, value))?;
                    out.values.push(value);
                    ids.insert(value, new);
                    new
                }
            };
            out.graph.read(flow_node, flow_value)?;
        }
        for (at, &value) in node.outputs.iter().enumerate() {
            if let Some(known) = results.get(at) {
                knowledge.refine(value, known.clone());
            }
            let new = out.graph.produce(
                flow_node,
                crossing(knowledge, value),
                bytes(knowledge, value),
                text(knowledge, value),
            )?;
            out.values.push(value);
            ids.insert(value, new);
        }
    }
    for value in &graph[block].outputs {
        if let Some(&value) = ids.get(value) {
            out.graph.escape(value)?;
        }
    }
    Ok(out)
}

struct Accepted {
    role: Role,
    kernels: usize,
    cost: Cost,
    results: Vec<Known>,
    /// Would it be refused if the values of computed tensors were not known?
    leans: bool,
}

/// Operators whose results have the strides of their first operand, gaps included: whether `reshape` gives a view of them, through which
/// a write is seen, hangs on that, and so does what the program is told of their strides. Engines leave no gaps.
const KEEP_GAPS: [&str; 4] =
    ["aten::slice_scatter", "aten::select_scatter", "aten::diagonal_scatter", "trt::laid_as"];

/// The verdict on one node that reads these values, packings opened: effects first, then the user's wishes, then by trying.
fn examine(
    knowledge: &Knowledge<'_>,
    node: &Node,
    reads: &[ValueId],
    backend: &dyn Backend,
    options: &Options,
) -> Result<Accepted, (Code, String)> {
    let graph = knowledge.graph;
    if !node.blocks.is_empty() {
        return Err((Code::Control, "its branches are partitioned on their own".into()));
    }
    // What makes memory of its own is right wherever it keeps its place among the writes; parameters are read ahead of all.
    let is_pinned = |v: ValueId| {
        graph[v].written && (!node.fresh || graph[v].producer.is_some_and(|n| knowledge.is_read(n)))
    };
    if node.mutates || touched(node, reads).any(is_pinned) {
        return Err((Code::Mutates, "it reads or writes memory that the graph writes in place".into()));
    }
    let keeps_gaps = KEEP_GAPS.contains(&node.kind.as_str());
    if keeps_gaps && node.outputs.iter().any(|&v| graph[v].written) {
        return Err((Code::Mutates, "its result may lie in memory with gaps, and is written later".into()));
    }
    if node.side_effects {
        return Err((Code::Effect, "it does more than compute its results".into()));
    }
    if node.view && node.outputs.iter().any(|&v| graph[v].shared) {
        return Err((Code::Aliases, "its result shares memory with what the caller sees".into()));
    }
    if (keeps_gaps || node.view) && node.outputs.iter().any(|&v| graph[v].asked) {
        return Err((Code::Aliases, "the program asks how its result lies in memory".into()));
    }
    if options.excludes(&op_name(node)) {
        return Err((Code::Pinned, "excluded by the options or TRT_EXCLUDE_OPS".into()));
    }
    if let Some(excluded) = options.excluded_module(&node.module) {
        return Err((Code::Pinned, format!("the options exclude the submodule {excluded}")));
    }
    if did_not_run(knowledge, node) {
        return Err(not_seen());
    }
    let arguments = arguments(knowledge, node)?;
    // What may draw random numbers is taken where its lowering shows that it does not.
    let judged =
        judge(&op_name(node), &arguments, &knowledge.device_name(), backend).map_err(|r| match r {
            Refusal::NoSuchOp(_) if node.nondeterministic => (Code::Effect, "it draws random numbers".into()),
            _ if packs(node) => (Code::Attribute, "it packs what the host needs as a list or tuple".into()),
            r => (code_of(&r), r.to_string()),
        })?;
    let role = if judged.computes { Role::Compute } else { Role::Free };
    let cost = Cost { operations: judged.cost.operations, bytes: judged.cost.bytes };
    let leans = reads.iter().any(|&v| knowledge.is_computed_literal(v)) && {
        let typed = node.inputs.iter().map(|&v| knowledge.typed_argument(v)).collect::<Option<Vec<_>>>();
        typed.is_none_or(|typed| judge(&op_name(node), &typed, &knowledge.device_name(), backend).is_err())
    };
    Ok(Accepted { role, kernels: judged.kernels, cost, results: judged.results, leans })
}

/// Did it give none of its tensors in the observed run? It is in a branch that was not taken.
fn did_not_run(knowledge: &Knowledge<'_>, node: &Node) -> bool {
    let mut tensors = node.outputs.iter().filter(|v| knowledge.graph[**v].ty == ValueType::Tensor).peekable();
    tensors.peek().is_some() && tensors.all(|&v| knowledge.fact(v).is_none())
}

fn packs(node: &Node) -> bool {
    matches!(node.kind.as_str(), "prim::ListConstruct" | "prim::TupleConstruct")
}

/// What is known of the arguments; the error is about the first of which nothing is.
fn arguments(knowledge: &Knowledge<'_>, node: &Node) -> Result<Vec<Known>, (Code, String)> {
    let known = |&v| knowledge.known_argument(v).ok_or_else(|| unknown(knowledge, v));
    node.inputs.iter().map(known).collect()
}

fn not_seen() -> (Code, String) {
    (Code::NotSeen, "it did not run for the inputs that the module was compiled with".into())
}

fn unknown(knowledge: &Knowledge<'_>, value: ValueId) -> (Code, String) {
    match knowledge.fact(value) {
        None => not_seen(),
        Some(Fact::Tensor { plain: false, .. }) => {
            (Code::Backend, "an argument is not a dense tensor".into())
        }
        Some(Fact::Tensor { device: Some(device), kind: Some(kind), .. }) if *device == knowledge.device => {
            (Code::Dtype, format!("an argument holds {kind:?}, which engines do not take"))
        }
        Some(Fact::Tensor { .. }) => {
            (Code::Backend, format!("an argument is not on {}", knowledge.device_name().0))
        }
        Some(_) => (Code::Attribute, "an argument is of a kind that engines do not take".into()),
    }
}

fn code_of(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NoSuchOp(_) => Code::NoSuchOp,
        Refusal::Dtype { .. } => Code::Dtype,
        Refusal::Shape { .. } | Refusal::Invalid(_) => Code::Shape,
        Refusal::Attribute { .. } | Refusal::NotConstant { .. } => Code::Attribute,
        Refusal::Effect(_) => Code::Effect,
        Refusal::Backend { .. } => Code::Backend,
    }
}

/// Keeps calls that touch memory which the block writes in place between the writes before and after them.
#[derive(Default)]
struct Places {
    write: Option<partitioner::NodeId>,
    since: Vec<partitioner::NodeId>,
}

impl Places {
    fn written(
        &mut self,
        graph: &mut FlowGraph,
        by: partitioner::NodeId,
    ) -> Result<(), partitioner::GraphError> {
        self.write = Some(by);
        self.since.drain(..).try_for_each(|before| graph.order(before, by))
    }

    fn touched(
        &mut self,
        graph: &mut FlowGraph,
        by: partitioner::NodeId,
    ) -> Result<(), partitioner::GraphError> {
        self.since.push(by);
        self.write.map_or(Ok(()), |before| graph.order(before, by))
    }
}

/// What a node reads, packings and what they hold, and what it makes.
fn touched<'a>(node: &'a Node, reads: &'a [ValueId]) -> impl Iterator<Item = ValueId> + 'a {
    node.inputs.iter().chain(reads).chain(&node.outputs).copied()
}

/// Must the host keep it in order with the other nodes that touch the outside world?
fn has_effect(knowledge: &Knowledge<'_>, node: &Node, reads: &[ValueId]) -> bool {
    let graph = knowledge.graph;
    node.mutates
        || node.side_effects
        || node.nondeterministic
        || node.kind == "prim::GetAttr"
        || touched(node, reads).any(|v| graph[v].written)
        || captures(knowledge, node).any(|v| graph[v].written)
}

/// The values from outside that a node's nested blocks read.
fn captures<'a>(knowledge: &'a Knowledge<'_>, node: &'a Node) -> impl Iterator<Item = ValueId> + 'a {
    let graph = knowledge.graph;
    let mut inner: Vec<BlockId> = node.blocks.clone();
    let mut read: Vec<ValueId> = Vec::new();
    let mut made: Vec<ValueId> = Vec::new();
    while let Some(block) = inner.pop() {
        let block = &graph[block];
        made.extend(&block.inputs);
        read.extend(&block.outputs);
        for &id in &block.nodes {
            read.extend(&graph[id].inputs);
            made.extend(&graph[id].outputs);
            inner.extend(&graph[id].blocks);
        }
    }
    made.sort_unstable();
    read.sort_unstable();
    read.dedup();
    read.into_iter().filter(move |v| made.binary_search(v).is_err())
}

/// What makes no tensors (numbers, texts, checks) is no work.
fn host_role(knowledge: &Knowledge<'_>, node: &Node) -> Role {
    let made = |v: &ValueId| match &knowledge.graph[*v].ty {
        ValueType::Tensor => true,
        ValueType::List(of) => **of == ValueType::Tensor,
        _ => false,
    };
    let free = node.view || node.kind.starts_with("prim::") || !node.outputs.iter().any(made);
    if free { Role::Free } else { Role::Compute }
}

/// What an operator that stays on the host costs: by its layers where its file can lower it, whoever may run it; else a guess
/// of one operation for each element of its results.
fn host_cost(knowledge: &Knowledge<'_>, node: &Node) -> Cost {
    if host_role(knowledge, node) == Role::Free {
        return Cost::default();
    }
    if let Ok(arguments) = arguments(knowledge, node)
        && let Ok(judged) = judge(&op_name(node), &arguments, &knowledge.device_name(), &Reference)
    {
        return Cost { operations: judged.cost.operations, bytes: judged.cost.bytes };
    }
    let elements = |v: &ValueId| match knowledge.fact(*v) {
        Some(Fact::Tensor { sizes, .. }) => sizes.iter().product::<i64>() as f64,
        _ => 0.0,
    };
    Cost {
        operations: node.outputs.iter().map(elements).sum(),
        bytes: node.inputs.iter().chain(&node.outputs).map(|&v| bytes(knowledge, v)).sum(),
    }
}

fn crossing(knowledge: &Knowledge<'_>, value: ValueId) -> Crossing {
    if knowledge.crosses(value) { Crossing::Free } else { Crossing::Bound }
}

fn bytes(knowledge: &Knowledge<'_>, value: ValueId) -> f64 {
    match knowledge.fact(value) {
        Some(Fact::Tensor { sizes, kind, .. }) => {
            let each = kind.map_or(0, |k| k.elt_size_in_bytes());
            sizes.iter().product::<i64>() as f64 * each as f64
        }
        _ => 0.0,
    }
}

fn text(knowledge: &Knowledge<'_>, value: ValueId) -> String {
    match knowledge.of(value) {
        Some(Known::Tensor(ty) | Known::Parameter(ty)) => ty.to_string(),
        Some(Known::Literal(l)) => l.ty().to_string(),
        _ => match &knowledge.graph[value].ty {
            ty @ (ValueType::Int | ValueType::Float | ValueType::Bool | ValueType::Str) => ty.to_string(),
            _ => String::new(),
        },
    }
}

/// What the method or a nested block calls its argument: `x` for torch's `x.1`; nothing for other values.
fn given_name(knowledge: &Knowledge<'_>, value: ValueId) -> String {
    let value = &knowledge.graph[value];
    let name = value.name.split('.').next().unwrap_or_default();
    let named = value.producer.is_none() && !name.starts_with(|c: char| c.is_ascii_digit());
    if named { name.to_string() } else { String::new() }
}
