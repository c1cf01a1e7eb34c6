//! Which backend runs the engines of which device, and what a cluster must be worth there.

use crate::Options;
use crate::options::BackendChoice;
use partitioner::Policy;
use std::sync::{Arc, OnceLock};
use tch::Device;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::cuda::Cuda;
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::backend::{Backend, CompileError, CompileOptions, Engine, Unavailable, Weights};
use trt_subgraph::network::{Layer, Network};
use trt_subgraph::source::Refusal;

/// Who runs the engines of one device.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) policy: Policy,
}

/// The runners by device. What runs on one is looked for when the first tensor there comes, or when it is asked for by name.
#[derive(Clone)]
pub(crate) struct Runners {
    choice: BackendChoice,
    cpu: Arc<OnceLock<Runner>>,
    gpu: Arc<OnceLock<Runner>>,
}

impl Runners {
    /// The runners for these options. With `auto`, the host serves the tensors of a device on which nothing runs, and the report
    /// says why; a backend asked for by name that does not run here is an error.
    pub(crate) fn new(options: &Options) -> Result<Runners, Unavailable> {
        let choice = options.backend.unwrap_or_default();
        let runners = Runners { choice, cpu: Arc::default(), gpu: Arc::default() };
        let on_cpu = |backend| Runner { backend, policy: priced(Policy::cpu(), options) };
        match choice {
            BackendChoice::Auto => {}
            BackendChoice::Reference => drop(runners.cpu.set(on_cpu(Arc::new(Reference)))),
            BackendChoice::Cpu => drop(runners.cpu.set(on_cpu(probed(Cpu)?))),
            BackendChoice::Cuda => {
                let cuda = probed(Cuda)?;
                drop(runners.gpu.set(Runner { backend: cuda, policy: priced(Policy::cuda(), options) }));
                let elsewhere = Unavailable { backend: "cuda", why: "the tensors are on the CPU".into() };
                drop(runners.cpu.set(on_cpu(Arc::new(HostOnly(elsewhere)))));
            }
        }
        Ok(runners)
    }

    /// The runner of tensors on this device.
    pub(crate) fn of(&self, device: Device, options: &Options) -> Runner {
        let nobody = |backend: &'static str, why: &str| Runner {
            backend: Arc::new(HostOnly(Unavailable { backend, why: why.into() })),
            policy: priced(Policy::cpu(), options),
        };
        match (device, self.choice) {
            (Device::Cpu, _) => {
                let look = || Runner {
                    backend: probed(Cpu).unwrap_or_else(HostOnly::warned),
                    policy: priced(Policy::cpu(), options),
                };
                self.cpu.get_or_init(look).clone()
            }
            (Device::Cuda(_), BackendChoice::Cpu) => nobody("cpu", "the tensors are on a GPU"),
            (Device::Cuda(_), BackendChoice::Reference) => nobody("reference", "the tensors are on a GPU"),
            (Device::Cuda(_), BackendChoice::Auto | BackendChoice::Cuda) => {
                let look = || Runner {
                    backend: probed(Cuda).unwrap_or_else(HostOnly::warned),
                    policy: priced(Policy::cuda(), options),
                };
                self.gpu.get_or_init(look).clone()
            }
            _ => nobody("engine", "engines run on the CPU and on NVIDIA GPUs"),
        }
    }

    /// Runs everything on the CPU in this backend.
    #[cfg(all(test, feature = "tool"))]
    pub(crate) fn only(backend: Arc<dyn Backend>, options: &Options) -> Runners {
        let cpu = OnceLock::from(Runner { backend, policy: priced(Policy::cpu(), options) });
        Runners { choice: BackendChoice::Auto, cpu: Arc::new(cpu), gpu: Arc::default() }
    }
}

impl Runner {
    /// The backend and what it found on this machine, or why it does not run here.
    pub(crate) fn describe(&self, options: &Options) -> String {
        match self.backend.probe_for(options.threads_of_a_call()) {
            Ok(found) => format!("{}: {found}", self.backend.name()),
            Err(why) => why.to_string(),
        }
    }
}

fn probed(backend: impl Backend + 'static) -> Result<Arc<dyn Backend>, Unavailable> {
    backend.probe()?;
    Ok(Arc::new(backend))
}

fn priced(policy: Policy, options: &Options) -> Policy {
    let mut policy = if options.take_all { Policy::take_all() } else { policy };
    if let Some(least) = options.min_block_size {
        policy.min_block_size = least;
        policy.enough_operations = f64::INFINITY;
    }
    policy
}

/// Every backend, whether it runs here or not.
#[cfg(feature = "tool")]
pub(crate) fn all() -> Vec<Arc<dyn Backend>> {
    vec![Arc::new(Cuda), Arc::new(Cpu), Arc::new(Reference)]
}

/// Refuses every layer: no backend runs here.
struct HostOnly(Unavailable);

impl HostOnly {
    fn warned(why: Unavailable) -> Arc<dyn Backend> {
        log::warn!("{why}; the host serves everything");
        Arc::new(HostOnly(why))
    }
}

impl Backend for HostOnly {
    fn name(&self) -> &'static str {
        "host"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        Err(self.0.clone())
    }

    fn supports(&self, _: &Network, layer: &Layer) -> Result<(), Refusal> {
        Err(Refusal::Backend { layer: layer.kind.name(), why: "it is not available here".into() })
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
