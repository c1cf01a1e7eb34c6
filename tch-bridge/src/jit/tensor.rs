//! Tensors across the border: taking ownership, and reading metadata without a call per field.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};

use super::JitError;
use crate::sys::ffi;
use trt_subgraph::Bytes;
use trt_subgraph::backend::Tf32;

/// Takes over a tensor that C++ allocated for us.
pub(crate) fn adopt(tensor: *mut ffi::Tensor) -> Tensor {
    // SAFETY: by the contract of `sys`, `tensor` is a fresh `new at::Tensor`, which is what tch owns and deletes.
    unsafe { Tensor::from_ptr(tensor.cast()) }
}

pub(crate) fn borrow(tensor: &Tensor) -> &ffi::Tensor {
    // SAFETY: tch keeps a non-null pointer to a live at::Tensor; the borrow of `tensor` keeps it alive.
    unsafe { &*tensor.as_ptr().cast() }
}

/// Whether this thread traces, casts types automatically, or is in a mode in which Python looks at each operator: the host's
/// operators must run then, one by one.
pub fn host_is_watched() -> bool {
    ffi::host_is_watched()
}

/// Where torch's switches let f32 factors on a GPU be rounded to TF32 now: `torch.backends.cudnn.conv.fp32_precision` and
/// `torch.backends.cuda.matmul.fp32_precision`, also by their older names. On other devices nothing is.
pub fn tf32_on(device: Device) -> Tf32 {
    match device {
        Device::Cuda(_) => {
            let allowed = ffi::tf32_allowed();
            Tf32 { convolution: allowed & 1 != 0, product: allowed & 2 != 0 }
        }
        _ => Tf32::default(),
    }
}

/// What autograd records in a thread: gradients, tangents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recording(pub(crate) u8);

impl Recording {
    /// In the calling thread.
    pub fn now() -> Recording {
        Recording(ffi::recording())
    }

    /// Nothing?
    pub fn is_off(self) -> bool {
        self.0 == 0
    }
}

/// The queue that this thread's work on `device` goes to: a `CUstream`, or null where there is no queue.
///
/// # Errors
/// torch's own, where it does not know the device.
pub fn current_stream(device: Device) -> Result<*mut c_void, JitError> {
    match device {
        Device::Cpu => Ok(std::ptr::null_mut()),
        device => Ok(ffi::current_stream(device_to_raw(device))? as *mut c_void),
    }
}

/// The queue that a thread's work on a GPU goes to, for another thread that goes on with that work.
#[derive(Clone, Copy)]
pub struct Handover {
    device: Device,
    id: i64,
}

impl Handover {
    /// Of this thread; `None` where `device` has no queue.
    pub fn of(device: Device) -> Option<Handover> {
        match device {
            Device::Cpu => None,
            device => ffi::current_stream_id(device_to_raw(device)).ok().map(|id| Handover { device, id }),
        }
    }

    /// Makes it the calling thread's.
    pub fn take(self) {
        // torch knows the device: it named the queue.
        let _taken = ffi::use_stream(device_to_raw(self.device), self.id);
    }
}

/// A tensor's metadata, read once; cheap to copy out of and free of reference counting.
#[repr(transparent)]
pub struct TensorView<'a> {
    raw: ffi::RawView,
    tensor: PhantomData<&'a ffi::Tensor>,
}

impl<'a> TensorView<'a> {
    /// Reads `tensor`.
    pub fn of(tensor: &'a Tensor) -> Self {
        Self { raw: ffi::view(borrow(tensor)), tensor: PhantomData }
    }

    pub(crate) fn slice(raw: &'a [ffi::RawView]) -> &'a [Self] {
        // SAFETY: `TensorView` is a transparent wrapper of `RawView`.
        unsafe { std::slice::from_raw_parts(raw.as_ptr().cast(), raw.len()) }
    }

    pub(crate) fn of_raw(raw: &'a ffi::RawView) -> &'a Self {
        &Self::slice(std::slice::from_ref(raw))[0]
    }

    pub(crate) fn from_raw(raw: ffi::RawView) -> Self {
        Self { raw, tensor: PhantomData }
    }

    /// A tensor that can be read through [`Self::data`] with [`Self::sizes`] and [`Self::strides`]: dense, not
    /// quantised, no lazy conjugate or negative bit, no subclass, not nested. All below is empty or null where this is false.
    pub fn is_plain(&self) -> bool {
        self.raw.plain
    }

    /// The address of the first element, on [`Self::device`]; null for a tensor without elements.
    pub fn data(&self) -> *mut u8 {
        self.raw.data
    }

    /// Elements along each dimension.
    pub fn sizes(&self) -> &[i64] {
        self.dims(self.raw.sizes)
    }

    /// Distance between neighbours along each dimension, in elements; may be zero.
    pub fn strides(&self) -> &[i64] {
        self.dims(self.raw.strides)
    }

    fn dims(&self, first: *const i64) -> &[i64] {
        if first.is_null() || !self.raw.plain {
            return &[];
        }
        // SAFETY: `first` points at `dim` numbers inside of the tensor, which `'a` keeps alive.
        unsafe { std::slice::from_raw_parts(first, self.raw.dim) }
    }

    /// The element type, or `None` for one that tch does not name.
    pub fn kind(&self) -> Option<Kind> {
        kind_from_code(self.raw.dtype)
    }

    /// The element type, or torch's name of one that tch does not name.
    #[cfg(feature = "tool")]
    pub(crate) fn kind_or_name(&self) -> Result<Kind, String> {
        let name = || match UNNAMED.iter().find(|(code, _)| *code == self.raw.dtype) {
            Some((_, name)) => (*name).to_owned(),
            None => format!("{} in torch's count", self.raw.dtype),
        };
        self.kind().ok_or_else(name)
    }

    /// The device, or `None` for one that tch does not name.
    pub fn device(&self) -> Option<Device> {
        device_from_raw(&self.raw.device)
    }

    /// Whether autograd tracks the tensor.
    pub fn requires_grad(&self) -> bool {
        self.raw.requires_grad
    }

    /// Whether some of this is recorded for the tensor.
    pub fn is_recorded(&self, recording: Recording) -> bool {
        // SAFETY: the view is only made of live tensors and `'a` keeps them alive.
        ffi::is_recorded(unsafe { &*self.raw.tensor }, recording.0)
    }

    /// Whether the elements lie in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.raw.contiguous
    }

    /// Counts in-place writes to the tensor and its views; always 0 for tensors made in inference mode.
    pub fn version(&self) -> u32 {
        self.raw.version
    }

    /// Names the memory: equal for a tensor and its views, as long as one of them lives.
    pub fn storage_id(&self) -> usize {
        self.raw.storage
    }

    /// A second handle to the same tensor.
    pub fn to_tensor(&self) -> Tensor {
        // SAFETY: the view is only made of live tensors and `'a` keeps them alive.
        adopt(ffi::clone_tensor(unsafe { &*self.raw.tensor }))
    }

    /// The memory of a contiguous tensor of bytes on the CPU, `None` of any other. Nobody may write it from now on; it stays as
    /// long as the bytes do.
    pub(crate) fn to_bytes(&self) -> Option<Bytes> {
        let contiguous = self.raw.plain && self.raw.contiguous && self.device() == Some(Device::Cpu);
        if !contiguous || self.kind() != Some(Kind::Uint8) {
            return None;
        }
        let len = self.sizes().iter().product::<i64>() as usize;
        let data = if len == 0 { NonNull::dangling() } else { NonNull::new(self.data())? };
        Some(Bytes::of(Held { data, len, _tensor: self.to_tensor() }))
    }
}

/// The bytes of a tensor.
struct Held {
    data: NonNull<u8>,
    len: usize,
    _tensor: Tensor,
}

// SAFETY: the tensor is only kept and dropped, which counts references atomically; its bytes are only read.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so many bytes lie in the tensor's memory, which it keeps alive; by the contract of `to_bytes` nobody writes them.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

const KINDS: [(i8, Kind); 20] = [
    (0, Kind::Uint8),
    (1, Kind::Int8),
    (2, Kind::Int16),
    (3, Kind::Int),
    (4, Kind::Int64),
    (5, Kind::Half),
    (6, Kind::Float),
    (7, Kind::Double),
    (8, Kind::ComplexHalf),
    (9, Kind::ComplexFloat),
    (10, Kind::ComplexDouble),
    (11, Kind::Bool),
    (12, Kind::QInt8),
    (13, Kind::QUInt8),
    (14, Kind::QInt32),
    (15, Kind::BFloat16),
    (23, Kind::Float8e5m2),
    (24, Kind::Float8e4m3fn),
    (25, Kind::Float8e5m2fnuz),
    (26, Kind::Float8e4m3fnuz),
];

/// Of those that tch does not name, the ones that tensors are made of.
#[cfg(feature = "tool")]
const UNNAMED: [(i8, &str); 5] =
    [(27, "uint16"), (28, "uint32"), (29, "uint64"), (44, "float8_e8m0fnu"), (45, "float4_e2m1fn_x2")];

const DEVICE_CPU: i8 = 0;
const DEVICE_CUDA: i8 = 1;
const DEVICE_VULKAN: i8 = 10;
const DEVICE_MPS: i8 = 13;

/// `c10::ScalarType` to [`Kind`].
pub(crate) fn kind_from_code(code: i8) -> Option<Kind> {
    KINDS.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
}

pub(crate) fn kind_code(kind: Kind) -> i8 {
    KINDS.iter().find(|(_, known)| *known == kind).map_or(-1, |(code, _)| *code)
}

pub(crate) fn device_from_raw(device: &ffi::RawDevice) -> Option<Device> {
    match device.kind {
        DEVICE_CPU => Some(Device::Cpu),
        DEVICE_CUDA => Some(Device::Cuda(device.index.max(0) as usize)),
        DEVICE_VULKAN => Some(Device::Vulkan),
        DEVICE_MPS => Some(Device::Mps),
        _ => None,
    }
}

pub(crate) fn device_to_raw(device: Device) -> ffi::RawDevice {
    let (kind, index) = match device {
        Device::Cpu => (DEVICE_CPU, -1),
        Device::Cuda(index) => (DEVICE_CUDA, i8::try_from(index).unwrap_or(i8::MAX)),
        Device::Vulkan => (DEVICE_VULKAN, -1),
        Device::Mps => (DEVICE_MPS, -1),
    };
    ffi::RawDevice { kind, index }
}
