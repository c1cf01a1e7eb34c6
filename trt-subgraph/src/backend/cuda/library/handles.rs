//! The libraries' per-thread state. A library that is not there has none, and no step asks for it.

use super::super::device::Device;
use super::{CublasLt, Cudnn};
use cudarc::cublaslt::sys::cublasLtHandle_t;
use cudarc::cudnn::sys::cudnnHandle_t;
use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

/// Handles that nobody has at the moment. They are never destroyed: making one takes longer than many a layer's timing, and a plan may
/// refer to the one that it was made with.
static IDLE: Mutex<Vec<Handles>> = Mutex::new(Vec::new());

/// cuDNN's and cuBLASLt's handles on one device, for one thread at a time. Dropped, they wait for the next who asks.
pub struct Handles {
    device: Option<Arc<Device>>,
    /// Null where there is no cuDNN.
    pub dnn: cudnnHandle_t,
    /// Null where there is no cuBLASLt.
    pub lt: cublasLtHandle_t,
}

// SAFETY: handles may move between threads.
unsafe impl Send for Handles {}

impl Handles {
    /// For programs that call no library.
    pub fn none() -> Handles {
        Handles { device: None, dnn: std::ptr::null_mut(), lt: std::ptr::null_mut() }
    }

    /// One of each library that is there.
    pub fn new(device: &Arc<Device>) -> Result<Handles, String> {
        let is_here = |h: &Handles| h.device.as_ref().is_some_and(|d| d.ordinal == device.ordinal);
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = idle.iter().position(is_here) {
            return Ok(idle.swap_remove(at));
        }
        drop(idle);
        let _relaxed = device.enter_relaxed()?;
        let mut out = Handles::none();
        if let Ok(dnn) = Cudnn::get() {
            // SAFETY: a place for the handle.
            dnn.check("cudnnCreate", unsafe { (dnn.cudnnCreate)(&mut out.dnn) })?;
        }
        if let Ok(lt) = CublasLt::get() {
            // SAFETY: a place for the handle.
            lt.check("cublasLtCreate", unsafe { (lt.cublasLtCreate)(&mut out.lt) })?;
        }
        out.device = Some(device.clone());
        Ok(out)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        if self.device.is_some() {
            let whole = std::mem::replace(self, Handles::none());
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(whole);
        }
    }
}

impl Cudnn {
    /// Turns a result into an error that names the call.
    pub fn check(&self, call: &str, result: u32) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        let mut words = [0u8; 256];
        // SAFETY: the buffer's length is given; the other text is static.
        let name = unsafe {
            (self.cudnnGetLastErrorString)(words.as_mut_ptr().cast(), words.len());
            CStr::from_ptr((self.cudnnGetErrorString)(result))
        };
        let words = CStr::from_bytes_until_nul(&words).unwrap_or_default();
        Err(format!("{call}: {} {}", name.to_string_lossy(), words.to_string_lossy()))
    }
}

impl CublasLt {
    /// Turns a result into an error that names the call.
    pub fn check(&self, call: &str, result: u32) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        // SAFETY: the text is static.
        let words = unsafe { CStr::from_ptr((self.cublasLtGetStatusString)(result)) };
        Err(format!("{call}: {}", words.to_string_lossy()))
    }
}
