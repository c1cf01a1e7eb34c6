//! Layers that compute the same are one layer: equal kind, operands and epilogue; constants by content.

use super::Pass;
use crate::network::{Draft, Edit, Layer, LayerKind, Patch};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) const PASS: Pass = Pass {
    name: "common",
    rule: |_| {
        let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
        Box::new(move |draft, at| rule(draft, at, &mut seen))
    },
};

fn rule(draft: &Draft, at: usize, seen: &mut HashMap<u64, Vec<usize>>) -> Option<Edit> {
    let layer = draft.layer(at);
    let alike = seen.entry(key(layer)).or_default();
    let same = |other: &Layer| {
        layer.inputs == other.inputs && layer.kind == other.kind && layer.epilogue == other.epilogue
    };
    let Some(&first) = alike.iter().find(|&&o| o != at && draft.is_live(o) && same(draft.layer(o))) else {
        if !alike.contains(&at) {
            alike.push(at);
        }
        return None;
    };
    let mut patch = Patch::new(draft, "");
    for (&old, &new) in layer.outputs.iter().zip(&draft.layer(first).outputs) {
        patch.replace(old, new)?;
    }
    patch.done()
}

/// Equal for equal layers; cheap, so unequal layers may share it.
fn key(layer: &Layer) -> u64 {
    const PREFIX: usize = 64;
    let mut hasher = DefaultHasher::new();
    layer.kind.name().hash(&mut hasher);
    layer.inputs.hash(&mut hasher);
    match &layer.kind {
        LayerKind::Constant(literal) => {
            literal.ty().hash(&mut hasher);
            literal.bytes()[..literal.bytes().len().min(PREFIX)].hash(&mut hasher);
        }
        LayerKind::Parameter(i) => i.hash(&mut hasher),
        LayerKind::Pointwise(expr) => expr.nodes.len().hash(&mut hasher),
        _ => {}
    }
    hasher.finish()
}
