//! Owners of oneDNN objects, and the primitives that the engine uses. Everything is f32.

use super::library::OneDnn;
use super::sys::{self, Dims};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;

/// oneDNN refused; the words name the function.
pub type Refused = String;

fn check(status: sys::Status, what: &str) -> Result<(), Refused> {
    match status {
        0 => Ok(()),
        1 => Err(format!("{what}: out of memory")),
        3 => Err(format!("{what}: not implemented")),
        n => Err(format!("{what}: status {n}")),
    }
}

fn dims(values: impl IntoIterator<Item = i64>) -> Dims {
    let mut out = [0; 12];
    for (o, v) in out.iter_mut().zip(values) {
        *o = v;
    }
    out
}

/// The layout of a tensor.
pub struct Desc {
    library: Arc<OneDnn>,
    raw: sys::Desc,
}

impl Desc {
    /// A plain f32 tensor; strides in elements. At most 12 axes.
    pub fn strided(library: &Arc<OneDnn>, shape: &[usize], strides: &[isize]) -> Result<Desc, Refused> {
        let (d, s) = (dims(shape.iter().map(|&n| n as i64)), dims(strides.iter().map(|&n| n as i64)));
        let mut raw = null_mut();
        // SAFETY: both arrays hold as many sizes as oneDNN reads at most.
        let status = unsafe {
            (library.api.dnnl_memory_desc_create_with_strides)(
                &mut raw,
                shape.len() as c_int,
                &d,
                sys::F32,
                &s,
            )
        };
        check(status, "memory descriptor")?;
        Ok(Desc { library: library.clone(), raw })
    }

    /// A tensor whose layout a primitive may choose.
    pub fn any(library: &Arc<OneDnn>, shape: &[usize]) -> Result<Desc, Refused> {
        let d = dims(shape.iter().map(|&n| n as i64));
        let mut raw = null_mut();
        // SAFETY: the array holds as many sizes as oneDNN reads at most.
        let status = unsafe {
            (library.api.dnnl_memory_desc_create_with_tag)(
                &mut raw,
                shape.len() as c_int,
                &d,
                sys::F32,
                sys::TAG_ANY,
            )
        };
        check(status, "memory descriptor")?;
        Ok(Desc { library: library.clone(), raw })
    }

    /// Bytes of a tensor of this layout.
    pub fn size(&self) -> usize {
        // SAFETY: the descriptor lives.
        unsafe { (self.library.api.dnnl_memory_desc_get_size)(self.raw) }
    }

    /// A copy of a descriptor that a primitive owns; null gives none.
    fn of(library: &Arc<OneDnn>, borrowed: sys::Desc) -> Result<Option<Desc>, Refused> {
        if borrowed.is_null() {
            return Ok(None);
        }
        let mut raw = null_mut();
        // SAFETY: the primitive descriptor that owns `borrowed` lives.
        check(unsafe { (library.api.dnnl_memory_desc_clone)(&mut raw, borrowed) }, "memory descriptor")?;
        Ok(Some(Desc { library: library.clone(), raw }))
    }
}

impl Clone for Desc {
    fn clone(&self) -> Desc {
        let mut raw = null_mut();
        // SAFETY: the descriptor lives.
        let status = unsafe { (self.library.api.dnnl_memory_desc_clone)(&mut raw, self.raw) };
        assert_eq!(status, 0, "a descriptor of a few hundred bytes is copied");
        Desc { library: self.library.clone(), raw }
    }
}

impl PartialEq for Desc {
    fn eq(&self, other: &Desc) -> bool {
        // SAFETY: both descriptors live.
        unsafe { (self.library.api.dnnl_memory_desc_equal)(self.raw, other.raw) != 0 }
    }
}

impl Drop for Desc {
    fn drop(&mut self) {
        // SAFETY: we own it and nobody uses it any more.
        unsafe { (self.library.api.dnnl_memory_desc_destroy)(self.raw) };
    }
}

/// What a primitive is to compute.
pub enum Recipe<'a> {
    /// Convolution, or its transpose. `dilation` counts skipped cells.
    Convolution {
        transposed: bool,
        src: &'a Desc,
        weights: &'a Desc,
        bias: Option<&'a Desc>,
        dst: &'a Desc,
        strides: &'a [usize],
        dilation: &'a [usize],
        padding: &'a [(i64, i64)],
    },
    /// Copy into another layout.
    Reorder { src: &'a Desc, dst: &'a Desc },
}

/// A compiled primitive and the layouts that it wants.
pub struct Primitive {
    library: Arc<OneDnn>,
    raw: sys::Primitive,
    /// oneDNN's name for the kernel: `brgconv:avx512_core`.
    pub kernel: String,
    /// Layout of the weights.
    pub weights: Option<Desc>,
    /// Bytes of working memory that an execution needs.
    pub scratchpad: usize,
    scratchpad_desc: Option<Desc>,
}

// SAFETY: primitives and descriptors are immutable once made; executions may overlap.
unsafe impl Send for Primitive {}
// SAFETY: as above.
unsafe impl Sync for Primitive {}
// SAFETY: descriptors are immutable.
unsafe impl Send for Desc {}
// SAFETY: as above.
unsafe impl Sync for Desc {}

impl Primitive {
    /// Compiles.
    pub fn new(library: &Arc<OneDnn>, recipe: &Recipe) -> Result<Primitive, Refused> {
        let api = &library.api;
        let mut attr = null_mut();
        // SAFETY: `attr` is a place for the handle; it is destroyed below.
        check(unsafe { (api.dnnl_primitive_attr_create)(&mut attr) }, "attributes")?;
        // SAFETY: `attr` lives.
        let set = unsafe { (api.dnnl_primitive_attr_set_scratchpad_mode)(attr, sys::SCRATCHPAD_USER) };
        let made = check(set, "attributes").and_then(|()| Primitive::with_attributes(library, recipe, attr));
        // SAFETY: we own `attr`; primitives copy it.
        unsafe { (api.dnnl_primitive_attr_destroy)(attr) };
        made
    }

    fn with_attributes(
        library: &Arc<OneDnn>,
        recipe: &Recipe,
        attr: sys::Attr,
    ) -> Result<Primitive, Refused> {
        let (api, engine) = (&library.api, library.engine);
        let mut desc = null_mut();
        let bias = |b: &Option<&Desc>| b.map_or(null_mut(), |d| d.raw);
        let (status, what) = match recipe {
            Recipe::Convolution { transposed, src, weights, bias: b, dst, strides, dilation, padding } => {
                let (strides, dilation) =
                    (dims(strides.iter().map(|&n| n as i64)), dims(dilation.iter().map(|&n| n as i64 - 1)));
                let (before, after) = (dims(padding.iter().map(|p| p.0)), dims(padding.iter().map(|p| p.1)));
                let (create, kind) = if *transposed {
                    (api.dnnl_deconvolution_forward_primitive_desc_create, sys::DECONVOLUTION_DIRECT)
                } else {
                    (api.dnnl_convolution_forward_primitive_desc_create, sys::CONVOLUTION_DIRECT)
                };
                // SAFETY: all descriptors and arrays outlive the call.
                let status = unsafe {
                    create(
                        &mut desc,
                        engine,
                        sys::FORWARD_INFERENCE,
                        kind,
                        src.raw,
                        weights.raw,
                        bias(b),
                        dst.raw,
                        &strides,
                        &dilation,
                        &before,
                        &after,
                        attr,
                    )
                };
                (status, "convolution")
            }
            Recipe::Reorder { src, dst } => {
                // SAFETY: both descriptors outlive the call.
                let status = unsafe {
                    (api.dnnl_reorder_primitive_desc_create)(
                        &mut desc, src.raw, engine, dst.raw, engine, attr,
                    )
                };
                (status, "reorder")
            }
        };
        check(status, what)?;
        let made = Primitive::from_desc(library, desc, what);
        // SAFETY: we own `desc`; the primitive keeps what it needs.
        unsafe { (api.dnnl_primitive_desc_destroy)(desc) };
        made
    }

    fn from_desc(library: &Arc<OneDnn>, desc: sys::PrimitiveDesc, what: &str) -> Result<Primitive, Refused> {
        let api = &library.api;
        let mut name: *const c_char = std::ptr::null();
        // SAFETY: this query writes a pointer to a string that lives as long as `desc`.
        let kernel = unsafe {
            (api.dnnl_primitive_desc_query)(desc, sys::QUERY_IMPL_INFO, 0, (&raw mut name).cast::<c_void>());
            if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() }
        };
        // SAFETY: `desc` lives and owns what the query gives.
        let query = |q| Desc::of(library, unsafe { (api.dnnl_primitive_desc_query_md)(desc, q, 0) });
        let scratchpad_desc = query(sys::QUERY_SCRATCHPAD)?;
        let weights = query(sys::QUERY_WEIGHTS)?;
        let mut raw = null_mut();
        // SAFETY: `raw` is a place for the handle.
        check(unsafe { (api.dnnl_primitive_create)(&mut raw, desc) }, what)?;
        let scratchpad = scratchpad_desc.as_ref().map_or(0, Desc::size);
        Ok(Primitive { library: library.clone(), raw, kernel, weights, scratchpad, scratchpad_desc })
    }

    /// Layout of the working memory.
    pub fn scratchpad_desc(&self) -> Option<&Desc> {
        self.scratchpad_desc.as_ref()
    }
}

impl Drop for Primitive {
    fn drop(&mut self) {
        // SAFETY: we own it and no execution is under way.
        unsafe { (self.library.api.dnnl_primitive_destroy)(self.raw) };
    }
}

/// The memory objects of one thread's executions: they carry addresses, so threads cannot share them.
pub struct Memories {
    library: Arc<OneDnn>,
    stream: sys::Stream,
    all: Vec<sys::Memory>,
}

// SAFETY: the objects have no tie to a thread; `&mut` access keeps them from being shared.
unsafe impl Send for Memories {}

impl Memories {
    /// One object for each layout, without addresses.
    pub fn new<'a>(
        library: &Arc<OneDnn>,
        layouts: impl Iterator<Item = &'a Desc>,
    ) -> Result<Memories, Refused> {
        let api = &library.api;
        let mut out = Memories { library: library.clone(), stream: null_mut(), all: Vec::new() };
        // SAFETY: the engine lives as long as the process.
        check(unsafe { (api.dnnl_stream_create)(&mut out.stream, library.engine, 1) }, "stream")?;
        for desc in layouts {
            let mut memory = null_mut();
            // SAFETY: a null address is allowed: it is set before each execution.
            let status =
                unsafe { (api.dnnl_memory_create)(&mut memory, desc.raw, library.engine, null_mut()) };
            check(status, "memory")?;
            out.all.push(memory);
        }
        Ok(out)
    }

    /// Runs a primitive. Each argument is its name, the position of its memory object, and its address.
    ///
    /// # Safety
    /// Each address has a tensor of the memory object's layout; what is written overlaps nothing else.
    pub unsafe fn execute(
        &self,
        primitive: &Primitive,
        arguments: &[(i32, usize, *mut u8)],
    ) -> Result<(), Refused> {
        let api = &self.library.api;
        let mut list = [sys::Arg { arg: 0, memory: null_mut() }; 8];
        for (slot, &(arg, at, address)) in list.iter_mut().zip(arguments) {
            let memory = self.all[at];
            // SAFETY: the object is ours alone; the caller vouches for the address.
            unsafe { (api.dnnl_memory_set_data_handle)(memory, address.cast()) };
            *slot = sys::Arg { arg, memory };
        }
        // SAFETY: all handles live; a CPU stream has finished when `execute` returns.
        let status = unsafe {
            (api.dnnl_primitive_execute)(primitive.raw, self.stream, arguments.len() as c_int, list.as_ptr())
        };
        check(status, &primitive.kernel)
    }
}

impl Drop for Memories {
    fn drop(&mut self) {
        for &memory in &self.all {
            // SAFETY: we own it and no execution is under way.
            unsafe { (self.library.api.dnnl_memory_destroy)(memory) };
        }
        if !self.stream.is_null() {
            // SAFETY: as above.
            unsafe { (self.library.api.dnnl_stream_destroy)(self.stream) };
        }
    }
}
