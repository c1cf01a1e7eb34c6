//! Memory for the tensors of one call: where the host writes and reads them, and where an engine does.

use super::{Io, RunError, Signature, Stream};
use crate::bytes::ALIGNMENT;
use std::time::{Duration, Instant};

/// Runs an engine on tensors, on a queue.
pub type Call<'a> = dyn FnMut(&Io<'_>, Stream) -> Result<(), RunError> + 'a;

/// The tensors of one call at a time, and the queue that they travel on.
pub trait Staging: Send {
    /// The host's side of an input; dense, row-major.
    fn input(&mut self, at: usize) -> &mut [u8];

    /// The host's side of an output.
    fn output(&self, at: usize) -> &[u8];

    /// The queue.
    fn stream(&self) -> Stream {
        Stream::NONE
    }

    /// Queues copies of the inputs to the engine's side.
    fn send(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// Has `call` run on the engine's side of the tensors, on the queue.
    fn call(&mut self, call: &mut Call<'_>) -> Result<(), RunError>;

    /// Queues copies of the outputs to the host's side.
    fn fetch(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// Waits for what is queued.
    fn wait(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// Notes the time when the queue gets here: one of four marks.
    fn mark(&mut self, at: usize) -> Result<(), RunError>;

    /// The time from each mark to the next, by the clock of the device, when the queue has got to the last.
    fn between(&mut self) -> Result<[Duration; 3], RunError>;

    /// Memory of the same kind for a call beside this one.
    fn fork(&self) -> Result<Box<dyn Staging>, RunError>;
}

/// Host memory, for engines that work there: nothing travels.
pub struct HostStaging {
    signature: Signature,
    inputs: Vec<Vec<Line>>,
    outputs: Vec<Vec<Line>>,
    marks: [Instant; 4],
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as bytes")] [u8; ALIGNMENT]);

impl HostStaging {
    /// Zeros for the tensors of a signature.
    pub fn new(signature: &Signature) -> HostStaging {
        let tensors = |types: &[crate::TensorType]| {
            types.iter().map(|ty| vec![Line([0; ALIGNMENT]); ty.bytes().div_ceil(ALIGNMENT).max(1)]).collect()
        };
        let (inputs, outputs) = (tensors(&signature.inputs), tensors(&signature.outputs));
        HostStaging { signature: signature.clone(), inputs, outputs, marks: [Instant::now(); 4] }
    }
}

impl Staging for HostStaging {
    fn input(&mut self, at: usize) -> &mut [u8] {
        let bytes = self.signature.inputs[at].bytes();
        // SAFETY: the lines are initialised bytes without padding, at least as many.
        unsafe { std::slice::from_raw_parts_mut(self.inputs[at].as_mut_ptr().cast(), bytes) }
    }

    fn output(&self, at: usize) -> &[u8] {
        let bytes = self.signature.outputs[at].bytes();
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.outputs[at].as_ptr().cast(), bytes) }
    }

    fn call(&mut self, call: &mut Call<'_>) -> Result<(), RunError> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|t| t.as_ptr().cast()).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter_mut().map(|t| t.as_mut_ptr().cast()).collect();
        call(&Io { inputs: &inputs, outputs: &outputs }, Stream::NONE)
    }

    fn mark(&mut self, at: usize) -> Result<(), RunError> {
        self.marks[at] = Instant::now();
        Ok(())
    }

    fn between(&mut self) -> Result<[Duration; 3], RunError> {
        Ok([0, 1, 2].map(|at| self.marks[at + 1].saturating_duration_since(self.marks[at])))
    }

    fn fork(&self) -> Result<Box<dyn Staging>, RunError> {
        Ok(Box::new(HostStaging::new(&self.signature)))
    }
}
