//! Backends by name, for programs that have no framework to choose for them.

use super::cpu::Cpu;
use super::cuda::Cuda;
use super::reference::Reference;
use super::{Backend, Unavailable};

/// Every backend, the fastest first.
pub const BACKENDS: &[&dyn Backend] = &[&Cuda, &Cpu, &Reference];

/// The backend of this name, or for `auto` the fastest that is not the reference; available here, or the reason why not.
pub fn choose(name: &str) -> Result<&'static dyn Backend, Unavailable> {
    if name == "auto" {
        let fast = BACKENDS.iter().filter(|b| b.name() != Reference.name());
        let mut last = None;
        for backend in fast {
            match backend.probe() {
                Ok(_) => return Ok(*backend),
                Err(e) => last = Some(e),
            }
        }
        return Err(last.expect("there is more than one backend"));
    }
    let Some(backend) = BACKENDS.iter().find(|b| b.name() == name) else {
        let names: Vec<&str> = BACKENDS.iter().map(|b| b.name()).collect();
        let why = format!("there is none of the name '{name}'; there are auto, {}", names.join(", "));
        return Err(Unavailable { backend: "wanted", why });
    };
    backend.probe().map(|_| *backend)
}
