//! Matrix products by cuBLASLt. Factors are given as they lie in memory; a row and a tensor that the result is added to are the
//! library's own work, anything more a kernel's after it.
//!
//! The library counts columns first, so it is asked for the transposed product: our right factor is its left one.

mod described;
mod ending;
mod problem;

use super::assemble::{Assembler, Fault};
use super::kernel::pointwise;
use super::library::{Address, CublasLt, Handles};
use super::program::{Call, WORKSPACE_ALIGNMENT};
use super::render::Argument;
use super::tactic::Way;
use super::timer::Timer;
use crate::backend::Level;
use crate::network::{Layer, LayerKind};
use crate::{DType, TensorType};
use cudarc::cublaslt::sys::{
    cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t as Found,
    cublasLtMatmulPreferenceAttributes_t as Preference,
};
use cudarc::driver::sys::CUstream;
use described::Described;
use ending::Ending;
use problem::Problem;
use std::ffi::c_void;
use std::sync::Arc;

/// Most algorithms that are tried: usually, and at the highest level.
const ALGORITHMS: [usize; 2] = [6, 32];
/// Most bytes of working memory.
const WORKSPACE: usize = 32 << 20;

/// The library's ways to run a product.
pub fn ways(
    a: &mut Assembler,
    timer: &Timer,
    layer: &Layer,
    transposed: (bool, bool),
    tf32: bool,
) -> Vec<Arc<dyn Way>> {
    for ending in Ending::of(a, layer) {
        let Some(problem) = Problem::of(a, layer, transposed, tf32, ending) else { return vec![] };
        match CublasLt::get().and_then(|lt| problem.algorithms(lt, timer)) {
            Ok(found) if !found.is_empty() => {
                let way = |(rank, found): (usize, &Found)| -> Arc<dyn Way> {
                    let (problem, algorithm) = (problem.clone(), found.algo);
                    Arc::new(Product { problem, algorithm, workspace: found.workspaceSize, rank })
                };
                return found.iter().enumerate().map(way).collect();
            }
            Ok(_) => {}
            Err(why) => log::debug!("cuBLASLt has nothing for {}: {why}", a.origin()),
        }
    }
    vec![]
}

impl Problem {
    /// The library's best algorithms, in its own order of preference.
    fn algorithms(&self, lt: &'static CublasLt, timer: &Timer) -> Result<Vec<Found>, String> {
        let _current = timer.device.enter()?;
        let handles = timer.handles.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let described = Described::new(lt, self, 0)?;
        let mut preference = std::ptr::null_mut();
        let most = ALGORITHMS[usize::from(timer.level == Level::Exhaustive)];
        let none = Found {
            algo: cublasLtMatmulAlgo_t { data: [0; 8] },
            workspaceSize: 0,
            state: cudarc::cublaslt::sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS,
            wavesCount: 0.0,
            reserved: [0; 4],
        };
        let mut found = vec![none; most];
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
                most as i32,
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
        let LayerKind::MatMul { transpose_a, transpose_b } = layer.kind else {
            return Err(format!("{} is no product", layer.kind.name()));
        };
        let here = Problem::of(a, layer, (transpose_a, transpose_b), p.tf32, p.ending.clone());
        if here.as_ref() != Some(p) {
            return Err("the library's plan is for operands that lie otherwise".to_string());
        }
        let shape = a.network.ty(layer.outputs[0]).shape.clone();
        let row_major: Vec<usize> = (0..shape.len()).collect();
        let tail = a.tail(layer, &row_major)?;
        let ending = &p.ending;
        let fits = tail.out.is_row_major() && tail.out.offset % ALIGNMENT as isize == 0;
        let plain = ending.rest.is_none() && fits && !a.is_given(tail.out.slot);
        let ty = TensorType::new(ending.out, shape);
        let result = if plain { tail.out.clone() } else { a.temporary(&ty, &row_major) };
        let mut arguments = Vec::new();
        for at in [1, 0] {
            let view = a.view(layer.inputs[at]);
            let view = a.inside(view)?;
            arguments.push(Argument::of(&view, false));
        }
        arguments.push(Argument::of(&result, true));
        arguments.push(a.workspace(self.workspace));
        if let Some(at) = ending.addend {
            let addend = a.view(layer.inputs[at]);
            let addend = a.inside(addend)?;
            arguments.push(Argument::of(&addend, false));
        }
        if let Some(at) = ending.bias {
            let bias = a.view(layer.inputs[at]);
            let flat = bias.reshape(&[bias.elements()]).filter(|v| v.is_row_major() && v.offset % 16 == 0);
            let bias = match flat.filter(|v| !a.is_given(v.slot)) {
                Some(flat) => flat,
                None => {
                    let to = a.temporary(&bias.ty(), &(0..bias.rank()).collect::<Vec<_>>());
                    a.copy(&bias, to.clone())?;
                    to
                }
            };
            arguments.push(Argument::of(&bias, false));
        }
        let lt = CublasLt::get()?;
        let call = Planned {
            described: Described::new(lt, p, 0)?,
            problem: p.clone(),
            algorithm: self.algorithm,
            workspace: self.workspace,
            wide: p.dtype == DType::F64,
            name: format!("{} {}x{}x{}x{}", self.name(), p.batch, p.result.columns, p.result.rows, p.depth()),
        };
        a.call(call, arguments);
        if plain {
            return Ok(());
        }
        let Some((expr, read)) = &ending.rest else { return a.copy(&result, tail.out) };
        // The library's result has the type that the layer's own computes in.
        let (mut typing, mut operands) = (vec![tail.typing[0]], vec![result]);
        for at in read {
            typing.push(tail.typing[at - 1]);
            operands.push(tail.operands[at - 2].clone());
        }
        pointwise::emit_typed(a, "epilogue", expr, &typing, &operands, tail.out)
    }
}

struct Planned {
    described: Described,
    problem: Problem,
    algorithm: cublasLtMatmulAlgo_t,
    workspace: usize,
    wide: bool,
    name: String,
}

impl Call for Planned {
    fn describe(&self) -> String {
        self.name.clone()
    }

    unsafe fn enqueue(
        &self,
        handles: &Handles,
        addresses: &[Address],
        stream: CUstream,
    ) -> Result<(), String> {
        let d = &self.described;
        let of_addend = if self.problem.ending.addend.is_some() { 1 } else { 0 };
        let (one, factor) = (1f32, of_addend as f32);
        let (wide_one, wide_factor) = (1f64, of_addend as f64);
        let (alpha, beta): (*const c_void, *const c_void) = if self.wide {
            ((&raw const wide_one).cast(), (&raw const wide_factor).cast())
        } else {
            ((&raw const one).cast(), (&raw const factor).cast())
        };
        let [left, right, result, workspace, more @ ..] = addresses else {
            return Err("four to six addresses".to_string());
        };
        let addend = more.first().filter(|_| of_addend == 1).unwrap_or(result);
        // A bias' address is part of a descriptor, which others may be using.
        let own = more.get(of_addend).map(|&bias| Described::new(d.lt, &self.problem, bias)).transpose()?;
        let d = own.as_ref().unwrap_or(d);
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
                at(addend),
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
