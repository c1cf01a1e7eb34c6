//! When a cluster is worth carving out: a model of time in nanoseconds, from operations and bytes.
//!
//! On the host every node pays a dispatch and then the slower of its traffic and its arithmetic (the roofline of
//! Williams, Waterman and Patterson, 2009). An engine pays one launch, a step per compute node, and one roofline over
//! the whole cluster, where values that stay inside cost only a part of their traffic.

use crate::graph::{Cost, Node, Role};
use serde::Serialize;

/// What is asked of a cluster, and the machine it is priced for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Policy {
    /// Fewest kernels of compute nodes in a cluster; 0 means 1.
    pub min_block_size: usize,
    /// Operations from which on a cluster may have fewer kernels: a large product is worth an engine of its own.
    pub enough_operations: f64,
    /// Least time won per call, in ns, for a cluster to be kept; the gain must be above it.
    pub min_gain_ns: f64,
    /// Time for the host to reach a kernel, in ns.
    pub host_dispatch_ns: f64,
    /// Time from the host's interpreter into an engine and back, in ns.
    pub engine_launch_ns: f64,
    /// Time of an engine between two compute nodes, in ns.
    pub engine_step_ns: f64,
    /// Host memory throughput in bytes per ns (which is GB/s).
    pub host_bytes_per_ns: f64,
    /// Host arithmetic in operations per ns (which is Gop/s).
    pub host_operations_per_ns: f64,
    /// Engine memory throughput in bytes per ns.
    pub engine_bytes_per_ns: f64,
    /// Engine arithmetic in operations per ns.
    pub engine_operations_per_ns: f64,
    /// Part of the traffic inside a cluster that fusion saves, 0 to 1.
    pub fused_saving: f64,
    /// Additional traffic per byte that crosses the border (layout changes, copies), 0 or more.
    pub border_traffic: f64,
}

impl Policy {
    /// A few cores of a desktop or server: dispatch of about 2 us, a call of an engine about 3 us, lists and branch of the interpreter included.
    pub const fn cpu() -> Self {
        Policy {
            min_block_size: 3,
            enough_operations: 100_000.0,
            min_gain_ns: 0.0,
            host_dispatch_ns: 2_000.0,
            engine_launch_ns: 3_000.0,
            engine_step_ns: 300.0,
            host_bytes_per_ns: 10.0,
            host_operations_per_ns: 50.0,
            engine_bytes_per_ns: 10.0,
            engine_operations_per_ns: 60.0,
            fused_saving: 0.5,
            border_traffic: 0.25,
        }
    }

    /// A data-centre GPU: the host needs about 5 us to launch a kernel, an engine about 2 us inside its stream.
    pub const fn cuda() -> Self {
        Policy {
            min_block_size: 3,
            enough_operations: 1e9,
            min_gain_ns: 0.0,
            host_dispatch_ns: 5_000.0,
            engine_launch_ns: 10_000.0,
            engine_step_ns: 2_000.0,
            host_bytes_per_ns: 2_000.0,
            host_operations_per_ns: 30_000.0,
            engine_bytes_per_ns: 2_000.0,
            engine_operations_per_ns: 36_000.0,
            fused_saving: 0.6,
            border_traffic: 0.0,
        }
    }

    /// Everything that is legal and holds one compute node is worth it: for tests and for "show me what you can take".
    pub const fn take_all() -> Self {
        Policy {
            min_block_size: 1,
            enough_operations: f64::INFINITY,
            min_gain_ns: f64::NEG_INFINITY,
            host_dispatch_ns: 1.0,
            engine_launch_ns: 0.0,
            engine_step_ns: 0.0,
            host_bytes_per_ns: f64::INFINITY,
            host_operations_per_ns: f64::INFINITY,
            engine_bytes_per_ns: f64::INFINITY,
            engine_operations_per_ns: f64::INFINITY,
            fused_saving: 1.0,
            border_traffic: 0.0,
        }
    }

    /// The smallest legal number of kernels.
    pub fn needed(&self) -> usize {
        self.min_block_size.max(1)
    }

    /// Time of one node on the host in ns.
    pub fn host_ns(&self, node: &Node) -> f64 {
        let (cost, kernels) = (node.cost, node.kernels.max(1));
        self.host_dispatch_ns * kernels as f64
            + (cost.bytes / self.host_bytes_per_ns).max(cost.operations / self.host_operations_per_ns)
    }

    /// Time of a cluster in an engine in ns.
    pub fn engine_ns(&self, tally: &Tally) -> f64 {
        let inside = (tally.cost.bytes - tally.border_bytes).max(0.0);
        let traffic = inside * (1.0 - self.fused_saving) + tally.border_bytes * (1.0 + self.border_traffic);
        self.engine_launch_ns
            + self.engine_step_ns * tally.compute as f64
            + (traffic / self.engine_bytes_per_ns).max(tally.cost.operations / self.engine_operations_per_ns)
    }

    /// Time won per call by running the cluster in an engine, in ns.
    pub fn gain_ns(&self, tally: &Tally) -> f64 {
        tally.host_ns - self.engine_ns(tally)
    }
}

/// The sums over a cluster that the policy judges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Tally {
    /// All nodes.
    pub nodes: usize,
    /// Nodes of [`Role::Compute`].
    pub compute: usize,
    /// Their kernels on the host.
    pub kernels: usize,
    /// Summed host work.
    pub cost: Cost,
    /// Bytes of the values that enter and leave, each value once per direction.
    pub border_bytes: f64,
    /// Summed time on the host in ns.
    pub host_ns: f64,
}

impl Tally {
    /// Counts one more node.
    pub fn add(&mut self, node: &Node, policy: &Policy) {
        self.nodes += 1;
        if node.role == Role::Compute {
            self.compute += 1;
            self.kernels += node.kernels.max(1);
        }
        self.cost += node.cost;
        self.host_ns += policy.host_ns(node);
    }
}
