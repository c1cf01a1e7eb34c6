//! The types of the layer IR and torch's, both ways.

use crate::jit::TensorView;
use tch::{Device, Kind};
use trt_subgraph::{DType, TensorType};

/// The type of a dense tensor of a known element type.
pub(crate) fn type_of_view(view: &TensorView<'_>) -> Option<TensorType> {
    let dtype = dtype_of_kind(view.kind()?)?;
    view.is_plain().then(|| TensorType::new(dtype, sizes(view.sizes())))
}

/// The element type of the layer IR; `None` for complex, quantised and exotic ones.
pub(crate) fn dtype_of_kind(kind: Kind) -> Option<DType> {
    Some(match kind {
        Kind::Uint8 => DType::U8,
        Kind::Int8 => DType::I8,
        Kind::Int16 => DType::I16,
        Kind::Int => DType::I32,
        Kind::Int64 => DType::I64,
        Kind::Half => DType::F16,
        Kind::Float => DType::F32,
        Kind::Double => DType::F64,
        Kind::Bool => DType::Bool,
        Kind::BFloat16 => DType::BF16,
        _ => return None,
    })
}

/// The inverse of [`dtype_of_kind`].
pub(crate) fn kind_of_dtype(dtype: DType) -> Kind {
    match dtype {
        DType::U8 => Kind::Uint8,
        DType::I8 => Kind::Int8,
        DType::I16 => Kind::Int16,
        DType::I32 => Kind::Int,
        DType::I64 => Kind::Int64,
        DType::F16 => Kind::Half,
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::Bool => Kind::Bool,
        DType::BF16 => Kind::BFloat16,
    }
}

/// torch's notation of a device.
pub(crate) fn device_text(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".into(),
        Device::Cuda(i) => format!("cuda:{i}"),
        Device::Mps => "mps".into(),
        Device::Vulkan => "vulkan".into(),
    }
}

/// The device in torch's notation, where engines know it.
pub(crate) fn device_of_text(text: &str) -> Option<Device> {
    match text.split_once(':') {
        None if text == "cpu" => Some(Device::Cpu),
        Some(("cuda", index)) => index.parse().ok().map(Device::Cuda),
        _ => None,
    }
}

/// Sizes as the layer IR counts them.
pub(crate) fn sizes(sizes: &[i64]) -> Vec<usize> {
    sizes.iter().map(|&n| n as usize).collect()
}
