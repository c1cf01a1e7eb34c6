//! What runs behind a cluster: engines by shape, parameters by identity, forks by caller.

mod blueprint;
mod build;
mod cluster;
mod embedded;
mod entry;
mod laid;
mod layouts;
mod loaded;
mod parity;
mod plans;
mod pool;
mod profile;
mod replay;
mod request;
mod serving;
mod specialisation;
mod weights;

pub(crate) use blueprint::Blueprint;
pub(crate) use cluster::ClusterEngine;
pub(crate) use entry::{Entry, Shape};
pub(crate) use layouts::Seen as SeenLayout;
pub(crate) use loaded::load;
pub use parity::{DifferingLayer, Kept, Parity};
pub(crate) use serving::{Serving, serve_directly};
pub(crate) use specialisation::{Outcome as Built, Specialisation};
