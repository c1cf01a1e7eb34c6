//! A compiled network on a device: programs, prepared weights that forks share, and the state of one thread.

use super::alone::Alone;
use super::assemble::Assembler;
use super::compile::compile;
use super::device::Device;
use super::library::Address;
use super::load::Loaded;
use super::memory::{Buffer, Record, is_on};
use super::order::Orders;
use super::program::{Program, Source};
use super::queue::{Queue, is_blocking};
use super::stream::OwnStream;
use super::tactic::{Asked, Choice, Way};
use super::timer::Timer;
use crate::backend::{
    CompileError, CompileOptions, Engine, EngineInfo, Io, Level, Profile, RunError, Signature, StepTime,
    Stream, Weights,
};
use crate::network::Network;
use cudarc::driver::sys::CUstream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

mod kept;
mod state;

use state::{State, addresses};

/// What forks share.
struct Shared {
    device: Arc<Device>,
    signature: Signature,
    prepare: Loaded,
    run: Loaded,
    weight_bytes: usize,
    /// Whether calls replay a graph.
    graph: bool,
    /// Layers of `run` by position, for reports of faults.
    origins: Vec<String>,
    /// The weights; they are prepared anew where they lie.
    weights: OnceLock<Buffer>,
    /// Whether the weights are whole: calls read them while they enqueue their work, and whoever prepares them anew waits for that work.
    whole: RwLock<bool>,
    /// Of the forks.
    orders: Orders,
    /// Working memory of `prepare`, kept by engines whose weights change.
    spare: Mutex<Option<Buffer>>,
}

/// One thread's engine.
pub struct CudaEngine {
    shared: Arc<Shared>,
    /// Made at the first call, so that a fork cannot fail.
    state: Option<State>,
}

impl CudaEngine {
    /// Compiles a verified network and prepares it: in the fastest ways, or in our own where one of those turns out not to run.
    pub fn compile(
        network: &Network,
        device: &Arc<Device>,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<CudaEngine, CompileError> {
        let _relaxed = device.enter_relaxed().map_err(modules)?;
        let made = if options.level == Level::Guess {
            let guess = Choice::TensorCores { tf32: options.tf32, clusters: device.target.capability >= 90 };
            CudaEngine::choosing(network, device, weights, options, guess)
        } else {
            let timer = Timer::of(device, options.tf32, options.level).map_err(modules)?;
            timer.foresee(CudaEngine::layers_to_time(network, device, &timer));
            let start = Instant::now();
            let timed = CudaEngine::choosing(network, device, weights, options, Choice::Timed(&timer));
            timer.forget();
            log::debug!("timed, compiled and loaded in {:.1?}", start.elapsed());
            timed
        };
        made.or_else(|e| {
            log::warn!("{e}; compiling again with our own kernels alone");
            CudaEngine::choosing(network, device, weights, options, Choice::First)
        })
    }

    /// The layers whose fastest way is not known, as far as can be said before they are timed: a way may change where its neighbours find
    /// their operands.
    fn layers_to_time(network: &Network, device: &Arc<Device>, timer: &Timer) -> Vec<Alone> {
        let list = Mutex::new(Vec::new());
        let run = super::split(network).run;
        // What fails here fails again where it is reported.
        let _ = Assembler::new(&run, device.target, Choice::Foreseen(timer, &list)).run();
        list.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Engines of a network, of which one layer has several ways to run: one for each way, with its name.
    pub fn every_way(
        network: &Network,
        device: &Arc<Device>,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<Vec<(String, CudaEngine)>, CompileError> {
        let timer = Timer::of(device, options.tf32, options.level).map_err(modules)?;
        let list = Mutex::new(Vec::new());
        CudaEngine::choosing(network, device, weights, options, Choice::Listed(&timer, Asked::All, &list))?;
        let ways = list.into_inner().unwrap_or_else(PoisonError::into_inner);
        let engine = |way: Arc<dyn Way>| {
            let name = way.name();
            Ok((name, CudaEngine::choosing(network, device, weights, options, Choice::Settled(way))?))
        };
        ways.into_iter().map(engine).collect()
    }

    /// An engine of a network, each of whose layers is a library's where one has it.
    pub fn by_libraries(
        network: &Network,
        device: &Arc<Device>,
        weights: &dyn Weights,
        options: &CompileOptions,
    ) -> Result<CudaEngine, CompileError> {
        let timer = Timer::of(device, options.tf32, options.level).map_err(modules)?;
        CudaEngine::choosing(network, device, weights, options, Choice::Untimed(&timer, Asked::Libraries))
    }

    fn choosing(
        network: &Network,
        device: &Arc<Device>,
        weights: &dyn Weights,
        options: &CompileOptions,
        choice: Choice,
    ) -> Result<CudaEngine, CompileError> {
        let shared = Shared::assemble(network, device, options, choice)?;
        shared.refit(weights)?;
        CudaEngine::of(shared)
    }

    fn of(shared: Shared) -> Result<CudaEngine, CompileError> {
        let mut engine = CudaEngine { shared: Arc::new(shared), state: None };
        engine.state().map_err(CompileError::Prepare)?;
        Ok(engine)
    }

    /// # Safety
    /// As [`Engine::run`].
    unsafe fn enqueue(&mut self, io: &Io<'_>, stream: Stream) -> Result<(), RunError> {
        let shared = self.shared.clone();
        let state = self.state()?;
        state.fault(&shared)?;
        let whole = shared.whole.read().unwrap_or_else(PoisonError::into_inner);
        if !*whole {
            return Err(RunError::Device("its new weights could not be prepared".to_string()));
        }
        let stream: CUstream = stream.0.cast();
        // SAFETY: the caller gives inputs, outputs and stream; the rest is ours and lives as long as the engine.
        unsafe {
            state.order.follow(stream).map_err(RunError::Device)?;
            state.queue.run(&shared.run, state.replay.as_mut(), io, stream).map_err(RunError::Device)
        }
    }

    fn state(&mut self) -> Result<&mut State, RunError> {
        if self.state.is_none() {
            let relaxed = self.shared.device.enter_relaxed();
            let state = relaxed.and_then(|_relaxed| State::new(&self.shared));
            self.state = Some(state.map_err(RunError::Device)?);
        }
        Ok(self.state.as_mut().expect("made above"))
    }
}

impl Shared {
    /// Both programs on the device, and no weights yet.
    fn assemble(
        network: &Network,
        device: &Arc<Device>,
        options: &CompileOptions,
        choice: Choice,
    ) -> Result<Shared, CompileError> {
        let fault = |(layer, why)| CompileError::Layer { layer, why };
        let _relaxed = device.enter_relaxed().map_err(modules)?;
        let split = super::split(network);
        let (run, wanted) = Assembler::new(&split.run, device.target, choice).run().map_err(fault)?;
        let weight_bytes = wanted.bytes;
        let prepare =
            Assembler::new(&split.prepare, device.target, Choice::First).prepare(wanted).map_err(fault)?;
        let load = |program: Program| {
            let code = compile(&program, &device.target)?;
            Loaded::new(device, program, &code)
        };
        Ok(Shared {
            signature: Signature::of(network),
            prepare: load(prepare).map_err(modules)?,
            run: load(run).map_err(modules)?,
            weight_bytes,
            graph: options.graph && !is_blocking(),
            origins: split.run.layers.iter().map(|l| l.origin.clone()).collect(),
            weights: OnceLock::new(),
            whole: RwLock::new(false),
            orders: Orders::default(),
            spare: Mutex::new(None),
            device: device.clone(),
        })
    }
}

fn modules(why: String) -> CompileError {
    CompileError::Layer { layer: "the engine's kernels".to_string(), why }
}

impl Shared {
    /// Tells a failure of this call from the end of the device.
    fn judge(&self, error: RunError) -> RunError {
        match error {
            RunError::Device(why) if self.device.is_lost() => RunError::Lost(why),
            other => other,
        }
    }

    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        let _relaxed = self.device.enter_relaxed().map_err(modules)?;
        let failed = |why| CompileError::Prepare(RunError::Device(why));
        let memory = |bytes| Buffer::new(&self.device, bytes).map_err(failed);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let arena = spare.take().map_or_else(|| memory(self.prepare.program.arena), Ok)?;
        let Some(held) = self.weights.get() else {
            let fresh = memory(self.weight_bytes)?;
            // What lies between weights is saved with them.
            fresh.set(0).map_err(failed)?;
            self.prepare(weights, &fresh, &arena).map_err(CompileError::Prepare)?;
            self.publish(fresh);
            return Ok(());
        };
        let mut whole = self.whole.write().unwrap_or_else(PoisonError::into_inner);
        *whole = false;
        // SAFETY: the promise of calls, whose streams live until the next call or refit.
        unsafe { self.orders.wait(&self.device) }.map_err(failed)?;
        self.prepare(weights, held, &arena).map_err(CompileError::Prepare)?;
        *whole = true;
        *spare = Some(arena);
        Ok(())
    }

    /// Runs `prepare` into this memory, when the parameters are there; complete on return.
    fn prepare(&self, weights: &dyn Weights, to: &Buffer, arena: &Buffer) -> Result<(), RunError> {
        let (device, program) = (&self.device, &self.prepare.program);
        let failed = RunError::Device;
        // SAFETY: a stream of the device by the trait's promise.
        unsafe { device.wait_for(weights.stream().0.cast()) }.map_err(failed)?;
        let record = Record::new(device).map_err(failed)?;
        let mut addresses = addresses(program, arena, to, &record);
        let mut moved = Vec::new();
        for (to, slot) in addresses.iter_mut().zip(&program.slots) {
            let (bytes, from) = match slot {
                Source::Parameter(i) => {
                    let given = weights.parameter(*i);
                    (given.ty.bytes(), given.data)
                }
                Source::Constant(literal) => (literal.bytes().len(), literal.bytes().as_ptr()),
                _ => continue,
            };
            let lies_there = matches!(slot, Source::Parameter(_)) && bytes > 0 && is_on(device, from);
            // Kernels read parameters in units of up to 16 bytes.
            if lies_there && (from as usize).is_multiple_of(16) {
                *to = from as Address;
                continue;
            }
            let copy = Buffer::new(device, bytes).map_err(failed)?;
            if bytes > 0 {
                // SAFETY: the caller's tensor has its type's bytes, on the host or on a device.
                unsafe { copy.fill(from) }.map_err(failed)?;
            }
            *to = copy.address();
            moved.push(copy);
        }
        let mut queue = Queue::new(&self.prepare, &addresses).map_err(failed)?;
        let stream = OwnStream::new(device).map_err(failed)?;
        let none = Io { inputs: &[], outputs: &[] };
        // SAFETY: every slot has its memory; parameters are only read.
        unsafe { queue.run(&self.prepare, None, &none, stream.raw) }.map_err(failed)?;
        stream.wait().map_err(failed)?;
        if let Some((at, index, size)) = record.take() {
            return Err(RunError::Index { layer: format!("prepared layer {at}"), index, size });
        }
        Ok(())
    }
}

impl Engine for CudaEngine {
    fn signature(&self) -> &Signature {
        &self.shared.signature
    }

    /// An index out of range is noticed when the device gets to it, which may be after this returns: the result holds 0 in its place, and
    /// the engine's next call reports [`RunError::Index`] instead of running. Calls on different streams follow each other; the stream of a
    /// call lives until the next or a refit. A fork's first call allocates and is not to be captured.
    unsafe fn run(&mut self, io: &Io<'_>, stream: Stream) -> Result<(), RunError> {
        // SAFETY: the caller's promise.
        unsafe { self.enqueue(io, stream) }.map_err(|e| self.shared.judge(e))
    }

    /// Each step's time is that of a graph which repeats it, beside one of the whole: what a step gains from overlapping with its
    /// neighbours is in the whole alone. Complete on return.
    unsafe fn profile(&mut self, io: &Io<'_>, stream: Stream) -> Result<Profile, RunError> {
        let shared = self.shared.clone();
        let start = Instant::now();
        // SAFETY: the caller's promise.
        unsafe { self.run(io, stream) }?;
        // SAFETY: as above.
        unsafe { shared.device.wait_for(stream.0.cast()) }.map_err(RunError::Device)?;
        let once = start.elapsed();
        let state = self.state()?;
        state.fault(&shared)?;
        // SAFETY: the device is done with the tensors and with our memory.
        let Some((whole, times)) = unsafe { state.times(&shared, io) }.map_err(RunError::Device)? else {
            let steps = vec![StepTime { step: "the whole call".to_string(), time: once }];
            return Ok(Profile { whole: once, steps });
        };
        // Steps that were repeated found no indices in their operands.
        state.record.take();
        // SAFETY: the caller's promise.
        unsafe { self.run(io, stream) }?;
        // SAFETY: as above.
        unsafe { shared.device.wait_for(stream.0.cast()) }.map_err(RunError::Device)?;
        let steps = shared.run.describe().into_iter().zip(times);
        Ok(Profile { whole, steps: steps.map(|(step, time)| StepTime { step, time }).collect() })
    }

    fn fork(&self) -> Box<dyn Engine> {
        Box::new(CudaEngine { shared: self.shared.clone(), state: None })
    }

    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        self.shared.refit(weights)
    }

    fn save(&self) -> Option<Vec<u8>> {
        self.shared.save().inspect_err(|why| log::warn!("the engine is not saved: {why}")).ok()
    }

    fn describe(&self) -> EngineInfo {
        EngineInfo {
            steps: self.shared.run.describe(),
            weight_bytes: self.shared.weight_bytes,
            arena_bytes: self.state.as_ref().map_or(self.shared.run.program.arena, |s| s.arena.bytes()),
        }
    }
}
