//! Functions that never fall move below maxima, where they are computed for fewer elements.
//!
//! ```text
//! y = pool max of tanh(convolution(x, w) + b)   =>   y = tanh(pool max of convolution(x, w) + b)
//! ```

use super::Pass;
use super::operands::{Formula, joined};
use crate::network::expr::{Node, Unary};
use crate::network::layer::PoolOp;
use crate::network::{Draft, Edit, Expr, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "pool", rule: |_| Box::new(rule) };

/// Does the function never fall, and cost more than a comparison? NaN gives NaN, and nothing else does.
fn rises(f: Unary) -> bool {
    matches!(f, Unary::Tanh | Unary::Sigmoid | Unary::Exp | Unary::Erf)
}

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Pool(pool) = &layer.kind else { return None };
    let (x, result) = (layer.inputs[0], layer.outputs[0]);
    let fewer = draft.ty(result).elements() < draft.ty(x).elements();
    if pool.op != PoolOp::Max || pool.indices || layer.epilogue.is_some() || !fewer || draft.is_static(result)
    {
        return None;
    }
    let producer = draft.producer(x).filter(|_| draft.only_reader(x, at))?;
    let formula = Formula::of_pointwise(producer).or_else(|| Formula::of_epilogue(producer))?;
    let Node::Unary(f, inner) = formula.expr.nodes[formula.expr.root() as usize] else { return None };
    if !rises(f) {
        return None;
    }
    let rest = Formula { expr: formula.expr.finish(inner), ..formula }.pruned();
    let mut patch = Patch::new(draft, joined(&producer.origin, &layer.origin));
    let before = match &producer.kind {
        LayerKind::Pointwise(_) if rest.expr == Expr::identity() => rest.values[0],
        LayerKind::Pointwise(_) => patch.pointwise(rest.expr, &rest.values).ok()?,
        kind => {
            let (inputs, epilogue) = rest.into_epilogue(&producer.inputs[..kind.arity()?]);
            patch.fused(kind.clone(), &inputs, epilogue).ok()?[0]
        }
    };
    if patch.ty(before) != draft.ty(x) {
        return None;
    }
    let largest = patch.add(layer.kind.clone(), &[before]).ok()?;
    let new = patch.pointwise(Expr::unary(f), &[largest]).ok()?;
    patch.only(result, new)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::layer::{Pool, PoolOp};
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, binary, f32s, unary};

    fn pool(b: &mut Builder, op: PoolOp, x: ValueId) -> ValueId {
        let (padding, overhang) = (vec![(1, 0); 2], vec![0; 2]);
        let (window, stride, dilation) = (vec![2; 2], vec![2; 2], vec![1; 2]);
        b.add(LayerKind::Pool(Pool { op, window, stride, padding, dilation, overhang, indices: false }), &[x])
            .unwrap()
    }

    #[test]
    fn what_never_falls_is_computed_after_the_maximum() {
        let mut b = Builder::new();
        let (x, bias) = (b.input(f32s(&[1, 2, 5, 5])), b.parameter("bias", f32s(&[2, 1, 1])));
        let y = binary(&mut b, Binary::Add, x, bias);
        let y = unary(&mut b, Unary::Tanh, y);
        let y = pool(&mut b, PoolOp::Max, y);
        let out = check::pass("pool", b.finish(vec![y]), true);
        assert_eq!(check::run_kinds(&out), "pointwise pool pointwise");
    }

    #[test]
    fn means_and_what_falls_stay() {
        for (op, f) in [
            (PoolOp::Max, Unary::Neg),
            (PoolOp::Max, Unary::Cos),
            (PoolOp::Average { count_padding: true, divisor: None }, Unary::Tanh),
        ] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[1, 2, 5, 5]));
            let y = unary(&mut b, f, x);
            let y = pool(&mut b, op, y);
            let out = check::pass("pool", b.finish(vec![y]), true);
            assert_eq!(check::run_kinds(&out), "pointwise pool");
        }
    }
}
