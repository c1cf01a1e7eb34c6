//! Results that are halves widened to f32 for readers that compute in f32 whatever they read are stored as the halves they are: the cast
//! at the end of an epilogue becomes a layer of its own, which costs nothing then.

use crate::DType;
use crate::network::expr::{Expr, Node};
use crate::network::{Layer, LayerKind, Network, TensorType, ValueId};

/// Do all readers of this value compute in f32 even from halves?
pub fn is_widened_by_readers(network: &Network, value: ValueId) -> bool {
    let computes = |l: &Layer| {
        let kind = matches!(l.kind, LayerKind::Normalize { .. } | LayerKind::Softmax { .. });
        kind && l.inputs[0] == value && !l.inputs[1..].contains(&value)
    };
    let mut readers = network.layers.iter().filter(|l| l.inputs.contains(&value));
    !network.outputs.contains(&value) && readers.all(computes)
}

/// Stores what it can in halves.
pub fn narrow(network: &mut Network) {
    let mut at = 0;
    while at < network.layers.len() {
        if let Some((expr, dtype)) = narrowed(network, at) {
            let shape = network.ty(network.layers[at].outputs[0]).shape.clone();
            let halves = ValueId(network.values.len() as u32);
            network.values.push(TensorType::new(dtype, shape));
            let layer = &mut network.layers[at];
            let wide = std::mem::replace(&mut layer.outputs, vec![halves]);
            match &mut layer.kind {
                LayerKind::Pointwise(own) => *own = expr,
                _ => layer.epilogue = Some(expr),
            }
            let origin = layer.origin.clone();
            let kind = LayerKind::Pointwise(Expr::cast(DType::F32));
            let cast = Layer { kind, inputs: vec![halves], epilogue: None, outputs: wide, origin };
            network.layers.insert(at + 1, cast);
            at += 1;
        }
        at += 1;
    }
}

/// What the layer at this position computes before it widens halves, and their type.
fn narrowed(network: &Network, at: usize) -> Option<(Expr, DType)> {
    let layer = &network.layers[at];
    let (expr, own) = match (&layer.kind, &layer.epilogue) {
        (LayerKind::Pointwise(expr), None) => (expr, None),
        (kind, Some(expr)) => (expr, Some(kind.arity()?)),
        _ => return None,
    };
    let [value] = layer.outputs[..] else { return None };
    let Node::Cast(DType::F32, from) = expr.nodes[expr.root() as usize] else { return None };
    // A mere cast has nothing to narrow.
    if *expr == Expr::cast(DType::F32) || !is_widened_by_readers(network, value) {
        return None;
    }
    let mut typing: Vec<DType> = Vec::new();
    if let Some(own) = own {
        let inputs: Vec<&TensorType> = layer.inputs[..own].iter().map(|&v| network.ty(v)).collect();
        typing.push(crate::network::infer(&layer.kind, None, &inputs).ok()?[0].dtype);
    }
    typing.extend(layer.inputs[own.unwrap_or(0)..].iter().map(|&v| network.ty(v).dtype));
    let dtype = expr.dtypes(&typing).ok()?[from as usize];
    let inner = expr.clone().finish(from);
    // Sums that were not rounded so far stay so.
    let rounded = matches!(inner.nodes[inner.root() as usize], Node::Cast(..));
    (matches!(dtype, DType::F16 | DType::BF16) && rounded).then_some((inner, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Builder;
    use crate::network::expr::{Binary, Unary};

    /// `f32(f16(x @ x + x))`, or without the rounding, for a softmax or for the caller.
    fn types(rounds: bool, softmax: bool) -> Vec<DType> {
        let mut b = Builder::new();
        let x = b.input(TensorType::new(DType::F16, [4, 4]));
        let mut e = Expr::default();
        let (own, other) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
        let mut last = e.push(Node::Binary(Binary::Add, own, other));
        if rounds {
            last = e.push(Node::Unary(Unary::Neg, last));
            last = e.push(Node::Cast(DType::F16, last));
        }
        e.push(Node::Cast(DType::F32, last));
        let product = LayerKind::MatMul { transpose_a: false, transpose_b: false };
        let mut y = b.fused(product, &[x, x, x], Some(e)).expect("well typed")[0];
        if softmax {
            y = b.add(LayerKind::Softmax { axis: 1, log: false }, &[y]).expect("well typed");
        }
        let mut run = b.finish(vec![y]).split().run;
        narrow(&mut run);
        assert_eq!(run.verify(), Ok(()));
        run.layers.iter().map(|l| run.ty(l.outputs[0]).dtype).collect()
    }

    #[test]
    fn halves_for_a_softmax_are_stored_as_halves() {
        assert_eq!(types(true, true), [DType::F16, DType::F32, DType::F32]);
    }

    #[test]
    fn sums_that_are_not_rounded_and_results_of_the_caller_stay() {
        assert_eq!(types(false, true), [DType::F32, DType::F32]);
        assert_eq!(types(true, false), [DType::F32]);
    }
}
