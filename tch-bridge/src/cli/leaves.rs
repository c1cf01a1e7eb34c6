//! Nested values taken apart into named tensors, and copied.

use crate::jit::{JitError, TensorView, words};
use tch::{Device, IValue, Kind, Tensor};

/// A tensor of a result, dense and on the CPU, under its name: `output`, `output.0`, `output.logits`. Numbers come as tensors of no dimension.
pub(crate) type Leaf = (String, Tensor);

/// The tensors and numbers of a value in order, then the names of what is neither.
///
/// # Errors
/// Names a tensor that can neither be compared nor written.
pub(crate) fn leaves(name: &str, value: &IValue) -> Result<(Vec<Leaf>, Vec<String>), String> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    collect(name.to_string(), value, &mut found, &mut others)?;
    Ok((found, others))
}

fn collect(
    name: String,
    value: &IValue,
    found: &mut Vec<Leaf>,
    others: &mut Vec<String>,
) -> Result<(), String> {
    let mut list = |items: &[IValue]| {
        let mut items = items.iter().enumerate();
        items.try_for_each(|(at, item)| collect(format!("{name}.{at}"), item, found, others))
    };
    match value {
        IValue::Tensor(t) => found.push(leaf(name, t)?),
        IValue::Int(v) => found.push((name, Tensor::from(*v))),
        IValue::Double(v) => found.push((name, Tensor::from(*v))),
        IValue::Bool(v) => found.push((name, Tensor::from(*v))),
        IValue::IntList(v) => found.push((name, Tensor::from_slice(v))),
        IValue::DoubleList(v) => found.push((name, Tensor::from_slice(v))),
        IValue::BoolList(v) => found.push((name, Tensor::from_slice(v))),
        IValue::TensorList(ts) => {
            for (at, t) in ts.iter().enumerate() {
                found.push(leaf(format!("{name}.{at}"), t)?);
            }
        }
        IValue::Tuple(items) | IValue::GenericList(items) => list(items)?,
        IValue::GenericDict(entries) => {
            for (key, item) in entries {
                let key = match key {
                    IValue::String(text) => text.clone(),
                    IValue::Int(number) => number.to_string(),
                    other => format!("{other:?}"),
                };
                collect(format!("{name}.{key}"), item, found, others)?;
            }
        }
        _ => others.push(name),
    }
    Ok(())
}

fn leaf(name: String, tensor: &Tensor) -> Result<Leaf, String> {
    let unfit = |is: &str| Err(format!("`{name}` {is}, which can be neither compared nor written"));
    if let Err(kind) = TensorView::of(tensor).kind_or_name() {
        return unfit(&format!("has elements of type {kind}"));
    }
    match tch::no_grad(|| tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()) {
        Ok(dense) => Ok((name, dense)),
        Err(_) => unfit("is a sparse tensor"),
    }
}

/// The value with each tensor mapped.
pub(crate) fn map_tensors(
    value: &IValue,
    f: &mut dyn FnMut(&Tensor) -> Result<Tensor, tch::TchError>,
) -> Result<IValue, JitError> {
    let failed = |e: tch::TchError| JitError::Runtime(words(&e));
    let mut list = |items: &[IValue]| items.iter().map(|v| map_tensors(v, f)).collect::<Result<Vec<_>, _>>();
    Ok(match value {
        IValue::Tensor(t) => IValue::Tensor(f(t).map_err(failed)?),
        IValue::TensorList(ts) => {
            IValue::TensorList(ts.iter().map(f).collect::<Result<_, _>>().map_err(failed)?)
        }
        IValue::Tuple(items) => IValue::Tuple(list(items)?),
        IValue::GenericList(items) => IValue::GenericList(list(items)?),
        IValue::GenericDict(entries) => {
            let one = |(k, v): &(IValue, IValue)| Ok((map_tensors(k, f)?, map_tensors(v, f)?));
            IValue::GenericDict(entries.iter().map(one).collect::<Result<_, JitError>>()?)
        }
        IValue::None => IValue::None,
        IValue::Int(v) => IValue::Int(*v),
        IValue::Double(v) => IValue::Double(*v),
        IValue::Bool(v) => IValue::Bool(*v),
        IValue::String(v) => IValue::String(v.clone()),
        IValue::Device(v) => IValue::Device(*v),
        IValue::IntList(v) => IValue::IntList(v.clone()),
        IValue::DoubleList(v) => IValue::DoubleList(v.clone()),
        IValue::BoolList(v) => IValue::BoolList(v.clone()),
        IValue::StringList(v) => IValue::StringList(v.clone()),
        _ => return Err(JitError::Argument("an argument is an object, which cannot be copied".into())),
    })
}

/// Copies that share no memory, so that a call which writes its arguments spoils nothing.
pub(crate) fn copies(values: &[IValue]) -> Result<Vec<IValue>, JitError> {
    values.iter().map(|v| map_tensors(v, &mut copy)).collect()
}

fn copy(tensor: &Tensor) -> Result<Tensor, tch::TchError> {
    let mut copy = tensor.f_zeros_like()?;
    tch::no_grad(|| copy.f_copy_(tensor))?;
    Ok(copy)
}

/// Copies on this device whose floating-point tensors are float64.
pub(crate) fn widened(values: &[IValue], device: Device) -> Result<Vec<IValue>, JitError> {
    let wide = |t: &Tensor| {
        let t = t.f_to_device(device)?;
        if t.is_floating_point() { t.f_to_kind(Kind::Double) } else { copy(&t) }
    };
    values.iter().map(|v| map_tensors(v, &mut |t| wide(t))).collect()
}
