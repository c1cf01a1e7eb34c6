//! Who builds an engine, and when.

use super::cluster::{ClusterEngine, lock};
use super::specialisation::Specialisation;
use crate::jit::TensorView;
use std::sync::Arc;
use trt_subgraph::source::Border;

/// Has an engine built for these inputs: here when the options ask to wait, else in the background (then nothing is found yet).
pub(super) fn request(
    cluster: &Arc<ClusterEngine>,
    inputs: &[TensorView<'_>],
    ints: &[i64],
) -> Option<Arc<Specialisation>> {
    let border = cluster.border(inputs, ints)?;
    if cluster.waits() {
        return Some(cluster.build_once(border));
    }
    build_in_background(cluster, vec![border]);
    None
}

/// Has engines built by one thread, one after the other, for those of these borders that nobody has built or builds.
pub(super) fn build_in_background(cluster: &Arc<ClusterEngine>, mut borders: Vec<Border>) {
    {
        let mut building = lock(&cluster.building);
        borders.retain(|border| !cluster.knows(border) && building.insert(border.clone()));
    }
    if borders.is_empty() {
        return;
    }
    let (builder, keys) = (cluster.clone(), borders.clone());
    let work = move || {
        for border in borders {
            builder.build(border);
        }
    };
    if let Err(e) = std::thread::Builder::new().name("trt-build".into()).spawn(work) {
        log::warn!("no thread could be started to build an engine: {e}");
        let mut building = lock(&cluster.building);
        building.retain(|border| !keys.contains(border));
    }
}
