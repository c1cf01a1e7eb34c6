//! One node of a graph as an operator call: lists that are built in the graph become literal lists of their elements.

use super::known::Knowledge;
use crate::jit::{Node, NodeId, ValueId};
use trt_subgraph::source::{Arg, Known, Var};

/// The operator's qualified name with overload.
pub(crate) fn op_name(node: &Node) -> String {
    if node.overload.is_empty() { node.kind.clone() } else { format!("{}.{}", node.kind, node.overload) }
}

/// `file.py:12`, and the line itself.
pub(crate) fn place_of(node: &Node) -> String {
    let place = &node.place;
    match (place.file.is_empty(), place.line, place.text.is_empty()) {
        (true, _, true) => String::new(),
        (true, _, false) => place.text.clone(),
        (false, line, true) => format!("{}:{line}", place.file),
        (false, line, false) => format!("{}:{line}: {}", place.file, place.text),
    }
}

impl Knowledge<'_> {
    /// The list or tuple that this value is built as, when it is a plain packing of other values that nothing writes.
    pub(crate) fn packing(&self, value: ValueId) -> Option<(NodeId, &Node)> {
        let id = self.graph[value].producer?;
        let node = &self.graph[id];
        let packs = matches!(node.kind.as_str(), "prim::ListConstruct" | "prim::TupleConstruct");
        (packs && !self.graph[value].written).then_some((id, node))
    }

    /// The values that a node really reads, packings opened, with the packing nodes on the way (inner ones first).
    pub(crate) fn leaves(&self, inputs: &[ValueId]) -> (Vec<ValueId>, Vec<NodeId>) {
        let (mut values, mut packings) = (Vec::new(), Vec::new());
        self.open(inputs, &mut values, &mut packings);
        (values, packings)
    }

    fn open(&self, inputs: &[ValueId], values: &mut Vec<ValueId>, packings: &mut Vec<NodeId>) {
        for &value in inputs {
            match self.packing(value) {
                Some((id, node)) => {
                    self.open(&node.inputs, values, packings);
                    if !packings.contains(&id) {
                        packings.push(id);
                    }
                }
                None => values.push(value),
            }
        }
    }

    /// What is known of an argument, packings opened; `None` when something in it is of no kind that engines take.
    pub(crate) fn known_argument(&self, value: ValueId) -> Option<Known> {
        self.opened(value, &|v| self.of(v).cloned())
    }

    /// The same, of tensors that the graph computes no more than their types.
    pub(crate) fn typed_argument(&self, value: ValueId) -> Option<Known> {
        self.opened(value, &|v| match self.of(v) {
            Some(Known::Literal(l)) if self.is_computed_literal(v) => Some(Known::Tensor(l.ty().clone())),
            known => known.cloned(),
        })
    }

    /// Is it a tensor of known value that the graph computes?
    pub(crate) fn is_computed_literal(&self, value: ValueId) -> bool {
        matches!(self.of(value), Some(Known::Literal(_)))
            && self.graph[value].producer.is_some_and(|n| !self.is_read(n))
    }

    fn opened(&self, value: ValueId, of: &impl Fn(ValueId) -> Option<Known>) -> Option<Known> {
        match self.packing(value) {
            Some((_, node)) => {
                Some(Known::List(node.inputs.iter().map(|&v| self.opened(v, of)).collect::<Option<_>>()?))
            }
            None => of(value),
        }
    }

    /// The argument as a source graph has it: constants as literals, everything else by variable.
    pub(crate) fn argument(&self, value: ValueId) -> Arg {
        if let Some((_, node)) = self.packing(value) {
            return Arg::List(node.inputs.iter().map(|&v| self.argument(v)).collect());
        }
        let constant = self.graph[value].producer.is_some_and(|n| self.graph[n].kind == "prim::Constant");
        let literal = if constant { self.of(value).and_then(literal_argument) } else { None };
        literal.unwrap_or(Arg::Var(Var(value.0)))
    }
}

fn literal_argument(known: &Known) -> Option<Arg> {
    Some(match known {
        Known::None => Arg::None,
        Known::Int(v) => Arg::Int(*v),
        Known::Float(v) => Arg::Float(*v),
        Known::Bool(v) => Arg::Bool(*v),
        Known::Str(s) => Arg::Str(s.clone()),
        Known::Literal(l) => Arg::Tensor(l.clone()),
        Known::List(items) => Arg::List(items.iter().map(literal_argument).collect::<Option<_>>()?),
        Known::Tensor(_) | Known::Parameter(_) => return None,
    })
}
