//! Where the registers of an expression's code are while a thread applies it to results in cache.

use crate::backend::cpu::assemble::Assembler;
use crate::backend::cpu::expr::Code;
use crate::backend::cpu::memory::fill;
use crate::backend::cpu::step::{Address, place};
use crate::backend::cpu::view::Slot;

/// Elements that are worked on at once, at most: what a register has room for.
pub const CHUNK: usize = 512;

/// Registers of [`CHUNK`] elements for each thread.
pub struct Registers {
    /// Where each register is in a thread's scratch, behind the table of addresses.
    offsets: Vec<usize>,
    thread_bytes: usize,
    /// Where they all are.
    pub scratch: Slot,
}

impl Registers {
    pub fn new(a: &mut Assembler, code: &Code) -> Registers {
        let mut thread_bytes = (code.registers.len() * size_of::<usize>()).next_multiple_of(64);
        let mut offsets = Vec::new();
        for lane in &code.registers {
            offsets.push(thread_bytes);
            thread_bytes += CHUNK * lane.size();
        }
        Registers { offsets, thread_bytes, scratch: a.scratch(thread_bytes * a.machine.threads) }
    }

    /// The addresses of a thread's registers, of which those that hold one value throughout have it in `n` elements, at most a chunk.
    ///
    /// # Safety
    /// As for a step that touches the scratch; nobody else uses the thread's part while the result is used.
    pub unsafe fn table(
        &self,
        addresses: &[Address],
        thread: usize,
        code: &Code,
        n: usize,
    ) -> *mut [*mut u8] {
        let scratch = place(addresses, self.scratch, (thread * self.thread_bytes) as isize);
        // SAFETY: the table lies at the start of this thread's scratch, which is aligned to 64.
        let at = unsafe { std::slice::from_raw_parts_mut(scratch.at::<*mut u8>(0), self.offsets.len()) };
        for (a, &offset) in at.iter_mut().zip(&self.offsets) {
            *a = scratch.at(offset as isize);
        }
        for &(register, value) in &code.constants {
            // SAFETY: a register has room for a chunk.
            unsafe { fill(code.registers[register as usize], value, at[register as usize], n) };
        }
        at
    }
}
