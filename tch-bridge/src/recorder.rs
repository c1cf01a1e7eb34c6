//! Calls that autograd records are libtorch's from end to end: their gradients are the host's to the last bit.
//!
//! torch's executors look at their first call, optimise the graph by what they saw, and differentiate it in another way from then on. So the
//! calls that are recorded have an executor of their own here, which sees the calls that one of plain libtorch would see:
//! no other ones, and first of all an evaluation where there was one.
//! A trace of the user's own code stands beside that code, which no executor changes: its operators run one after the other, as there.

use crate::jit::{JitError, Method, Module, Recording, TensorView};
use std::borrow::Borrow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tch::{IValue, Tensor};

/// Serves the recorded calls of one method.
pub(crate) struct Recorder {
    method: Method,
    /// Is it a trace of the user's own code?
    pub(crate) traced: bool,
    calls: AtomicU64,
    evaluated: AtomicBool,
}

impl Recorder {
    /// Of the host's own form of a method.
    pub(crate) fn new(host: &Method, traced: bool) -> Result<Recorder, JitError> {
        let method = if traced { host.stepwise()? } else { host.twin()? };
        Ok(Recorder { method, traced, calls: AtomicU64::new(0), evaluated: AtomicBool::new(false) })
    }

    /// Calls that were recorded while engines were enabled.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Counts one.
    pub(crate) fn count(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Who serves them.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Notes that there was a call, engines enabled, which is not recorded.
    pub(crate) fn note_evaluation(&self) {
        self.evaluated.store(true, Ordering::Relaxed);
    }

    /// Was there one, as far as is noted?
    pub(crate) fn saw_evaluation(&self) -> bool {
        self.evaluated.load(Ordering::Relaxed)
    }
}

/// Does autograd record something for one of these tensors, or for one that the module holds?
pub(crate) fn records<T: Borrow<Tensor>>(host: &Module, tensors: &[T]) -> bool {
    is_recorded(host, |recording| tensors.iter().any(|t| TensorView::of(t.borrow()).is_recorded(recording)))
}

/// The same of the tensors in values.
pub(crate) fn records_values<V: Borrow<IValue>>(host: &Module, values: &[V]) -> bool {
    is_recorded(host, |recording| values.iter().any(|value| holds_recorded(value.borrow(), recording)))
}

fn is_recorded(host: &Module, arguments: impl FnOnce(Recording) -> bool) -> bool {
    let recording = Recording::now();
    !recording.is_off() && (arguments(recording) || host.is_recorded(recording))
}

fn holds_recorded(value: &IValue, recording: Recording) -> bool {
    match value {
        IValue::Tensor(tensor) => TensorView::of(tensor).is_recorded(recording),
        IValue::TensorList(tensors) => tensors.iter().any(|t| TensorView::of(t).is_recorded(recording)),
        IValue::Tuple(values) | IValue::GenericList(values) => {
            values.iter().any(|v| holds_recorded(v, recording))
        }
        IValue::GenericDict(pairs) => pairs.iter().any(|(_, v)| holds_recorded(v, recording)),
        _ => false,
    }
}
