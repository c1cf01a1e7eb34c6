//! Small layers over constants alone are computed now. Larger ones, and those over parameters, run in `prepare`.

use super::Pass;
use crate::backend::reference;
use crate::network::{Draft, Edit, Layer, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "fold", rule: |_| Box::new(rule) };

/// Elements of the largest result that is kept in the network as a constant.
const LARGEST: usize = 4096;

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let operands: Option<Vec<&Layer>> = layer.inputs.iter().map(|&v| draft.producer(v)).collect();
    let mut layers = operands?;
    let constant = |l: &&Layer| matches!(l.kind, LayerKind::Constant(_));
    let small = layer.inputs.iter().chain(&layer.outputs).all(|&v| draft.ty(v).elements() <= LARGEST);
    if layers.is_empty() || !small || !layers.iter().all(constant) {
        return None;
    }
    layers.push(layer);
    let mut patch = Patch::new(draft, &layer.origin);
    for &v in layer.outputs.iter().filter(|&&v| draft.uses(v) > 0) {
        let literal = reference::evaluate_constants(draft.network(), &layers, v)?;
        let new = patch.add(LayerKind::Constant(literal), &[]).ok()?;
        patch.replace(v, new)?;
    }
    patch.done()
}
