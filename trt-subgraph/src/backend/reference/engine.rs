//! The interpreter as a backend: prepares once for each version of the weights, runs once a call.

use super::{Given, run};
use crate::Literal;
use crate::backend::checksum::checksums;
use crate::backend::{
    Backend, CompileError, CompileOptions, Engine, EngineInfo, Io, MemoryRun, Profile, RunError, Signature,
    StepTime, Stream, Unavailable, Weights,
};
use crate::network::{Layer, Network, Split};
use crate::source::Refusal;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use super::tensor::Tensor;

/// The reference backend. Runs everything, everywhere, slowly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn probe(&self) -> Result<String, Unavailable> {
        Ok("interpreter in f64, 1 thread".to_string())
    }

    fn supports(&self, _network: &Network, _layer: &Layer) -> Result<(), Refusal> {
        Ok(())
    }

    fn compile(
        &self,
        network: &Network,
        weights: &dyn Weights,
        _options: &CompileOptions,
    ) -> Result<Box<dyn Engine>, CompileError> {
        let program = Program {
            signature: Signature::of(network),
            split: network.split(),
            prepared: RwLock::default(),
        };
        program.prepare(weights)?;
        Ok(Box::new(Interpreter { program: Arc::new(program) }))
    }

    unsafe fn checksums(
        &self,
        runs: &[MemoryRun],
        _options: &CompileOptions,
        _stream: Stream,
    ) -> Option<Vec<u64>> {
        // SAFETY: the caller's promise.
        Some(unsafe { checksums(runs, |parts, sum| sum(0..parts)) })
    }
}

/// What forks share.
struct Program {
    signature: Signature,
    split: Split,
    prepared: RwLock<Arc<[Arc<Tensor>]>>,
}

struct Interpreter {
    program: Arc<Program>,
}

impl Program {
    fn prepare(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        let prepare = &self.split.prepare;
        let parameters: Vec<Arc<Tensor>> = (0..prepare.parameters.len())
            .map(|i| {
                let given = weights.parameter(i);
                // SAFETY: a `TensorRef` is dense data of its type, valid while `weights` is borrowed.
                unsafe { read(given.data, given.ty) }
            })
            .collect();
        let given = Given { parameters: &parameters, prepared: &[], inputs: &[] };
        let prepared = run(prepare, &given).map_err(CompileError::Prepare)?;
        *self.prepared.write().unwrap_or_else(PoisonError::into_inner) = prepared.into();
        Ok(())
    }
}

/// The tensor of type `ty` at `data`, widened.
///
/// # Safety
/// `data` is the address of a dense tensor of type `ty`, or `ty` has no elements.
unsafe fn read(data: *const u8, ty: &crate::TensorType) -> Arc<Tensor> {
    let mut literal = Literal::zeros(ty.clone());
    if ty.elements() > 0 {
        // SAFETY: the caller gives `ty.bytes()` readable bytes; the literal is fresh memory of that size.
        unsafe { std::ptr::copy_nonoverlapping(data, literal.bytes_mut().as_mut_ptr(), ty.bytes()) };
    }
    Arc::new(Tensor::load(&literal))
}

impl Engine for Interpreter {
    fn signature(&self) -> &Signature {
        &self.program.signature
    }

    unsafe fn run(&mut self, io: &Io<'_>, _stream: Stream) -> Result<(), RunError> {
        let Signature { inputs: types, outputs } = &self.program.signature;
        // SAFETY: the caller gives a dense tensor of the signature's type for each input.
        let inputs: Vec<_> = types.iter().zip(io.inputs).map(|(ty, &p)| unsafe { read(p, ty) }).collect();
        let prepared = self.program.prepared.read().unwrap_or_else(PoisonError::into_inner).clone();
        let given = Given { parameters: &[], prepared: &prepared, inputs: &inputs };
        let results = run(&self.program.split.run, &given)?;
        for ((tensor, ty), &to) in results.iter().zip(outputs).zip(io.outputs) {
            if ty.elements() > 0 {
                let literal = tensor.literal();
                // SAFETY: the caller gives room for a dense tensor of the signature's type, apart from everything else.
                unsafe { std::ptr::copy_nonoverlapping(literal.bytes().as_ptr(), to, ty.bytes()) };
            }
        }
        Ok(())
    }

    fn fork(&self) -> Box<dyn Engine> {
        Box::new(Interpreter { program: self.program.clone() })
    }

    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        self.program.prepare(weights)
    }

    fn describe(&self) -> EngineInfo {
        let prepared = self.program.prepared.read().unwrap_or_else(PoisonError::into_inner);
        let run = &self.program.split.run;
        EngineInfo {
            steps: run.layers.iter().map(|l| format!("{} ({})", l.kind.name(), l.origin)).collect(),
            weight_bytes: prepared.iter().map(|t| t.ty.bytes()).sum(),
            arena_bytes: 0,
        }
    }

    unsafe fn profile(&mut self, io: &Io<'_>, stream: Stream) -> Result<Profile, RunError> {
        let start = Instant::now();
        // SAFETY: the caller's promise.
        unsafe { self.run(io, stream) }?;
        let whole = start.elapsed();
        Ok(Profile { whole, steps: vec![StepTime { step: "interpreter".to_string(), time: whole }] })
    }
}
