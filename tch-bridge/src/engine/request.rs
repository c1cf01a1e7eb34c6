//! Who builds an engine, and when.

use super::cluster::{ClusterEngine, lock};
use super::entry::Entry;
use super::specialisation::Specialisation;
use crate::background;
use crate::jit::{Handover, TensorView};
use std::sync::Arc;
use trt_subgraph::backend::ending;

/// Has an engine built for these inputs: here when the options ask to wait, or when it came with the module; else in the background
/// (then nothing is found yet).
pub(super) fn request(
    cluster: &Arc<ClusterEngine>,
    inputs: &[TensorView<'_>],
    ints: &[i64],
) -> Option<Arc<Specialisation>> {
    let entry = cluster.entry(inputs, ints)?;
    cluster.keep_sample(&entry, inputs);
    if cluster.waits() {
        return Some(cluster.build_once(entry));
    }
    if let Some(restored) = cluster.restore_once(&entry) {
        return Some(restored);
    }
    build_in_background(cluster, vec![entry]);
    None
}

/// Has engines built by one thread, one after the other, for those of these entries that nobody has built or builds.
pub(super) fn build_in_background(cluster: &Arc<ClusterEngine>, mut entries: Vec<Entry>) {
    {
        let mut building = lock(&cluster.building);
        entries.retain(|entry| !cluster.knows(entry) && building.insert(entry.clone()));
    }
    if entries.is_empty() {
        return;
    }
    let (builder, keys) = (cluster.clone(), entries.clone());
    let stream = Handover::of(cluster.device);
    let work = move || {
        if let Some(stream) = stream {
            stream.take();
        }
        entries.into_iter().take_while(|_| !ending::has_begun()).for_each(|entry| drop(builder.build(entry)));
    };
    if let Err(e) = background::spawn(work) {
        log::warn!("no thread could be started to build an engine: {e}");
        let mut building = lock(&cluster.building);
        building.retain(|entry| !keys.contains(entry));
    }
}
