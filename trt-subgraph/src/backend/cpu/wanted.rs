//! What the steps of `run` want to find among the prepared weights.

use super::assemble::Assembler;
use super::scaled::Scaled;
use super::view::Slot;

/// Why a layer did not become steps, in words.
pub type Fault = String;

/// Puts a static value into the form that a step wants: emits steps from the value to a place.
pub type Packing = Box<dyn FnOnce(&mut Assembler, Scaled, Slot, isize) -> Result<(), Fault>>;

/// Forms of prepared values, and where they lie.
#[derive(Default)]
pub struct Wanted {
    /// Bytes of the prepared weights.
    pub bytes: usize,
    plain: Vec<Option<isize>>,
    /// Other forms than row-major ones: the prepared value, where it lies, and how it is made.
    pub packed: Vec<(usize, isize, Packing)>,
}

impl Wanted {
    /// The place of a prepared value of `bytes` bytes, row-major.
    pub fn plain(&mut self, prepared: usize, bytes: usize) -> isize {
        if self.plain.len() <= prepared {
            self.plain.resize(prepared + 1, None);
        }
        if let Some(offset) = self.plain[prepared] {
            return offset;
        }
        let offset = self.reserve(bytes);
        self.plain[prepared] = Some(offset);
        offset
    }

    /// The place of a prepared value in a form of `bytes` bytes.
    pub fn packed(&mut self, prepared: usize, bytes: usize, packing: Packing) -> isize {
        let offset = self.reserve(bytes);
        self.packed.push((prepared, offset, packing));
        offset
    }

    /// Each prepared value with a place where it is wanted in some form.
    pub fn places(&self) -> impl Iterator<Item = (usize, isize)> {
        let plain = self.plain.iter().enumerate().filter_map(|(i, offset)| Some((i, (*offset)?)));
        plain.chain(self.packed.iter().map(|(i, offset, _)| (*i, *offset)))
    }

    /// Where a prepared value is wanted row-major, if it is.
    pub fn place(&self, prepared: usize) -> Option<isize> {
        self.plain.get(prepared).copied().flatten()
    }

    /// Takes `bytes` bytes, aligned to 64, off the end.
    fn reserve(&mut self, bytes: usize) -> isize {
        let at = self.bytes.next_multiple_of(64);
        self.bytes = at + bytes;
        at as isize
    }
}
