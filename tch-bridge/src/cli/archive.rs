//! Named tensors in .npz and .safetensors files, and as the arguments of a method.

use super::failure::Failure;
use super::model::Loaded;
use super::npz;
use super::spec::{Filling, InputSpec, Point};
use crate::jit::{Argument, ValueType, words};
use safetensors::SafeTensorError;
use std::path::Path;
use tch::{IValue, TchError, Tensor};
use trt_subgraph::files;

enum Format {
    Npz,
    Safetensors,
}

fn format(path: &Path) -> Result<Format, Failure> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("npz") => Ok(Format::Npz),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Failure::file(path, "the name must end in .npz or .safetensors")),
    }
}

/// Reads all tensors of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, Failure> {
    let format = format(path)?;
    // Opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(|e| Failure::file(path, e))?;
    if !about.is_file() {
        return Err(Failure::file(path, "this is not a regular file"));
    }
    match format {
        Format::Npz => npz::read(path).map_err(|e| Failure::file(path, e)),
        Format::Safetensors => Tensor::read_safetensors(path).map_err(|e| Failure::file(path, in_words(&e))),
    }
}

/// What is wrong with a .safetensors file.
fn in_words(error: &TchError) -> String {
    let TchError::SafeTensorError { err, .. } = error else { return words(error) };
    let why = match err {
        SafeTensorError::IoError(e) => return e.to_string(),
        SafeTensorError::HeaderTooSmall => "it is shorter than the 8 bytes with the length of the header",
        SafeTensorError::HeaderTooLarge => "its first 8 bytes give the header more than 100 MB",
        SafeTensorError::InvalidHeaderLength => "it ends before its header does",
        SafeTensorError::InvalidHeader => "its header is not UTF-8",
        SafeTensorError::InvalidHeaderStart => "its header does not begin with `{`",
        SafeTensorError::InvalidHeaderDeserialization => "its header is not the JSON that describes tensors",
        SafeTensorError::JsonError(e) => {
            return format!("its header is not the JSON that describes tensors: {e}");
        }
        SafeTensorError::InvalidOffset(name) => {
            return format!("the bytes of `{name}` do not follow those of the tensor before it");
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::InvalidTensorView(..) => {
            "a tensor has more or fewer bytes than its type and shape need"
        }
        SafeTensorError::MetadataIncompleteBuffer => "it ends before or after its last tensor",
        SafeTensorError::ValidationOverflow => "a tensor's size is beyond all numbers",
        SafeTensorError::TensorNotFound(name) => return format!("it has no tensor `{name}`"),
    };
    format!("this is no whole .safetensors file: {why}")
}

/// Writes tensors to a file.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let format = format(path)?;
    let dense =
        |(name, t): &(String, Tensor)| Ok((name.clone(), tch::no_grad(|| t.f_detach()?.f_contiguous())?));
    let written = tensors.iter().map(dense).collect::<Result<Vec<_>, tch::TchError>>();
    let fail = |e: tch::TchError| Failure::unwritten(path, in_words(&e));
    let tensors = written.map_err(fail)?;
    let whole = |other: &Path| match format {
        Format::Npz => Tensor::write_npz(&tensors, other).map_err(fail),
        Format::Safetensors => Tensor::write_safetensors(&tensors, other).map_err(fail),
    };
    files::write(path, whole, |e| Failure::unwritten(path, e))
}

/// The arguments of a method from a file: a tensor goes to the argument of its name, `arr_0` and the like by number; specs
/// fill the rest; `None` where one keeps its default.
pub(crate) fn arguments(
    path: &Path,
    loaded: &Loaded,
    specs: &[InputSpec],
) -> Result<Vec<Option<IValue>>, Failure> {
    let arguments = &loaded.arguments;
    let mut given: Vec<Option<IValue>> = arguments.iter().map(|_| None).collect();
    for (name, tensor) in read(path)? {
        let by_name = arguments.iter().position(|a| a.name == name);
        let at =
            by_name.or_else(|| name.strip_prefix("arr_")?.parse().ok()).filter(|&at| at < arguments.len());
        let at = at.ok_or_else(|| {
            let names: Vec<&str> = arguments.iter().map(|a| a.name.as_str()).collect();
            Failure::file(path, format!("no argument is called `{name}`; there are: {}", names.join(", ")))
        })?;
        given[at] = Some(as_declared(tensor, &arguments[at]).map_err(|e| Failure::file(path, e))?);
    }
    let missing: Vec<Argument> =
        arguments.iter().zip(&given).filter(|(_, v)| v.is_none()).map(|(a, _)| a.clone()).collect();
    if missing.is_empty() && !specs.is_empty() {
        return Err(Failure::file(path, "the file gives every argument; there is none left for an --input"));
    }
    let filled = tch::no_grad(|| Filling::usual(0).values(specs, &missing, Point::Opt))?;
    let mut filled = filled.into_iter();
    let last = given.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
    let mut values = Vec::new();
    for (at, (value, argument)) in given.into_iter().zip(arguments).enumerate() {
        let value = match value {
            None => match filled.next() {
                None if at >= last => break,
                filled => filled.flatten(),
            },
            given => given,
        };
        if value.is_none() && !argument.has_default {
            let why = format!("`{}` stands before other arguments; give an --input for it", argument.name);
            return Err(Failure::file(path, why));
        }
        values.push(value);
    }
    Ok(values)
}

/// A tensor as what the method declares: numbers from tensors of one element.
fn as_declared(tensor: Tensor, argument: &Argument) -> Result<IValue, String> {
    let inner = if let ValueType::Optional(inner) = &argument.ty { inner } else { &argument.ty };
    if matches!(inner, ValueType::Int | ValueType::Float | ValueType::Bool) && tensor.numel() != 1 {
        return Err(format!("`{}` is one number, not {tensor:?}", argument.name));
    }
    let flat = tensor.reshape(-1);
    Ok(match inner {
        ValueType::Int => IValue::Int(flat.int64_value(&[0])),
        ValueType::Float => IValue::Double(flat.double_value(&[0])),
        ValueType::Bool => IValue::Bool(flat.int64_value(&[0]) != 0),
        _ => IValue::Tensor(tensor),
    })
}
