//! Memory for the tensors of one call: where the host writes and reads them, and where an engine does.

use super::{Io, RunError, Signature, Stream};
use crate::bytes::ALIGNMENT;

/// The tensors of one call at a time, and the queue that they travel on.
pub trait Staging: Send {
    /// The host's side of an input; dense, row-major.
    fn input(&mut self, at: usize) -> &mut [u8];

    /// The host's side of an output.
    fn output(&self, at: usize) -> &[u8];

    /// Sends the inputs, has `call` run on the engine's side of the tensors, and fetches the outputs: all of it queued in this order,
    /// complete when [`Staging::wait`] returns.
    fn pass(&mut self, call: &mut dyn FnMut(&Io<'_>, Stream) -> Result<(), RunError>)
    -> Result<(), RunError>;

    /// Waits for what is queued.
    fn wait(&mut self) -> Result<(), RunError>;

    /// Memory of the same kind for a call beside this one.
    fn fork(&self) -> Result<Box<dyn Staging>, RunError>;
}

/// Host memory, for engines that work there: nothing travels.
pub struct HostStaging {
    signature: Signature,
    inputs: Vec<Vec<Line>>,
    outputs: Vec<Vec<Line>>,
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
        HostStaging { signature: signature.clone(), inputs, outputs }
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

    fn pass(
        &mut self,
        call: &mut dyn FnMut(&Io<'_>, Stream) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let inputs: Vec<*const u8> = self.inputs.iter().map(|t| t.as_ptr().cast()).collect();
        let outputs: Vec<*mut u8> = self.outputs.iter_mut().map(|t| t.as_mut_ptr().cast()).collect();
        call(&Io { inputs: &inputs, outputs: &outputs }, Stream::NONE)
    }

    fn wait(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Staging>, RunError> {
        Ok(Box::new(HostStaging::new(&self.signature)))
    }
}
