//! Matrix products by cuBLASLt. Factors are given as they lie in memory; a bias is its epilogue, anything more a kernel after it.
//!
//! The library counts columns first, so it is asked for the transposed product: our right factor is its left one.

use super::assemble::{Assembler, Fault, order_of};
use super::kernel::product::matrices;
use super::kernel::pointwise;
use super::library::{Address, CublasLt, Handles};
use super::program::{Call, WORKSPACE_ALIGNMENT};
use super::render::Argument;
use super::tactic::Way;
use super::timer::Timer;
use crate::DType;
use crate::backend::view::View;
use crate::network::{Expr, Layer};
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t as DescAttribute,
    cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreferenceAttributes_t as Preference, cublasLtMatrixLayout_t,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType_t as Type,
};
use cudarc::driver::sys::CUstream;
use std::ffi::c_void;
use std::sync::Arc;

/// Most algorithms that are tried.
const ALGORITHMS: usize = 6;
/// Most bytes of working memory.
const WORKSPACE: usize = 32 << 20;

/// The library's ways to run a product.
pub fn ways(a: &mut Assembler, timer: &Timer, layer: &Layer, transposed: (bool, bool), tf32: bool) -> Vec<Arc<dyn Way>> {
    let Some(problem) = Problem::of(a, layer, transposed, tf32) else { return vec![] };
    let found = CublasLt::get().and_then(|lt| problem.algorithms(lt, timer));
    let found = found.unwrap_or_else(|why| {
        log::debug!("cuBLASLt has nothing for {}: {why}", layer.origin);
        vec![]
    });
    let way = |(rank, found): (usize, Found)| -> Arc<dyn Way> {
        Arc::new(Product { problem: problem.clone(), algorithm: found.algo, workspace: found.workspaceSize, rank })
    };
    found.into_iter().enumerate().map(way).collect()
}

type Found = cublasLtMatmulHeuristicResult_t;

/// A matrix as the library sees it: columns first.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Matrix {
    rows: usize,
    columns: usize,
    /// Distance of columns.
    lead: usize,
    /// Distance of matrices of the batch; 0 where all are one.
    step: isize,
    /// Is it to be used transposed?
    transposed: bool,
}

#[derive(Clone, PartialEq, Debug)]
struct Problem {
    dtype: DType,
    out: DType,
    batch: usize,
    /// Ours on the right, ours on the left, the result.
    left: Matrix,
    right: Matrix,
    result: Matrix,
    tf32: bool,
    transposed: (bool, bool),
}

impl Problem {
    /// The layer as the library can run it; `None` where it cannot.
    fn of(a: &mut Assembler, layer: &Layer, transposed: (bool, bool), tf32: bool) -> Option<Problem> {
        let shape = a.network.ty(layer.outputs[0]).shape.clone();
        let batch = &shape[..shape.len() - 2];
        let dtype = a.network.ty(layer.inputs[0]).dtype;
        if !dtype.is_float() || a.network.ty(layer.inputs[0]).elements() == 0 {
            return None;
        }
        let (x, w) = (operand(a, layer, 0), operand(a, layer, 1));
        if [&x, &w].iter().any(|v| v.offset % ALIGNMENT as isize != 0) {
            return None;
        }
        let (x, w) = (matrices(&x, transposed.0, batch), matrices(&w, transposed.1, batch));
        // A sum that an epilogue goes on with is not rounded before.
        let out = match &layer.epilogue {
            None => dtype,
            Some(_) if dtype == DType::F64 => dtype,
            Some(_) => DType::F32,
        };
        let count: usize = batch.iter().product();
        let (m, n) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let result = Matrix { rows: n, columns: m, lead: n, step: (m * n) as isize, transposed: false };
        let (left, right) = (matrix(&w, count)?, matrix(&x, count)?);
        Some(Problem { dtype, out, batch: count, left, right, result, tf32, transposed })
    }

    fn algorithms(&self, lt: &'static CublasLt, timer: &Timer) -> Result<Vec<Found>, String> {
        let _current = timer.device.enter()?;
        let handles = timer.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let described = Described::new(lt, self)?;
        let mut preference = std::ptr::null_mut();
        let mut found = [Found {
            algo: cublasLtMatmulAlgo_t { data: [0; 8] },
            workspaceSize: 0,
            state: cudarc::cublaslt::sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
            wavesCount: 0.0,
            reserved: [0; 4],
        }; ALGORITHMS];
        let mut count = 0;
        // SAFETY: places for the answers, as many as are asked for; descriptors are alive.
        unsafe {
            lt.check("cublasLtMatmulPreferenceCreate", (lt.cublasLtMatmulPreferenceCreate)(&mut preference))?;
            let attribute = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let set = lt.cublasLtMatmulPreferenceSetAttribute;
            set(preference, attribute, (&raw const WORKSPACE_BYTES).cast(), size_of::<u64>());
            for attribute in [
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                set(preference, attribute, (&raw const ALIGNMENT).cast(), size_of::<u32>());
            }
            let d = &described;
            let result = (lt.cublasLtMatmulAlgoGetHeuristic)(
                handles.lt,
                d.product,
                d.left,
                d.right,
                d.result,
                d.result,
                preference,
                ALGORITHMS as i32,
                found.as_mut_ptr(),
                &mut count,
            );
            (lt.cublasLtMatmulPreferenceDestroy)(preference);
            lt.check("cublasLtMatmulAlgoGetHeuristic", result)?;
        }
        Ok(found[..count.max(0) as usize].to_vec())
    }
}

static WORKSPACE_BYTES: u64 = WORKSPACE as u64;
/// Of every matrix, in bytes.
static ALIGNMENT: u32 = 16;

/// The operand as its kernel would find it, without asking for a static one.
fn operand(a: &mut Assembler, layer: &Layer, at: usize) -> View {
    let v = layer.inputs[at];
    if a.is_static(v) {
        return View::row_major(super::program::WEIGHTS, a.network.ty(v));
    }
    let view = a.view(v);
    if a.is_given(view.slot) {
        // As the copy that is made of it.
        return View::dense(view.slot, &view.ty(), &order_of(&view));
    }
    view
}

/// A batch of matrices `[batch..., rows, columns]` of ours, which the library sees transposed; `None` where neither axis is dense or the
/// batch has no one step.
fn matrix(v: &View, batch: usize) -> Option<Matrix> {
    let r = v.rank();
    let (rows, columns) = (v.shape[r - 2], v.shape[r - 1]);
    let (row_step, column_step) = (v.strides[r - 2], v.strides[r - 1]);
    let step = match batch {
        1 => 0,
        _ => {
            let axes: Vec<usize> = (0..r - 2).filter(|&i| v.shape[i] != 1).collect();
            let inner = v.strides[*axes.last()?];
            let mut expected = inner;
            for &axis in axes.iter().rev() {
                if v.strides[axis] != expected {
                    return None;
                }
                expected *= v.shape[axis] as isize;
            }
            inner
        }
    };
    let dense = |step: isize, size: usize| size == 1 || step == 1;
    let lead = |step: isize, size: usize, least: usize| {
        let step = if size == 1 { least as isize } else { step };
        (step >= least as isize).then_some(step as usize)
    };
    if dense(column_step, columns)
        && let Some(lead) = lead(row_step, rows, columns)
    {
        return Some(Matrix { rows: columns, columns: rows, lead, step, transposed: false });
    }
    if dense(row_step, rows)
        && let Some(lead) = lead(column_step, columns, rows)
    {
        return Some(Matrix { rows, columns, lead, step, transposed: true });
    }
    None
}

/// The library's descriptors of a problem.
struct Described {
    lt: &'static CublasLt,
    product: cublasLtMatmulDesc_t,
    left: cublasLtMatrixLayout_t,
    right: cublasLtMatrixLayout_t,
    result: cublasLtMatrixLayout_t,
}

// SAFETY: descriptors are only read once they are made.
unsafe impl Send for Described {}
// SAFETY: as above.
unsafe impl Sync for Described {}

impl Described {
    fn new(lt: &'static CublasLt, p: &Problem) -> Result<Described, String> {
        let layout = std::ptr::null_mut();
        let product = std::ptr::null_mut();
        let mut out = Described { lt, product, left: layout, right: layout, result: layout };
        let (compute, scale) = match p.dtype {
            DType::F64 => (Compute::CUBLAS_COMPUTE_64F, Type::CUDA_R_64F),
            DType::F32 if p.tf32 => (Compute::CUBLAS_COMPUTE_32F_FAST_TF32, Type::CUDA_R_32F),
            _ => (Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F),
        };
        // SAFETY: places for the descriptors.
        lt.check("cublasLtMatmulDescCreate", unsafe { (lt.cublasLtMatmulDescCreate)(&mut out.product, compute, scale) })?;
        for (attribute, matrix) in
            [(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, p.left), (DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, p.right)]
        {
            let transposed = matrix.transposed as i32;
            let value: *const c_void = (&raw const transposed).cast();
            // SAFETY: the attribute is a 32-bit number.
            let result = unsafe { (lt.cublasLtMatmulDescSetAttribute)(out.product, attribute, value, 4) };
            lt.check("cublasLtMatmulDescSetAttribute", result)?;
        }
        for (to, matrix, dtype) in [
            (&mut out.left, p.left, p.dtype),
            (&mut out.right, p.right, p.dtype),
            (&mut out.result, p.result, p.out),
        ] {
            let (batch, step) = (p.batch as i32, matrix.step as i64);
            // SAFETY: a place for the descriptor; the attributes have these sizes.
            unsafe {
                let create = lt.cublasLtMatrixLayoutCreate;
                let result = create(to, kind(dtype), matrix.rows as u64, matrix.columns as u64, matrix.lead as i64);
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

/// A product by one of the library's algorithms.
struct Product {
    problem: Problem,
    algorithm: cublasLtMatmulAlgo_t,
    workspace: usize,
    rank: usize,
}

impl Way for Product {
    fn name(&self) -> String {
        format!("cuBLASLt {}", self.rank)
    }

    fn emit(&self, a: &mut Assembler, layer: &Layer) -> Result<(), Fault> {
        let p = &self.problem;
        let shape = a.network.ty(layer.outputs[0]).shape.clone();
        let row_major: Vec<usize> = (0..shape.len()).collect();
        let tail = a.tail(layer, &row_major)?;
        let fits = tail.out.is_row_major() && tail.out.offset % ALIGNMENT as isize == 0;
        let plain = tail.expr.is_none() && fits && !a.is_given(tail.out.slot);
        let ty = crate::TensorType::new(p.out, shape);
        let result = if plain { tail.out.clone() } else { a.temporary(&ty, &row_major) };
        let mut arguments = Vec::new();
        for at in [1, 0] {
            let view = a.view(layer.inputs[at]);
            let view = a.inside(view)?;
            arguments.push(Argument::of(&view, false));
        }
        arguments.push(Argument::of(&result, true));
        arguments.push(a.workspace(self.workspace));
        let lt = CublasLt::get()?;
        let call = Planned {
            described: Described::new(lt, p)?,
            algorithm: self.algorithm,
            workspace: self.workspace,
            wide: p.dtype == DType::F64,
            name: format!("{} {}x{}x{}x{}", self.name(), p.batch, p.result.columns, p.result.rows, depth(p)),
        };
        a.call(call, arguments);
        if plain {
            return Ok(());
        }
        let mut operands = vec![result];
        operands.extend(tail.operands);
        let expr = tail.expr.unwrap_or_else(Expr::identity);
        // The library's result has the type that the layer's own computes in.
        pointwise::emit_typed(a, "epilogue", &expr, &tail.typing, &operands, tail.out)
    }
}

fn depth(p: &Problem) -> usize {
    if p.left.transposed { p.left.rows } else { p.left.columns }
}


struct Planned {
    described: Described,
    algorithm: cublasLtMatmulAlgo_t,
    workspace: usize,
    wide: bool,
    name: String,
}

impl Call for Planned {
    fn describe(&self) -> String {
        self.name.clone()
    }

    unsafe fn enqueue(&self, handles: &Handles, addresses: &[Address], stream: CUstream) -> Result<(), String> {
        let d = &self.described;
        let (one, zero) = ([1f32, 0.0], [0f32, 0.0]);
        let (wide_one, wide_zero) = (1f64, 0f64);
        let (alpha, beta): (*const c_void, *const c_void) = if self.wide {
            ((&raw const wide_one).cast(), (&raw const wide_zero).cast())
        } else {
            (one.as_ptr().cast(), zero.as_ptr().cast())
        };
        let [left, right, result, workspace] = addresses else { return Err("four addresses".to_string()) };
        let at = |address: &Address| *address as *mut c_void;
        // SAFETY: the caller's promise; descriptors are alive.
        let status = unsafe {
            (d.lt.cublasLtMatmul)(
                handles.lt,
                d.product,
                alpha,
                at(left),
                d.left,
                at(right),
                d.right,
                beta,
                at(result),
                d.result,
                at(result),
                d.result,
                &self.algorithm,
                workspace.next_multiple_of(WORKSPACE_ALIGNMENT) as *mut c_void,
                self.workspace,
                stream,
            )
        };
        d.lt.check("cublasLtMatmul", status)
    }
}
