//! Distances between the values that calls return.

use tch::{IValue, Kind, Tensor};

/// How far `got` is from `want`: the greatest distance of two elements in units of the greatest element of its tensor. The error
/// says where structure, shapes, element types or NaN differ, or whole numbers are not equal. With `loose`, element types of
/// floating-point tensors and the values of whole numbers may differ.
pub fn distance(got: &IValue, want: &IValue, loose: bool) -> Result<f64, String> {
    let lists = |got: &[IValue], want: &[IValue]| {
        if got.len() != want.len() {
            return Err(format!("{} elements instead of {}", got.len(), want.len()));
        }
        got.iter().zip(want).enumerate().try_fold(0.0, |most: f64, (at, (g, w))| {
            let d = distance(g, w, loose).map_err(|why| format!("[{at}] {why}"))?;
            Ok(most.max(d))
        })
    };
    match (got, want) {
        (IValue::Tensor(g), IValue::Tensor(w)) => of_tensors(g, w, loose),
        (IValue::TensorList(g), IValue::TensorList(w)) => lists(&wrapped(g), &wrapped(w)),
        (IValue::Tuple(g), IValue::Tuple(w)) | (IValue::GenericList(g), IValue::GenericList(w)) => {
            lists(g, w)
        }
        (IValue::GenericDict(g), IValue::GenericDict(w)) => {
            let flat = |d: &[(IValue, IValue)]| {
                d.iter().flat_map(|(k, v)| [copied(k), copied(v)]).collect::<Vec<_>>()
            };
            lists(&flat(g), &flat(w))
        }
        (IValue::Double(g), IValue::Double(w)) => {
            let off = (g - w).abs() / w.abs().max(f64::MIN_POSITIVE);
            Ok(if g == w || (g.is_nan() && w.is_nan()) { 0.0 } else { off })
        }
        (got, want) if got == want => Ok(0.0),
        (got, want) => Err(format!("{got:?} instead of {want:?}")),
    }
}

fn of_tensors(got: &Tensor, want: &Tensor, loose: bool) -> Result<f64, String> {
    let float = want.is_floating_point();
    if got.size() != want.size() {
        return Err(format!("sizes {:?} instead of {:?}", got.size(), want.size()));
    }
    if got.kind() != want.kind() && !(loose && float && got.is_floating_point()) {
        return Err(format!("{:?} instead of {:?}", got.kind(), want.kind()));
    }
    if want.numel() == 0 {
        return Ok(0.0);
    }
    if !float && !want.is_complex() {
        let unequal = got.not_equal_tensor(want).sum(Kind::Int64).int64_value(&[]);
        return if unequal == 0 || loose {
            Ok(0.0)
        } else {
            Err(format!("{unequal} of {} whole numbers differ", want.numel()))
        };
    }
    let plain =
        |t: &Tensor| if t.is_complex() { t.view_as_real() } else { t.shallow_clone() }.to_kind(Kind::Double);
    let (got, want) = (plain(got), plain(want));
    if !got.isnan().equal(&want.isnan()) {
        return Err("NaN in other places".into());
    }
    let ignored = want.isnan().logical_or(&got.eq_tensor(&want));
    let scale = want.abs().nan_to_num(0.0, 0.0, 0.0).max().double_value(&[]);
    let off = (&got - &want).abs().masked_fill(&ignored, 0.0).max().double_value(&[]);
    Ok(if off == 0.0 { 0.0 } else { off / scale.max(f64::MIN_POSITIVE) })
}

fn wrapped(tensors: &[Tensor]) -> Vec<IValue> {
    tensors.iter().map(|t| IValue::Tensor(t.shallow_clone())).collect()
}

/// A copy that shares no memory.
pub fn copied(value: &IValue) -> IValue {
    mapped(value, &|t| t.copy())
}

/// A copy whose floating-point tensors hold float64.
pub fn widened(value: &IValue) -> IValue {
    mapped(value, &|t| if t.is_floating_point() { t.to_kind(Kind::Double) } else { t.copy() })
}

fn mapped(value: &IValue, f: &impl Fn(&Tensor) -> Tensor) -> IValue {
    let list = |values: &[IValue]| values.iter().map(|v| mapped(v, f)).collect();
    match value {
        IValue::Tensor(t) => IValue::Tensor(f(t)),
        IValue::TensorList(l) => IValue::TensorList(l.iter().map(f).collect()),
        IValue::Tuple(l) => IValue::Tuple(list(l)),
        IValue::GenericList(l) => IValue::GenericList(list(l)),
        IValue::GenericDict(d) => {
            IValue::GenericDict(d.iter().map(|(k, v)| (mapped(k, f), mapped(v, f))).collect())
        }
        IValue::Int(v) => IValue::Int(*v),
        IValue::Double(v) => IValue::Double(*v),
        IValue::Bool(v) => IValue::Bool(*v),
        IValue::String(v) => IValue::String(v.clone()),
        IValue::Device(v) => IValue::Device(*v),
        IValue::IntList(l) => IValue::IntList(l.clone()),
        IValue::DoubleList(l) => IValue::DoubleList(l.clone()),
        IValue::BoolList(l) => IValue::BoolList(l.clone()),
        IValue::StringList(l) => IValue::StringList(l.clone()),
        _ => IValue::None,
    }
}
