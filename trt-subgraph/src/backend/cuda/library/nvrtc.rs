//! The run-time compiler's functions.

use super::open::api;
use cudarc::nvrtc::sys::{nvrtcProgram, nvrtcResult};
use std::ffi::{c_char, c_int};

/// Names of the library.
pub const FILES: &[&str] = &["libnvrtc.so.13", "libnvrtc.so"];

api! {
    /// `libnvrtc`, CUDA 13.
    Nvrtc {
        nvrtcVersion: fn(*mut c_int, *mut c_int) -> nvrtcResult;
        nvrtcGetErrorString: fn(nvrtcResult) -> *const c_char;
        nvrtcCreateProgram: fn(
            *mut nvrtcProgram, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char,
        ) -> nvrtcResult;
        nvrtcDestroyProgram: fn(*mut nvrtcProgram) -> nvrtcResult;
        nvrtcCompileProgram: fn(nvrtcProgram, c_int, *const *const c_char) -> nvrtcResult;
        nvrtcGetProgramLogSize: fn(nvrtcProgram, *mut usize) -> nvrtcResult;
        nvrtcGetProgramLog: fn(nvrtcProgram, *mut c_char) -> nvrtcResult;
        nvrtcGetCUBINSize: fn(nvrtcProgram, *mut usize) -> nvrtcResult;
        nvrtcGetCUBIN: fn(nvrtcProgram, *mut c_char) -> nvrtcResult;
    }
}
