//! What one thread's engine calls with: working memory, arguments in place, the graph that calls replay.

use super::super::library::Address;
use super::super::memory::{Buffer, Record};
use super::super::order::Order;
use super::super::program::{Program, Source};
use super::super::queue::Queue;
use super::super::replay::Replay;
use super::Shared;
use crate::backend::{Io, RunError};
use std::time::Duration;

/// What a thread's calls run with.
pub(super) struct State {
    pub(super) arena: Buffer,
    pub(super) record: Record,
    pub(super) queue: Queue,
    /// The steps as a graph, where there are several.
    pub(super) replay: Option<Replay>,
    pub(super) order: Order,
}

impl State {
    /// Memory, arguments and graph of an engine that has weights.
    pub(super) fn new(shared: &Shared) -> Result<State, String> {
        let weights = shared.weights.get().ok_or("an engine without weights")?;
        let arena = Buffer::new(&shared.device, shared.run.program.arena)?;
        let record = Record::new(&shared.device)?;
        let addresses = addresses(&shared.run.program, &arena, weights, &record);
        let queue = Queue::new(&shared.run, &addresses)?;
        let order = Order::new(&shared.device, &shared.orders)?;
        let mut state = State { arena, record, queue, replay: None, order };
        state.record_graph(shared)?;
        Ok(state)
    }

    /// What kernels found wrong since the last call.
    pub(super) fn fault(&self, shared: &Shared) -> Result<(), RunError> {
        let Some((at, index, size)) = self.record.take() else { return Ok(()) };
        let layer = shared.origins.get(at).cloned().unwrap_or_default();
        Err(RunError::Index { layer, index, size })
    }

    /// The time of all steps in a row, and of each. `None` where the caller's tensors do not lie as steps want them. Leaves the outputs
    /// unspecified.
    ///
    /// # Safety
    /// `io` has the program's tensors on the device, and nobody else uses them or this state now.
    pub(super) unsafe fn times(
        &mut self,
        shared: &Shared,
        io: &Io<'_>,
    ) -> Result<Option<(Duration, Vec<Duration>)>, String> {
        /// How often a step is repeated in a graph, and such a graph timed.
        const REPEATS: (usize, usize) = (20, 3);
        if !self.queue.bind(io) {
            return Ok(None);
        }
        let count = shared.run.program.steps.len();
        let time = |chain: &mut dyn Iterator<Item = usize>, repeats: usize| {
            // SAFETY: the caller's promise.
            let ms = unsafe { Replay::of(&shared.run, &self.queue, chain)?.time(REPEATS.1) }?;
            Ok::<_, String>(Duration::from_secs_f64(f64::from(ms) / 1e3 / repeats as f64))
        };
        let whole = time(&mut (0..count), 1)?;
        let each = (0..count).map(|at| time(&mut std::iter::repeat_n(at, REPEATS.0), REPEATS.0));
        Ok(Some((whole, each.collect::<Result<_, _>>()?)))
    }

    /// Captures the steps anew, for calls to replay.
    pub(super) fn record_graph(&mut self, shared: &Shared) -> Result<(), String> {
        self.replay = None;
        if shared.graph && shared.run.program.steps.len() > 1 {
            self.replay = Replay::new(&shared.run, &self.queue)?;
        }
        Ok(())
    }
}

/// The address of every slot that stays the same from call to call; others are 0.
pub(super) fn addresses(
    program: &Program,
    arena: &Buffer,
    weights: &Buffer,
    record: &Record,
) -> Vec<Address> {
    let address = |(slot, offset): (&Source, &usize)| match slot {
        Source::Weights => weights.address(),
        Source::Fault => record.address(),
        Source::Arena(_) => arena.address() + *offset as Address,
        Source::Constant(_) | Source::Input(_) | Source::Output(_) | Source::Parameter(_) => 0,
    };
    program.slots.iter().zip(&program.offsets).map(address).collect()
}
