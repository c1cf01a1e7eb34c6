//! The part of oneDNN's C interface that the engine uses (<https://uxlfoundation.github.io/oneDNN/>), the same in every 3.x.
//! Functions are looked up at run time, so nothing is linked.

use libloading::Library;
use std::ffi::{c_char, c_int, c_void};

/// `dnnl_status_t`: 0 is success.
pub type Status = c_int;
/// `dnnl_dims_t`.
pub type Dims = [i64; 12];

macro_rules! handles {
    ($($(#[$m:meta])* $name:ident),*) => { $($(#[$m])* pub type $name = *mut c_void;)* };
}
handles! {
    /// `dnnl_engine_t`
    Engine,
    /// `dnnl_stream_t`
    Stream,
    /// `dnnl_memory_t`
    Memory,
    /// `dnnl_memory_desc_t`
    Desc,
    /// `dnnl_primitive_desc_t`
    PrimitiveDesc,
    /// `dnnl_primitive_t`
    Primitive,
    /// `dnnl_primitive_attr_t`
    Attr
}

/// `dnnl_version_t`
#[repr(C)]
pub struct Version {
    pub major: c_int,
    pub minor: c_int,
    pub patch: c_int,
    pub hash: *const c_char,
    pub cpu_runtime: u32,
    pub gpu_runtime: u32,
}

/// `dnnl_exec_arg_t`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arg {
    pub arg: c_int,
    pub memory: Memory,
}

pub const CPU: c_int = 1;
pub const RUNTIME_OMP: u32 = 2;
pub const F32: c_int = 3;
pub const ISA_SSE41: c_int = 0x1;
pub const ISA_AVX2: c_int = 0x7;
pub const ISA_AVX512_CORE: c_int = 0x27;
pub const TAG_ANY: c_int = 1;
pub const FORWARD_INFERENCE: c_int = 96;
pub const CONVOLUTION_DIRECT: c_int = 1;
pub const DECONVOLUTION_DIRECT: c_int = 0xa;
pub const SCRATCHPAD_USER: c_int = 1;
pub const QUERY_IMPL_INFO: c_int = 8;
pub const QUERY_WEIGHTS: c_int = 131;
pub const QUERY_SCRATCHPAD: c_int = 136;
pub const ARG_SRC: c_int = 1;
pub const ARG_DST: c_int = 17;
pub const ARG_WEIGHTS: c_int = 33;
pub const ARG_BIAS: c_int = 41;
pub const ARG_SCRATCHPAD: c_int = 80;

macro_rules! functions {
    ($($name:ident($($arg:ty),*) -> $result:ty;)*) => {
        /// The functions of a loaded oneDNN, under their C names.
        pub struct Api {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> $result,)*
            pub library: Library,
        }

        impl Api {
            /// Looks every function up; the error names the one that is missing.
            ///
            /// # Safety
            /// `library` is a oneDNN 3.
            pub unsafe fn new(library: Library) -> Result<Api, libloading::Error> {
                Ok(Api {
                    // SAFETY: the caller's library declares these symbols with these C types.
                    $($name: unsafe { *library.get(concat!(stringify!($name), "\0").as_bytes())? },)*
                    library,
                })
            }
        }
    };
}

functions! {
    dnnl_set_max_cpu_isa(c_int) -> Status;
    dnnl_engine_create(*mut Engine, c_int, usize) -> Status;
    dnnl_stream_create(*mut Stream, Engine, u32) -> Status;
    dnnl_stream_destroy(Stream) -> Status;
    dnnl_memory_create(*mut Memory, Desc, Engine, *mut c_void) -> Status;
    dnnl_memory_destroy(Memory) -> Status;
    dnnl_memory_set_data_handle(Memory, *mut c_void) -> Status;
    dnnl_memory_desc_create_with_strides(*mut Desc, c_int, *const Dims, c_int, *const Dims) -> Status;
    dnnl_memory_desc_create_with_tag(*mut Desc, c_int, *const Dims, c_int, c_int) -> Status;
    dnnl_memory_desc_clone(*mut Desc, Desc) -> Status;
    dnnl_memory_desc_destroy(Desc) -> Status;
    dnnl_memory_desc_equal(Desc, Desc) -> c_int;
    dnnl_memory_desc_get_size(Desc) -> usize;
    dnnl_primitive_attr_create(*mut Attr) -> Status;
    dnnl_primitive_attr_destroy(Attr) -> Status;
    dnnl_primitive_attr_set_scratchpad_mode(Attr, c_int) -> Status;
    dnnl_convolution_forward_primitive_desc_create(
        *mut PrimitiveDesc, Engine, c_int, c_int, Desc, Desc, Desc, Desc,
        *const Dims, *const Dims, *const Dims, *const Dims, Attr) -> Status;
    dnnl_deconvolution_forward_primitive_desc_create(
        *mut PrimitiveDesc, Engine, c_int, c_int, Desc, Desc, Desc, Desc,
        *const Dims, *const Dims, *const Dims, *const Dims, Attr) -> Status;
    dnnl_reorder_primitive_desc_create(*mut PrimitiveDesc, Desc, Engine, Desc, Engine, Attr) -> Status;
    dnnl_primitive_desc_query(PrimitiveDesc, c_int, c_int, *mut c_void) -> Status;
    dnnl_primitive_desc_query_md(PrimitiveDesc, c_int, c_int) -> Desc;
    dnnl_primitive_desc_destroy(PrimitiveDesc) -> Status;
    dnnl_primitive_create(*mut Primitive, PrimitiveDesc) -> Status;
    dnnl_primitive_execute(Primitive, Stream, c_int, *const Arg) -> Status;
    dnnl_primitive_destroy(Primitive) -> Status;
}
