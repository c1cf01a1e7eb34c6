//! A list of steps, the kernels that they launch, and what memory they need.

use super::library::{Address, Handles};
use super::render::{Argument, Draft, Kernel};
use crate::Literal;
use crate::backend::view::Slot;
use crate::schedule::arena::{Interval, pack};
use cudarc::driver::sys::CUstream;
use std::collections::HashMap;

/// What the memory of a slot is.
#[derive(Clone, Debug)]
pub enum Source {
    /// The prepared weights. Always slot 0.
    Weights,
    /// The engine's fault record. Always slot 1.
    Fault,
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
/// Slot 1.
pub const FAULT: Slot = Slot(1);

/// Libraries want their working memory at a multiple of this; the arena's slots are less aligned, so there is room to round up.
pub const WORKSPACE_ALIGNMENT: u64 = 256;

/// Blocks, threads and dynamic shared memory of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Position in [`Program::kernels`].
    pub kernel: usize,
    pub grid: [u32; 3],
    pub threads: u32,
    pub shared: u32,
    /// Neighbouring blocks that form a cluster; the kernel says so itself.
    pub cluster: u32,
}

/// A library's work, planned for fixed shapes.
pub trait Call: Send + Sync {
    /// In words, for reports.
    fn describe(&self) -> String;

    /// Enqueues the work. `addresses` are those of the step's arguments.
    ///
    /// # Safety
    /// The addresses are valid on the stream's device for what the step's arguments say; no other thread uses the handles.
    unsafe fn enqueue(
        &self,
        handles: &Handles,
        addresses: &[Address],
        stream: CUstream,
    ) -> Result<(), String>;
}

/// What a step does.
pub enum Action {
    Launch(Launch),
    Call(Box<dyn Call>),
}

/// One entry of a program.
pub struct Step {
    pub action: Action,
    pub arguments: Vec<Argument>,
    /// The layer's origin.
    pub origin: String,
}

/// Steps in order, and what their slots are.
#[derive(Default)]
pub struct Program {
    pub steps: Vec<Step>,
    /// Every kernel once, with the origins of the layers that launch it.
    pub kernels: Vec<(Kernel, Vec<String>)>,
    pub slots: Vec<Source>,
    /// By slot: where it lies in the arena.
    pub offsets: Vec<usize>,
    /// Bytes of the arena.
    pub arena: usize,
    /// The names of the ways of layers that have several, in the order of their steps.
    pub ways: Vec<String>,
    positions: HashMap<Kernel, usize>,
}

impl Program {
    /// No steps; the first two slots.
    pub fn new() -> Program {
        Program { slots: vec![Source::Weights, Source::Fault], ..Program::default() }
    }

    /// Appends a launch. The draft's sizes are at least 1.
    pub fn launch(&mut self, draft: Draft, origin: &str) -> Result<(), String> {
        let is_given =
            |slot: Slot| matches!(self.slots[slot.0 as usize], Source::Input(_) | Source::Output(_));
        if draft.arguments.iter().any(|a| a.boxes.is_some() && is_given(a.slot)) {
            return Err(format!("{} would bring the caller's tensor by bulk copies", draft.what));
        }
        let kernel = draft.kernel();
        let at = *self.positions.entry(kernel.clone()).or_insert_with(|| {
            self.kernels.push((kernel, Vec::new()));
            self.kernels.len() - 1
        });
        let origins = &mut self.kernels[at].1;
        if !origins.iter().any(|o| o == origin) {
            origins.push(origin.to_string());
        }
        let limits = [i32::MAX as usize, 65535, 65535];
        let mut grid = [0u32; 3];
        for ((to, &n), limit) in grid.iter_mut().zip(&draft.grid).zip(limits) {
            if n == 0 || n > limit {
                return Err(format!("{} would need {n} blocks along one axis", draft.what));
            }
            *to = n as u32;
        }
        let [threads, shared, cluster] = [draft.threads, draft.shared, draft.cluster].map(|n| n as u32);
        let launch = Launch { kernel: at, grid, threads, shared, cluster };
        self.push(Action::Launch(launch), draft.arguments, origin);
        Ok(())
    }

    /// Appends a step.
    pub fn push(&mut self, action: Action, arguments: Vec<Argument>, origin: &str) {
        self.steps.push(Step { action, arguments, origin: origin.to_string() });
    }

    /// Plans the arena: slots whose lifetimes do not meet share memory.
    pub fn plan(mut self) -> Program {
        let mut lives: Vec<Option<Interval>> = vec![None; self.slots.len()];
        for (at, step) in self.steps.iter().enumerate() {
            for argument in &step.arguments {
                let slot = argument.slot.0 as usize;
                if let Source::Arena(bytes) = self.slots[slot] {
                    lives[slot].get_or_insert(Interval { bytes, first: at, last: at }).last = at;
                }
            }
        }
        let alive: Vec<usize> = (0..lives.len()).filter(|&s| lives[s].is_some()).collect();
        let intervals: Vec<Interval> = lives.into_iter().flatten().collect();
        let packed = pack(&intervals);
        self.offsets = vec![0; self.slots.len()];
        for (slot, offset) in alive.into_iter().zip(packed.offsets) {
            self.offsets[slot] = offset;
        }
        self.arena = packed.bytes;
        self.positions = HashMap::new();
        self
    }

    /// Gives every slot of the arena memory of its own.
    pub fn spread(&mut self) {
        self.arena = 0;
        for (offset, slot) in self.offsets.iter_mut().zip(&self.slots) {
            if let Source::Arena(bytes) = slot {
                *offset = self.arena;
                self.arena += bytes.next_multiple_of(256);
            }
        }
    }

    /// Checks on a device that is not there that every step stays inside its slots and finds them as they were left: no step reads a
    /// slot whose memory another has written since. The error names the step.
    pub fn check(&self) -> Result<(), String> {
        let mut owner: Vec<(usize, usize, Slot)> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let fail = |why: String| format!("step {at} ({}): {why}", step.origin);
            for argument in &step.arguments {
                let Source::Arena(bytes) = self.slots[argument.slot.0 as usize] else { continue };
                let (low, high) = argument.reach;
                if low < 0 || high > bytes as isize {
                    return Err(fail(format!("bytes {low}..{high} of a slot of {bytes}")));
                }
                let start = self.offsets[argument.slot.0 as usize];
                let range = (start, start + bytes);
                if range.1 > self.arena {
                    return Err(fail("a slot beyond the arena".to_string()));
                }
                let mine = owner.iter().any(|o| (o.0, o.1) == range && o.2 == argument.slot);
                if !mine && !argument.writes && high > low {
                    return Err(fail("it reads what nothing wrote, or what was overwritten".to_string()));
                }
                if !mine {
                    owner.retain(|o| o.1 <= range.0 || range.1 <= o.0);
                    owner.push((range.0, range.1, argument.slot));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::view::View;
    use crate::{DType, TensorType};

    /// Writes a, writes b, reads a; both of 256 bytes.
    fn program() -> Program {
        let mut p = Program::new();
        let slots = [Slot(2), Slot(3)];
        p.slots.extend(slots.map(|_| Source::Arena(256)));
        let view = |slot| View::row_major(slot, &TensorType::new(DType::F32, [64]));
        for (slot, writes) in [(slots[0], true), (slots[1], true), (slots[0], false)] {
            let mut draft = Draft::new("touch");
            if writes {
                draft.write("y", &view(slot))
            } else {
                draft.read("y", &view(slot))
            }
            p.launch(draft, "somewhere").unwrap();
        }
        p
    }

    #[test]
    fn a_planned_program_is_sound() {
        let p = program().plan();
        p.check().unwrap();
        assert_eq!((p.arena, p.kernels.len()), (512, 2));
    }

    #[test]
    fn overwritten_memory_is_noticed() {
        let mut p = program().plan();
        p.offsets[3] = p.offsets[2];
        assert_eq!(
            p.check().unwrap_err(),
            "step 2 (somewhere): it reads what nothing wrote, or what was overwritten"
        );
    }

    #[test]
    fn steps_stay_inside_their_slots() {
        let mut p = program().plan();
        p.slots[3] = Source::Arena(128);
        assert_eq!(p.check().unwrap_err(), "step 1 (somewhere): bytes 0..256 of a slot of 128");
        let mut p = program().plan();
        p.arena = 300;
        assert!(p.check().unwrap_err().ends_with("a slot beyond the arena"));
    }
}
