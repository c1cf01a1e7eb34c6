//! What the assembler puts among the prepared weights.

use super::assemble::Assembler;
use super::scaled::Scaled;
use super::view::Slot;
use crate::backend::wanted;

/// Why a layer did not become steps, in words.
pub type Fault = String;

type Make = dyn FnOnce(&mut Assembler, Scaled, Slot, isize) -> Result<(), Fault>;

/// Puts a static value into the form that a step wants.
pub type Packing = wanted::Packing<Make>;

/// What steps want; each form starts on a cache line.
pub type Wanted = wanted::Wanted<Make, 64>;
