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
    let heavy = |at: usize| {
        let kind = &draft.layer(at).kind;
        matches!(kind, LayerKind::MatMul { .. } | LayerKind::GroupedMatMul | LayerKind::Convolution(_))
    };
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

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::layer::{Convolution, ReduceOp};
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, binary, f32s, unary};

    fn convolution(b: &mut Builder, x: ValueId, w: ValueId) -> ValueId {
        let (stride, dilation, output_padding) = (vec![1; 2], vec![1; 2], vec![0; 2]);
        let padding = vec![(1, 1); 2];
        let c = Convolution { stride, padding, dilation, groups: 1, transposed: false, output_padding };
        b.add(LayerKind::Convolution(c), &[x, w]).unwrap()
    }

    #[test]
    fn bias_residual_and_activation() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[1, 4, 5, 5]));
        let (w, bias) = (b.parameter("w", f32s(&[4, 4, 3, 3])), b.parameter("bias", f32s(&[4, 1, 1])));
        let y = convolution(&mut b, x, w);
        let y = binary(&mut b, Binary::Add, y, bias);
        let y = binary(&mut b, Binary::Add, y, x);
        let y = unary(&mut b, Unary::Tanh, y);
        let out = check::pass("epilogue", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "convolution+");
        assert_eq!(out.layers.last().unwrap().inputs.len(), 4);
    }

    #[test]
    fn the_later_of_two_producers_takes_the_sum() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[1, 4, 5, 5])), b.parameter("w", f32s(&[4, 4, 3, 3])));
        let (first, x2) = (convolution(&mut b, x, w), unary(&mut b, Unary::Neg, x));
        let second = convolution(&mut b, x2, w);
        let y = binary(&mut b, Binary::Sub, first, second);
        let out = check::pass("epilogue", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "convolution pointwise convolution+");
    }

    #[test]
    fn a_result_that_others_read_stays() {
        let mut b = Builder::new();
        let (x, w) = (b.input(f32s(&[1, 4, 5, 5])), b.parameter("w", f32s(&[4, 4, 3, 3])));
        let c = convolution(&mut b, x, w);
        let outputs = vec![unary(&mut b, Unary::Sin, c), unary(&mut b, Unary::Cos, c)];
        let out = check::pass("epilogue", b.finish(outputs), true);
        assert_eq!(check::kinds(&out), "convolution pointwise pointwise");
    }

    #[test]
    fn a_result_that_is_stretched_stays() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[3, 8]));
        let kind = LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![1], keep: true };
        let sum = b.add(kind, &[x]).unwrap();
        let y = binary(&mut b, Binary::Div, x, sum);
        let out = check::pass("epilogue", b.finish(vec![y]), true);
        assert_eq!(check::kinds(&out), "reduce pointwise");
    }
}
