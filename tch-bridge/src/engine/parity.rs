//! Engines in fewer bits, held against f32 when they are built: on what the call that asks for them brings, else on random values.

use super::cluster::{ClusterEngine, lock};
use super::entry::Entry;
use super::laid::Laid;
use crate::jit::TensorView;
use crate::types::type_of_view;
use crate::{ParityGuard, Precision};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tch::Device;
use trt_subgraph::precision::{Guard, Guarded};
use trt_subgraph::{DType, Literal, Random};

/// What a guard found of an engine for one shape.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Parity {
    /// How far results may be off, as a part of the largest magnitude.
    pub tolerance: f64,
    /// How far the worst result was off with all of it in fewer bits; `None` where that could not be told.
    pub before: Option<f64>,
    /// How far it is off in the engine as it is.
    pub after: Option<f64>,
    /// Layers that differ by more than the tolerance, the first one first.
    pub differing: Vec<DifferingLayer>,
    /// What is in f32 for that.
    pub kept: Kept,
    /// Why nothing could be told.
    pub unknown: Option<String>,
}

/// A layer of the network in f32, and how far its value is off in fewer bits.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DifferingLayer {
    /// The layer and its operators.
    pub layer: String,
    /// As a part of the largest magnitude; `None` where one is finite and the other is not.
    pub difference: Option<f64>,
}

/// What a guard keeps in f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// Nothing: all agrees, or the guard only tells.
    Nothing,
    /// The layers that differ, and what feeds them as far as that was needed.
    Layers,
    /// The whole engine.
    All,
}

/// What calls brought, by what it is for.
#[derive(Default)]
pub(super) struct Samples(Mutex<HashMap<Entry, Arc<Vec<Literal>>>>);

impl ClusterEngine {
    /// The guard and the element type that it guards against, where both were asked for.
    pub(super) fn guard(&self) -> Option<(ParityGuard, DType)> {
        self.options.guard.zip(self.options.precision.and_then(Precision::dtype))
    }

    /// Are engines best built when a call comes, which brings values to compare with?
    pub(crate) fn wants_samples(&self) -> bool {
        self.guard().is_some()
    }

    /// Keeps what a call brings, for the guard of its engine.
    pub(super) fn keep_sample(&self, entry: &Entry, inputs: &[TensorView<'_>]) {
        if !self.wants_samples() {
            return;
        }
        let Some(sample) = inputs.iter().map(literal).collect::<Option<Vec<_>>>() else { return };
        let mut kept = lock(&self.samples.0);
        if kept.len() >= self.options.specialisations {
            kept.clear();
        }
        kept.insert(entry.clone(), Arc::new(sample));
    }

    /// The network that was laid in f32 in `dtype`, as far as the guard lets it be.
    pub(super) fn guarded(&self, entry: &Entry, laid: Laid, guard: ParityGuard, dtype: DType) -> Laid {
        match self.compared(entry, &laid, guard, dtype) {
            Ok(Guarded { network, differing, before, difference, whole }) => {
                let kept = match (whole, before == difference) {
                    (true, _) => Kept::All,
                    (_, true) => Kept::Nothing,
                    _ => Kept::Layers,
                };
                if let Some(first) = differing.first() {
                    let what = match kept {
                        Kept::Nothing => "nothing is changed".to_string(),
                        Kept::Layers => {
                            format!("{} kept in f32, now off by {difference:.1e}", differing.len())
                        }
                        Kept::All => "all of it is kept in f32".to_string(),
                    };
                    log::warn!(
                        "{}: in {dtype} it is off by {before:.1e}, more than {:.1e}; {} is the first that differs; {what}",
                        self.name(),
                        guard.tolerance,
                        first.layer
                    );
                }
                let layer = |d: trt_subgraph::precision::Differing| DifferingLayer {
                    layer: d.layer,
                    difference: finite(d.difference),
                };
                let parity = Parity {
                    tolerance: guard.tolerance,
                    before: finite(before),
                    after: finite(difference),
                    differing: differing.into_iter().map(layer).collect(),
                    kept,
                    unknown: None,
                };
                Laid { network, parity: Some(parity), ..laid }
            }
            Err(why) => {
                log::warn!("{}: it stays in f32: {why}", self.name());
                let (tolerance, unknown) = (guard.tolerance, Some(why));
                let parity = Parity {
                    tolerance,
                    before: None,
                    after: None,
                    differing: Vec::new(),
                    kept: Kept::All,
                    unknown,
                };
                Laid { parity: Some(parity), ..laid }
            }
        }
    }

    fn compared(
        &self,
        entry: &Entry,
        laid: &Laid,
        guard: ParityGuard,
        dtype: DType,
    ) -> Result<Guarded, String> {
        let (_, weights) = self.weights_for(entry)?;
        let sample = lock(&self.samples.0).get(entry).cloned();
        let sample = sample.unwrap_or_else(|| Arc::new(random(entry)));
        let options = self.compile_options(entry);
        let of = Guard {
            backend: self.backend(),
            options: &options,
            weights: &weights,
            samples: std::slice::from_ref(&*sample),
            tolerance: guard.tolerance,
        };
        of.narrow(&laid.network, dtype, guard.keep).map_err(|e| e.to_string())
    }
}

fn finite(value: f64) -> Option<f64> {
    Some(value).filter(|v| v.is_finite())
}

/// The elements of a tensor.
fn literal(view: &TensorView<'_>) -> Option<Literal> {
    let ty = type_of_view(view)?;
    let dense =
        tch::no_grad(|| view.to_tensor().f_to_device(Device::Cpu).and_then(|t| t.f_contiguous())).ok()?;
    if ty.bytes() == 0 {
        return Some(Literal::zeros(ty));
    }
    // SAFETY: a dense tensor of this type, which lives meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(dense.data_ptr().cast::<u8>().cast_const(), ty.bytes()) };
    Literal::from_bytes(ty, bytes)
}

/// Normal values; of integers 0 and 1, which are good indices of nearly everything.
fn random(entry: &Entry) -> Vec<Literal> {
    let mut random = Random::new(1);
    let mut one = |ty: &trt_subgraph::TensorType| match ty.dtype.is_int() {
        true => random.literal_in(ty.clone(), 0.0, 2.0),
        false => random.literal(ty.clone()),
    };
    entry.border.tensors.iter().map(&mut one).collect()
}
