//! Carves runnable subgraphs out of a dataflow graph.
//!
//! The caller describes a graph of calls ([`FlowGraph`]), says of each whether some engine can run it and what it
//! costs, and gets back clusters that are legal, maximal and worth their launch, with the reason for every node that
//! stays on the host ([`partition`]). Nothing here knows tensors, devices or frameworks.
//!
//! ```
//! use partitioner::{Cost, Crossing, FlowGraph, Node, Policy, Role, Verdict, partition};
//!
//! let mut graph = FlowGraph::new();
//! let mut value = graph.input(Crossing::Free, 4096.0, "f32[32,32]");
//! for name in ["relu", "tanh", "exp"] {
//!     let node = graph.add(Node {
//!         name: name.into(),
//!         place: "model.py:7".into(),
//!         verdict: Verdict::Accept,
//!         role: Role::Compute,
//!         kernels: 1,
//!         cost: Cost { operations: 1024.0, bytes: 8192.0 },
//!         effect: false,
//!     });
//!     graph.read(node, value)?;
//!     value = graph.produce(node, Crossing::Free, 4096.0, "f32[32,32]")?;
//! }
//! graph.escape(value)?;
//! let partition = partition(&graph, &Policy::take_all());
//! assert_eq!(partition.clusters.len(), 1);
//! assert!(partition.host.is_empty());
//! # Ok::<(), partitioner::GraphError>(())
//! ```

mod adjacency;
mod atom;
mod cluster;
mod divide;
mod dot;
mod drawing;
mod graph;
mod grow;
mod layout;
mod maximal;
mod picture;
mod policy;
mod quotient;
mod reach;
pub mod report;
mod scene;
mod schedule;
mod text;
mod trim;
mod verdict;
pub mod verify;

pub use cluster::{Cluster, Dropped, HostNode, Partition, Step};
pub use divide::partition;
pub use dot::dot;
pub use drawing::{Arrow, Card, Drawing, Shown, drawing};
pub use graph::{Cost, Crossing, Edge, FlowGraph, GraphError, Node, NodeId, Role, Value, ValueId};
pub use picture::picture;
pub use policy::{Policy, Tally};
pub use report::{Coverage, Report};
pub use text::{count, quantity};
pub use verdict::{Code, Reason, Stay, Verdict};
pub use verify::verify;
