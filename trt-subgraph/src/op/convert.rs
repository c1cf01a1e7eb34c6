//! Conversions of element type, and copies that change nothing: values have no storage to share or to own here.

use super::Def;
use super::one;
use super::promote::dtype_or;
use crate::DType;
use crate::source::{Args, Item, Lower, Refusal};

/// The tensor in the type that is asked for, if any, on the device where it is.
fn to(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    check_device(lower, args)?;
    check_layout(lower, args)?;
    let x = args.tensor("self")?;
    let dtype = match args.opt_tensor("other")? {
        Some(other) => lower.dtype(other),
        None => dtype_or(lower, args, x)?,
    };
    one(lower.cast(x, dtype)?)
}

/// A device argument is missing or the one where everything is.
pub(super) fn check_device(lower: &Lower, args: &Args) -> Result<(), Refusal> {
    match args.opt_str("device")? {
        Some(device) if device != lower.device.0 => {
            let why = format!("{device} is another device than {}", lower.device.0);
            Err(Refusal::Attribute { arg: "device".into(), why })
        }
        _ => Ok(()),
    }
}

/// A layout argument is missing or strided (torch's code 0).
pub(super) fn check_layout(lower: &Lower, args: &Args) -> Result<(), Refusal> {
    match args.opt_int(lower, "layout")? {
        None | Some(0) => Ok(()),
        Some(_) => Err(Refusal::Attribute { arg: "layout".into(), why: "not a dense tensor".into() }),
    }
}

/// The tensor itself.
fn same(_: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    one(args.tensor("self")?)
}

/// The tensor itself; numbers only.
fn positive(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    if lower.dtype(x) == DType::Bool {
        return Err(Refusal::Dtype { arg: "self", found: DType::Bool });
    }
    one(x)
}

/// Is everything on a device of this kind?
fn is_on(lower: &Lower, kind: &str) -> bool {
    lower.device.0.split(':').next() == Some(kind)
}

/// The tensor itself if it is on the named device already.
fn on(lower: &mut Lower, args: &Args, device: &str) -> Result<Vec<Item>, Refusal> {
    if !is_on(lower, device) {
        let why = format!("the tensor is on {}", lower.device.0);
        return Err(Refusal::Attribute { arg: "device".into(), why });
    }
    one(args.tensor("self")?)
}

/// What the graph of `with torch.autocast(...)` does on this device, if anything: in fewer bits what is in f32.
fn narrowed(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let (enabled, dtype) =
        if is_on(lower, "cuda") { ("cuda_enabled", "cuda_dtype") } else { ("cpu_enabled", "cpu_dtype") };
    let asked = args.opt_dtype(lower, dtype)?.filter(|_| lower.dtype(x) == DType::F32);
    match asked {
        Some(dtype) if args.flag(enabled)? => one(lower.cast(x, dtype)?),
        _ => one(x),
    }
}

/// The same the other way round: in f32 what is in f16 or bf16.
fn widened(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let x = args.tensor("self")?;
    let enabled = args.flag(if is_on(lower, "cuda") { "cuda_enabled" } else { "cpu_enabled" })?;
    let is_narrow = matches!(lower.dtype(x), DType::F16 | DType::BF16);
    one(if enabled && is_narrow { lower.cast(x, DType::F32)? } else { x })
}

/// The bridge's own: the tensor with the element type of another, and its strides, which mean nothing here. Whether the host allows a write that
/// changes the type, it tells itself.
fn laid_as(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (x, base) = (args.tensor("self")?, args.tensor("base")?);
    match lower.dtype(x) {
        found if found == lower.dtype(base) => one(x),
        found => Err(Refusal::Dtype { arg: "self", found }),
    }
}

/// `src` in the type and shape of `self`.
fn copy(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let (into, from) = (args.tensor("self")?, args.tensor("src")?);
    let shape = lower.shape(into).to_vec();
    let cast = lower.cast(from, lower.dtype(into))?;
    one(lower.broadcast(cast, shape)?)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::to.dtype(Tensor(a) self, ScalarType dtype, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
            "aten::to.device(Tensor(a) self, Device device, ScalarType dtype, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
            "aten::to.dtype_layout(Tensor(a) self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
            "aten::to.other(Tensor(a) self, Tensor other, bool non_blocking=False, bool copy=False, MemoryFormat? memory_format=None) -> Tensor(a)",
            "aten::to.prim_Device(Tensor(a) self, Device? device, int? dtype=None, bool non_blocking=False, bool copy=False) -> Tensor(b|a)",
            "aten::to.prim_dtype(Tensor(a) self, int? dtype=None, bool non_blocking=False, bool copy=False) -> Tensor(b|a)",
            "aten::_to_copy(Tensor self, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None, bool non_blocking=False, MemoryFormat? memory_format=None) -> Tensor",
            "aten::type_as(Tensor self, Tensor other) -> Tensor",
        ],
        lower: to,
    },
    Def {
        schemas: &[
            "aten::to.prim_other(Tensor(a) self, bool non_blocking=False, bool copy=False) -> Tensor(b|a)",
            "aten::contiguous(Tensor(a) self, *, MemoryFormat memory_format=0) -> Tensor(a)",
            "aten::clone(Tensor self, *, MemoryFormat? memory_format=None) -> Tensor",
            "aten::detach(Tensor(a) self) -> Tensor(a)",
            "aten::alias(Tensor(a) self) -> Tensor(a)",
            "aten::data(Tensor self) -> Tensor",
            "aten::lift_fresh(Tensor(a) self) -> Tensor(a)",
            "aten::lift_fresh_copy(Tensor self) -> Tensor",
            "aten::resolve_conj(Tensor(a) self) -> Tensor(a)",
            "aten::resolve_neg(Tensor(a) self) -> Tensor(a)",
        ],
        lower: same,
    },
    Def {
        schemas: &[
            "aten::_autocast_to_reduced_precision(Tensor(a) self, bool cuda_enabled, bool cpu_enabled, ScalarType cuda_dtype, ScalarType cpu_dtype) -> Tensor(a)",
        ],
        lower: narrowed,
    },
    Def {
        schemas: &[
            "aten::_autocast_to_full_precision(Tensor(a) self, bool cuda_enabled, bool cpu_enabled) -> Tensor(a)",
        ],
        lower: widened,
    },
    Def { schemas: &["trt::laid_as(Tensor(a) self, Tensor base) -> Tensor(a)"], lower: laid_as },
    Def { schemas: &["aten::positive(Tensor(a) self) -> Tensor(a)"], lower: positive },
    Def { schemas: &["aten::cpu(Tensor(a) self) -> Tensor(b|a)"], lower: |l, a| on(l, a, "cpu") },
    Def { schemas: &["aten::cuda(Tensor(a) self) -> Tensor(b|a)"], lower: |l, a| on(l, a, "cuda") },
    Def {
        schemas: &["aten::copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor"],
        lower: copy,
    },
];
