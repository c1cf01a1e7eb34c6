//! What values hold in one run of a graph on the host.

use std::borrow::Borrow;
use std::collections::HashSet;

use cxx::UniquePtr;
use tch::{Device, IValue, Kind};

use super::graph::ValueId;
use super::tensor::{device_from_raw, kind_from_code};
use super::{Graph, JitError, value};
use crate::sys::ffi::{self, RawFact, RawSeen, ValueKind};

/// What one value held. Values in branches that were not taken are not seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The value.
    pub value: ValueId,
    /// How many times it was computed; more than once in loops.
    pub count: u64,
    /// What it held the first time.
    pub first: Fact,
    /// What it held the last time.
    pub last: Fact,
}

/// The observable part of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// None, or an undefined tensor.
    None,
    /// A tensor's metadata.
    Tensor {
        /// Element type, where tch names it.
        kind: Option<Kind>,
        /// Elements along each dimension.
        sizes: Vec<i64>,
        /// Strides in elements.
        strides: Vec<i64>,
        /// Device, where tch names it.
        device: Option<Device>,
        /// Whether autograd tracked it.
        requires_grad: bool,
        /// See [`TensorView::is_plain`](super::TensorView::is_plain); sizes and strides are empty where it is false.
        plain: bool,
    },
    /// An int.
    Int(i64),
    /// A float.
    Double(f64),
    /// A bool.
    Bool(bool),
    /// A list and its length.
    List(usize),
    /// Anything else.
    Other,
}

impl Graph {
    /// Runs the graph on the host, without optimisation, and records what each value holds. Constants and modules are
    /// not recorded. Side effects of the graph happen.
    ///
    /// # Errors
    /// [`JitError::Argument`] for a wrong number of arguments, else what the model raised.
    pub fn observe<V: Borrow<IValue>>(&self, arguments: &[V]) -> Result<(IValue, Vec<Seen>), JitError> {
        let (result, seen, _) = self.run_observed(arguments, false, &[])?;
        Ok((result, seen.into_iter().map(seen_from_raw).collect()))
    }

    /// As [`Self::observe`], on copies of the module and the arguments, and without a word: nothing that the caller can see changes.
    pub fn rehearse<V: Borrow<IValue>>(&self, arguments: &[V]) -> Result<Vec<Seen>, JitError> {
        let (_, seen, _) = self.run_observed(arguments, true, &[])?;
        Ok(seen.into_iter().map(seen_from_raw).collect())
    }

    /// As [`Self::rehearse`], for what the wanted values themselves hold the first time that they are computed; `None` for
    /// those that are not.
    pub fn keep<V: Borrow<IValue>>(
        &self,
        arguments: &[V],
        wanted: &[ValueId],
    ) -> Result<(IValue, Vec<Option<IValue>>), JitError> {
        let (result, seen, mut kept) = self.run_observed(arguments, true, wanted)?;
        let seen: HashSet<u32> = seen.iter().map(|s| s.value).collect();
        let mut values = Vec::with_capacity(wanted.len());
        for id in wanted.iter().rev() {
            let value = value::pop(kept.pin_mut())?;
            values.push(seen.contains(&id.0).then_some(value));
        }
        values.reverse();
        Ok((result, values))
    }

    fn run_observed<V: Borrow<IValue>>(
        &self,
        arguments: &[V],
        apart: bool,
        wanted: &[ValueId],
    ) -> Result<(IValue, Vec<RawSeen>, UniquePtr<ffi::Stack>), JitError> {
        let mut stack = value::stack_of(arguments.iter().map(Borrow::borrow))?;
        let mut kept = ffi::new_stack();
        let wanted: Vec<u32> = wanted.iter().map(|id| id.0).collect();
        let seen = ffi::observe(&self.inner, stack.pin_mut(), apart, &wanted, kept.pin_mut())?;
        Ok((value::pop(stack.pin_mut())?, seen, kept))
    }
}

fn seen_from_raw(raw: RawSeen) -> Seen {
    Seen {
        value: ValueId(raw.value),
        count: raw.count,
        first: fact_from_raw(raw.first),
        last: fact_from_raw(raw.last),
    }
}

fn fact_from_raw(raw: RawFact) -> Fact {
    match raw.kind {
        ValueKind::None => Fact::None,
        ValueKind::Tensor => Fact::Tensor {
            kind: kind_from_code(raw.dtype),
            sizes: raw.sizes,
            strides: raw.strides,
            device: device_from_raw(&raw.device),
            requires_grad: raw.requires_grad,
            plain: raw.plain,
        },
        ValueKind::Int => Fact::Int(raw.number),
        ValueKind::Double => Fact::Double(raw.real),
        ValueKind::Bool => Fact::Bool(raw.number != 0),
        ValueKind::IntList
        | ValueKind::DoubleList
        | ValueKind::BoolList
        | ValueKind::StringList
        | ValueKind::TensorList
        | ValueKind::List => Fact::List(usize::try_from(raw.number).unwrap_or(0)),
        _ => Fact::Other,
    }
}
