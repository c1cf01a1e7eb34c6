//! The libraries' per-thread state. A library that is not there has none, and no step asks for it.

use super::super::device::Device;
use super::{CublasLt, Cudnn};
use cudarc::cublaslt::sys::cublasLtHandle_t;
use cudarc::cudnn::sys::cudnnHandle_t;
use std::ffi::CStr;
use std::sync::Arc;

/// cuDNN's and cuBLASLt's handles on one device, for one thread at a time.
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
        let _current = device.enter()?;
        let mut out = Handles { device: Some(device.clone()), ..Handles::none() };
        if let Ok(dnn) = Cudnn::get() {
            // SAFETY: a place for the handle.
            dnn.check("cudnnCreate", unsafe { (dnn.cudnnCreate)(&mut out.dnn) })?;
        }
        if let Ok(lt) = CublasLt::get() {
            // SAFETY: a place for the handle.
            lt.check("cublasLtCreate", unsafe { (lt.cublasLtCreate)(&mut out.lt) })?;
        }
        Ok(out)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        let Some(device) = &self.device else { return };
        let Ok(_current) = device.enter() else { return };
        if let (false, Ok(dnn)) = (self.dnn.is_null(), Cudnn::get()) {
            // SAFETY: made in `new`.
            unsafe { (dnn.cudnnDestroy)(self.dnn) };
        }
        if let (false, Ok(lt)) = (self.lt.is_null(), CublasLt::get()) {
            // SAFETY: made in `new`.
            unsafe { (lt.cublasLtDestroy)(self.lt) };
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
