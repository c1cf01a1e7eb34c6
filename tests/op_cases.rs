//! Every operator case against libtorch: what lowering and the reference backend give is what the host's operator gives, in
//! the case's own element types and, where the case has floating-point tensors, once more in float64.

use std::path::Path;
use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::{JitError, TensorView, call_operator};
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::network::ValueId;
use trt_subgraph::source::Item;
use trt_subgraph::source::case::{Case, CaseArg, Lowered, load};
use trt_subgraph::{DType, Literal, TensorType, compare, tolerance};

/// Cases of files whose name contains `CASES` (all by default).
#[test]
fn operators_agree_with_libtorch() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/op");
    let filter = std::env::var("CASES").unwrap_or_default();
    let cases = load(&folder, &filter).unwrap_or_else(|e| panic!("{e}"));
    assert!(!cases.is_empty(), "no case file matches '{filter}'");
    let failures: Vec<String> =
        cases.iter().filter_map(|p| check(&p.case).err().map(|e| format!("{}\n    {e}", p.place))).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Case) -> Result<(), String> {
    if is_structure(&case.op) {
        return Ok(());
    }
    match case.refusal.as_deref() {
        Some("invalid") => match host(case) {
            Ok(_) => Err("it is refused as invalid, and the host takes it".into()),
            Err(e) => known_to_host(e),
        },
        Some(_) => host(case).map_or_else(known_to_host, |_| Ok(())),
        None => {
            agree(case)?;
            let wide = widened(case);
            if wide != *case && wide.lower().is_ok() {
                agree(&wide).map_err(|e| format!("in float64: {e}"))?;
            }
            Ok(())
        }
    }
}

/// Interpreter instructions, which take any number of arguments and are no functions.
fn is_structure(op: &str) -> bool {
    op.starts_with("prim::") && !matches!(op, "prim::NumToTensor.Scalar" | "prim::device" | "prim::dtype")
}

/// A refused case names an operator that torch has.
fn known_to_host(error: JitError) -> Result<(), String> {
    match error {
        JitError::Argument(why) => Err(why),
        _ => Ok(()),
    }
}

fn agree(case: &Case) -> Result<(), String> {
    let Lowered { network, parameters, inputs, results } = case.lower().map_err(|e| e.to_string())?;
    let values = evaluate(&network, &parameters, &inputs).map_err(|e| e.to_string())?;
    let value = |v: &ValueId| {
        let at = network.outputs.iter().position(|o| o == v).expect("tensor results are outputs");
        values[at].clone()
    };
    let expected = host(case).map_err(|e| format!("the host refuses: {e}"))?;
    if results.len() != expected.len() {
        return Err(format!("{} results, the host gives {}", results.len(), expected.len()));
    }
    for (at, (found, expected)) in results.iter().zip(&expected).enumerate() {
        same(found, expected, &value).map_err(|e| format!("result {at}: {e}"))?;
    }
    Ok(())
}

fn same(found: &Item, expected: &IValue, value: &impl Fn(&ValueId) -> Literal) -> Result<(), String> {
    let other = || Err(format!("it is {found:?}, on the host {expected:?}"));
    match (found, expected) {
        (Item::Tensor(v), IValue::Tensor(t)) => {
            let (found, expected) = (value(v), literal(t)?);
            compare(&found, &expected, tolerance(expected.ty().dtype)).map_err(|e| e.to_string())
        }
        (Item::None, IValue::None) => Ok(()),
        (Item::Int(a), IValue::Int(b)) if a == b => Ok(()),
        (Item::Bool(a), IValue::Bool(b)) if a == b => Ok(()),
        (Item::Float(a), IValue::Double(b)) if a == b || (a.is_nan() && b.is_nan()) => Ok(()),
        (Item::Str(a), IValue::String(b)) if a == b => Ok(()),
        (Item::Str(a), IValue::Device(tch::Device::Cpu)) if a == "cpu" => Ok(()),
        (Item::List(items), _) => {
            let elements = elements(expected).map_or_else(other_list, Ok)?;
            if items.len() != elements.len() {
                return other();
            }
            items.iter().zip(&elements).try_for_each(|(item, e)| same(item, e, value))
        }
        _ => other(),
    }
}

fn other_list() -> Result<Vec<IValue>, String> {
    Err("it is a list, on the host it is none".into())
}

fn elements(value: &IValue) -> Option<Vec<IValue>> {
    Some(match value {
        IValue::IntList(l) => l.iter().map(|&v| IValue::Int(v)).collect(),
        IValue::DoubleList(l) => l.iter().map(|&v| IValue::Double(v)).collect(),
        IValue::BoolList(l) => l.iter().map(|&v| IValue::Bool(v)).collect(),
        IValue::StringList(l) => l.iter().map(|v| IValue::String(v.clone())).collect(),
        IValue::TensorList(l) => l.iter().map(|t| IValue::Tensor(t.shallow_clone())).collect(),
        IValue::GenericList(l) | IValue::Tuple(l) => l.clone(),
        _ => return None,
    })
}

/// What the host's operator gives.
fn host(case: &Case) -> Result<Vec<IValue>, JitError> {
    let arguments: Vec<IValue> = case.args.iter().map(argument).collect();
    tch::no_grad(|| call_operator(&case.op, &arguments))
}

fn argument(arg: &CaseArg) -> IValue {
    match arg {
        CaseArg::Tensor(_, literal) => IValue::Tensor(tensor(literal)),
        CaseArg::None => IValue::None,
        CaseArg::Int(v) => IValue::Int(*v),
        CaseArg::Float(v) => IValue::Double(*v),
        CaseArg::Bool(v) => IValue::Bool(*v),
        CaseArg::Str(s) => IValue::String(s.clone()),
        CaseArg::List(items) => IValue::GenericList(items.iter().map(argument).collect()),
    }
}

/// The case with every floating-point tensor in float64.
fn widened(case: &Case) -> Case {
    fn wide(arg: &CaseArg) -> CaseArg {
        match arg {
            CaseArg::Tensor(role, l) if l.ty().dtype.is_float() => {
                let ty = l.ty().with_dtype(DType::F64);
                CaseArg::Tensor(*role, Literal::from_f64(ty, l.to_f64()).expect("as many elements"))
            }
            CaseArg::List(items) => CaseArg::List(items.iter().map(wide).collect()),
            other => other.clone(),
        }
    }
    Case { args: case.args.iter().map(wide).collect(), ..case.clone() }
}

const KINDS: [(DType, Kind); 10] = [
    (DType::Bool, Kind::Bool),
    (DType::U8, Kind::Uint8),
    (DType::I8, Kind::Int8),
    (DType::I16, Kind::Int16),
    (DType::I32, Kind::Int),
    (DType::I64, Kind::Int64),
    (DType::F16, Kind::Half),
    (DType::BF16, Kind::BFloat16),
    (DType::F32, Kind::Float),
    (DType::F64, Kind::Double),
];

fn tensor(literal: &Literal) -> Tensor {
    let ty = literal.ty();
    let kind = KINDS.iter().find(|(d, _)| *d == ty.dtype).expect("every type is listed").1;
    let sizes: Vec<i64> = ty.shape.iter().map(|&n| n as i64).collect();
    Tensor::from_data_size(literal.bytes(), &sizes, kind)
}

fn literal(tensor: &Tensor) -> Result<Literal, String> {
    let dense = tensor.contiguous();
    let view = TensorView::of(&dense);
    let kind = view.kind().ok_or("torch gives a type without a name")?;
    let dtype = KINDS.iter().find(|(_, k)| *k == kind).ok_or(format!("the host gives {kind:?}"))?.0;
    let ty = TensorType::new(dtype, view.sizes().iter().map(|&n| n as usize).collect::<Vec<_>>());
    if ty.elements() == 0 {
        return Ok(Literal::zeros(ty));
    }
    // SAFETY: a dense CPU tensor holds that many bytes, alive while `dense` is.
    let bytes = unsafe { std::slice::from_raw_parts(view.data().cast_const(), ty.bytes()) };
    Ok(Literal::from_bytes(ty, bytes).expect("as many bytes"))
}
