//! The two ways in which a call reaches a cluster: from the interpreter, and straight from the module when the cluster is
//! the whole method.

use super::cluster::ClusterEngine;
use super::request::request;
use super::specialisation::Outcome as Built;
use crate::jit::{
    Call, EngineError, HostEngine, Outcome, Outputs, Recording, TensorView, host_is_watched, words,
};
use crate::report::EngineReport;
use crate::switch;
use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tch::{Device, Kind, Tensor};
use trt_subgraph::backend::RunError;

/// What the stitched module holds.
pub(crate) struct Serving(pub(crate) Arc<ClusterEngine>);

impl HostEngine for Serving {
    fn try_run(&self, call: &Call<'_>, outputs: &mut Outputs<'_>) -> Result<Outcome, EngineError> {
        serve(&self.0, call, outputs)
    }

    fn state(&self) -> Vec<u8> {
        self.0.saved().map(|saved| saved.to_bytes()).unwrap_or_else(|e| {
            log::warn!("{}: saved without its engine: {e}", self.0.name());
            Vec::new()
        })
    }

    fn report(&self) -> Option<EngineReport> {
        Some(EngineReport::of(&self.0))
    }

    fn refit(&self) -> bool {
        self.0.refit();
        true
    }
}

/// Where results go.
pub(crate) trait Sink {
    /// The address of a fresh tensor on the device, the next output.
    fn allocate(
        &mut self,
        sizes: &[i64],
        strides: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<*mut u8, EngineError>;

    /// The next int.
    fn int(&mut self, value: i64);
}

/// Serves one call, or leaves it to the host.
pub(super) fn serve(
    cluster: &Arc<ClusterEngine>,
    call: &Call<'_>,
    sink: &mut dyn Sink,
) -> Result<Outcome, EngineError> {
    let elsewhere = |v: &TensorView<'_>| !v.is_plain() || v.device() != Some(cluster.device);
    if !switch::is_on() || cluster.lost.load(Ordering::Relaxed) || call.inputs.iter().any(elsewhere) {
        return Ok(Outcome::Host);
    }
    if cluster.is_recorded(call.inputs, call.recording) {
        return Ok(Outcome::Host);
    }
    cluster.refit_if_changed();
    let found = cluster.find(call.inputs, call.ints).or_else(|| request(cluster, call.inputs, call.ints));
    let Some(specialisation) = found else { return Ok(Outcome::Host) };
    specialisation.touch(cluster.clock.fetch_add(1, Ordering::Relaxed));
    let Built::Ready(ready) = &specialisation.outcome else { return Ok(Outcome::Host) };
    cluster.run(ready, call.inputs, sink).inspect_err(|e| {
        if let Some(RunError::Lost(_)) = e.downcast_ref() {
            cluster.lost.store(true, Ordering::Relaxed);
        }
    })?;
    cluster.served.fetch_add(1, Ordering::Relaxed);
    Ok(Outcome::Served)
}

impl Sink for Outputs<'_> {
    fn allocate(
        &mut self,
        sizes: &[i64],
        strides: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<*mut u8, EngineError> {
        Ok(self.allocate_strided(sizes, strides, kind, device)?)
    }

    fn int(&mut self, value: i64) {
        self.push_int(value);
    }
}

impl Sink for Vec<Tensor> {
    fn allocate(
        &mut self,
        sizes: &[i64],
        strides: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<*mut u8, EngineError> {
        let tensor = Tensor::f_empty_strided(sizes, strides, (kind, device))?;
        let address = tensor.data_ptr().cast();
        self.push(tensor);
        Ok(address)
    }

    fn int(&mut self, _: i64) {}
}

/// Serves a method that is one cluster from these arguments to its tensor results. `None` leaves the call to the host. Saves the interpreter's share of a call.
pub(crate) fn serve_directly<T: Borrow<Tensor>>(
    cluster: &Arc<ClusterEngine>,
    inputs: &[T],
    ints: &[i64],
) -> Option<Vec<Tensor>> {
    if host_is_watched() {
        return None;
    }
    let views: Vec<TensorView<'_>> = inputs.iter().map(|t| TensorView::of(t.borrow())).collect();
    let call = Call { inputs: &views, ints, recording: Recording::now(), owner: None };
    let mut outputs: Vec<Tensor> = Vec::new();
    match catch_unwind(AssertUnwindSafe(|| serve(cluster, &call, &mut outputs))) {
        Ok(Ok(Outcome::Served)) => Some(outputs),
        Ok(Ok(Outcome::Host)) => None,
        Ok(Err(e)) => {
            log::error!("{}: the host serves the call: {}", cluster.name(), words(&e));
            None
        }
        Err(_) => {
            log::error!("{}: the engine panicked, the host serves the call", cluster.name());
            None
        }
    }
}
