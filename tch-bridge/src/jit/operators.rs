//! Calls of single operators by name.

use tch::IValue;

use super::{JitError, value};
use crate::nearest::suggestion;
use crate::sys::ffi;

/// Whether an operator of this qualified name is registered: with its overload (`aten::add.Tensor`), or any of them.
pub fn operator_exists(name: &str) -> bool {
    let (base, overload) = parts(name);
    ffi::operator_exists(base, overload)
}

/// Which operators may be meant by the name of one that there is not, in words; empty where none is like it.
pub(crate) fn like_operator(name: &str) -> String {
    let qualified = if name.contains("::") { name.to_owned() } else { format!("aten::{name}") };
    let all = ffi::operator_names();
    let names = all.iter().map(|full| if name.contains('.') { full.as_str() } else { parts(full).0 });
    suggestion(&qualified, names)
}

/// `aten::add.Tensor` as the name and the overload, which may be empty.
fn parts(name: &str) -> (&str, &str) {
    let start = name.find("::").map_or(0, |at| at + 2);
    match name[start..].find('.') {
        Some(dot) => (&name[..start + dot], &name[start + dot + 1..]),
        None => (name, ""),
    }
}

/// Calls the operator of this qualified name, with its overload (`aten::add.Tensor`), on the host. Arguments stand in the
/// schema's order, none is left out; strings serve where a device is expected. Gives every result.
///
/// # Errors
/// [`JitError::NoSuchOperator`], [`JitError::Argument`] when the number of arguments is wrong, else what the operator raises.
pub fn call_operator(name: &str, arguments: &[IValue]) -> Result<Vec<IValue>, JitError> {
    let (base, overload) = parts(name);
    let mut stack = value::stack_of(arguments)?;
    ffi::call_operator(base, overload, stack.pin_mut())?;
    let mut results = Vec::new();
    while ffi::stack_len(&stack) > 0 {
        results.push(value::pop(stack.pin_mut())?);
    }
    results.reverse();
    Ok(results)
}
