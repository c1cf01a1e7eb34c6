//! What can be checked of an engine where there is no device: that its program is sound and its kernels compile.

use super::assemble::Assembler;
use super::compile::translate;
use super::library::Nvrtc;
use super::render::{Kernel, module};
use super::tactic::Choice;
use super::target::Target;
use crate::backend::{CompileError, Unavailable};
use crate::network::Network;
use std::collections::BTreeMap;

/// Collects the kernels of networks for one kind of GPU, each once.
pub struct Rehearsal {
    target: Target,
    kernels: BTreeMap<String, (Kernel, Vec<String>)>,
}

impl Rehearsal {
    /// For GPUs of this compute capability (major * 10 + minor). Fails where there is no run-time compiler.
    pub fn new(capability: u32) -> Result<Rehearsal, Unavailable> {
        Nvrtc::get().map_err(|why| Unavailable { backend: "cuda", why })?;
        Ok(Rehearsal { target: Target { capability, multiprocessors: 132 }, kernels: BTreeMap::new() })
    }

    /// Assembles both halves of a verified network and checks on a device that is not there that no step leaves its memory or finds it
    /// overwritten.
    pub fn add(&mut self, network: &Network) -> Result<(), CompileError> {
        let fault = |(layer, why)| CompileError::Layer { layer, why };
        let split = network.split();
        let (run, wanted) = Assembler::new(&split.run, self.target, Choice::First).run().map_err(fault)?;
        let prepare =
            Assembler::new(&split.prepare, self.target, Choice::First).prepare(wanted).map_err(fault)?;
        for program in [run, prepare] {
            program.check().map_err(|why| CompileError::Layer { layer: "the program".to_string(), why })?;
            for (kernel, origins) in program.kernels {
                self.kernels.entry(module([(0, &kernel, &[][..])])).or_insert((kernel, origins));
            }
        }
        Ok(())
    }

    /// How many kernels were collected.
    pub fn kernels(&self) -> usize {
        self.kernels.len()
    }

    /// Compiles every `step`-th kernel from the `first` on to machine code; gives its size in bytes. The error holds the compiler's
    /// words and the kernels' text.
    pub fn compile(&self, first: usize, step: usize) -> Result<usize, String> {
        let chosen: Vec<&(Kernel, Vec<String>)> =
            self.kernels.values().skip(first).step_by(step.max(1)).collect();
        let mut bytes = 0;
        for part in chosen.chunks(64) {
            let text =
                module(part.iter().enumerate().map(|(at, (kernel, origins))| (at, kernel, &origins[..])));
            bytes += translate(&text, &self.target).map_err(|why| format!("{why}\n{text}"))?.len();
        }
        Ok(bytes)
    }
}
