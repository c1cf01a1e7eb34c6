//! An argument from named tensors: from one, or from its parts, which have its name, a dot, and their place in it.

use super::inspect::type_text;
use super::spec::pack;
use crate::jit::ValueType;
use tch::{IValue, Kind, Tensor};

/// A tensor, and the rest of its name: where it belongs in the argument.
pub(super) type Part = (String, Tensor);

/// The argument of this name and type. Numbers are tensors of one element.
pub(super) fn assemble(name: &str, ty: &ValueType, parts: Vec<Part>) -> Result<IValue, String> {
    let inner = if let ValueType::Optional(inner) = ty { inner } else { ty };
    let mut groups: Vec<(String, Vec<Part>)> = Vec::new();
    for (path, tensor) in parts {
        let key = match inner {
            ValueType::Dict(key, value) if **key == ValueType::Str => split_key(&path, value),
            _ => None,
        };
        let (first, rest) = key.or_else(|| path.split_once('.')).unwrap_or((&path, ""));
        match groups.iter_mut().find(|(name, _)| name == first) {
            Some((_, group)) => group.push((rest.to_string(), tensor)),
            None => groups.push((first.to_string(), vec![(rest.to_string(), tensor)])),
        }
    }
    let whole = groups.iter().position(|(part, _)| part.is_empty());
    match (whole, inner) {
        (Some(at), _) => match (groups.len(), groups.swap_remove(at).1.pop()) {
            (1, Some((_, tensor))) => as_declared(name, inner, tensor),
            _ => Err(format!("`{name}` is given as a whole and in parts")),
        },
        (None, ValueType::Dict(key, value)) => {
            let entry = |(part, group): (String, Vec<Part>)| {
                let value = assemble(&format!("{name}.{part}"), value, group)?;
                let number = part.parse().ok().filter(|number: &i64| number.to_string() == part);
                let key = match (&**key, number) {
                    (ValueType::Int, Some(number)) => IValue::Int(number),
                    (ValueType::Int, None) => {
                        return Err(format!("the keys of `{name}` are ints, not `{part}`"));
                    }
                    _ => IValue::String(part),
                };
                Ok((key, value))
            };
            Ok(IValue::GenericDict(groups.into_iter().map(entry).collect::<Result<_, _>>()?))
        }
        (None, ValueType::List(_) | ValueType::Tuple(_)) => {
            let count = if let ValueType::Tuple(types) = inner { types.len() } else { groups.len() };
            let is_item = |part: &str| (0..count).any(|at| at.to_string() == part);
            if let Some((other, _)) = groups.iter().find(|(part, _)| !is_item(part)) {
                return Err(format!(
                    "`{name}` has {count} parts, from `{name}.0` on; there is a `{name}.{other}`"
                ));
            }
            let item = |at: usize| {
                let own = groups.iter().find(|(part, _)| *part == at.to_string());
                let (part, group) =
                    own.ok_or_else(|| format!("`{name}` has {count} parts; there is no `{name}.{at}`"))?;
                let ty = match inner {
                    ValueType::Tuple(types) => &types[at],
                    ValueType::List(element) => element,
                    other => other,
                };
                let group = group.iter().map(|(rest, t)| (rest.clone(), t.shallow_clone())).collect();
                assemble(&format!("{name}.{part}"), ty, group)
            };
            let items = (0..count).map(item).collect::<Result<Vec<_>, _>>()?;
            Ok(pack(items, inner))
        }
        _ => Err(format!("`{name}` has no parts, and the file has a `{name}.{}`", groups[0].0)),
    }
}

/// A key, which may have dots in it, and the place in its value, which is of type `value`: the longest key that leaves such a place.
fn split_key<'a>(path: &'a str, value: &ValueType) -> Option<(&'a str, &'a str)> {
    let dots = path.rmatch_indices('.').map(|(at, _)| (&path[..at], &path[at + 1..]));
    [(path, "")].into_iter().chain(dots).find(|(key, rest)| !key.is_empty() && is_place(rest, value))
}

/// Does the rest of a name lead to a tensor or number in a value of this type?
fn is_place(path: &str, ty: &ValueType) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    let item = first.parse::<usize>();
    match ty {
        ValueType::Optional(inner) => is_place(path, inner),
        ValueType::List(element) => item.is_ok() && is_place(rest, element),
        ValueType::Tuple(types) => {
            item.ok().and_then(|at| types.get(at)).is_some_and(|ty| is_place(rest, ty))
        }
        ValueType::Dict(_, value) => split_key(path, value).is_some(),
        _ => path.is_empty(),
    }
}

/// A tensor as what the method declares; a number is one element of its own kind, or of one that has no more to say.
fn as_declared(name: &str, ty: &ValueType, tensor: Tensor) -> Result<IValue, String> {
    let word = match ty {
        ValueType::Int => "an int",
        ValueType::Float => "a float",
        ValueType::Bool => "a bool",
        _ => return Ok(IValue::Tensor(tensor)),
    };
    let whole = matches!(tensor.kind(), Kind::Uint8 | Kind::Int8 | Kind::Int16 | Kind::Int | Kind::Int64);
    let real = whole || matches!(tensor.kind(), Kind::Half | Kind::BFloat16 | Kind::Float | Kind::Double);
    let flat = tensor.reshape(-1);
    Ok(match ty {
        ValueType::Int if whole && tensor.numel() == 1 => IValue::Int(flat.int64_value(&[0])),
        ValueType::Float if real && tensor.numel() == 1 => IValue::Double(flat.double_value(&[0])),
        ValueType::Bool if tensor.kind() == Kind::Bool && tensor.numel() == 1 => {
            IValue::Bool(flat.int64_value(&[0]) != 0)
        }
        _ => return Err(format!("`{name}` is {word}, not {}", type_text(&IValue::Tensor(tensor)))),
    })
}
