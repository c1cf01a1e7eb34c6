//! Whether the process is about to end: whoever compiles leaves off then, for nobody will need it.

use std::sync::atomic::{AtomicBool, Ordering};

static BEGUN: AtomicBool = AtomicBool::new(false);

/// From now on compilations end early, with an error.
pub fn begin() {
    BEGUN.store(true, Ordering::Release);
}

/// Has it begun?
pub fn has_begun() -> bool {
    BEGUN.load(Ordering::Acquire)
}

/// For a compilation, which leaves off with this error.
///
/// # Errors
/// Says that it has begun.
pub fn check() -> Result<(), String> {
    if has_begun() { Err("the process ends".into()) } else { Ok(()) }
}
