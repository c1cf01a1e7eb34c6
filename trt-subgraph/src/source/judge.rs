//! Support is decided by trying: one call, lowered alone on the types that the host saw.

use super::specialise::lower_call;
use super::{Device, Item, Lower, Refusal};
use crate::Literal;
use crate::backend::Backend;
use crate::cost::{Cost, cost};
use crate::network::TensorType;

/// What is known of an argument when a call is judged.
#[derive(Clone, PartialEq, Debug)]
pub enum Known {
    /// A tensor of this type.
    Tensor(TensorType),
    /// A tensor of this value.
    Literal(Literal),
    /// A parameter of the model.
    Parameter(TensorType),
    /// `None`.
    None,
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string or device.
    Str(String),
    /// A list or tuple.
    List(Vec<Known>),
}

/// A call that can be taken.
#[derive(Clone, Debug)]
pub struct Judged {
    /// What is known of its results.
    pub results: Vec<Known>,
    /// What it costs, by its layers.
    pub cost: Cost,
    /// Does it compute (or only rename, reshape, measure)?
    pub computes: bool,
    /// How many kernels a framework that runs operators one by one launches for it: one, or one for each of the products,
    /// convolutions and softmaxes that it consists of.
    pub kernels: usize,
}

/// Finds the operator, lowers the call in a scratch network and asks the backend for each of its layers.
/// The first refusal is the verdict.
pub fn judge(op: &str, args: &[Known], device: &Device, backend: &dyn Backend) -> Result<Judged, Refusal> {
    let mut lower = Lower::new(device.clone());
    let items = args.iter().map(|a| place(&mut lower, a)).collect();
    let given = lower.builder.network().layers.len();
    let results = lower_call(&mut lower, op, items)?;
    let network = lower.builder.network();
    for layer in &network.layers[given..] {
        backend.supports(network, layer)?;
    }
    let added = &network.layers[given..];
    let total = added.iter().map(|l| cost(network, l)).sum();
    let computes = added.iter().any(|l| l.kind.arity() != Some(0) && !is_view(&l.kind));
    let results = results.iter().map(|r| describe(&lower, r)).collect();
    let kernels = added.iter().filter(|l| is_heavy(&l.kind)).count().max(usize::from(computes));
    Ok(Judged { results, cost: total, computes, kernels })
}

fn is_heavy(kind: &crate::network::LayerKind) -> bool {
    use crate::network::LayerKind::{Convolution, MatMul, Softmax};
    matches!(kind, MatMul { .. } | Convolution(_) | Softmax { .. })
}

fn is_view(kind: &crate::network::LayerKind) -> bool {
    kind.moves_only() && !matches!(kind, crate::network::LayerKind::Concat { .. })
}

fn place(lower: &mut Lower, known: &Known) -> Item {
    match known {
        Known::Tensor(ty) => Item::Tensor(lower.builder.input(ty.clone())),
        Known::Literal(l) => Item::Tensor(lower.builder.constant(l.clone())),
        Known::Parameter(ty) => Item::Tensor(lower.builder.parameter("", ty.clone())),
        Known::None => Item::None,
        Known::Int(v) => Item::Int(*v),
        Known::Float(v) => Item::Float(*v),
        Known::Bool(v) => Item::Bool(*v),
        Known::Str(s) => Item::Str(s.clone()),
        Known::List(items) => Item::List(items.iter().map(|k| place(lower, k)).collect()),
    }
}

fn describe(lower: &Lower, item: &Item) -> Known {
    match item {
        Item::Tensor(v) => match lower.known(*v) {
            Some(literal) => Known::Literal(literal),
            None => Known::Tensor(lower.ty(*v).clone()),
        },
        Item::None => Known::None,
        Item::Int(v) => Known::Int(*v),
        Item::Float(v) => Known::Float(*v),
        Item::Bool(v) => Known::Bool(*v),
        Item::Str(s) => Known::Str(s.clone()),
        Item::List(items) => Known::List(items.iter().map(|i| describe(lower, i)).collect()),
    }
}
