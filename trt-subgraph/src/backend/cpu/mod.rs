//! The CPU backend: kernels of our own for convolutions and matrix products, oneDNN for convolutions that they do not take,
//! fused vector loops for everything else.
//!
//! Networks become flat lists of steps over one arena. Tensors of more than two axes keep their channels innermost from
//! convolution to convolution, also in concatenations; movement is views; weights are packed once; epilogues are applied to
//! results that are still in registers or cache. Nothing is allocated, locked or looked up in a call,
//! but for copies of truth values that are neither 0 nor 1.

mod apart;
mod assemble;
mod bands;
mod buffer;
mod element;
mod engine;
mod expr;
mod gemm;
mod isa;
mod joins;
mod kernel;
mod machine;
mod memory;
mod nest;
mod onednn;
mod pool;
#[cfg(test)]
mod prepared_tests;
mod processor;
mod program;
mod saved;
mod scaled;
mod step;
mod tactic;
mod team;
#[cfg(test)]
mod tests;
mod truths;
mod wanted;

pub use isa::{Isa, VARIABLE as ISA_VARIABLE};
pub use onednn::library::VARIABLE as LIBRARY_VARIABLE;

use super::checksum::checksums;
use super::view;
use super::{
    Backend, CompileError, CompileOptions, Engine, Level, MemoryRun, Prepared, Stream, Unavailable, Weights,
};
use crate::network::{Layer, LayerKind, Network};
use crate::source::Refusal;
use crate::{Bytes, pass};
use engine::CpuEngine;
use machine::Machine;
use onednn::OneDnn;
use std::borrow::Cow;
use tactic::Choice;
use team::Team;

/// Bytes that a product of embeddings made ahead may take: what the last-level caches of servers hold, and of little weight elsewhere.
const TABLE_BYTES: usize = 16 << 20;

/// Operations, and bytes moved, of the least part of a batch that is worth a thread: some 10 us.
const LEAST_PART: f64 = 1e6;

/// Bytes whose checksum is worth a second thread.
const LEAST_SHARED: usize = 1 << 20;

/// The CPU backend. Needs oneDNN 3; see [`LIBRARY_VARIABLE`]. Uses the best instructions of the machine; see [`ISA_VARIABLE`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        self.probe_for(0)
    }

    fn probe_for(&self, threads: usize) -> Result<String, Unavailable> {
        let (isa, library) = (instructions()?, library()?);
        let (major, minor, patch) = library.version;
        let threads = Team::new(threads, Some(&library)).threads();
        let s = if threads == 1 { "" } else { "s" };
        Ok(format!("oneDNN {major}.{minor}.{patch}, {}, {threads} thread{s}", isa.name()))
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
        self.compile_beside(network, weights, options, &[])
    }

    fn compile_beside(
        &self,
        network: &Network,
        weights: &dyn Weights,
        options: &CompileOptions,
        others: &[Prepared],
    ) -> Result<Box<dyn Engine>, CompileError> {
        let (machine, team) = machine(options)?;
        let on_its_threads = team.with_onednn(true);
        let compile = || CpuEngine::compile(&with_tables(network), machine, team, weights, others);
        Ok(Box::new(on_its_threads.scoped(compile)?))
    }

    unsafe fn checksums(
        &self,
        runs: &[MemoryRun],
        options: &CompileOptions,
        _stream: Stream,
    ) -> Option<Vec<u64>> {
        let bytes: usize = runs.iter().map(|run| run.bytes).sum();
        let threads = if bytes < LEAST_SHARED { 1 } else { options.threads };
        let team = Team::new(threads, None);
        // SAFETY: the caller's promise.
        Some(unsafe { checksums(runs, |parts, sum| team.split(parts, 1, |_, range| sum(range))) })
    }

    fn fingerprint(&self, options: &CompileOptions) -> Option<String> {
        let (major, minor, patch) = library().ok()?.version;
        let (isa, sources) = (instructions().ok()?.name(), env!("TRT_SUBGRAPH_SOURCES"));
        let timed = if options.level == Level::Exhaustive { ", timed ways" } else { "" };
        Some(format!("{isa}, oneDNN {major}.{minor}.{patch}, kernels {sources}{timed}"))
    }

    fn load(
        &self,
        network: &Network,
        options: &CompileOptions,
        saved: &Bytes,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let (machine, team) = machine(options)?;
        let on_its_threads = team.with_onednn(true);
        Ok(Box::new(on_its_threads.scoped(|| CpuEngine::load(&with_tables(network), machine, team, saved))?))
    }
}

/// The network, with rows of embeddings multiplied before they are picked.
fn with_tables(network: &Network) -> Cow<'_, Network> {
    if !network.layers.iter().any(|l| matches!(l.kind, LayerKind::Gather { .. })) {
        return Cow::Borrowed(network);
    }
    let options = pass::Options { table_bytes: TABLE_BYTES, ..pass::Options::default() };
    let lookup = pass::by_name("lookup").expect("a pass of that name");
    Cow::Owned(lookup.run(network.clone(), &options, &mut usize::MAX.clone()))
}

fn machine(options: &CompileOptions) -> Result<(Machine, Team), CompileError> {
    let isa = instructions().map_err(CompileError::Unavailable)?;
    let library = library().map_err(CompileError::Unavailable)?;
    let team = Team::new(options.threads, Some(&library));
    let choice = Choice::of(options.level, &team);
    let cache = processor::second_level_cache();
    let (threads, least_part) = (team.threads(), LEAST_PART);
    Ok((Machine { isa, cache, threads, library: Some(library), choice, least_part }, team))
}

fn instructions() -> Result<Isa, Unavailable> {
    Isa::of_process().map_err(|why| Unavailable { backend: "cpu", why })
}

fn library() -> Result<std::sync::Arc<OneDnn>, Unavailable> {
    OneDnn::get().map_err(|why| Unavailable { backend: "cpu", why })
}
