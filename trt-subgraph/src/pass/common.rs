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

#[cfg(test)]
mod tests {
    use crate::network::Builder;
    use crate::network::expr::Unary;
    use crate::pass::check::{self, f32s, unary};
    use crate::{DType, Literal};

    #[test]
    fn equal_chains_become_one() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[4]));
        let chain = |b: &mut Builder| {
            let v = unary(b, Unary::Exp, x);
            unary(b, Unary::Neg, v)
        };
        let outputs = vec![chain(&mut b), chain(&mut b), unary(&mut b, Unary::Neg, x)];
        let out = check::pass("common", b.finish(outputs), true);
        assert_eq!(out.layers.len(), 3);
        assert_eq!(out.outputs[0], out.outputs[1]);
    }

    #[test]
    fn constants_by_content_and_bits() {
        let mut b = Builder::new();
        let zeros: Vec<_> = [0.0, 0.0, -0.0].map(|v| b.constant(Literal::scalar(DType::F32, v))).to_vec();
        let half = b.constant(Literal::scalar(DType::F16, 0.0));
        let out = check::pass("common", b.finish([zeros, vec![half]].concat()), true);
        assert_eq!(out.layers.len(), 3);
    }
}
