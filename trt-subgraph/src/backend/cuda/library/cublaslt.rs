//! cuBLASLt's functions.

use super::open::api;
use cudarc::cublaslt::sys::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t,
    cudaDataType_t,
};
use cudarc::driver::sys::CUstream;
use std::ffi::{c_char, c_int, c_void};

/// Names of the library.
pub const FILES: &[&str] = &["libcublasLt.so.13", "libcublasLt.so"];

api! {
    /// `libcublasLt`, CUDA 13.
    CublasLt {
        cublasLtGetVersion: fn() -> usize;
        cublasLtGetStatusString: fn(u32) -> *const c_char;
        cublasLtCreate: fn(*mut cublasLtHandle_t) -> u32;
        cublasLtMatmulDescCreate: fn(*mut cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType_t) -> u32;
        cublasLtMatmulDescDestroy: fn(cublasLtMatmulDesc_t) -> u32;
        cublasLtMatmulDescSetAttribute: fn(
            cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, *const c_void, usize,
        ) -> u32;
        cublasLtMatrixLayoutCreate: fn(*mut cublasLtMatrixLayout_t, cudaDataType_t, u64, u64, i64) -> u32;
        cublasLtMatrixLayoutDestroy: fn(cublasLtMatrixLayout_t) -> u32;
        cublasLtMatrixLayoutSetAttribute: fn(
            cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t, *const c_void, usize,
        ) -> u32;
        cublasLtMatmulPreferenceCreate: fn(*mut cublasLtMatmulPreference_t) -> u32;
        cublasLtMatmulPreferenceDestroy: fn(cublasLtMatmulPreference_t) -> u32;
        cublasLtMatmulPreferenceSetAttribute: fn(
            cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, *const c_void, usize,
        ) -> u32;
        cublasLtMatmulAlgoGetHeuristic: fn(
            cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
            cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, c_int, *mut cublasLtMatmulHeuristicResult_t, *mut c_int,
        ) -> u32;
        cublasLtMatmul: fn(
            cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *const c_void,
            cublasLtMatrixLayout_t, *const c_void, *const c_void, cublasLtMatrixLayout_t, *mut c_void,
            cublasLtMatrixLayout_t, *const cublasLtMatmulAlgo_t, *mut c_void, usize, CUstream,
        ) -> u32;
    }
}
