//! The functions of `trt_subgraph.h`. No panic crosses the border, and no null pointer is followed.

mod failure;
mod ports;

use failure::{Caught, guard};
use ports::Named;
use std::ffi::{CStr, c_char, c_int, c_void};
use trt_subgraph::Bytes;
use trt_subgraph::backend::choose;
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;

pub use failure::trt_error;

/// A session, and what C reads of it.
pub struct Handle {
    session: Session,
    inputs: Vec<Named>,
    outputs: Vec<Named>,
}

impl Handle {
    fn new(session: Session) -> *mut Handle {
        let (inputs, outputs) = (Named::all(session.inputs()), Named::all(session.outputs()));
        Box::into_raw(Box::new(Handle { session, inputs, outputs }))
    }
}

/// # Safety
/// `text` is null or a string that ends in a zero.
unsafe fn text<'a>(text: *const c_char) -> Caught<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|_| "a string is not UTF-8".to_string())
}

/// # Safety
/// `session` is null or a live session that nobody else uses meanwhile.
unsafe fn handle<'a>(session: *mut Handle) -> Caught<&'a mut Handle> {
    // SAFETY: the caller's promise.
    unsafe { session.as_mut() }.ok_or_else(|| "the session is NULL".to_string())
}

/// # Safety
/// As for [`handle`], for reading.
unsafe fn reading<'a>(session: *const Handle) -> Caught<&'a Handle> {
    // SAFETY: the caller's promise.
    unsafe { session.as_ref() }.ok_or_else(|| "the session is NULL".to_string())
}

fn open(plan: &Plan, backend: Option<&str>) -> Caught<*mut Handle> {
    let name = backend.or(plan.backend()).unwrap_or("auto");
    let backend = choose(name).map_err(|e| e.to_string())?;
    let session = Session::new(plan, backend, plan.options()).map_err(|e| e.to_string())?;
    Ok(Handle::new(session))
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// Both are null or strings that end in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_open(path: *const c_char, backend: *const c_char) -> *mut Handle {
    guard(std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let (path, backend) = unsafe { (text(path)?, text(backend)?) };
        let path = path.ok_or("the path is NULL")?;
        let plan = match path.strip_prefix("shm:") {
            #[cfg(unix)]
            Some(name) => Plan::open_shared(name),
            _ => Plan::open(path),
        };
        open(&plan.map_err(|e| e.to_string())?, backend)
    })
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `plan` is the address of so many bytes; `backend` is null or a string that ends in a zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_open_bytes(
    plan: *const c_void,
    bytes: usize,
    backend: *const c_char,
) -> *mut Handle {
    guard(std::ptr::null_mut(), || {
        if plan.is_null() {
            return Err("the plan is NULL".to_string());
        }
        // SAFETY: the caller's promise.
        let (plan, backend) =
            unsafe { (std::slice::from_raw_parts(plan.cast::<u8>(), bytes).to_vec(), text(backend)?) };
        open(&Plan::from_bytes(Bytes::from(plan)).map_err(|e| e.to_string())?, backend)
    })
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a live session that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_fork(session: *mut Handle) -> *mut Handle {
    guard(std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let fork = unsafe { handle(session)? }.session.fork().map_err(|e| e.to_string())?;
        Ok(Handle::new(fork))
    })
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a session that is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_close(session: *mut Handle) {
    guard((), || {
        if !session.is_null() {
            // SAFETY: made by `Handle::new`, and the caller's promise.
            drop(unsafe { Box::from_raw(session) });
        }
        Ok(())
    });
}

macro_rules! calls {
    ($($name:ident = $method:ident;)*) => { $(
        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session that nobody else uses meanwhile.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(session: *mut Handle) -> c_int {
            guard(1, || {
                // SAFETY: the caller's promise.
                unsafe { handle(session)? }.session.$method().map_err(|e| e.to_string())?;
                Ok(0)
            })
        }
    )* };
}

calls! {
    trt_run = run;
    trt_start = start;
    trt_wait = wait;
    trt_send = send;
    trt_execute = execute;
    trt_fetch = fetch;
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a live session; `seconds` is null or a place for three numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_run_timed(session: *mut Handle, seconds: *mut f64) -> c_int {
    guard(1, || {
        // SAFETY: the caller's promise.
        let times = unsafe { handle(session)? }.session.run_timed().map_err(|e| e.to_string())?;
        if !seconds.is_null() {
            for (at, time) in [times.send, times.execute, times.fetch].into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { seconds.add(at).write(time.as_secs_f64()) };
            }
        }
        Ok(0)
    })
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a live session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_stream(session: *const Handle) -> *mut c_void {
    // SAFETY: the caller's promise.
    guard(std::ptr::null_mut(), || Ok(unsafe { reading(session)? }.session.stream().0))
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a live session that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_input_data(session: *mut Handle, at: usize) -> *mut c_void {
    guard(std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let Handle { session, inputs, .. } = unsafe { handle(session)? };
        let port = inputs.get(at).ok_or("there is no such input")?;
        Ok(session.input_mut(&port.port.name).map_err(|e| e.to_string())?.as_mut_ptr().cast())
    })
}

/// See `trt_subgraph.h`.
///
/// # Safety
/// `session` is null or a live session that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn trt_output_data(session: *mut Handle, at: usize) -> *const c_void {
    guard(std::ptr::null(), || {
        // SAFETY: the caller's promise.
        let Handle { session, outputs, .. } = unsafe { handle(session)? };
        let port = outputs.get(at).ok_or("there is no such output")?;
        Ok(session.output(&port.port.name).map_err(|e| e.to_string())?.as_ptr().cast())
    })
}
