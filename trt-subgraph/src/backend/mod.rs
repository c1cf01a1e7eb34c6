//! Who runs networks: one small trait, and its implementations.
//!
//! A backend compiles a verified [`Network`] into an [`Engine`]. An engine is one thread's; [`Engine::fork`] gives another thread
//! its own, sharing kernels and prepared weights. Nothing is global and the stream is a parameter.

mod checksum;
mod choice;
pub mod cpu;
pub mod cuda;
mod dynamic;
pub mod ending;
mod error;
mod level;
mod options;
pub mod reference;
mod staging;
mod view;
mod wanted;

pub use choice::{BACKENDS, choose};
pub use error::{CompileError, RunError, Unavailable};
pub use level::Level;
pub use options::{CompileOptions, Tf32};
pub use staging::{Call, HostStaging, Staging};

use crate::Bytes;
use crate::network::{Layer, Network, TensorType};
use crate::source::Refusal;
use std::any::Any;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A device that can run networks.
pub trait Backend: Send + Sync {
    /// `reference`, `cpu`, `cuda`, ...
    fn name(&self) -> &'static str;

    /// What it found on this machine, in words (`oneDNN 3.2.0, AVX-512, 2 threads`), or why it cannot run here.
    fn probe(&self) -> Result<String, Unavailable>;

    /// The same of engines that take so many threads, where that is told.
    fn probe_for(&self, _threads: usize) -> Result<String, Unavailable> {
        self.probe()
    }

    /// Can it run this layer? Asked before compiling; what is accepted compiles.
    fn supports(&self, network: &Network, layer: &Layer) -> Result<(), Refusal>;

    /// Compiles a verified, optimised network and prepares it with the given weights.
    fn compile(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError>;

    /// As [`Backend::compile`], beside engines of other networks on the same parameters: where one of them has prepared its weights as
    /// this network wants them, both use them, and a `refit` of either is seen by both.
    fn compile_beside(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
        _others: &[Prepared],
    ) -> Result<Box<dyn Engine>, CompileError> {
        self.compile(network, weights, options)
    }

    /// Memory for calls whose tensors come from the host and go there.
    fn staging(
        &self,
        signature: &Signature,
        _options: &CompileOptions,
    ) -> Result<Box<dyn Staging>, CompileError> {
        Ok(Box::new(HostStaging::new(signature)))
    }

    /// A checksum of each run of memory on its device, as it is when what `stream` has to do now is done: equal for equal bytes in the same
    /// process. `None` where it can tell none.
    ///
    /// # Safety
    /// The runs can be read, and are not written meanwhile.
    unsafe fn checksums(
        &self,
        _runs: &[MemoryRun],
        _options: &CompileOptions,
        _stream: Stream,
    ) -> Option<Vec<u64>> {
        None
    }

    /// What engines that it saves depend on beside the network, in words: instructions, kernels, libraries, devices. What was
    /// saved under the same words is fit to be loaded. `None` where none are saved.
    fn fingerprint(&self, _options: &CompileOptions) -> Option<String> {
        None
    }

    /// An engine from what [`Engine::save`] gave for this network under the same [`Backend::fingerprint`]. Its memory is used as
    /// it is where that is possible.
    fn load(
        &self,
        _network: &Network,
        _options: &CompileOptions,
        _saved: &Bytes,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let why = "it saves no engines".to_string();
        Err(CompileError::Unavailable(Unavailable { backend: self.name(), why }))
    }
}

/// Memory on a device.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRun {
    /// Where it starts; anything where it is empty.
    pub address: *const u8,
    /// Its length.
    pub bytes: usize,
}

/// A compiled network, ready to run for one thread at a time.
pub trait Engine: Send {
    /// What `run` takes and gives.
    fn signature(&self) -> &Signature;

    /// Runs once. All pointers are on the engine's device; for a CPU the results are complete on return, for a stream they are
    /// complete when the stream's work is. An error leaves the outputs unspecified and the engine usable.
    ///
    /// # Safety
    /// `io` has one dense row-major tensor of the signature's type for each input and output; outputs overlap nothing.
    unsafe fn run(&mut self, io: &Io<'_>, stream: Stream) -> Result<(), RunError>;

    /// Another engine on the same program and weights with its own state. A later `refit` of either is seen by both.
    fn fork(&self) -> Box<dyn Engine>;

    /// Runs the `prepare` network again on changed parameters of the same types. Calls that started before finish on the old weights.
    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError>;

    /// Its prepared weights, for [`Backend::compile_beside`]. `None` where they are its own alone.
    fn prepared(&self) -> Option<Prepared> {
        None
    }

    /// What [`Backend::load`] makes the same engine of: prepared weights, machine code. `None` where that is built again.
    fn save(&self) -> Option<Vec<u8>> {
        None
    }

    /// The steps it runs and the memory it holds, for reports.
    fn describe(&self) -> EngineInfo;

    /// Runs once as [`Engine::run`] does and tells how long it took and each step of it, in order. The steps are those of
    /// [`Engine::describe`] where the backend can time them alone, else one that stands for the whole.
    ///
    /// # Safety
    /// As for [`Engine::run`].
    unsafe fn profile(&mut self, io: &Io<'_>, stream: Stream) -> Result<Profile, RunError> {
        let start = Instant::now();
        // SAFETY: the caller's promise.
        unsafe { self.run(io, stream) }?;
        let whole = start.elapsed();
        Ok(Profile { whole, steps: vec![StepTime { step: "the whole call".to_string(), time: whole }] })
    }
}

/// The prepared weights of an engine, as its backend knows them.
#[derive(Clone)]
pub struct Prepared(pub(crate) Arc<dyn Any + Send + Sync>);

impl Prepared {
    /// Are they the very same memory?
    pub fn is(&self, other: &Prepared) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Where the time of one run goes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// All of it.
    pub whole: Duration,
    /// Each step, in order.
    pub steps: Vec<StepTime>,
}

/// How long a step of an engine took, in one run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepTime {
    /// The step, as in [`EngineInfo::steps`].
    pub step: String,
    /// Its time.
    pub time: Duration,
}

/// What the engine takes and gives.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Signature {
    /// The inputs in order.
    pub inputs: Vec<TensorType>,
    /// The outputs in order.
    pub outputs: Vec<TensorType>,
}

impl Signature {
    /// The signature of a network.
    pub fn of(network: &Network) -> Signature {
        let types = |ids: &[crate::network::ValueId]| ids.iter().map(|&v| network.ty(v).clone()).collect();
        Signature { inputs: types(&network.inputs), outputs: types(&network.outputs) }
    }
}

/// The tensors of one call, as addresses of dense row-major data.
#[derive(Clone, Copy, Debug)]
pub struct Io<'a> {
    /// One for each input. May be null for a tensor of no elements.
    pub inputs: &'a [*const u8],
    /// One for each output. May be null for a tensor of no elements.
    pub outputs: &'a [*mut u8],
}

/// The device queue that the caller works on; null for a CPU.
#[derive(Clone, Copy, Debug)]
pub struct Stream(pub *mut c_void);

impl Stream {
    /// No queue: a CPU call.
    pub const NONE: Stream = Stream(std::ptr::null_mut());
}

/// A dense row-major tensor that somebody else owns.
#[derive(Clone, Copy, Debug)]
pub struct TensorRef<'a> {
    /// Address of the first element.
    pub data: *const u8,
    /// Its type.
    pub ty: &'a TensorType,
    /// Ties the address to its owner.
    pub owner: PhantomData<&'a u8>,
}

/// The model's parameters, by their position in [`Network::parameters`].
pub trait Weights {
    /// Parameter `index`, of the declared type; its data stays valid while the borrow lasts.
    fn parameter(&self, index: usize) -> TensorRef<'_>;

    /// The queue of whoever computes them: they are read when what it has now is done. The device's default one unless something else is said.
    fn stream(&self) -> Stream {
        Stream(std::ptr::null_mut())
    }
}

impl Weights for Vec<crate::Literal> {
    fn parameter(&self, index: usize) -> TensorRef<'_> {
        TensorRef { data: self[index].bytes().as_ptr(), ty: self[index].ty(), owner: PhantomData }
    }
}

/// What an engine holds, for reports.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct EngineInfo {
    /// The steps in order, one line each.
    pub steps: Vec<String>,
    /// Bytes of prepared weights, shared between forks.
    pub weight_bytes: usize,
    /// Bytes of working memory, of each fork.
    pub arena_bytes: usize,
}
