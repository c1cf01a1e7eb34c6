//! Named tensors in .npz and .safetensors files, and as the arguments of a method.

use super::failure::Failure;
use super::model::Loaded;
use super::spec::{Filling, InputSpec, Point};
use crate::jit::{Argument, ValueType};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tch::{IValue, Tensor};

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
    // tch panics on some damaged archives, and has words of its own for it.
    let words = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let read = catch_unwind(AssertUnwindSafe(|| match format {
        Format::Npz => Tensor::read_npz(path),
        Format::Safetensors => Tensor::read_safetensors(path),
    }));
    std::panic::set_hook(words);
    let Ok(tensors) = read else { return Err(Failure::file(path, "the file is damaged")) };
    let tensors = tensors.map_err(|e| Failure::file(path, e))?;
    if let Format::Npz = format {
        whole(path, &tensors).map_err(|e| Failure::file(path, e))?;
    }
    Ok(tensors)
}

/// Whether an .npz holds all of these tensors: tch takes what it lacks for zeros.
fn whole(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Box<dyn std::error::Error>> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path)?)?;
    for (name, tensor) in tensors {
        let mut entry = archive.by_name(&format!("{name}.npy"))?;
        // "\x93NUMPY", the version, and the length of the header that follows.
        let mut start = [0; 12];
        entry.read_exact(&mut start)?;
        let header = match start[6] {
            1 => 10 + u64::from(u16::from_le_bytes([start[8], start[9]])),
            _ => 12 + u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]])),
        };
        let wanted = (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
        let found = entry.size().saturating_sub(header);
        if found != wanted {
            return Err(format!("`{name}` has {found} bytes of data where its shape needs {wanted}").into());
        }
    }
    Ok(())
}

/// Writes tensors to a file.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let format = format(path)?;
    let dense =
        |(name, t): &(String, Tensor)| Ok((name.clone(), tch::no_grad(|| t.f_detach()?.f_contiguous())?));
    let written = tensors.iter().map(dense).collect::<Result<Vec<_>, tch::TchError>>();
    let written = written.and_then(|tensors| match format {
        Format::Npz => Tensor::write_npz(&tensors, path),
        Format::Safetensors => Tensor::write_safetensors(&tensors, path),
    });
    written.map_err(|e| Failure::file(path, e))
}

/// The arguments of a method from a file: a tensor goes to the argument of its name, `arr_0` and the like by number; specs
/// fill the rest.
pub(crate) fn arguments(path: &Path, loaded: &Loaded, specs: &[InputSpec]) -> Result<Vec<IValue>, Failure> {
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
        let value = value.or_else(|| filled.next());
        match value {
            Some(value) => values.push(value),
            None if at >= last => break,
            None if matches!(argument.ty, ValueType::Optional(_)) => values.push(IValue::None),
            None => {
                let why =
                    format!("`{}` stands before other arguments; give an --input for it", argument.name);
                return Err(Failure::file(path, why));
            }
        }
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
