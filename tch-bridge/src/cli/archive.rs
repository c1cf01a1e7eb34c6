//! Named tensors in .npz and .safetensors files, and as the arguments of a method.

use super::failure::Failure;
use super::model::Loaded;
use super::npz;
use super::parts::{Part, assemble};
use super::spec::{Filling, InputSpec, Point};
use crate::jit::{Argument, words};
use safetensors::SafeTensorError;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tch::{IValue, TchError, Tensor};
use trt_subgraph::files;

/// Element types of .safetensors files that torch's Rust bindings take.
const SAFETENSORS: [&str; 10] = ["BOOL", "U8", "I8", "I16", "I32", "I64", "F16", "BF16", "F32", "F64"];

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

/// Reads all tensors of a file, in which each has a name of its own.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, Failure> {
    let format = format(path)?;
    // Opening a pipe waits for its writer.
    let about = std::fs::metadata(path).map_err(|e| Failure::file(path, e))?;
    if !about.is_file() {
        return Err(Failure::file(path, "this is not a regular file"));
    }
    match format {
        Format::Npz => npz::read(path).map_err(|e| Failure::file(path, e)),
        Format::Safetensors => Tensor::read_safetensors(path)
            .map_err(|e| Failure::file(path, foreign_type(path).unwrap_or_else(|| in_words(&e)))),
    }
}

/// The first tensor of a .safetensors file whose elements are of a type that is not taken, where there is one. The header of such a file
/// does not read as one.
fn foreign_type(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut header).ok()?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&header).ok()?;
    let types = header.iter().filter_map(|(name, tensor)| Some((name, tensor.get("dtype")?.as_str()?)));
    let (name, dtype) = types.into_iter().find(|(_, dtype)| !SAFETENSORS.contains(dtype))?;
    let known = SAFETENSORS.join(", ");
    Some(format!("`{name}`: elements of type {dtype} are not taken; these are: {known}"))
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

/// Tells whether tensors can be written there, before there are any.
pub(crate) fn unless_writable(path: &Path) -> Result<(), Failure> {
    format(path)?;
    Failure::unless_writable(path)
}

/// Writes dense tensors to a file, in which each needs a name of its own.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let format = format(path)?;
    let mut names = HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
        let why = format!("two results would be called `{name}`, since a key has a dot in it");
        return Err(Failure::unwritten(path, why));
    }
    let fail = |e: tch::TchError| Failure::unwritten(path, in_words(&e));
    let whole = |other: &Path| match format {
        Format::Npz => npz::write(other, tensors).map_err(|e| Failure::unwritten(path, e)),
        Format::Safetensors => Tensor::write_safetensors(tensors, other).map_err(fail),
    };
    files::write(path, whole, |e| Failure::unwritten(path, e))
}

/// The arguments of a method from a file: a tensor goes to the argument of its name, `arr_0` and the like by number, one with a dot in its
/// name to a part of an argument; specs fill the rest; `None` where one keeps its default.
pub(crate) fn arguments(
    path: &Path,
    loaded: &Loaded,
    specs: &[InputSpec],
) -> Result<Vec<Option<IValue>>, Failure> {
    let arguments = &loaded.arguments;
    let mut parts: Vec<Vec<Part>> = arguments.iter().map(|_| Vec::new()).collect();
    let mut called: Vec<Option<String>> = vec![None; arguments.len()];
    for (name, tensor) in read(path)? {
        let (first, rest) = name.split_once('.').unwrap_or((&name, ""));
        let by_name = arguments.iter().position(|a| a.name == first);
        let at =
            by_name.or_else(|| first.strip_prefix("arr_")?.parse().ok()).filter(|&at| at < arguments.len());
        let at = at.ok_or_else(|| {
            let names: Vec<&str> = arguments.iter().map(|a| a.name.as_str()).collect();
            let called = if first.is_empty() { &name } else { first };
            Failure::file(path, format!("no argument is called `{called}`; there are: {}", names.join(", ")))
        })?;
        let other = called[at].get_or_insert_with(|| first.to_string());
        if other != first {
            return Err(Failure::file(path, format!("`{other}` and `{first}` are one argument")));
        }
        parts[at].push((rest.to_string(), tensor));
    }
    let one = |(parts, argument): (Vec<Part>, &Argument)| match parts.is_empty() {
        true => Ok(None),
        false => assemble(&argument.name, &argument.ty, parts).map(Some).map_err(|e| Failure::file(path, e)),
    };
    let given = parts.into_iter().zip(arguments).map(one).collect::<Result<Vec<_>, Failure>>()?;
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
