//! The reference backend: slow, obvious, the definition of every layer and the oracle of every other backend.
//!
//! Floats are computed in f64 and integers in i64. A layer's own result is rounded to its element type when it is stored;
//! with an epilogue, to the type that its element type computes in before the epilogue and to the final type after. A fused
//! network in f32 therefore gives the bits of the unfused one, as far as the algebra of the fusion is exact.

mod engine;
mod gather;
mod moves;
mod pointwise;
mod pool;
mod product;
mod rows;
mod scalar;
mod tensor;
#[cfg(test)]
mod tests;

pub use engine::Reference;

use super::RunError;
use crate::network::expr::Scalar;
use crate::network::{Layer, LayerKind, Network, TensorType, ValueId, infer};
use crate::{DType, Literal};
use std::collections::HashMap;
use std::sync::Arc;
use tensor::{Data, Tensor};

/// The outputs of a verified network that reads parameters and inputs of its declared types.
pub fn evaluate(
    network: &Network,
    parameters: &[Literal],
    inputs: &[Literal],
) -> Result<Vec<Literal>, RunError> {
    let declared = network.parameters.iter().map(|p| &p.ty);
    let parameters = operands("parameter", declared, parameters)?;
    let inputs = operands("input", network.inputs.iter().map(|&v| network.ty(v)), inputs)?;
    let outputs = run(network, &Given { parameters: &parameters, prepared: &[], inputs: &inputs })?;
    Ok(outputs.iter().map(|t| t.literal()).collect())
}

/// The value of `wanted`, computed by `layers` (well-typed, in order) from constants alone; `None` where that is impossible.
pub fn evaluate_constants(layers: &[&Layer], wanted: ValueId) -> Option<Literal> {
    let mut values: HashMap<ValueId, Tensor> = HashMap::new();
    for layer in layers {
        let results = match &layer.kind {
            LayerKind::Constant(c) => vec![Tensor::load(c)],
            LayerKind::Parameter(_) | LayerKind::Prepared(_) => return None,
            _ => {
                let operands: Option<Vec<&Tensor>> = layer.inputs.iter().map(|v| values.get(v)).collect();
                compute(layer, &operands?).ok()?
            }
        };
        values.extend(layer.outputs.iter().copied().zip(results));
    }
    values.get(&wanted).map(Tensor::literal)
}

/// What a network reads from outside.
struct Given<'a> {
    parameters: &'a [Arc<Tensor>],
    prepared: &'a [Arc<Tensor>],
    inputs: &'a [Arc<Tensor>],
}

fn operands<'a>(
    what: &'static str,
    declared: impl ExactSizeIterator<Item = &'a TensorType>,
    given: &[Literal],
) -> Result<Vec<Arc<Tensor>>, RunError> {
    if declared.len() != given.len() {
        return Err(RunError::Count { what, expected: declared.len(), found: given.len() });
    }
    let check = |(at, (expected, literal)): (usize, (&TensorType, &Literal))| {
        if literal.ty() == expected {
            return Ok(Arc::new(Tensor::load(literal)));
        }
        let (expected, found) = (expected.clone(), literal.ty().clone());
        Err(RunError::Type { what, at, expected, found })
    };
    declared.zip(given).enumerate().map(check).collect()
}

fn run(network: &Network, given: &Given) -> Result<Vec<Arc<Tensor>>, RunError> {
    let mut values: Vec<Option<Arc<Tensor>>> = vec![None; network.values.len()];
    for (v, tensor) in network.inputs.iter().zip(given.inputs) {
        values[v.index()] = Some(tensor.clone());
    }
    let defined = |values: &[Option<Arc<Tensor>>], v: ValueId| {
        values[v.index()].clone().expect("a verified network defines before it uses")
    };
    for layer in &network.layers {
        let results = match &layer.kind {
            LayerKind::Constant(c) => vec![Arc::new(Tensor::load(c))],
            LayerKind::Parameter(i) => vec![given.parameters[*i as usize].clone()],
            LayerKind::Prepared(i) => vec![given.prepared[*i as usize].clone()],
            _ => {
                let operands: Vec<Arc<Tensor>> = layer.inputs.iter().map(|&v| defined(&values, v)).collect();
                let operands: Vec<&Tensor> = operands.iter().map(|t| &**t).collect();
                compute(layer, &operands)?.into_iter().map(Arc::new).collect()
            }
        };
        for (v, tensor) in layer.outputs.iter().zip(results) {
            values[v.index()] = Some(tensor);
        }
    }
    Ok(network.outputs.iter().map(|&v| defined(&values, v)).collect())
}

/// The outputs of a well-typed layer that has operands.
fn compute(layer: &Layer, x: &[&Tensor]) -> Result<Vec<Tensor>, RunError> {
    let (own, more) = x.split_at(layer.kind.arity().unwrap_or(x.len()));
    let types: Vec<&TensorType> = own.iter().map(|t| &t.ty).collect();
    let types = infer(&layer.kind, None, &types).expect("a verified layer");
    let data = own_results(&layer.kind, own, &types[0]).map_err(|e| RunError::Index {
        layer: layer.origin.clone(),
        index: e.index,
        size: e.size,
    })?;
    let mut results: Vec<Tensor> =
        types.into_iter().zip(data).map(|(ty, data)| Tensor { ty, data }).collect();
    if let Some(epilogue) = &layer.epilogue {
        let first =
            Tensor { data: computing(results[0].data.clone(), results[0].ty.dtype), ..results[0].clone() };
        let operands: Vec<&Tensor> = std::iter::once(&first).chain(more.iter().copied()).collect();
        let dtypes: Vec<DType> = operands.iter().map(|t| t.ty.dtype).collect();
        let dtypes = epilogue.dtypes(&dtypes).expect("a verified epilogue");
        let ty = first.ty.with_dtype(dtypes[epilogue.root() as usize]);
        let data = pointwise::pointwise(epilogue, &ty, &operands);
        results[0] = Tensor { ty, data };
    }
    for result in &mut results {
        let data = std::mem::replace(&mut result.data, Data::Int(Vec::new()));
        result.data = data.store(result.ty.dtype);
    }
    Ok(results)
}

/// Rounds to the type that `dtype` computes in.
fn computing(data: Data, dtype: DType) -> Data {
    match data {
        Data::Float(v) => {
            Data::Float(v.into_iter().map(|v| scalar::compute(dtype, Scalar::Float(v)).as_f64()).collect())
        }
        ints => ints.store(dtype),
    }
}

/// The kind's own results, in f64 or i64; `ty` is the type of the first.
fn own_results(kind: &LayerKind, x: &[&Tensor], ty: &TensorType) -> Result<Vec<Data>, gather::OutOfRange> {
    Ok(vec![match kind {
        LayerKind::Constant(_) | LayerKind::Parameter(_) | LayerKind::Prepared(_) => {
            unreachable!("it has no operands")
        }
        LayerKind::Pointwise(expr) => pointwise::pointwise(expr, ty, x),
        LayerKind::Broadcast { shape } => pointwise::stretch(x[0], shape),
        LayerKind::Reduce { op, axes, .. } => rows::reduce(x[0], *op, axes, ty.elements()),
        LayerKind::Scan { op, axis } => rows::scan(x[0], *op, *axis),
        LayerKind::MatMul { transpose_a, transpose_b } => {
            product::matmul(x[0], x[1], (*transpose_a, *transpose_b), ty)
        }
        LayerKind::GroupedMatMul => product::grouped(x[0], x[1], x[2], ty),
        LayerKind::Convolution(c) => product::convolution(c, x[0], x[1], ty),
        LayerKind::Pool(p) => return Ok(pool::pool(p, x[0], ty)),
        LayerKind::Normalize { axes, eps, rms } => rows::normalize(x[0], axes, *eps, *rms),
        LayerKind::Softmax { axis, log } => rows::softmax(x[0], *axis, *log),
        LayerKind::Reshape { .. } => x[0].data.clone(),
        LayerKind::Permute { axes } => moves::permute(x[0], axes),
        LayerKind::Slice { ranges } => moves::slice(x[0], ranges),
        LayerKind::Concat { axis } => moves::concat(x, *axis),
        LayerKind::Pad { border, mode } => moves::pad(x[0], border, *mode),
        LayerKind::Gather { axis, elements } => gather::gather(x[0], x[1], *axis, *elements)?,
        LayerKind::TopK { axis, k, largest } => return Ok(rows::top_k(x[0], *axis, *k, *largest).into()),
    }])
}
