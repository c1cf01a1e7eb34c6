//! Engines to and from what plans keep of them.

use super::super::device::Device;
use super::super::memory::Buffer;
use super::super::program::Program;
use super::super::saved::Saved;
use super::super::tactic::Choice;
use super::{CudaEngine, Shared, modules};
use crate::Bytes;
use crate::backend::{CompileError, CompileOptions};
use crate::network::Network;
use std::sync::{Arc, PoisonError};

impl CudaEngine {
    /// The engine that was saved.
    pub fn load(
        network: &Network,
        device: &Arc<Device>,
        options: &CompileOptions,
        saved: &Bytes,
    ) -> Result<CudaEngine, CompileError> {
        let _relaxed = device.enter_relaxed().map_err(modules)?;
        let saved = Saved::read(saved).map_err(modules)?;
        saved.teach(&device.target);
        let told = saved.told(device, options.tf32, options.level);
        let shared = Shared::assemble(network, device, options, Choice::Told(told))?;
        saved.check(shared.programs(), shared.weight_bytes).map_err(modules)?;
        shared.publish(Buffer::holding(device, saved.weights()).map_err(modules)?);
        CudaEngine::of(shared)
    }
}

impl Shared {
    /// Makes these the weights.
    pub(super) fn publish(&self, weights: Buffer) {
        let _held = self.weights.set(weights);
        *self.whole.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn programs(&self) -> [&Program; 2] {
        [&self.prepare.program, &self.run.program]
    }

    /// See [`Engine::save`].
    pub(super) fn save(&self) -> Result<Vec<u8>, String> {
        let _relaxed = self.device.enter_relaxed()?;
        let mut weights = vec![0; self.weight_bytes];
        self.weights.get().ok_or("an engine without weights")?.read(&mut weights)?;
        Saved::write(self.programs(), &self.device.target, &weights)
    }
}
