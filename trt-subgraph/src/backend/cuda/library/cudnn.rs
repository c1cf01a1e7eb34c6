//! cuDNN's backend interface: descriptors that are created, given attributes, finalised and executed.

use super::open::api;
use cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t, cudnnHandle_t,
};
use cudarc::driver::sys::CUstream;
use std::ffi::{c_char, c_void};

/// Names of the library; a plain `libcudnn.so` may be another version's.
pub const FILES: &[&str] = &["libcudnn.so.9"];

api! {
    /// `libcudnn` 9.
    Cudnn {
        cudnnGetVersion: fn() -> usize;
        cudnnGetErrorString: fn(u32) -> *const c_char;
        cudnnGetLastErrorString: fn(*mut c_char, usize) -> ();
        cudnnCreate: fn(*mut cudnnHandle_t) -> u32;
        cudnnSetStream: fn(cudnnHandle_t, CUstream) -> u32;
        cudnnBackendCreateDescriptor: fn(cudnnBackendDescriptorType_t, *mut cudnnBackendDescriptor_t) -> u32;
        cudnnBackendDestroyDescriptor: fn(cudnnBackendDescriptor_t) -> u32;
        cudnnBackendSetAttribute: fn(
            cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *const c_void,
        ) -> u32;
        cudnnBackendGetAttribute: fn(
            cudnnBackendDescriptor_t, cudnnBackendAttributeName_t, cudnnBackendAttributeType_t, i64, *mut i64, *mut c_void,
        ) -> u32;
        cudnnBackendFinalize: fn(cudnnBackendDescriptor_t) -> u32;
        cudnnBackendExecute: fn(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t) -> u32;
    }
}
