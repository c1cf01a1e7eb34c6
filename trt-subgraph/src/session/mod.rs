//! Calls of a plan by the names of its tensors: the host writes inputs, starts a call, waits, reads outputs.
//!
//! On a GPU inputs and outputs lie in page-locked memory and travel on the session's own stream; on a CPU they lie where the engine
//! works, and nothing travels. A session has one call in flight; [`Session::fork`] gives another, which shares the weights, for a call
//! beside it.
//!
//! [`Session::run`] is a call. Its parts are there one by one: write [`Session::input_mut`], [`Session::send`], [`Session::execute`],
//! [`Session::fetch`], [`Session::wait`], read [`Session::output`]. Nothing but the last two, and writing while a call is under way,
//! waits for a device.

mod error;
#[cfg(test)]
mod tests;

pub use error::SessionError;

use crate::backend::{Backend, CompileOptions, Engine, EngineInfo, Staging, Stream};
use crate::plan::{Plan, PlanError, Port};
use crate::{Literal, TensorType};
use std::time::Duration;

/// How long the parts of a call took, by the device's clock where there is a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// Copies of the inputs to the device.
    pub send: Duration,
    /// The engine.
    pub execute: Duration,
    /// Copies of the outputs from the device.
    pub fetch: Duration,
}

/// An engine of a plan, and the tensors of its calls.
pub struct Session {
    plan: Plan,
    engine: Box<dyn Engine>,
    staging: Box<dyn Staging>,
    /// Was the engine in the plan?
    saved: bool,
    /// Is a call under way?
    busy: bool,
}

impl Session {
    /// Makes the plan's engine, and memory for its tensors, which are zero.
    pub fn new(plan: &Plan, backend: &dyn Backend, options: &CompileOptions) -> Result<Session, PlanError> {
        let (engine, saved) = plan.engine_or_new(backend, options)?;
        let staging = backend.staging(engine.signature(), options)?;
        Ok(Session { plan: plan.clone(), engine, staging, saved, busy: false })
    }

    /// Another session on the same program and weights.
    pub fn fork(&self) -> Result<Session, SessionError> {
        let staging = self.staging.fork()?;
        let (plan, engine) = (self.plan.clone(), self.engine.fork());
        Ok(Session { plan, engine, staging, saved: self.saved, busy: false })
    }

    /// The inputs in order.
    pub fn inputs(&self) -> &[Port] {
        self.plan.inputs()
    }

    /// The outputs in order.
    pub fn outputs(&self) -> &[Port] {
        self.plan.outputs()
    }

    /// Was its engine in the plan? Else it was built.
    pub fn is_saved(&self) -> bool {
        self.saved
    }

    /// The steps that it runs and the memory that it holds.
    pub fn describe(&self) -> EngineInfo {
        self.engine.describe()
    }

    /// Copies an input in.
    pub fn set(&mut self, name: &str, value: &Literal) -> Result<(), SessionError> {
        let (at, ty) = find("input", self.plan.inputs(), name)?;
        if value.ty() != ty {
            let (expected, found) = (ty.clone(), value.ty().clone());
            return Err(SessionError::Type { name: name.to_string(), expected, found });
        }
        self.wait()?;
        self.staging.input(at).copy_from_slice(value.bytes());
        Ok(())
    }

    /// The elements of an input, row-major, for writing. They stay from call to call. Waits for a call that is under way.
    pub fn input_mut(&mut self, name: &str) -> Result<&mut [u8], SessionError> {
        let (at, _) = find("input", self.plan.inputs(), name)?;
        self.wait()?;
        Ok(self.staging.input(at))
    }

    /// Starts a call: inputs are sent, the engine runs, outputs are fetched, all without waiting where there is a device. Waits for
    /// the call before first.
    pub fn start(&mut self) -> Result<(), SessionError> {
        self.wait()?;
        self.send()?;
        self.execute()?;
        self.fetch()
    }

    /// Queues the copies of the inputs to the device.
    pub fn send(&mut self) -> Result<(), SessionError> {
        self.busy = true;
        Ok(self.staging.send()?)
    }

    /// Queues the engine, on the inputs that were sent last; a CPU runs it now.
    pub fn execute(&mut self) -> Result<(), SessionError> {
        self.busy = true;
        let engine = &mut self.engine;
        // SAFETY: the staging was made for the engine's signature; its outputs are apart from everything.
        Ok(self.staging.call(&mut |io, stream| unsafe { engine.run(io, stream) })?)
    }

    /// Queues the copies of the outputs from the device.
    pub fn fetch(&mut self) -> Result<(), SessionError> {
        self.busy = true;
        Ok(self.staging.fetch()?)
    }

    /// The stream on which all that happens, for work of the caller's own before or after it; [`Stream::NONE`] on a CPU. It lives as long
    /// as the session.
    pub fn stream(&self) -> Stream {
        self.staging.stream()
    }

    /// Waits for the call that is under way, if one is.
    pub fn wait(&mut self) -> Result<(), SessionError> {
        if std::mem::take(&mut self.busy) {
            self.staging.wait()?;
        }
        Ok(())
    }

    /// One call, complete on return.
    pub fn run(&mut self) -> Result<(), SessionError> {
        self.start()?;
        self.wait()
    }

    /// One call, complete on return, and how long its parts took.
    pub fn run_timed(&mut self) -> Result<Times, SessionError> {
        self.wait()?;
        self.staging.mark(0)?;
        self.send()?;
        self.staging.mark(1)?;
        self.execute()?;
        self.staging.mark(2)?;
        self.fetch()?;
        self.staging.mark(3)?;
        self.wait()?;
        let [send, execute, fetch] = self.staging.between()?;
        Ok(Times { send, execute, fetch })
    }

    /// The elements of an output of the latest call, row-major. Waits for it.
    pub fn output(&mut self, name: &str) -> Result<&[u8], SessionError> {
        let (at, _) = find("output", self.plan.outputs(), name)?;
        self.wait()?;
        Ok(self.staging.output(at))
    }

    /// An output of the latest call. Waits for it.
    pub fn get(&mut self, name: &str) -> Result<Literal, SessionError> {
        let (_, ty) = find("output", self.plan.outputs(), name)?;
        let ty = ty.clone();
        let literal = Literal::from_bytes(ty, self.output(name)?);
        Ok(literal.expect("an output has its type's bytes"))
    }
}

fn find<'a>(
    what: &'static str,
    ports: &'a [Port],
    name: &str,
) -> Result<(usize, &'a TensorType), SessionError> {
    let found = ports.iter().enumerate().find(|(_, p)| p.name == name);
    found.map(|(at, p)| (at, &p.ty)).ok_or_else(|| SessionError::Name {
        what,
        name: name.to_string(),
        known: ports.iter().map(|p| p.name.clone()).collect(),
    })
}
