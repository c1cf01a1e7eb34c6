//! Names and types of inputs and outputs.

use super::failure::{Caught, guard};
use super::{Handle, reading, text};
use std::ffi::{CString, c_char, c_int};
use trt_subgraph::DType;
use trt_subgraph::plan::Port;

/// A port with its name as C has it.
pub struct Named {
    pub port: Port,
    name: CString,
}

impl Named {
    pub fn all(ports: &[Port]) -> Vec<Named> {
        let named = |p: &Port| Named {
            name: CString::new(p.name.replace('\0', " ")).unwrap_or_default(),
            port: p.clone(),
        };
        ports.iter().map(named).collect()
    }
}

/// The header's numbers.
fn code(dtype: DType) -> c_int {
    match dtype {
        DType::Bool => 0,
        DType::U8 => 1,
        DType::I8 => 2,
        DType::I16 => 3,
        DType::I32 => 4,
        DType::I64 => 5,
        DType::F16 => 6,
        DType::BF16 => 7,
        DType::F32 => 8,
        DType::F64 => 9,
    }
}

fn at(ports: &[Named], at: usize) -> Caught<&Named> {
    ports.get(at).ok_or_else(|| format!("there is no position {at}, only {}", ports.len()))
}

macro_rules! ports {
    ($($side:ident: $count:ident, $name:ident, $index:ident, $ty:ident, $shape:ident, $bytes:ident;)*) => { $(
        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $count(session: *const Handle) -> usize {
            // SAFETY: the caller's promise.
            guard(0, || Ok(unsafe { reading(session)? }.$side.len()))
        }

        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(session: *const Handle, position: usize) -> *const c_char {
            // SAFETY: the caller's promise.
            guard(std::ptr::null(), || Ok(at(&unsafe { reading(session)? }.$side, position)?.name.as_ptr()))
        }

        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session; `name` is null or a string that ends in a zero.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $index(session: *const Handle, name: *const c_char) -> isize {
            guard(-1, || {
                // SAFETY: the caller's promise.
                let (handle, name) = unsafe { (reading(session)?, text(name)?) };
                let name = name.ok_or("the name is NULL")?;
                let found = handle.$side.iter().position(|p| p.port.name == name);
                found.map(|at| at as isize).ok_or_else(|| format!("there is no '{name}'"))
            })
        }

        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $ty(session: *const Handle, position: usize) -> c_int {
            // SAFETY: the caller's promise.
            guard(-1, || Ok(code(at(&unsafe { reading(session)? }.$side, position)?.port.ty.dtype)))
        }

        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session; `rank` is null or a place for a number.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $shape(
            session: *const Handle,
            position: usize,
            rank: *mut usize,
        ) -> *const usize {
            guard(std::ptr::null(), || {
                // SAFETY: the caller's promise.
                let shape = &at(&unsafe { reading(session)? }.$side, position)?.port.ty.shape;
                // SAFETY: as above.
                if let Some(rank) = unsafe { rank.as_mut() } {
                    *rank = shape.len();
                }
                Ok(shape.as_ptr())
            })
        }

        /// See `trt_subgraph.h`.
        ///
        /// # Safety
        /// `session` is null or a live session.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $bytes(session: *const Handle, position: usize) -> usize {
            // SAFETY: the caller's promise.
            guard(0, || Ok(at(&unsafe { reading(session)? }.$side, position)?.port.ty.bytes()))
        }
    )* };
}

ports! {
    inputs: trt_input_count, trt_input_name, trt_input_index, trt_input_type, trt_input_shape, trt_input_bytes;
    outputs: trt_output_count, trt_output_name, trt_output_index, trt_output_type, trt_output_shape, trt_output_bytes;
}
