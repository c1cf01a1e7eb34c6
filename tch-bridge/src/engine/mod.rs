//! What runs behind a cluster: engines by shape, parameters by identity, forks by caller.

mod cluster;
mod pool;
mod specialisation;
mod weights;

pub(crate) use cluster::{ClusterEngine, Serving};
pub(crate) use specialisation::{Outcome as Built, Specialisation};
