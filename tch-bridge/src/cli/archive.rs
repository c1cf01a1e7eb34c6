//! Tensors from files and into them, and as the arguments of a method.

use super::model::Loaded;
use super::parts::{Part, assemble};
use super::spec::{Filling, InputSpec, Point};
use crate::jit::{Argument, words};
use crate::types::{dtype_of_kind, kind_of_dtype, sizes};
use std::path::Path;
use tch::{IValue, Kind, TchError, Tensor};
use trt_subgraph::DType;
use trt_tool::Failure;
use trt_tool::archive::{self, Array, Element};

pub(crate) use trt_tool::archive::unless_writable;

/// Reads all tensors of a file, in which each has a name of its own.
fn read(path: &Path) -> Result<Vec<(String, Tensor)>, Failure> {
    let one = |(name, array): (String, Array)| {
        let kind = match array.element() {
            Element::Real(dtype) => kind_of_dtype(dtype),
            Element::Complex(DType::F64) => Kind::ComplexDouble,
            Element::Complex(_) => Kind::ComplexFloat,
        };
        let shape: Vec<i64> = array.shape().iter().map(|&n| n as i64).collect();
        let tensor = Tensor::f_from_data_size(array.bytes(), &shape, kind);
        Ok((name, tensor.map_err(|e| Failure::file(path, words(&e)))?))
    };
    archive::read(path)?.into_iter().map(one).collect()
}

/// Writes dense tensors to a file, in which each needs a name of its own.
pub(crate) fn write(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), Failure> {
    let fail = |e: TchError| Failure::unwritten(path, words(&e));
    let one = |(name, tensor): &(String, Tensor)| {
        let element = match tensor.kind() {
            Kind::ComplexFloat => Element::Complex(DType::F32),
            Kind::ComplexDouble => Element::Complex(DType::F64),
            kind => Element::Real(dtype_of_kind(kind).ok_or_else(|| {
                let why = format!("`{name}` has elements of {kind:?}, for which files have no type");
                Failure::unwritten(path, why)
            })?),
        };
        let mut bytes = vec![0; tensor.numel() * element.size()];
        tensor.f_copy_data_u8(&mut bytes, tensor.numel()).map_err(fail)?;
        let array = Array::new(element, sizes(&tensor.size()), bytes);
        Ok((name.clone(), array.expect("it has the bytes of its type")))
    };
    archive::write(path, &tensors.iter().map(one).collect::<Result<Vec<_>, Failure>>()?)
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
