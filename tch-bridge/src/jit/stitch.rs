//! A prepared graph with engines in it, as a new method.

use std::sync::Arc;

use super::engine::{EngineHandle, HostEngine};
use super::graph::{BlockId, NodeId, ValueId};
use super::{Graph, JitError, KindsHandle, Module};
use crate::sys::ffi;

/// Nodes of one block that an engine replaces. They stay in the method as the path that serves when the engine does
/// not. Constants and attribute reads need not be listed: they stay where they are needed.
#[derive(Clone)]
pub struct Cluster {
    /// The nodes, in order.
    pub nodes: Vec<NodeId>,
    /// Tensors that enter.
    pub inputs: Vec<ValueId>,
    /// Ints that enter.
    pub ints: Vec<ValueId>,
    /// Tensors that leave: every tensor that a node outside of the cluster uses.
    pub outputs: Vec<ValueId>,
    /// Ints that leave.
    pub int_outputs: Vec<ValueId>,
    /// What serves it.
    pub engine: Arc<dyn HostEngine>,
}

/// One step of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A node of the host.
    Node(NodeId),
    /// A cluster, by position in the list given to [`Graph::stitch`].
    Cluster(usize),
}

/// The new order of a block. Nodes that are not listed come first, in their old order.
#[derive(Debug, Clone)]
pub struct Order {
    /// The block.
    pub block: BlockId,
    /// Its steps.
    pub items: Vec<Item>,
}

impl Graph {
    /// Adds the graph, with `clusters` in place, to `target` as the method `name`. `target` is a [`Module::fork`] or a
    /// [`Module::shell`] of the module that the graph was prepared from, without such a method. The engines become attributes of
    /// `target`, so that they are saved with it.
    ///
    /// # Errors
    /// [`JitError::Graph`] where a value crosses a border unlisted or as another type than listed, where the order
    /// breaks a dependency, or where `target` has the method already. `target` is then not usable.
    pub fn stitch(
        &self,
        target: &Module,
        name: &str,
        orders: &[Order],
        clusters: &[Cluster],
    ) -> Result<(), JitError> {
        let orders: Vec<_> = orders.iter().map(order_to_raw).collect();
        let clusters: Vec<_> = clusters.iter().map(cluster_to_raw).collect();
        Ok(ffi::stitch(&self.inner, &target.inner, name, &orders, &clusters)?)
    }

    /// Gives `target` the attribute `name`, which tells whether the graph, stitched into it, may serve a call: for arguments of
    /// these kinds, while the attributes that became constants have their values.
    pub(crate) fn register_form(
        &self,
        target: &Module,
        name: &str,
        kinds: &KindsHandle,
    ) -> Result<(), JitError> {
        Ok(ffi::register_form(&target.inner, name, kinds, &self.inner)?)
    }
}

fn order_to_raw(order: &Order) -> ffi::RawOrder {
    let items = order.items.iter().map(|item| match *item {
        Item::Node(NodeId(index)) => ffi::RawItem { cluster: false, index },
        Item::Cluster(index) => {
            ffi::RawItem { cluster: true, index: u32::try_from(index).unwrap_or(u32::MAX) }
        }
    });
    ffi::RawOrder { block: order.block.0, items: items.collect() }
}

fn cluster_to_raw(cluster: &Cluster) -> ffi::RawCluster {
    let values = |ids: &[ValueId]| ids.iter().map(|id| id.0).collect();
    ffi::RawCluster {
        nodes: cluster.nodes.iter().map(|id| id.0).collect(),
        inputs: values(&cluster.inputs),
        ints: values(&cluster.ints),
        outputs: values(&cluster.outputs),
        int_outputs: values(&cluster.int_outputs),
        engine: Box::new(EngineHandle(cluster.engine.clone())),
    }
}
