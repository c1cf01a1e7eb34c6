//! `tch::IValue` to and from torch's own values, by way of a stack.

use std::mem::size_of;
use std::pin::Pin;

use cxx::UniquePtr;
use tch::IValue;
use tch::jit::Object;

use super::JitError;
use super::tensor::{adopt, borrow, device_from_raw, device_to_raw};
use crate::sys::ffi::{self, Stack, ValueKind};

// `tch::jit::Object` keeps its `IValue` pointer private; it is the only field.
const _: () = assert!(size_of::<Object>() == size_of::<*mut ffi::IValue>());

pub(crate) fn stack_of<'a>(
    values: impl IntoIterator<Item = &'a IValue>,
) -> Result<UniquePtr<Stack>, JitError> {
    let mut stack = ffi::new_stack();
    for value in values {
        push(stack.pin_mut(), value)?;
    }
    Ok(stack)
}

/// Pushes `value`.
///
/// # Errors
/// [`JitError::Argument`] for a kind of value that this version of tch knows and we do not.
pub(crate) fn push(mut stack: Pin<&mut Stack>, value: &IValue) -> Result<(), JitError> {
    match value {
        IValue::None => ffi::push_none(stack),
        IValue::Tensor(tensor) => ffi::push_tensor(stack, borrow(tensor)),
        IValue::Double(x) => ffi::push_double(stack, *x),
        IValue::Int(x) => ffi::push_int(stack, *x),
        IValue::Bool(x) => ffi::push_bool(stack, *x),
        IValue::String(x) => ffi::push_string(stack, x),
        IValue::Device(x) => ffi::push_device(stack, device_to_raw(*x)),
        IValue::IntList(xs) => ffi::push_ints(stack, xs),
        IValue::DoubleList(xs) => ffi::push_doubles(stack, xs),
        IValue::BoolList(xs) => ffi::push_bools(stack, xs),
        IValue::StringList(xs) => {
            xs.iter().for_each(|x| ffi::push_string(stack.as_mut(), x));
            ffi::pack_strings(stack, xs.len());
        }
        IValue::TensorList(xs) => {
            xs.iter().for_each(|x| ffi::push_tensor(stack.as_mut(), borrow(x)));
            ffi::pack_tensors(stack, xs.len());
        }
        IValue::GenericList(xs) => {
            xs.iter().try_for_each(|x| push(stack.as_mut(), x))?;
            ffi::pack_list(stack, xs.len());
        }
        IValue::Tuple(xs) => {
            xs.iter().try_for_each(|x| push(stack.as_mut(), x))?;
            ffi::pack_tuple(stack, xs.len());
        }
        IValue::GenericDict(entries) => {
            for (key, value) in entries {
                push(stack.as_mut(), key)?;
                push(stack.as_mut(), value)?;
            }
            ffi::pack_dict(stack, entries.len());
        }
        IValue::Object(object) => {
            // SAFETY: the only field of `Object` is a pointer to a live `c10::IValue` (see the assertion above).
            unsafe { ffi::push_ivalue(stack, *std::ptr::from_ref(object).cast::<*const ffi::IValue>()) }
        }
        other => return Err(JitError::Argument(format!("a value of this kind cannot be passed: {other:?}"))),
    }
    Ok(())
}

/// Pops the top value. Values without a counterpart in tch come as [`IValue::Object`].
pub(crate) fn pop(mut stack: Pin<&mut Stack>) -> Result<IValue, JitError> {
    let elements = |mut stack: Pin<&mut Stack>| -> Result<Vec<IValue>, JitError> {
        let count = ffi::unpack(stack.as_mut())?;
        (0..count).map(|_| pop(stack.as_mut())).collect()
    };
    Ok(match ffi::top_kind(&stack)? {
        ValueKind::None => {
            ffi::pop(stack);
            IValue::None
        }
        ValueKind::Tensor => IValue::Tensor(adopt(ffi::pop_tensor(stack)?)),
        ValueKind::Double => IValue::Double(ffi::pop_double(stack)?),
        ValueKind::Int => IValue::Int(ffi::pop_int(stack)?),
        ValueKind::Bool => IValue::Bool(ffi::pop_bool(stack)?),
        ValueKind::String => IValue::String(ffi::pop_string(stack)?),
        ValueKind::Device => {
            let raw = ffi::pop_device(stack)?;
            let unknown = || JitError::Argument(format!("tch has no name for the device type {}", raw.kind));
            IValue::Device(device_from_raw(&raw).ok_or_else(unknown)?)
        }
        ValueKind::IntList => IValue::IntList(ffi::pop_ints(stack)?),
        ValueKind::DoubleList => IValue::DoubleList(ffi::pop_doubles(stack)?),
        ValueKind::BoolList => IValue::BoolList(ffi::pop_bools(stack)?),
        ValueKind::StringList => {
            let count = ffi::unpack(stack.as_mut())?;
            let strings = (0..count).map(|_| ffi::pop_string(stack.as_mut()));
            IValue::StringList(strings.collect::<Result<_, _>>()?)
        }
        ValueKind::TensorList => {
            let count = ffi::unpack(stack.as_mut())?;
            let tensors = (0..count).map(|_| ffi::pop_tensor(stack.as_mut()).map(adopt));
            IValue::TensorList(tensors.collect::<Result<_, _>>()?)
        }
        ValueKind::List => IValue::GenericList(elements(stack)?),
        ValueKind::Tuple => IValue::Tuple(elements(stack)?),
        ValueKind::Dict => {
            let count = ffi::unpack(stack.as_mut())?;
            let entries = (0..count).map(|_| Ok((pop(stack.as_mut())?, pop(stack.as_mut())?)));
            IValue::GenericDict(entries.collect::<Result<_, JitError>>()?)
        }
        _ => {
            // SAFETY: `pop_ivalue` returns a fresh `new IValue`, which `Object` owns and deletes; see the assertion.
            unsafe {
                IValue::Object(std::mem::transmute::<*mut ffi::IValue, Object>(ffi::pop_ivalue(stack)?))
            }
        }
    })
}
