//! Recording Rust code as a method.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use tch::{IValue, Tensor};

use super::engine::panic_message;
use super::tensor::{adopt, borrow};
use super::{Initial, JitError, Module, value};
use crate::sys::ffi::{self, Stack};

/// The closure of one [`Module::trace`], as `cpp/trace.cpp` calls it.
pub(crate) struct TraceClosure<'a>(Box<Step<'a>>);

/// Replaces the arguments on the stack by the result; false where it failed.
type Step<'a> = dyn FnMut(Pin<&mut Stack>) -> bool + 'a;

pub(crate) fn trace_call(closure: &mut TraceClosure<'_>, stack: Pin<&mut Stack>) -> bool {
    (closure.0)(stack)
}

impl Module {
    /// A module whose `method` does what `closure` does with `inputs`. The closure may use the tensors in `attributes`:
    /// the module holds those very tensors under their names (dots make submodules), so an in-place optimiser step on
    /// them is a step of the module; so it holds other tensors that the closure uses, unless nobody else does, as `captured_0`
    /// and so on. Control flow and sizes are recorded as they are for `inputs`.
    ///
    /// # Errors
    /// [`JitError::Closure`] or [`JitError::Panicked`] where the closure fails, else what torch's tracer raises.
    pub fn trace<N, F, R, E>(
        method: &str,
        inputs: &[Tensor],
        attributes: &[(N, Initial)],
        mut closure: F,
    ) -> Result<Self, JitError>
    where
        N: AsRef<str>,
        F: FnMut(&[Tensor]) -> Result<R, E>,
        R: Into<IValue>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let module = Self::with_attributes("Traced", attributes)?;
        let mut stack = ffi::new_stack();
        for input in inputs {
            ffi::push_tensor(stack.pin_mut(), borrow(input));
        }
        let names: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
        let mut failure = None;
        let result = {
            let mut call = TraceClosure(Box::new(|stack| {
                let outcome = catch_unwind(AssertUnwindSafe(|| run(stack, &mut closure)));
                failure = match outcome {
                    Ok(done) => done.err(),
                    Err(panic) => Some(JitError::Panicked(panic_message(panic.as_ref()))),
                };
                failure.is_none()
            }));
            // SAFETY: unsafe only for the lifetime of the closure's borrows; the C++ side keeps no reference to it.
            unsafe { ffi::trace(&module.inner, method, &names, stack.pin_mut(), &mut call) }
        };
        match failure {
            Some(failure) => Err(failure),
            None => Ok(result.map(|()| module)?),
        }
    }
}

fn run<F, R, E>(mut stack: Pin<&mut Stack>, closure: &mut F) -> Result<(), JitError>
where
    F: FnMut(&[Tensor]) -> Result<R, E>,
    R: Into<IValue>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut tensors = Vec::new();
    while ffi::stack_len(&stack) > 0 {
        tensors.push(adopt(ffi::pop_tensor(stack.as_mut())?));
    }
    tensors.reverse();
    let result = closure(&tensors).map_err(|error| JitError::Closure(error.into()))?;
    value::push(stack, &result.into())
}
