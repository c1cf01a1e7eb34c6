//! Which backend runs the engines, and what a cluster must be worth there.

use crate::Options;
use crate::options::BackendChoice;
use partitioner::Policy;
use std::sync::Arc;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::backend::{Backend, CompileError, CompileOptions, Engine, Unavailable, Weights};
use trt_subgraph::network::{Layer, Network};
use trt_subgraph::source::Refusal;

/// The backend and policy for these options. With `auto` and nothing that runs here, the host serves everything and the
/// report says why; a backend asked for by name that does not run here is an error.
pub(crate) fn choose(options: &Options) -> Result<(Arc<dyn Backend>, Policy), Unavailable> {
    let mut policy = if options.take_all { Policy::take_all() } else { Policy::cpu() };
    if let Some(least) = options.min_block_size {
        policy.min_block_size = least;
    }
    let cpu = Cpu;
    let backend: Arc<dyn Backend> = match (options.backend.unwrap_or_default(), cpu.probe()) {
        (BackendChoice::Reference, _) => Arc::new(Reference),
        (_, Ok(_)) => Arc::new(cpu),
        (BackendChoice::Cpu, Err(why)) => return Err(why),
        (BackendChoice::Auto, Err(why)) => {
            log::warn!("{why}; the host serves everything");
            Arc::new(HostOnly(why))
        }
    };
    Ok((backend, policy))
}

/// Every backend, whether it runs here or not.
#[cfg(feature = "tool")]
pub(crate) fn all() -> Vec<Arc<dyn Backend>> {
    vec![Arc::new(Cpu), Arc::new(Reference)]
}

/// Refuses every layer: no backend runs on this machine.
struct HostOnly(Unavailable);

impl Backend for HostOnly {
    fn name(&self) -> &'static str {
        "host"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        Err(self.0.clone())
    }

    fn supports(&self, _: &Network, layer: &Layer) -> Result<(), Refusal> {
        Err(Refusal::Backend { layer: layer.kind.name(), why: self.0.why.clone() })
    }

    fn compile(
        &self,
        _: &Network,
        _: &dyn Weights,
        _: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError> {
        Err(CompileError::Unavailable(self.0.clone()))
    }
}
