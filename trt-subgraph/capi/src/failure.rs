//! Errors as text, one for each thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A result whose error is a sentence.
pub type Caught<T> = Result<T, String>;

thread_local! {
    static LATEST: RefCell<CString> = RefCell::default();
}

/// What `f` gives, or `otherwise` when it fails or panics; then [`trt_error`] tells why.
pub fn guard<T>(otherwise: T, f: impl FnOnce() -> Caught<T>) -> T {
    let why = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => return value,
        Ok(Err(why)) => why,
        Err(_) => "the library panicked; this is a fault of its own".to_string(),
    };
    let why = CString::new(why.replace('\0', " ")).unwrap_or_default();
    LATEST.with(|latest| *latest.borrow_mut() = why);
    otherwise
}

/// See `trt_subgraph.h`.
#[unsafe(no_mangle)]
pub extern "C" fn trt_error() -> *const c_char {
    LATEST.with(|latest| latest.borrow().as_ptr())
}
