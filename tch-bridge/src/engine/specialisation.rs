//! One shape of one cluster: its key, and the engine that was built for it or why there is none.

use super::pool::Pool;
use crate::jit::TensorView;
use crate::types::dtype_of_kind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tch::Kind;
use trt_subgraph::TensorType;
use trt_subgraph::source::Border;

pub(crate) struct Specialisation {
    pub(crate) border: Border,
    pub(crate) outcome: Outcome,
    /// When it was last used, on the cluster's own clock.
    pub(crate) used: AtomicU64,
}

/// What an output tensor is made as.
pub(crate) struct OutputForm {
    pub(crate) sizes: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) kind: Kind,
}

pub(crate) enum Outcome {
    Ready(Box<Ready>),
    /// The host serves this shape, and why.
    Refused(String),
}

pub(crate) struct Ready {
    pub(crate) pool: Pool,
    /// The outputs in torch's terms.
    pub(crate) outputs: Vec<OutputForm>,
    pub(crate) ints: Vec<i64>,
    pub(crate) layers: usize,
    pub(crate) fused_layers: usize,
    pub(crate) build: Duration,
}

impl Specialisation {
    /// Was it built for these inputs? Looks at element types and sizes only; strides are the caller's matter.
    pub(crate) fn serves(&self, inputs: &[TensorView<'_>], ints: &[i64]) -> bool {
        self.border.ints == ints
            && self.border.tensors.len() == inputs.len()
            && self.border.tensors.iter().zip(inputs).all(|(ty, view)| same_type(ty, view))
    }

    pub(crate) fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
    }
}

fn same_type(ty: &TensorType, view: &TensorView<'_>) -> bool {
    let sizes = view.sizes();
    view.kind().and_then(dtype_of_kind) == Some(ty.dtype)
        && ty.shape.len() == sizes.len()
        && ty.shape.iter().zip(sizes).all(|(&a, &b)| a as i64 == b)
}
