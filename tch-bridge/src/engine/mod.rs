//! What runs behind a cluster: engines by shape, parameters by identity, forks by caller.

mod cluster;
mod pool;
mod profile;
mod serving;
mod specialisation;
mod weights;

pub(crate) use cluster::ClusterEngine;
pub(crate) use serving::{Serving, serve_directly};
pub(crate) use specialisation::{Outcome as Built, Specialisation};
