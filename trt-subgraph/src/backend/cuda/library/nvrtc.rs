//! The run-time compiler's functions.

use super::open::api;
use cudarc::nvrtc::sys::nvrtcProgram;
use std::ffi::{c_char, c_int};

/// Names of the library.
pub const FILES: &[&str] = &["libnvrtc.so.13", "libnvrtc.so"];

api! {
    /// `libnvrtc`, CUDA 13.
    Nvrtc {
        nvrtcVersion: fn(*mut c_int, *mut c_int) -> u32;
        nvrtcGetErrorString: fn(u32) -> *const c_char;
        nvrtcCreateProgram: fn(
            *mut nvrtcProgram, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char,
        ) -> u32;
        nvrtcDestroyProgram: fn(*mut nvrtcProgram) -> u32;
        nvrtcCompileProgram: fn(nvrtcProgram, c_int, *const *const c_char) -> u32;
        nvrtcGetProgramLogSize: fn(nvrtcProgram, *mut usize) -> u32;
        nvrtcGetProgramLog: fn(nvrtcProgram, *mut c_char) -> u32;
        nvrtcGetCUBINSize: fn(nvrtcProgram, *mut usize) -> u32;
        nvrtcGetCUBIN: fn(nvrtcProgram, *mut c_char) -> u32;
    }
}
