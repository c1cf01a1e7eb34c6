//! A cluster's calls carried out on the host, one after the other, for what they show of its results.

use super::entry::Entry;
use super::laid::Layout;
use crate::jit::{EngineError, TensorView, call_operator};
use crate::layout::AxisOrder;
use crate::types::{device_of_text, kind_of_dtype};
use std::collections::HashMap;
use tch::{Device, IValue, Tensor};
use trt_subgraph::TensorType;
use trt_subgraph::backend::ending;
use trt_subgraph::source::{Arg, Call, InputKind, SourceGraph, Var};

/// How the tensor results lie in memory for inputs of these shapes and orders, whatever they hold.
///
/// # Errors
/// What the host raises whether all inputs are zero or one.
pub(super) fn replay(
    source: &SourceGraph,
    entry: &Entry,
    parameters: &[Tensor],
) -> Result<Vec<Layout>, EngineError> {
    // Positions have to be in range, divisors not zero.
    run(source, entry, parameters, 0.0).or_else(|_| run(source, entry, parameters, 1.0))
}

fn run(
    source: &SourceGraph,
    entry: &Entry,
    parameters: &[Tensor],
    fill: f64,
) -> Result<Vec<Layout>, EngineError> {
    let device = device_of_text(&source.device.0).unwrap_or(Device::Cpu);
    let mut values: HashMap<Var, IValue> = HashMap::new();
    let mut tensors = entry.border.tensors.iter().zip(&entry.orders);
    let mut ints = entry.border.ints.iter();
    for input in &source.inputs {
        let value = match input.kind {
            InputKind::Tensor => {
                tensors.next().map(|(ty, order)| filled(ty, order, device, fill)).transpose()?
            }
            InputKind::Int => ints.next().map(|&i| IValue::Int(i)),
        };
        values.insert(input.var, value.unwrap_or(IValue::None));
    }
    for ((var, _), tensor) in source.parameters.iter().zip(parameters) {
        values.insert(*var, IValue::Tensor(tensor.shallow_clone()));
    }
    let mut last: HashMap<Var, usize> = HashMap::new();
    for (at, call) in source.calls.iter().enumerate() {
        call.args.iter().for_each(|a| a.for_each_var(&mut |v| _ = last.insert(v, at)));
    }
    source.outputs.iter().for_each(|&v| _ = last.insert(v, source.calls.len()));
    for (at, call) in source.calls.iter().enumerate() {
        let results = carry_out(call, &values, device)?;
        values.extend(call.outputs.iter().copied().zip(results));
        // Memory as the host needs it: what is read no more goes.
        let mut done = Vec::new();
        call.args.iter().for_each(|a| a.for_each_var(&mut |v| done.push(v)));
        done.iter().filter(|v| last[v] <= at).for_each(|v| drop(values.remove(v)));
    }
    let layout = |v: &Var| match values.get(v) {
        Some(IValue::Tensor(t)) => {
            let view = TensorView::of(t);
            Some(Layout::of(&view))
        }
        _ => None,
    };
    Ok(source.outputs.iter().filter_map(layout).collect())
}

fn filled(ty: &TensorType, order: &AxisOrder, device: Device, fill: f64) -> Result<IValue, EngineError> {
    let sizes: Vec<i64> = ty.shape.iter().map(|&n| n as i64).collect();
    let strides = order.strides(&sizes);
    // What repeats its elements is not written as a whole.
    let once: Vec<i64> =
        sizes.iter().enumerate().map(|(i, &n)| if order.repeats(i) { 1 } else { n }).collect();
    let mut tensor = Tensor::f_empty_strided(&once, &strides, (kind_of_dtype(ty.dtype), device))?;
    _ = tensor.f_fill_(fill)?;
    Ok(IValue::Tensor(tensor.f_as_strided(&sizes, &strides, None)?))
}

/// The results of one call, those of interpreter instructions included.
fn carry_out(call: &Call, values: &HashMap<Var, IValue>, device: Device) -> Result<Vec<IValue>, EngineError> {
    ending::check()?;
    let arguments: Vec<IValue> =
        call.args.iter().map(|a| value_of(a, values, device)).collect::<Result<_, _>>()?;
    match (call.op.as_str(), &arguments[..]) {
        ("prim::ListConstruct", _) => Ok(vec![IValue::GenericList(arguments)]),
        ("prim::TupleConstruct", _) => Ok(vec![IValue::Tuple(arguments)]),
        ("prim::unchecked_cast", _) => Ok(arguments),
        ("prim::ListUnpack" | "prim::TupleUnpack", [all]) => Ok(elements(all)),
        ("prim::TupleIndex", [all, IValue::Int(at)]) => {
            let mut all = elements(all);
            let at = if *at < 0 { all.len() as i64 + at } else { *at } as usize;
            if at < all.len() { Ok(vec![all.swap_remove(at)]) } else { Err(unread(call)) }
        }
        _ => Ok(call_operator(&call.op, &arguments)?),
    }
}

fn unread(call: &Call) -> EngineError {
    format!("{} cannot be carried out by itself", call.op).into()
}

fn elements(list: &IValue) -> Vec<IValue> {
    match list {
        IValue::Tuple(l) | IValue::GenericList(l) => l.iter().map(share).collect(),
        IValue::TensorList(l) => l.iter().map(|t| IValue::Tensor(t.shallow_clone())).collect(),
        IValue::IntList(l) => l.iter().map(|&v| IValue::Int(v)).collect(),
        IValue::DoubleList(l) => l.iter().map(|&v| IValue::Double(v)).collect(),
        IValue::BoolList(l) => l.iter().map(|&v| IValue::Bool(v)).collect(),
        IValue::StringList(l) => l.iter().map(|v| IValue::String(v.clone())).collect(),
        other => vec![share(other)],
    }
}

/// A second handle to the same value.
fn share(value: &IValue) -> IValue {
    match value {
        IValue::Tensor(t) => IValue::Tensor(t.shallow_clone()),
        IValue::Int(v) => IValue::Int(*v),
        IValue::Double(v) => IValue::Double(*v),
        IValue::Bool(v) => IValue::Bool(*v),
        IValue::String(v) => IValue::String(v.clone()),
        IValue::Device(d) => IValue::Device(*d),
        IValue::Tuple(l) => IValue::Tuple(l.iter().map(share).collect()),
        list @ (IValue::GenericList(_)
        | IValue::TensorList(_)
        | IValue::IntList(_)
        | IValue::DoubleList(_)
        | IValue::BoolList(_)
        | IValue::StringList(_)) => IValue::GenericList(elements(list)),
        _ => IValue::None,
    }
}

fn value_of(arg: &Arg, values: &HashMap<Var, IValue>, device: Device) -> Result<IValue, EngineError> {
    Ok(match arg {
        Arg::Var(v) => values.get(v).map_or(IValue::None, share),
        Arg::None => IValue::None,
        Arg::Int(v) => IValue::Int(*v),
        Arg::Float(v) => IValue::Double(*v),
        Arg::Bool(v) => IValue::Bool(*v),
        Arg::Str(s) => IValue::String(s.clone()),
        Arg::Tensor(literal) => {
            let sizes: Vec<i64> = literal.ty().shape.iter().map(|&n| n as i64).collect();
            let kind = kind_of_dtype(literal.ty().dtype);
            IValue::Tensor(Tensor::f_from_data_size(literal.bytes(), &sizes, kind)?.f_to_device(device)?)
        }
        Arg::List(items) => {
            IValue::GenericList(items.iter().map(|a| value_of(a, values, device)).collect::<Result<_, _>>()?)
        }
    })
}
