//! A prepared graph and its extraction.

use cxx::UniquePtr;
use std::borrow::Borrow;
use tch::IValue;

use super::graph::{
    Attribute, Block, BlockId, GraphFacts, Node, NodeId, Place, Role, Value, ValueId, ValueType,
};
use super::tensor::adopt;
use super::{Fact, JitError, Module, Seen, value};
use crate::sys::ffi;

/// A copy of a method's graph, made by [`Module::prepare`](super::Module::prepare): calls are inlined, each attribute
/// is read once at the top, scalar attributes (such as `training`) are constants, and in-place operators whose write
/// is provably private are functional. It does not change; ids stay valid for its whole life.
pub struct Graph {
    pub(super) inner: UniquePtr<ffi::Graph>,
}

impl Graph {
    /// The graph as plain data.
    pub fn facts(&self) -> Result<GraphFacts, JitError> {
        let raw = ffi::extract(&self.inner)?;
        let mut constants = ffi::constants(&self.inner)?;
        let mut values: Vec<Value> = raw.values.into_iter().map(value_from_raw).collect();
        let mut nodes = Vec::with_capacity(raw.nodes.len());
        for (raw, id) in raw.nodes.into_iter().zip(0..) {
            let mut node = node_from_raw(raw);
            for output in &node.outputs {
                values[output.0 as usize].producer = Some(NodeId(id));
            }
            if node.kind == "prim::Constant" {
                node.constant = Some(value::pop(constants.pin_mut())?);
            }
            nodes.push(node);
        }
        let blocks = raw.blocks.into_iter().map(|raw| Block {
            inputs: value_ids(raw.inputs),
            outputs: value_ids(raw.outputs),
            nodes: raw.nodes.into_iter().map(NodeId).collect(),
        });
        Ok(GraphFacts {
            values,
            nodes,
            blocks: blocks.collect(),
            folded: raw.folded,
            assigned: raw.assigned,
            repeatable: raw.repeatable,
        })
    }

    /// The graph without the branches that were not taken where ranks, element types, devices or None-ness of the arguments, or the
    /// modes of the calling thread, decide, and with None for arguments that were None: right for calls that agree in these with the run that
    /// showed this. `None` where there are no such branches and arguments. Ids of the two graphs differ.
    pub fn assume(&self, seen: &[Seen]) -> Result<Option<Graph>, JitError> {
        let truth = |s: &Seen| if let Fact::Bool(b) = s.first { Some((s.value, b)) } else { None };
        let once = || seen.iter().filter(|s| s.count == 1);
        let truths: Vec<(ValueId, bool)> = once().filter_map(truth).collect();
        let nones: Vec<u32> = once().filter(|s| s.first == Fact::None).map(|s| s.value.0).collect();
        let values: Vec<u32> = truths.iter().map(|(v, _)| v.0).collect();
        let truths: Vec<bool> = truths.iter().map(|(_, t)| *t).collect();
        let inner = ffi::assume(&self.inner, &values, &truths, &nones)?;
        Ok((!inner.is_null()).then_some(Graph { inner }))
    }

    /// The graph without the branches and loops that the sizes of the arguments, their element types and None-ness and the modes of
    /// the calling thread decide: right for calls that agree in all of these with these arguments. `None` where there are none that
    /// matter. Runs the graph on the host, on copies if `apart`.
    pub(crate) fn settle_sizes<V: Borrow<IValue>>(
        &self,
        arguments: &[V],
        apart: bool,
    ) -> Result<Option<Graph>, JitError> {
        let stack = value::stack_of(arguments.iter().map(Borrow::borrow))?;
        let inner = ffi::settle_sizes(&self.inner, &stack, apart)?;
        Ok((!inner.is_null()).then_some(Graph { inner }))
    }

    /// Does it ask whether gradients are recorded or types are cast automatically?
    pub(crate) fn reads_modes(&self) -> bool {
        ffi::graph_reads_modes(&self.inner)
    }

    /// Whether the attributes that became constants still have the values that they had then, and those that decided branches their
    /// kinds. Costs nanoseconds.
    pub fn still_holds(&self) -> bool {
        ffi::still_holds(&self.inner)
    }

    /// A module whose `forward` computes `outputs` from `inputs`; a tuple where there are several. What else they depend on
    /// is copied; the module shares the parameters that it reads.
    ///
    /// # Errors
    /// [`JitError::Graph`] where an output needs an argument of the method, or a value from a branch or loop, that is not given.
    pub fn carve(&self, inputs: &[ValueId], outputs: &[ValueId]) -> Result<Module, JitError> {
        let raw = |ids: &[ValueId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
        Ok(Module { inner: ffi::carve(&self.inner, &raw(inputs), &raw(outputs))? })
    }

    /// The same graph with its floating-point constants, and the floating-point types that it casts to, as float64. Right
    /// for a module whose floating-point tensors have been made float64 too.
    pub fn widen(&self) -> Result<Graph, JitError> {
        Ok(Graph { inner: ffi::widen(&self.inner)? })
    }

    /// The graph as torch prints it.
    pub fn text(&self) -> String {
        ffi::graph_text(&self.inner)
    }
}

fn value_ids(ids: Vec<u32>) -> Vec<ValueId> {
    ids.into_iter().map(ValueId).collect()
}

fn value_from_raw(raw: ffi::RawValue) -> Value {
    Value {
        name: raw.name,
        ty: ValueType::parse(&raw.type_name),
        producer: None,
        written: raw.written,
        may_alias_input: raw.may_alias_input,
        may_alias_output: raw.may_alias_output,
        shared: raw.shared,
        asked: raw.asked,
    }
}

fn node_from_raw(raw: ffi::RawNode) -> Node {
    let tensor = (!raw.tensor.is_null()).then(|| adopt(raw.tensor));
    let attribute = (!raw.attribute.is_empty()).then(|| Attribute {
        path: raw.attribute,
        role: Role::from_raw(raw.role),
        tensor,
    });
    Node {
        kind: raw.kind,
        overload: raw.overload,
        schema: raw.schema,
        inputs: value_ids(raw.inputs),
        outputs: value_ids(raw.outputs),
        blocks: raw.blocks.into_iter().map(BlockId).collect(),
        block: BlockId(raw.block),
        place: Place { file: raw.file, line: raw.line, text: raw.text },
        module: raw.module,
        constant: None,
        attribute,
        mutates: raw.mutates,
        side_effects: raw.side_effects,
        nondeterministic: raw.nondeterministic,
        view: raw.view,
        fresh: raw.fresh,
    }
}
