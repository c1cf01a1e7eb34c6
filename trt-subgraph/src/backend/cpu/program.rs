//! A list of steps, and what memory it needs.

use super::onednn::Desc;
use super::step::Step;
use super::view::Slot;
use crate::Literal;
use crate::schedule::arena::{Interval, pack};

/// What the memory of a slot is.
#[derive(Clone, Debug)]
pub enum Source {
    /// The prepared weights. Always slot 0.
    Weights,
    /// Working memory of this many bytes.
    Arena(usize),
    /// The caller's input.
    Input(usize),
    /// The caller's output.
    Output(usize),
    /// A parameter of the model.
    Parameter(usize),
    /// A literal.
    Constant(Literal),
}

/// Slot 0.
pub const WEIGHTS: Slot = Slot(0);

/// A step, and the slots that it touches.
pub struct Emitted {
    pub step: Box<dyn Step>,
    pub touches: Vec<Slot>,
    pub origin: String,
}

/// Steps in order, and what their slots are.
pub struct Program {
    pub steps: Vec<(Box<dyn Step>, String)>,
    pub slots: Vec<Source>,
    /// By slot: where it lies in the arena.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub arena: usize,
    /// The layouts of oneDNN's memory objects.
    pub layouts: Vec<Desc>,
}

impl Program {
    /// Plans the arena: slots whose lifetimes do not meet share memory.
    pub fn plan(steps: Vec<Emitted>, slots: Vec<Source>, layouts: Vec<Desc>) -> Program {
        let mut lives: Vec<Option<Interval>> = vec![None; slots.len()];
        for (at, emitted) in steps.iter().enumerate() {
            for slot in &emitted.touches {
                if let Source::Arena(bytes) = slots[slot.0 as usize] {
                    lives[slot.0 as usize].get_or_insert(Interval { bytes, first: at, last: at }).last = at;
                }
            }
        }
        let alive: Vec<usize> = (0..lives.len()).filter(|&s| lives[s].is_some()).collect();
        let intervals: Vec<Interval> = lives.into_iter().flatten().collect();
        let packed = pack(&intervals);
        let mut offsets = vec![0; slots.len()];
        for (slot, offset) in alive.into_iter().zip(packed.offsets) {
            offsets[slot] = offset;
        }
        let steps = steps.into_iter().map(|e| (e.step, e.origin)).collect();
        Program { steps, slots, offsets, arena: packed.bytes, layouts }
    }
}
