//! Vertical fusion into heavy layers: a pointwise layer becomes the epilogue of the layer whose result it reads.
//!
//! ```text
//! c = convolution(x, w)
//! d = c + bias              y = convolution(x, w) with relu(result + bias + r)
//! e = d + r           =>
//! y = relu(e)
//! ```
//!
//! The producer must be read by this layer alone and have the result's shape. Other operands (a residual) cannot depend on the
//! producer then, so no cycle arises. Where several producers qualify, matrix products and convolutions go first, then the
//! later one: the other is ready by then. Static layers stay in `prepare`.

use super::Pass;
use super::operands::{Formula, RESULT, joined};
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "epilogue", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let formula = Formula::of_pointwise(layer)?;
    let result = layer.outputs[0];
    let qualifies = |v: ValueId| {
        draft.producer(v).is_some_and(|p| p.kind.takes_epilogue())
            && draft.only_reader(v, at)
            && draft.ty(v).shape == draft.ty(result).shape
            && draft.is_static(v) == draft.is_static(result)
    };
    let heavy = |at: usize| matches!(draft.layer(at).kind, LayerKind::MatMul { .. } | LayerKind::Convolution(_));
    let candidates = layer.inputs.iter().filter(|&&v| qualifies(v)).filter_map(|&v| draft.definition(v));
    let producer = draft.layer(candidates.max_by_key(|&at| (heavy(at), at))?);

    let inner = Formula::of_epilogue(producer)?;
    let fused = formula.inline(|v| (v == producer.outputs[0]).then(|| inner.clone()));
    if !fused.fits() {
        return None;
    }
    debug_assert_eq!(fused.values[0], RESULT);
    let own = &producer.inputs[..producer.kind.arity()?];
    let (inputs, epilogue) = fused.into_epilogue(own);
    let mut patch = Patch::new(draft, joined(&producer.origin, &layer.origin));
    let new = patch.fused(producer.kind.clone(), &inputs, epilogue).ok()?;
    patch.only(result, new[0])
}
