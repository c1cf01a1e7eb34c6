//! What an engine runs: a list of steps over a table of addresses.

use super::bands::Lines;
use super::onednn::Memories;
use super::team::Team;
use super::view::{Slot, View};
use crate::backend::RunError;

/// What a step is given.
pub struct Call<'a> {
    /// The address of each slot.
    pub addresses: &'a [Address],
    /// oneDNN's memory objects of this engine.
    pub memories: Option<&'a Memories>,
    /// The threads.
    pub team: &'a Team,
}

/// One piece of work of a program. Places and shapes are fixed when it is made.
pub trait Step: Send + Sync {
    /// Does the work.
    ///
    /// # Safety
    /// Every slot that the step was made for has an address, of memory that is large enough and that nobody else writes
    /// (what the step reads) or touches (what it writes).
    unsafe fn run(&self, call: &Call) -> Result<(), RunError>;

    /// The kernel, for reports: `convolution brgconv:avx512_core`.
    fn describe(&self) -> String;

    /// The step as one that may be carried out line by line.
    fn by_lines(&self) -> Option<&dyn Lines> {
        None
    }

    /// For what brings weights into the form that a layer wants: what of the form [`Step::describe`] does not tell.
    fn form(&self) -> String {
        String::new()
    }
}

/// An address that loops on several threads share.
#[derive(Clone, Copy)]
pub struct Address(*mut u8);

// SAFETY: it is a number; steps say who accesses what.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}

impl Address {
    /// A plain address.
    pub fn new(address: *mut u8) -> Address {
        Address(address)
    }

    /// `elements` elements of `T` further on.
    #[inline(always)]
    pub fn at<T>(self, elements: isize) -> *mut T {
        self.0.cast::<T>().wrapping_offset(elements)
    }
}

/// Address of byte `offset` of a slot.
pub fn place(addresses: &[Address], slot: Slot, offset: isize) -> Address {
    Address(addresses[slot.0 as usize].at(offset))
}

impl Call<'_> {
    /// Address of byte `offset` of a slot.
    pub fn place(&self, slot: Slot, offset: isize) -> Address {
        place(self.addresses, slot, offset)
    }

    /// Address of element 0 of a view.
    pub fn of(&self, view: &View) -> Address {
        self.place(view.slot, view.offset)
    }
}
