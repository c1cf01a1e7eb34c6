//! The attributes of a module that an engine reads, found by path.

use cxx::UniquePtr;
use tch::{IValue, Tensor};

use super::{JitError, value};
use crate::sys::ffi;

/// The module whose method makes a call.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    raw: &'a ffi::Owner,
}

impl<'a> Owner<'a> {
    pub(crate) fn of(raw: &'a ffi::Owner) -> Self {
        Self { raw }
    }
}

/// Attributes of one module, by path, and what they held when they were found. Does not keep the module alive.
pub struct Places {
    inner: UniquePtr<ffi::Places>,
}

impl Places {
    /// Finds them.
    ///
    /// # Errors
    /// [`JitError::Argument`] where a path, attribute names joined by dots, leads nowhere.
    pub fn find(owner: Owner<'_>, paths: &[String]) -> Result<Self, JitError> {
        Ok(Self { inner: ffi::find_places(owner.raw, paths)? })
    }

    /// Whether `owner` is the module that they were found in, and each still holds the very object that it held then. Costs a
    /// nanosecond or two for each.
    pub fn hold(&self, owner: Owner<'_>) -> bool {
        ffi::places_hold(&self.inner, owner.raw)
    }

    /// Whether both were found in one module.
    pub fn same_owner(&self, other: &Self) -> bool {
        ffi::places_same_owner(&self.inner, &other.inner)
    }

    /// Whether the module that they were found in is still there.
    pub fn owner_lives(&self) -> bool {
        ffi::places_owner_lives(&self.inner)
    }

    /// The tensors that they held.
    ///
    /// # Errors
    /// [`JitError::Argument`] where one held something else.
    pub fn tensors(&self) -> Result<Vec<Tensor>, JitError> {
        let mut stack = ffi::place_values(&self.inner);
        let mut tensors = Vec::new();
        while ffi::stack_len(&stack) > 0 {
            match value::pop(stack.pin_mut())? {
                IValue::Tensor(tensor) => tensors.push(tensor),
                _ => return Err(JitError::Argument("an attribute is no tensor".to_owned())),
            }
        }
        Ok(tensors)
    }
}
