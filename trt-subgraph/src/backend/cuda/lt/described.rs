//! The library's descriptors.

use super::super::library::{Address, CublasLt};
use super::problem::Problem;
use crate::DType;
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t as DescAttribute, cublasLtMatrixLayout_t,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType_t as Type,
};
use std::ffi::c_void;

/// The library's descriptors of a problem.
pub struct Described {
    pub lt: &'static CublasLt,
    pub product: cublasLtMatmulDesc_t,
    pub left: cublasLtMatrixLayout_t,
    pub right: cublasLtMatrixLayout_t,
    pub result: cublasLtMatrixLayout_t,
}

// SAFETY: descriptors are only read once they are made.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

impl Described {
    /// Of a problem; `bias` is where a bias lies, 0 where that is not known yet.
    pub fn new(lt: &'static CublasLt, p: &Problem, bias: Address) -> Result<Described, String> {
        let layout = std::ptr::null_mut();
        let product = std::ptr::null_mut();
        let mut out = Described { lt, product, left: layout, right: layout, result: layout };
        let (compute, scale) = match p.dtype {
            DType::F64 => (Compute::CUBLAS_COMPUTE_64F, Type::CUDA_R_64F),
            DType::F32 if p.tf32 => (Compute::CUBLAS_COMPUTE_32F_FAST_TF32, Type::CUDA_R_32F),
            _ => (Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F),
        };
        // SAFETY: places for the descriptors.
        lt.check("cublasLtMatmulDescCreate", unsafe {
            (lt.cublasLtMatmulDescCreate)(&mut out.product, compute, scale)
        })?;
        for (attribute, matrix) in [
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, p.left),
            (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, p.right),
        ] {
            let transposed = matrix.transposed as i32;
            let value: *const c_void = (&raw const transposed).cast();
            // SAFETY: the attribute is a 32-bit number.
            let result = unsafe { (lt.cublasLtMatmulDescSetAttribute)(out.product, attribute, value, 4) };
            lt.check("cublasLtMatmulDescSetAttribute", result)?;
        }
        if p.ending.bias.is_some() {
            let epilogue = Epilogue::CUBLASLT_EPILOGUE_BIAS;
            let value: *const c_void = (&raw const epilogue).cast();
            // SAFETY: the attributes are a 32-bit number and an address.
            unsafe {
                let set = lt.cublasLtMatmulDescSetAttribute;
                let attribute = DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE;
                lt.check("an epilogue", set(out.product, attribute, value, 4))?;
                let attribute = DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
                if bias != 0 {
                    lt.check("a bias", set(out.product, attribute, (&raw const bias).cast(), 8))?;
                }
            }
        }
        for (to, matrix, dtype) in [
            (&mut out.left, p.left, p.dtype),
            (&mut out.right, p.right, p.dtype),
            (&mut out.result, p.result, p.ending.out),
        ] {
            let (batch, step) = (p.batch as i32, matrix.step as i64);
            // SAFETY: a place for the descriptor; the attributes have these sizes.
            unsafe {
                let create = lt.cublasLtMatrixLayoutCreate;
                let result =
                    create(to, kind(dtype), matrix.rows as u64, matrix.columns as u64, matrix.lead as i64);
                lt.check("cublasLtMatrixLayoutCreate", result)?;
                let set = lt.cublasLtMatrixLayoutSetAttribute;
                let count = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
                lt.check("a batch's size", set(*to, count, (&raw const batch).cast(), 4))?;
                let offset = LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
                lt.check("a batch's step", set(*to, offset, (&raw const step).cast(), 8))?;
            }
        }
        Ok(out)
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: ours, or null where they were not made.
        unsafe {
            for layout in [self.left, self.right, self.result].into_iter().filter(|l| !l.is_null()) {
                (self.lt.cublasLtMatrixLayoutDestroy)(layout);
            }
            if !self.product.is_null() {
                (self.lt.cublasLtMatmulDescDestroy)(self.product);
            }
        }
    }
}

fn kind(dtype: DType) -> Type {
    match dtype {
        DType::F16 => Type::CUDA_R_16F,
        DType::BF16 => Type::CUDA_R_16BF,
        DType::F64 => Type::CUDA_R_64F,
        _ => Type::CUDA_R_32F,
    }
}
