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
        let literal = reference::evaluate_constants(&layers, v)?;
        let new = patch.add(LayerKind::Constant(literal), &[]).ok()?;
        patch.replace(v, new)?;
    }
    patch.done()
}

#[cfg(test)]
mod tests {
    use crate::Literal;
    use crate::network::expr::Unary;
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, f32s, unary};

    fn exp_of(elements: usize) -> crate::network::Network {
        let mut b = Builder::new();
        let x = b.constant(Literal::zeros(f32s(&[elements])));
        let y = unary(&mut b, Unary::Exp, x);
        b.finish(vec![y])
    }

    #[test]
    fn small_constants_fold() {
        let out = check::pass("fold", exp_of(3), true);
        assert_eq!(out.layers.len(), 1);
        assert!(matches!(&out.layers[0].kind, LayerKind::Constant(c) if c.to_f64() == [1.0; 3]));
    }

    #[test]
    fn large_ones_and_parameters_stay() {
        assert_eq!(check::pass("fold", exp_of(5000), true).layers.len(), 2);
        let mut b = Builder::new();
        let x = b.parameter("w", f32s(&[3]));
        let y = unary(&mut b, Unary::Exp, x);
        assert_eq!(check::kinds(&check::pass("fold", b.finish(vec![y]), true)), "pointwise");
    }
}
