//! The switch: engines on or off, for the whole process.

use crate::env::{self, EnvError, Flag};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

const UNSET: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static CHOICE: AtomicU8 = AtomicU8::new(UNSET);
static ENVIRONMENT: OnceLock<Result<bool, EnvError>> = OnceLock::new();

thread_local! {
    static FORCED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with engines on in this thread: how engines are compiled while they are switched off.
pub(crate) fn force_enabled<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORCED.set(self.0);
        }
    }
    let _restore = Restore(FORCED.replace(true));
    f()
}

/// Turns engines on or off at run time, whatever `USE_TRT` says. Modules need not be made again: the next call obeys.
pub fn set_enabled(on: bool) {
    CHOICE.store(if on { ON } else { OFF }, Ordering::Release);
}

/// Gives the decision back to `USE_TRT`.
pub fn clear_enabled() {
    CHOICE.store(UNSET, Ordering::Release);
}

/// Are engines on, for a call that has no error to return? A `USE_TRT` that is not understood is said once, and is off.
pub(crate) fn is_on() -> bool {
    is_enabled().unwrap_or_else(|e| {
        crate::notice::once(format!("{e}; engines stay off"));
        false
    })
}

/// As [`is_enabled`], for whoever is not compiling; a `USE_TRT` that is not understood is off.
pub(crate) fn is_chosen() -> bool {
    chosen().unwrap_or(false)
}

/// Are engines on? `set_enabled` decides, else `USE_TRT`, which is read once; else they are off.
/// The error is a `USE_TRT` that is neither 1 nor 0.
pub fn is_enabled() -> Result<bool, EnvError> {
    if FORCED.get() { Ok(true) } else { chosen() }
}

fn chosen() -> Result<bool, EnvError> {
    match CHOICE.load(Ordering::Acquire) {
        ON => Ok(true),
        OFF => Ok(false),
        _ => ENVIRONMENT.get_or_init(|| Ok(env::USE_TRT.read::<Flag>()?.is_some_and(|f| f.0))).clone(),
    }
}
