//! The driver's functions that engines use.

use super::open::api;
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphExec,
    CUgraphNode, CUgraphNodeType, CUlaunchConfig, CUmodule, CUpointer_attribute, CUresult, CUstream,
    CUstreamCaptureMode, CUstreamCaptureStatus, CUDA_KERNEL_NODE_PARAMS,
};
use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};

/// Names of the library.
pub const FILES: &[&str] = &["libcuda.so.1", "libcuda.so"];

/// A device address.
pub type Address = u64;

api! {
    /// `libcuda`. Versioned names are those that CUDA's header maps the plain ones to.
    Driver {
        cuInit: fn(c_uint) -> CUresult;
        cuDriverGetVersion: fn(*mut c_int) -> CUresult;
        cuGetErrorName: fn(CUresult, *mut *const c_char) -> CUresult;
        cuGetErrorString: fn(CUresult, *mut *const c_char) -> CUresult;
        cuDeviceGetCount: fn(*mut c_int) -> CUresult;
        cuDeviceGet: fn(*mut CUdevice, c_int) -> CUresult;
        cuDeviceGetName: fn(*mut c_char, c_int, CUdevice) -> CUresult;
        cuDeviceGetAttribute: fn(*mut c_int, CUdevice_attribute, CUdevice) -> CUresult;
        cuDeviceTotalMem_v2: fn(*mut usize, CUdevice) -> CUresult;
        cuDevicePrimaryCtxRetain: fn(*mut CUcontext, CUdevice) -> CUresult;
        cuCtxGetCurrent: fn(*mut CUcontext) -> CUresult;
        cuCtxPushCurrent_v2: fn(CUcontext) -> CUresult;
        cuCtxPopCurrent_v2: fn(*mut CUcontext) -> CUresult;
        cuCtxSynchronize: fn() -> CUresult;
        cuMemAlloc_v2: fn(*mut Address, usize) -> CUresult;
        cuMemFree_v2: fn(Address) -> CUresult;
        cuMemAllocAsync: fn(*mut Address, usize, CUstream) -> CUresult;
        cuMemFreeAsync: fn(Address, CUstream) -> CUresult;
        cuMemHostAlloc: fn(*mut *mut c_void, usize, c_uint) -> CUresult;
        cuMemHostGetDevicePointer_v2: fn(*mut Address, *mut c_void, c_uint) -> CUresult;
        cuMemFreeHost: fn(*mut c_void) -> CUresult;
        cuMemcpyHtoD_v2: fn(Address, *const c_void, usize) -> CUresult;
        cuMemcpyDtoH_v2: fn(*mut c_void, Address, usize) -> CUresult;
        cuMemcpyDtoDAsync_v2: fn(Address, Address, usize, CUstream) -> CUresult;
        cuMemsetD8_v2: fn(Address, u8, usize) -> CUresult;
        cuPointerGetAttribute: fn(*mut c_void, CUpointer_attribute, Address) -> CUresult;
        cuModuleLoadDataEx: fn(*mut CUmodule, *const c_void, c_uint, *mut c_int, *mut *mut c_void) -> CUresult;
        cuModuleUnload: fn(CUmodule) -> CUresult;
        cuModuleGetFunction: fn(*mut CUfunction, CUmodule, *const c_char) -> CUresult;
        cuFuncSetAttribute: fn(CUfunction, CUfunction_attribute, c_int) -> CUresult;
        cuLaunchKernel: fn(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void,
        ) -> CUresult;
        cuLaunchKernelEx: fn(*const CUlaunchConfig, CUfunction, *mut *mut c_void, *mut *mut c_void) -> CUresult;
        cuStreamCreate: fn(*mut CUstream, c_uint) -> CUresult;
        cuStreamDestroy_v2: fn(CUstream) -> CUresult;
        cuStreamSynchronize: fn(CUstream) -> CUresult;
        cuStreamBeginCapture_v2: fn(CUstream, CUstreamCaptureMode) -> CUresult;
        cuStreamEndCapture: fn(CUstream, *mut CUgraph) -> CUresult;
        cuStreamIsCapturing: fn(CUstream, *mut CUstreamCaptureStatus) -> CUresult;
        cuThreadExchangeStreamCaptureMode: fn(*mut CUstreamCaptureMode) -> CUresult;
        cuEventCreate: fn(*mut CUevent, c_uint) -> CUresult;
        cuEventDestroy_v2: fn(CUevent) -> CUresult;
        cuEventRecord: fn(CUevent, CUstream) -> CUresult;
        cuEventSynchronize: fn(CUevent) -> CUresult;
        cuEventElapsedTime_v2: fn(*mut f32, CUevent, CUevent) -> CUresult;
        cuGraphInstantiateWithFlags: fn(*mut CUgraphExec, CUgraph, c_ulonglong) -> CUresult;
        cuGraphGetNodes: fn(CUgraph, *mut CUgraphNode, *mut usize) -> CUresult;
        cuGraphNodeGetType: fn(CUgraphNode, *mut CUgraphNodeType) -> CUresult;
        cuGraphKernelNodeGetParams_v2: fn(CUgraphNode, *mut CUDA_KERNEL_NODE_PARAMS) -> CUresult;
        cuGraphExecKernelNodeSetParams_v2: fn(CUgraphExec, CUgraphNode, *const CUDA_KERNEL_NODE_PARAMS) -> CUresult;
        cuGraphLaunch: fn(CUgraphExec, CUstream) -> CUresult;
        cuGraphExecDestroy: fn(CUgraphExec) -> CUresult;
        cuGraphDestroy: fn(CUgraph) -> CUresult;
    }
}
