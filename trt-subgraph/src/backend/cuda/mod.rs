//! The CUDA backend: kernels rendered from layers and compiled at run time.
//!
//! Networks become flat lists of launches over one arena. Movement is mostly views; weights are packed once. Assembling and
//! compiling need no device; a call allocates, waits for and locks nothing.

mod alone;
mod assemble;
mod boxes;
mod capture;
mod channels;
mod checksum;
mod compile;
mod device;
mod dnn;
#[cfg(test)]
mod emulator;
mod energy;
mod engine;
mod groups;
mod kernel;
mod layout;
mod library;
mod load;
mod lt;
mod memory;
mod narrow;
mod order;
mod program;
mod queue;
mod rehearsal;
mod render;
mod replay;
mod saved;
mod staging;
mod stream;
mod tactic;
mod target;
mod timer;

pub use compile::{DUMP_VARIABLE, compiled};
pub use device::Device;
pub use energy::Meter;
pub use library::VARIABLE as LIBRARIES_VARIABLE;
pub use memory::Buffer;
pub use rehearsal::Rehearsal;
pub use stream::OwnStream;
pub use target::Target;

use super::{
    Backend, CompileError, CompileOptions, Engine, MemoryRun, RunError, Signature, Staging, Stream,
    Unavailable, Weights,
};
use crate::Bytes;
use crate::network::{Layer, LayerKind, Network, Split};
use crate::pass;
use crate::source::Refusal;
use engine::CudaEngine;
use library::Nvrtc;
use std::sync::Arc;

/// The CUDA backend. Needs an NVIDIA GPU of compute capability 8.0 or newer, a driver for CUDA 13, and CUDA 13's run-time compiler.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cuda;

/// An engine, and how it runs its layer.
pub type NamedEngine = (String, Box<dyn Engine>);

impl Cuda {
    /// Engines of a network of which one layer has several ways to run, one for each way with its name: for tests and measurements.
    pub fn every_way(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Vec<NamedEngine>, CompileError> {
        let device = device(options.device).map_err(CompileError::Unavailable)?;
        let engines = CudaEngine::every_way(network, &device, weights, options)?;
        Ok(engines.into_iter().map(|(name, engine)| (name, Box::new(engine) as Box<dyn Engine>)).collect())
    }

    /// An engine that leaves each layer to a library where one has it, however fast that is: for tests.
    pub fn by_libraries(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let device = device(options.device).map_err(CompileError::Unavailable)?;
        Ok(Box::new(CudaEngine::by_libraries(network, &device, weights, options)?))
    }
}

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        let device = device(0)?;
        let memory = device.memory >> 30;
        Ok(format!("{}, {}, {memory} GiB, {}", device.name, device.target, library::versions()))
    }

    fn supports(&self, _network: &Network, _layer: &Layer) -> Result<(), Refusal> {
        Ok(())
    }

    fn compile(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let device = device(options.device).map_err(CompileError::Unavailable)?;
        Ok(Box::new(CudaEngine::compile(network, &device, weights, options)?))
    }

    unsafe fn checksums(
        &self,
        runs: &[MemoryRun],
        options: &CompileOptions,
        stream: Stream,
    ) -> Option<Vec<u64>> {
        let device = device(options.device).ok()?;
        let of_device = || checksum::Checksums::of(&device);
        // SAFETY: the caller's promise.
        let sums = of_device().and_then(|checksums| unsafe { checksums.sum(runs, stream.0.cast()) });
        sums.inspect_err(|why| log::debug!("no checksums of weights: {why}")).ok().flatten()
    }

    fn fingerprint(&self, options: &CompileOptions) -> Option<String> {
        let device = device(options.device).ok()?;
        let CompileOptions { tf32, level, .. } = options;
        Some(format!("{}, {tf32}, level {}", device.circumstances(), u8::from(*level)))
    }

    fn load(
        &self,
        network: &Network,
        options: &CompileOptions,
        saved: &Bytes,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let device = device(options.device).map_err(CompileError::Unavailable)?;
        Ok(Box::new(CudaEngine::load(network, &device, options, saved)?))
    }

    fn staging(
        &self,
        signature: &Signature,
        options: &CompileOptions,
    ) -> Result<Box<dyn Staging>, CompileError> {
        let device = device(options.device).map_err(CompileError::Unavailable)?;
        let staging = staging::CudaStaging::new(&device, signature);
        Ok(Box::new(staging.map_err(|why| CompileError::Prepare(RunError::Device(why)))?))
    }
}

/// The network's halves as they run here: transposed convolutions are plain ones, and `run` stores what it can in halves.
fn split(network: &Network) -> Split {
    let transposed = |l: &Layer| matches!(&l.kind, LayerKind::Convolution(c) if c.transposed);
    let mut split = if network.layers.iter().any(transposed) {
        let options = pass::Options { all_phases: true, ..pass::Options::default() };
        let phases = pass::by_name("phases").expect("a pass of that name");
        phases.run(network.clone(), &options, &mut usize::MAX.clone()).split()
    } else {
        network.split()
    };
    narrow::narrow(&mut split.run);
    split
}

fn device(ordinal: usize) -> Result<Arc<Device>, Unavailable> {
    Nvrtc::get().map_err(unavailable)?;
    Device::open(ordinal).map_err(unavailable)
}

fn unavailable(why: String) -> Unavailable {
    Unavailable { backend: "cuda", why }
}
