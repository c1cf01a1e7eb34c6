//! The driver's functions that engines use.

use super::open::api;
use cudarc::driver::sys::{
    CUDA_KERNEL_NODE_PARAMS, CUDA_MEMCPY3D, CUDA_MEMSET_NODE_PARAMS, CUcontext, CUdevResourceDesc, CUdevice,
    CUdevice_attribute, CUevent, CUfunction, CUfunction_attribute, CUgraph, CUgraphEdgeData, CUgraphExec,
    CUgraphNode, CUgreenCtx, CUmodule, CUpointer_attribute, CUstream, CUstreamCaptureMode, CUtensorMap,
};
use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};

/// Names of the library.
pub const FILES: &[&str] = &["libcuda.so.1", "libcuda.so"];

/// A device address.
pub type Address = u64;

/// A `CUresult`, of which a newer driver may have more than we know; 0 is success.
pub type Status = u32;

api! {
    /// `libcuda`. Versioned names are those that CUDA's header maps the plain ones to.
    Driver {
        cuInit: fn(c_uint) -> Status;
        cuDriverGetVersion: fn(*mut c_int) -> Status;
        cuGetErrorString: fn(Status, *mut *const c_char) -> Status;
        cuDeviceGetCount: fn(*mut c_int) -> Status;
        cuDeviceGet: fn(*mut CUdevice, c_int) -> Status;
        cuDeviceGetName: fn(*mut c_char, c_int, CUdevice) -> Status;
        cuDeviceGetAttribute: fn(*mut c_int, CUdevice_attribute, CUdevice) -> Status;
        cuDeviceTotalMem_v2: fn(*mut usize, CUdevice) -> Status;
        cuDevicePrimaryCtxRetain: fn(*mut CUcontext, CUdevice) -> Status;
        cuCtxGetCurrent: fn(*mut CUcontext) -> Status;
        cuCtxPushCurrent_v2: fn(CUcontext) -> Status;
        cuCtxPopCurrent_v2: fn(*mut CUcontext) -> Status;
        cuCtxSynchronize: fn() -> Status;
        cuDeviceGetDevResource: fn(CUdevice, *mut c_void, c_uint) -> Status;
        cuDevResourceGenerateDesc: fn(*mut CUdevResourceDesc, *mut c_void, c_uint) -> Status;
        cuGreenCtxCreate: fn(*mut CUgreenCtx, CUdevResourceDesc, CUdevice, c_uint) -> Status;
        cuCtxFromGreenCtx: fn(*mut CUcontext, CUgreenCtx) -> Status;
        cuGreenCtxStreamCreate: fn(*mut CUstream, CUgreenCtx, c_uint, c_int) -> Status;
        cuMemAlloc_v2: fn(*mut Address, usize) -> Status;
        cuMemFree_v2: fn(Address) -> Status;
        cuMemGetInfo_v2: fn(*mut usize, *mut usize) -> Status;
        cuMemAllocAsync: fn(*mut Address, usize, CUstream) -> Status;
        cuMemFreeAsync: fn(Address, CUstream) -> Status;
        cuMemHostAlloc: fn(*mut *mut c_void, usize, c_uint) -> Status;
        cuMemHostGetDevicePointer_v2: fn(*mut Address, *mut c_void, c_uint) -> Status;
        cuMemFreeHost: fn(*mut c_void) -> Status;
        cuMemcpy: fn(Address, Address, usize) -> Status;
        cuMemcpyDtoH_v2: fn(*mut c_void, Address, usize) -> Status;
        cuMemcpyHtoDAsync_v2: fn(Address, *const c_void, usize, CUstream) -> Status;
        cuMemcpyDtoHAsync_v2: fn(*mut c_void, Address, usize, CUstream) -> Status;
        cuMemcpyDtoDAsync_v2: fn(Address, Address, usize, CUstream) -> Status;
        cuMemsetD8_v2: fn(Address, u8, usize) -> Status;
        cuMemsetD8Async: fn(Address, u8, usize, CUstream) -> Status;
        cuPointerGetAttributes: fn(c_uint, *mut CUpointer_attribute, *mut *mut c_void, Address) -> Status;
        cuModuleLoadDataEx: fn(*mut CUmodule, *const c_void, c_uint, *mut c_int, *mut *mut c_void) -> Status;
        cuModuleUnload: fn(CUmodule) -> Status;
        cuModuleGetFunction: fn(*mut CUfunction, CUmodule, *const c_char) -> Status;
        cuFuncSetAttribute: fn(CUfunction, CUfunction_attribute, c_int) -> Status;
        cuLaunchKernel: fn(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void,
        ) -> Status;
        cuTensorMapEncodeTiled: fn(
            *mut CUtensorMap, c_uint, c_uint, *mut c_void, *const u64, *const u64, *const u32, *const u32, c_uint, c_uint, c_uint, c_uint,
        ) -> Status;
        cuTensorMapEncodeIm2col: fn(
            *mut CUtensorMap, c_uint, c_uint, *mut c_void, *const u64, *const u64, *const c_int, *const c_int, c_uint, c_uint,
            *const u32, c_uint, c_uint, c_uint, c_uint,
        ) -> Status;
        cuStreamCreate: fn(*mut CUstream, c_uint) -> Status;
        cuStreamSynchronize: fn(CUstream) -> Status;
        cuStreamDestroy_v2: fn(CUstream) -> Status;
        cuStreamWaitEvent: fn(CUstream, CUevent, c_uint) -> Status;
        cuStreamIsCapturing: fn(CUstream, *mut c_uint) -> Status;
        cuThreadExchangeStreamCaptureMode: fn(*mut CUstreamCaptureMode) -> Status;
        cuStreamBeginCapture_v2: fn(CUstream, CUstreamCaptureMode) -> Status;
        cuStreamGetCaptureInfo_v2: fn(
            CUstream, *mut c_uint, *mut c_ulonglong, *mut CUgraph, *mut *const CUgraphNode, *mut usize,
        ) -> Status;
        cuStreamUpdateCaptureDependencies: fn(CUstream, *const CUgraphNode, usize, c_uint) -> Status;
        cuStreamEndCapture: fn(CUstream, *mut CUgraph) -> Status;
        cuEventCreate: fn(*mut CUevent, c_uint) -> Status;
        cuEventDestroy_v2: fn(CUevent) -> Status;
        cuEventRecord: fn(CUevent, CUstream) -> Status;
        cuEventElapsedTime: fn(*mut f32, CUevent, CUevent) -> Status;
        cuEventSynchronize: fn(CUevent) -> Status;
        cuGraphCreate: fn(*mut CUgraph, c_uint) -> Status;
        cuGraphAddKernelNode_v2: fn(
            *mut CUgraphNode, CUgraph, *const CUgraphNode, usize, *const CUDA_KERNEL_NODE_PARAMS,
        ) -> Status;
        cuGraphAddDependencies_v2: fn(
            CUgraph, *const CUgraphNode, *const CUgraphNode, *const CUgraphEdgeData, usize,
        ) -> Status;
        cuGraphAddChildGraphNode: fn(*mut CUgraphNode, CUgraph, *const CUgraphNode, usize, CUgraph) -> Status;
        cuGraphAddMemsetNode: fn(
            *mut CUgraphNode, CUgraph, *const CUgraphNode, usize, *const CUDA_MEMSET_NODE_PARAMS, CUcontext,
        ) -> Status;
        cuGraphAddMemcpyNode: fn(*mut CUgraphNode, CUgraph, *const CUgraphNode, usize, *const CUDA_MEMCPY3D, CUcontext) -> Status;
        cuGraphAddEmptyNode: fn(*mut CUgraphNode, CUgraph, *const CUgraphNode, usize) -> Status;
        cuGraphGetNodes: fn(CUgraph, *mut CUgraphNode, *mut usize) -> Status;
        cuGraphGetEdges_v2: fn(CUgraph, *mut CUgraphNode, *mut CUgraphNode, *mut CUgraphEdgeData, *mut usize) -> Status;
        cuGraphNodeGetType: fn(CUgraphNode, *mut c_uint) -> Status;
        cuGraphKernelNodeGetParams_v2: fn(CUgraphNode, *mut CUDA_KERNEL_NODE_PARAMS) -> Status;
        cuGraphKernelNodeGetAttribute: fn(CUgraphNode, c_uint, *mut c_void) -> Status;
        cuGraphKernelNodeSetAttribute: fn(CUgraphNode, c_uint, *const c_void) -> Status;
        cuGraphMemsetNodeGetParams: fn(CUgraphNode, *mut CUDA_MEMSET_NODE_PARAMS) -> Status;
        cuGraphMemcpyNodeGetParams: fn(CUgraphNode, *mut CUDA_MEMCPY3D) -> Status;
        cuGraphUpload: fn(CUgraphExec, CUstream) -> Status;
        cuGraphInstantiateWithFlags: fn(*mut CUgraphExec, CUgraph, c_ulonglong) -> Status;
        cuGraphExecKernelNodeSetParams_v2: fn(CUgraphExec, CUgraphNode, *const CUDA_KERNEL_NODE_PARAMS) -> Status;
        cuGraphKernelNodeSetParams_v2: fn(CUgraphNode, *const CUDA_KERNEL_NODE_PARAMS) -> Status;
        cuGraphLaunch: fn(CUgraphExec, CUstream) -> Status;
        cuGraphExecDestroy: fn(CUgraphExec) -> Status;
        cuGraphDestroy: fn(CUgraph) -> Status;
    }
}
