//! The dataflow graph that is partitioned: nodes, the values they exchange, and what may cross a cluster's border.
//!
//! Insertion order is source order, and must be a topological order: a value is read, and an order edge ends, only at
//! a node added later. Constants need no node of their own: a constant belongs to its reader. (As a node with a
//! [`Crossing::Bound`] value it would tie all its readers together.)

use crate::verdict::Verdict;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::Serialize;
use std::fmt;

/// A node, numbered in source order from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(pub u32);

/// A value, numbered in the order of declaration from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ValueId(pub u32);

impl NodeId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ValueId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Work of one node on the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Floating point operations; a multiply-accumulate is two.
    pub operations: f64,
    /// Bytes read plus bytes written.
    pub bytes: f64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.operations += other.operations;
        self.bytes += other.bytes;
    }
}

/// What a node counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Role {
    /// Does arithmetic: counts toward the size of a cluster.
    Compute,
    /// A view, a size, a constant: may join a cluster, never justifies one.
    Free,
}

/// One call of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Operator, for example `aten::conv2d`.
    pub name: String,
    /// The model's own source line, free text, may be empty.
    pub place: String,
    /// May it leave the host?
    pub verdict: Verdict,
    /// Does it justify a cluster?
    pub role: Role,
    /// How many kernels the host launches for it, at least 1 where it computes: a whole layer in one call is as good as the calls
    /// that it is made of.
    pub kernels: usize,
    /// Its work on the host.
    pub cost: Cost,
    /// Has a side effect: stays on the host, in order with all others that have one.
    pub effect: bool,
}

/// Whether a value may pass between the host and a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Crossing {
    /// A tensor or an int: may cross.
    Free,
    /// A list, a float, anything else: producer and readers are in one cluster or all on the host.
    Bound,
}

/// Something a node produces or the graph is given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// Who makes it; `None` for an input of the graph.
    pub producer: Option<NodeId>,
    /// May it cross a border?
    pub crossing: Crossing,
    /// Its size in bytes; 0 when unknown or not a tensor.
    pub bytes: f64,
    /// Type text for reports, for example `f32[1,3,224,224]`; may be empty.
    pub text: String,
    /// What the caller calls it, for drawings; may be empty.
    pub name: String,
    /// Its readers in source order, each once.
    pub readers: Vec<NodeId>,
    /// It is an output of the whole graph: the host needs it.
    pub escapes: bool,
}

/// Why one node comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Edge {
    /// The later one reads this value.
    Data(ValueId),
    /// Their order is visible from outside.
    Order,
}

/// A malformed graph: the caller's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphError {
    /// An edge must go forward in source order.
    Backward {
        /// The edge's source.
        from: NodeId,
        /// The edge's target.
        to: NodeId,
    },
    /// No such node.
    NoNode(NodeId),
    /// No such value.
    NoValue(ValueId),
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GraphError::Backward { from, to } => {
                write!(f, "edge {} -> {} goes backward in source order", from.0, to.0)
            }
            GraphError::NoNode(node) => write!(f, "no node {}", node.0),
            GraphError::NoValue(value) => write!(f, "no value {}", value.0),
        }
    }
}

impl std::error::Error for GraphError {}

#[derive(Debug, Clone)]
struct Vertex {
    node: Node,
    reads: Vec<ValueId>,
    makes: Vec<ValueId>,
}

/// A directed acyclic graph of calls.
#[derive(Debug, Clone, Default)]
pub struct FlowGraph {
    graph: DiGraph<Vertex, Edge>,
    values: Vec<Value>,
    last_effect: Option<NodeId>,
}

impl FlowGraph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a node. Nodes with effects are ordered among themselves without further ado.
    pub fn add(&mut self, node: Node) -> NodeId {
        let effect = node.effect;
        let id = NodeId(self.graph.add_node(Vertex { node, reads: vec![], makes: vec![] }).index() as u32);
        if effect && let Some(before) = self.last_effect.replace(id) {
            self.graph.add_edge(petgraph_id(before), petgraph_id(id), Edge::Order);
        }
        id
    }

    /// Declares an input of the graph.
    pub fn input(&mut self, crossing: Crossing, bytes: f64, text: impl Into<String>) -> ValueId {
        self.declare(None, crossing, bytes, text.into())
    }

    /// Gives a value a name for drawings.
    pub fn name(&mut self, value: ValueId, name: impl Into<String>) -> Result<(), GraphError> {
        let value = self.values.get_mut(value.index()).ok_or(GraphError::NoValue(value))?;
        value.name = name.into();
        Ok(())
    }

    /// Declares an output of `producer`.
    pub fn produce(
        &mut self,
        producer: NodeId,
        crossing: Crossing,
        bytes: f64,
        text: impl Into<String>,
    ) -> Result<ValueId, GraphError> {
        self.check(producer)?;
        let value = self.declare(Some(producer), crossing, bytes, text.into());
        self.graph[petgraph_id(producer)].makes.push(value);
        Ok(value)
    }

    /// States that `reader` reads `value`; saying it twice is saying it once.
    pub fn read(&mut self, reader: NodeId, value: ValueId) -> Result<(), GraphError> {
        self.check(reader)?;
        let producer = self.values.get(value.index()).ok_or(GraphError::NoValue(value))?.producer;
        let reads = &mut self.graph[petgraph_id(reader)].reads;
        if reads.contains(&value) {
            return Ok(());
        }
        if let Some(from) = producer {
            if from >= reader {
                return Err(GraphError::Backward { from, to: reader });
            }
            reads.push(value);
            self.graph.add_edge(petgraph_id(from), petgraph_id(reader), Edge::Data(value));
        } else {
            reads.push(value);
        }
        let readers = &mut self.values[value.index()].readers;
        readers.insert(readers.partition_point(|&r| r < reader), reader);
        Ok(())
    }

    /// States that `before` must run before `after`.
    pub fn order(&mut self, before: NodeId, after: NodeId) -> Result<(), GraphError> {
        self.check(before)?;
        self.check(after)?;
        if before >= after {
            return Err(GraphError::Backward { from: before, to: after });
        }
        self.graph.add_edge(petgraph_id(before), petgraph_id(after), Edge::Order);
        Ok(())
    }

    /// Takes back that a node may leave the host.
    pub fn refuse(&mut self, node: NodeId, reason: Verdict) -> Result<(), GraphError> {
        self.check(node)?;
        self.graph[petgraph_id(node)].node.verdict = reason;
        Ok(())
    }

    /// States that `value` is an output of the whole graph.
    pub fn escape(&mut self, value: ValueId) -> Result<(), GraphError> {
        self.values.get_mut(value.index()).ok_or(GraphError::NoValue(value))?.escapes = true;
        Ok(())
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// True when there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes in source order.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.len() as u32).map(NodeId)
    }

    /// A node. Panics when the id belongs to another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.graph[petgraph_id(id)].node
    }

    /// A value. Panics when the id belongs to another graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// All values in order of declaration.
    pub fn values(&self) -> impl ExactSizeIterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, value)| (ValueId(i as u32), value))
    }

    /// What a node reads, in order of declaration of the reads.
    pub fn reads(&self, id: NodeId) -> &[ValueId] {
        &self.graph[petgraph_id(id)].reads
    }

    /// What a node makes.
    pub fn makes(&self, id: NodeId) -> &[ValueId] {
        &self.graph[petgraph_id(id)].makes
    }

    /// All edges.
    pub fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId, Edge)> {
        self.graph.edge_references().map(|e| (own_id(e.source()), own_id(e.target()), *e.weight()))
    }

    fn declare(&mut self, producer: Option<NodeId>, crossing: Crossing, bytes: f64, text: String) -> ValueId {
        self.values.push(Value {
            producer,
            crossing,
            bytes,
            text,
            name: String::new(),
            readers: vec![],
            escapes: false,
        });
        ValueId(self.values.len() as u32 - 1)
    }

    fn check(&self, node: NodeId) -> Result<(), GraphError> {
        if node.index() < self.len() { Ok(()) } else { Err(GraphError::NoNode(node)) }
    }
}

fn petgraph_id(id: NodeId) -> NodeIndex {
    NodeIndex::new(id.index())
}

fn own_id(id: NodeIndex) -> NodeId {
    NodeId(id.index() as u32)
}
