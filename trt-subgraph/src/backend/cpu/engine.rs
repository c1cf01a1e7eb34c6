//! A compiled network: programs, prepared weights that forks share, and the state of one thread.

use super::apart::{self, Apart};
use super::assemble::Assembler;
use super::buffer::Buffer;
use super::machine::Machine;
use super::onednn::Memories;
use super::program::{Program, Source, WEIGHTS};
use super::saved::{Packed, Recipe};
use super::step::{Address, Call};
use super::team::Team;
use super::truths;
use super::wanted::Wanted;
use crate::Bytes;
use crate::backend::{
    CompileError, Engine, EngineInfo, Io, Prepared, Profile, RunError, Signature, StepTime, Stream, Weights,
};
use crate::network::{Network, TensorType};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What forks share.
struct Compiled {
    machine: Machine,
    /// Of `prepare`, of `run`, of the steps of `run`.
    teams: [Team; 3],
    signature: Signature,
    prepare: Program,
    /// For the whole batch, or for one of its parts.
    run: Program,
    parts: usize,
    weight_bytes: usize,
    held: Arc<Held>,
    /// What the next refit may write to: fresh memory costs more than what is written.
    spare: Mutex<Spare>,
}

/// Prepared weights, which engines of several networks may use.
struct Held {
    packed: Packed,
    /// What makes them, where that tells how each of them lies in memory.
    recipe: Option<Recipe>,
    /// The newest ones; a new generation replaces them as a whole.
    newest: Mutex<Arc<Buffer>>,
    generation: AtomicU64,
}

/// Memory of an earlier refit; none before the second one, which may never come.
#[derive(Default)]
struct Spare {
    weights: Option<Arc<Buffer>>,
    arena: Option<Buffer>,
}

/// One thread's engine.
pub struct CpuEngine {
    compiled: Arc<Compiled>,
    /// None before the first call: what never runs keeps no old weights alive.
    weights: Option<Arc<Buffer>>,
    /// Of these weights; 0 is none.
    generation: u64,
    /// Where the addresses of arenas point.
    _arena: Buffer,
    /// The addresses of slots, of each thread that computes parts.
    lanes: Vec<Vec<Address>>,
    memories: Option<Memories>,
}

/// A call's tensors, and the addresses of slots of each thread that computes parts of the batch.
struct Work<'a> {
    io: &'a Io<'a>,
    lanes: *mut Vec<Address>,
}

// SAFETY: inputs are only read, no two parts write the same memory, and each thread has addresses of its own.
unsafe impl Sync for Work<'_> {}

impl CpuEngine {
    /// Compiles a verified network and prepares it, unless one of the others is prepared in the same way.
    pub fn compile(
        network: &Network,
        machine: Machine,
        team: Team,
        weights: &dyn Weights,
        others: &[Prepared],
    ) -> Result<CpuEngine, CompileError> {
        let mut compiled = Compiled::assemble(network, machine, team)?;
        let mut others = others.iter().filter_map(|other| other.0.clone().downcast::<Held>().ok());
        match others.find(|other| other.is_like(&compiled.held)) {
            Some(same) => compiled.held = same,
            None => compiled.refit(weights)?,
        }
        CpuEngine::of(Arc::new(compiled)).map_err(CompileError::Prepare)
    }

    /// Compiles a verified network for weights that an engine saved.
    pub fn load(
        network: &Network,
        machine: Machine,
        team: Team,
        saved: &Bytes,
    ) -> Result<CpuEngine, CompileError> {
        let compiled = Compiled::assemble(network, machine, team)?;
        let weights = compiled.held.packed.load(saved).ok_or_else(|| CompileError::Layer {
            layer: "the saved weights".to_string(),
            why: "they are packed otherwise than this machine wants them for so many threads".to_string(),
        })?;
        drop(compiled.held.publish(Buffer::shared(weights)));
        CpuEngine::of(Arc::new(compiled)).map_err(CompileError::Prepare)
    }

    fn of(compiled: Arc<Compiled>) -> Result<CpuEngine, RunError> {
        let run = &compiled.run;
        let lanes = compiled.lanes();
        let arena = Buffer::zeroed(run.arena * lanes);
        let lanes = (0..lanes).map(|lane| run.addresses(&arena, lane * run.arena)).collect();
        let memories = compiled.memories(run)?;
        Ok(CpuEngine { weights: None, generation: 0, _arena: arena, lanes, memories, compiled })
    }

    /// Takes the newest weights.
    fn renew(&mut self) {
        let held = &self.compiled.held;
        if held.generation.load(Ordering::Acquire) != self.generation {
            let (weights, generation) = held.newest();
            for lane in &mut self.lanes {
                lane[WEIGHTS.0 as usize] = Address::new(weights.address());
            }
            (self.weights, self.generation) = (Some(weights), generation);
        }
    }

    /// Has `f` run the program, for the whole batch or for each of its parts. `f` is given the number of the thread, 0 for the whole.
    fn call(
        &mut self,
        io: &Io<'_>,
        f: impl Fn(&Program, usize, &Call) -> Result<(), RunError> + Sync,
    ) -> Result<(), RunError> {
        self.renew();
        let compiled = &*self.compiled;
        // SAFETY: whoever runs an engine promises its inputs.
        let mended = unsafe { truths::mended(&compiled.signature.inputs, io.inputs) };
        let io = &mended.as_ref().map_or(*io, |m| Io { inputs: &m.addresses, outputs: io.outputs });
        let [_, team, alone] = &compiled.teams;
        if compiled.parts == 1 {
            compiled.bind(&mut self.lanes[0], io, 0);
            let call = Call { addresses: &self.lanes[0], memories: self.memories.as_ref(), team };
            return team.scoped(|| f(&compiled.run, 0, &call));
        }
        let work = Work { io, lanes: self.lanes.as_mut_ptr() };
        let wrong = OnceLock::new();
        team.split(compiled.parts, 1, |thread, parts| {
            let work = &work;
            for part in parts {
                // SAFETY: there is one for each thread.
                let lane = unsafe { &mut *work.lanes.add(thread) };
                compiled.bind(lane, work.io, part);
                let call = Call { addresses: lane, memories: None, team: alone };
                if let Err(error) = f(&compiled.run, thread, &call) {
                    // Another thread's is as good.
                    let _ = wrong.set(error);
                    return;
                }
            }
        });
        wrong.into_inner().map_or(Ok(()), Err)
    }
}

impl Compiled {
    /// Both programs, and no weights yet.
    fn assemble(network: &Network, machine: Machine, team: Team) -> Result<Compiled, CompileError> {
        let split = network.split();
        let (run, wanted, parts) = assemble(&split.run, &machine)?;
        let (weight_bytes, packed) = (wanted.bytes, Packed::of(&wanted));
        let prepare = Assembler::new(&split.prepare, &machine).prepare(wanted).map_err(fault)?;
        let held = Held {
            packed: packed.by(&prepare, machine.threads),
            recipe: Recipe::of(&prepare, &split.prepare),
            newest: Mutex::new(Arc::new(Buffer::zeroed(0))),
            generation: AtomicU64::new(0),
        };
        let [of_prepare, of_run] = [&prepare, &run].map(|p| team.with_onednn(!p.layouts.is_empty()));
        Ok(Compiled {
            signature: Signature::of(network),
            held: Arc::new(held),
            machine,
            teams: [of_prepare, of_run, Team::new(1, None)],
            prepare,
            run,
            parts,
            weight_bytes,
            spare: Mutex::default(),
        })
    }

    /// How many threads need memory of their own.
    fn lanes(&self) -> usize {
        if self.parts == 1 { 1 } else { self.machine.threads }
    }

    /// Puts the caller's tensors into a table of addresses, from where a part of the batch begins.
    fn bind(&self, lane: &mut [Address], io: &Io<'_>, part: usize) {
        let start = |ty: &TensorType| if part == 0 { 0 } else { ty.bytes() / self.parts * part };
        for (to, slot) in lane.iter_mut().zip(&self.run.slots) {
            match slot {
                Source::Input(i) => {
                    let start = start(&self.signature.inputs[*i]);
                    *to = Address::new(io.inputs[*i].cast_mut().wrapping_add(start));
                }
                Source::Output(i) => {
                    *to = Address::new(io.outputs[*i].wrapping_add(start(&self.signature.outputs[*i])));
                }
                _ => {}
            }
        }
    }

    fn memories(&self, program: &Program) -> Result<Option<Memories>, RunError> {
        let Some(library) = self.machine.library.as_ref().filter(|_| !program.layouts.is_empty()) else {
            return Ok(None);
        };
        Memories::new(library, program.layouts.iter()).map(Some).map_err(RunError::Device)
    }

    /// Runs `prepare` into memory that no call reads and makes that the newest weights.
    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        let program = &self.prepare;
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        // What a fork still reads is not taken; the same program leaves no other bytes unwritten than before.
        let old = spare.weights.take().and_then(Arc::into_inner);
        let fresh = old.unwrap_or_else(|| Buffer::zeroed(self.weight_bytes));
        let arena = spare.arena.take().unwrap_or_else(|| Buffer::zeroed(program.arena));
        let mut addresses = program.addresses(&arena, 0);
        addresses[WEIGHTS.0 as usize] = Address::new(fresh.address());
        let mut mended = Vec::new();
        for (to, slot) in addresses.iter_mut().zip(&program.slots) {
            if let Source::Parameter(i) = slot {
                let given = weights.parameter(*i);
                // SAFETY: its data is of its type.
                let copy = unsafe { truths::mended_one(given.ty, given.data) };
                *to = Address::new(copy.as_ref().map_or(given.data, |copy| copy.as_ptr()).cast_mut());
                mended.extend(copy);
            }
        }
        let memories = self.memories(program).map_err(CompileError::Prepare)?;
        let team = &self.teams[0];
        let call = Call { addresses: &addresses, memories: memories.as_ref(), team };
        // SAFETY: every slot has its memory; parameters are only read.
        unsafe { team.scoped(|| program.run(&call)) }.map_err(CompileError::Prepare)?;
        let again = self.held.generation.load(Ordering::Acquire) > 0;
        let old = self.held.publish(fresh);
        if again {
            spare.weights = Some(old).filter(|old| old.is_own());
            spare.arena = Some(arena);
        }
        Ok(())
    }
}

/// The program of a `run` half, for the whole batch or for one of so many parts.
fn assemble(run: &Network, machine: &Machine) -> Result<(Program, Wanted, usize), CompileError> {
    if let Some(Apart { network, parts }) = apart::cut(run, machine) {
        let (program, wanted) = Assembler::new(&network, &machine.alone()).run().map_err(fault)?;
        // The library has threads, and memory objects, of its own.
        if program.layouts.is_empty() {
            return Ok((program, wanted, parts));
        }
    }
    let (program, wanted) = Assembler::new(run, machine).run().map_err(fault)?;
    Ok((program, wanted, 1))
}

fn fault((layer, why): (String, String)) -> CompileError {
    CompileError::Layer { layer, why }
}

impl Held {
    /// Does it hold the same values, packed alike, of the same parameters?
    fn is_like(&self, other: &Held) -> bool {
        self.packed == other.packed && self.recipe.is_some() && self.recipe == other.recipe
    }

    /// Makes these the newest weights, and gives those before.
    fn publish(&self, weights: Buffer) -> Arc<Buffer> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *newest, Arc::new(weights));
        self.generation.fetch_add(1, Ordering::Release);
        old
    }

    /// The weights, and their generation.
    fn newest(&self) -> (Arc<Buffer>, u64) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        (newest.clone(), self.generation.load(Ordering::Acquire))
    }
}

impl Program {
    /// The addresses of slots that stay the same from call to call, in an arena that begins at `start`; others are null.
    fn addresses(&self, arena: &Buffer, start: usize) -> Vec<Address> {
        let address = |(slot, offset): (&Source, &usize)| match slot {
            Source::Arena(_) => arena.address().wrapping_add(start + *offset),
            Source::Constant(literal) => literal.bytes().as_ptr().cast_mut(),
            Source::Weights | Source::Input(_) | Source::Output(_) | Source::Parameter(_) => {
                std::ptr::null_mut()
            }
        };
        self.slots.iter().zip(&self.offsets).map(address).map(Address::new).collect()
    }

    /// Step `i`, for people.
    fn describe(&self, i: usize) -> String {
        let (step, origin) = &self.steps[i];
        match origin.as_str() {
            "" => step.describe(),
            origin => format!("{} ({origin})", step.describe()),
        }
    }

    /// # Safety
    /// Every slot has its address.
    unsafe fn run(&self, call: &Call) -> Result<(), RunError> {
        // SAFETY: the caller's promise; lifetimes in the arena were planned in this order.
        self.steps.iter().try_for_each(|(step, _)| unsafe { step.run(call) })
    }
}

impl Engine for CpuEngine {
    fn signature(&self) -> &Signature {
        &self.compiled.signature
    }

    unsafe fn run(&mut self, io: &Io<'_>, _stream: Stream) -> Result<(), RunError> {
        // SAFETY: the caller gives inputs and outputs; the rest is ours.
        self.call(io, |program, _, call| unsafe { program.run(call) })
    }

    fn fork(&self) -> Box<dyn Engine> {
        let fork = CpuEngine::of(self.compiled.clone());
        Box::new(fork.expect("what one thread could allocate, another can"))
    }

    fn refit(&self, weights: &dyn Weights) -> Result<(), CompileError> {
        self.compiled.refit(weights)
    }

    fn prepared(&self) -> Option<Prepared> {
        Some(Prepared(self.compiled.held.clone()))
    }

    fn save(&self) -> Option<Vec<u8>> {
        let held = &self.compiled.held;
        let (weights, _) = held.newest();
        // SAFETY: weights are written before they are published.
        Some(held.packed.save(unsafe { weights.read() }))
    }

    fn describe(&self) -> EngineInfo {
        EngineInfo {
            steps: (0..self.compiled.run.steps.len()).map(|i| self.compiled.run.describe(i)).collect(),
            weight_bytes: self.compiled.weight_bytes,
            arena_bytes: self.compiled.run.arena * self.compiled.lanes(),
        }
    }

    unsafe fn profile(&mut self, io: &Io<'_>, _stream: Stream) -> Result<Profile, RunError> {
        let compiled = self.compiled.clone();
        let steps = &compiled.run.steps;
        // Nanoseconds, by thread and step.
        let times: Vec<Vec<AtomicU64>> =
            self.lanes.iter().map(|_| steps.iter().map(|_| AtomicU64::new(0)).collect()).collect();
        let start = Instant::now();
        self.call(io, |_, thread, call| {
            steps.iter().zip(&times[thread]).try_for_each(|((step, _), time)| {
                let start = Instant::now();
                // SAFETY: as for `run`; the steps run in order.
                let done = unsafe { step.run(call) };
                time.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
                done
            })
        })?;
        let whole = start.elapsed();
        let mean = |i: usize| {
            let all: u64 = times.iter().map(|of_thread| of_thread[i].load(Ordering::Relaxed)).sum();
            Duration::from_nanos(all / times.len() as u64)
        };
        let steps = (0..steps.len()).map(|i| StepTime { step: compiled.run.describe(i), time: mean(i) });
        Ok(Profile { whole, steps: steps.collect() })
    }
}
