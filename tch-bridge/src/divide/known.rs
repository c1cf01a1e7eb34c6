//! What is known of a graph's values after one run on the host.

use crate::jit::{Fact, GraphFacts, Node, NodeId, Seen, TensorView, ValueId, ValueType};
use crate::layout::AxisOrder;
use crate::types::{device_text, dtype_of_kind, sizes, type_of_view};
use std::collections::HashSet;
use tch::{Device, IValue, Tensor};
use trt_subgraph::source::{Device as SourceDevice, Known};
use trt_subgraph::{Literal, TensorType};

/// Tensor constants with at most this many elements become literals; larger ones are parameters.
const LITERAL_ELEMENTS: usize = 64;

/// A graph and what one run of it showed.
pub(crate) struct Knowledge<'a> {
    pub(crate) graph: &'a GraphFacts,
    /// Where engines find and leave their tensors.
    pub(crate) device: Device,
    seen: Vec<Option<&'a Seen>>,
    known: Vec<Option<Known>>,
    /// The names of attributes that are assigned.
    assigned: HashSet<&'a str>,
}

/// Where the engines of a graph are to run: on the first GPU that a tensor was seen on, else on the CPU.
pub(crate) fn device_of(seen: &[Seen]) -> Device {
    let gpu = |s: &Seen| match s.first {
        Fact::Tensor { device: Some(Device::Cuda(i)), .. } => Some(Device::Cuda(i)),
        _ => None,
    };
    seen.iter().find_map(gpu).unwrap_or(Device::Cpu)
}

impl<'a> Knowledge<'a> {
    pub(crate) fn new(graph: &'a GraphFacts, seen: &'a [Seen], device: Device) -> Knowledge<'a> {
        let mut by_value = vec![None; graph.values.len()];
        for s in seen {
            by_value[s.value.0 as usize] = Some(s);
        }
        let known = by_value.iter().map(|s| s.and_then(|s: &Seen| known_of_fact(&s.first, device))).collect();
        let assigned = graph.assigned.iter().map(String::as_str).collect();
        let mut out = Knowledge { graph, device, seen: by_value, known, assigned };
        for (at, node) in graph.nodes.iter().enumerate() {
            if out.is_read(NodeId(at as u32))
                && let Some(known) = out.known_of_read(node)
            {
                out.known[node.outputs[0].0 as usize] = Some(known);
            }
        }
        out
    }

    /// What a call may rely on about this value; `None` when it was not seen or is of no kind that engines take.
    pub(crate) fn of(&self, value: ValueId) -> Option<&Known> {
        self.known[value.0 as usize].as_ref()
    }

    /// Replaces what is known by what lowering the producer showed, which is never less.
    pub(crate) fn refine(&mut self, value: ValueId, known: Known) {
        self.known[value.0 as usize] = Some(known);
    }

    /// The fact of the last run, for values that were seen.
    pub(crate) fn fact(&self, value: ValueId) -> Option<&Fact> {
        self.seen[value.0 as usize].map(|s| &s.last)
    }

    /// The order of a tensor's axes in memory when it was first seen, as [`Knowledge::of`] has its type.
    pub(crate) fn order(&self, value: ValueId) -> AxisOrder {
        self.strides(value).map_or_else(AxisOrder::default, |(sizes, strides)| AxisOrder::of(sizes, strides))
    }

    /// The same where it enters an engine.
    pub(crate) fn operand_order(&self, value: ValueId) -> AxisOrder {
        let of = |(sizes, strides): (&[i64], &[i64])| AxisOrder::of_operand(sizes, strides);
        self.strides(value).map_or_else(AxisOrder::default, of)
    }

    fn strides(&self, value: ValueId) -> Option<(&[i64], &[i64])> {
        match self.seen[value.0 as usize].map(|s| &s.first) {
            Some(Fact::Tensor { sizes, strides, plain: true, .. }) => Some((sizes, strides)),
            _ => None,
        }
    }

    /// The device in torch's notation.
    pub(crate) fn device_name(&self) -> SourceDevice {
        SourceDevice(device_text(self.device))
    }

    /// May it cross the border of a cluster: a dense tensor on the engines' device, or an int that is the same in each iteration? What could
    /// be None and was not is asked for at each call.
    pub(crate) fn crosses(&self, value: ValueId) -> bool {
        let Some(seen) = self.seen[value.0 as usize] else { return false };
        match (self.graph[value].ty.present(), &seen.first, &seen.last) {
            // What is known is known of the first.
            (ValueType::Tensor, Fact::Tensor { .. }, Fact::Tensor { plain, device, .. }) => {
                *plain && *device == Some(self.device)
            }
            (ValueType::Int, Fact::Int(first), Fact::Int(last)) => first == last,
            _ => false,
        }
    }

    /// The constant or attribute that the node reads, if it is such a node.
    pub(crate) fn read_tensor(&self, node: &'a Node) -> Option<&'a Tensor> {
        match (&node.constant, &node.attribute) {
            (Some(IValue::Tensor(t)), _) => Some(t),
            (_, Some(a)) => a.tensor.as_ref(),
            _ => None,
        }
    }

    /// Is the node a constant or an attribute read, which belongs to its readers and moves with them?
    pub(crate) fn is_read(&self, node: NodeId) -> bool {
        let node = &self.graph[node];
        match node.kind.as_str() {
            "prim::Constant" => true,
            // Numbers and lists that are no constants by now are read where the graph reads them.
            "prim::GetAttr" => {
                let ty = &self.graph[node.outputs[0]].ty;
                !node.attribute.as_ref().is_some_and(|a| self.assigned.contains(last_name(&a.path)))
                    && matches!(ty, ValueType::Tensor | ValueType::Optional(_) | ValueType::Other(_))
            }
            _ => false,
        }
    }

    fn known_of_read(&self, node: &Node) -> Option<Known> {
        if let Some(tensor) = self.read_tensor(node) {
            let view = TensorView::of(tensor);
            let ty = type_of_view(&view)?;
            return if node.constant.is_some() && ty.elements() <= LITERAL_ELEMENTS {
                literal_of(tensor).map(Known::Literal)
            } else {
                Some(Known::Parameter(ty)).filter(|_| view.device() == Some(self.device))
            };
        }
        node.constant.as_ref().and_then(known_of_constant)
    }
}

fn last_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn known_of_fact(fact: &Fact, on: Device) -> Option<Known> {
    Some(match fact {
        Fact::None => Known::None,
        Fact::Tensor { kind, sizes: shape, plain: true, device: Some(device), .. } if *device == on => {
            Known::Tensor(TensorType::new(dtype_of_kind((*kind)?)?, sizes(shape)))
        }
        Fact::Int(v) => Known::Int(*v),
        Fact::Double(v) => Known::Float(*v),
        Fact::Bool(v) => Known::Bool(*v),
        _ => return None,
    })
}

fn known_of_constant(value: &IValue) -> Option<Known> {
    Some(match value {
        IValue::None => Known::None,
        IValue::Int(v) => Known::Int(*v),
        IValue::Double(v) => Known::Float(*v),
        IValue::Bool(v) => Known::Bool(*v),
        IValue::String(s) => Known::Str(s.clone()),
        IValue::Device(d) => Known::Str(device_text(*d)),
        IValue::Tensor(t) => literal_of(t).map(Known::Literal)?,
        IValue::IntList(l) => Known::List(l.iter().map(|&v| Known::Int(v)).collect()),
        IValue::DoubleList(l) => Known::List(l.iter().map(|&v| Known::Float(v)).collect()),
        IValue::BoolList(l) => Known::List(l.iter().map(|&v| Known::Bool(v)).collect()),
        IValue::StringList(l) => Known::List(l.iter().map(|s| Known::Str(s.clone())).collect()),
        IValue::Tuple(l) | IValue::GenericList(l) => {
            Known::List(l.iter().map(known_of_constant).collect::<Option<_>>()?)
        }
        IValue::TensorList(l) => {
            Known::List(l.iter().map(|t| literal_of(t).map(Known::Literal)).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// The elements of a CPU tensor of a type that engines know.
pub(crate) fn literal_of(tensor: &Tensor) -> Option<Literal> {
    let dense = tch::no_grad(|| tensor.f_to_device(Device::Cpu).and_then(|t| t.f_contiguous()).ok())?;
    let view = TensorView::of(&dense);
    let ty = type_of_view(&view)?;
    if ty.elements() == 0 {
        return Some(Literal::zeros(ty));
    }
    // SAFETY: a dense CPU tensor holds `ty.bytes()` bytes at `data`, alive while `dense` is.
    let bytes = unsafe { std::slice::from_raw_parts(view.data().cast_const(), ty.bytes()) };
    Literal::from_bytes(ty, bytes)
}
