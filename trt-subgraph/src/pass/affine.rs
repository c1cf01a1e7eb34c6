//! Batch-norm folding: a static scale and shift for each channel, applied to the result of a convolution or matrix product,
//! move into its weight and its bias.
//!
//! ```text
//! y = relu(convolution(x, w) * s + t + r)   =>   y = relu(convolution(x, w * s) + t + r)
//! y = (convolution(x, w) + b) * s + t       =>   y = convolution(x, w * s) + (b * s + t)
//! ```
//!
//! Works on the epilogue, where vertical fusion has put them: the longest run of `*`, `+`, `-`, `/`, negation from the result on
//! whose other side is a static value (or literal) that varies along the channel axis alone, up to the last scale. `w * s` and
//! the new shift are static layers: they run in `prepare`, and again when the weights change. Float types of 32 and 64 bits.

use super::Pass;
use super::operands::{Formula, RESULT};
use crate::DType;
use crate::network::expr::{Binary, Node, Ref, Scalar, Unary};
use crate::network::{Draft, Edit, Expr, Layer, LayerKind, Patch, TypeError, ValueId};

pub(super) const PASS: Pass = Pass { name: "affine", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    layer.epilogue.as_ref()?;
    let result = layer.outputs[0];
    let target = Target::of(draft, layer)?;
    if draft.is_static(result) || !matches!(draft.ty(target.weight).dtype, DType::F32 | DType::F64) {
        return None;
    }
    let formula = Formula::of_epilogue(layer)?;
    let run = Run::find(draft, &formula, &target)?;

    let mut patch = Patch::new(draft, &layer.origin);
    let weight = target.scaled(&mut patch, &run.scale).ok()?;
    let shift = match run.shift {
        Some(shift) => Some(shifted(&mut patch, shift).ok()?),
        None => None,
    };
    let rest = replace_prefix(&formula, run.end, shift);
    let mut own = layer.inputs[..2].to_vec();
    own[target.operand] = weight;
    let (inputs, epilogue) = rest.into_epilogue(&own);
    let new = patch.fused(layer.kind.clone(), &inputs, epilogue).ok()?;
    patch.only(result, new[0])
}

/// The static operand whose elements each belong to one channel of the result.
struct Target {
    /// Which operand.
    operand: usize,
    weight: ValueId,
    /// The channel axis of the result, counted from its end.
    from_end: usize,
    /// Shape that a vector over the channels takes to be multiplied with the weight seen as `grouped`.
    aligned: Vec<usize>,
    /// The weight's shape with the channel axis on its own.
    grouped: Vec<usize>,
    channels: usize,
}

impl Target {
    fn of(draft: &Draft, layer: &Layer) -> Option<Target> {
        let shape = |v: ValueId| draft.ty(v).shape.clone();
        let result = shape(layer.outputs[0]);
        match &layer.kind {
            LayerKind::Convolution(c) if draft.is_static(layer.inputs[1]) => {
                let (weight, spatial) = (layer.inputs[1], c.stride.len());
                let (mut grouped, channels) = (shape(weight), result[1]);
                let mut aligned = vec![1; spatial + 2];
                if c.transposed {
                    let inputs = grouped[0];
                    grouped.splice(0..1, [c.groups, inputs / c.groups]);
                    aligned = [&[c.groups, 1, channels / c.groups][..], &vec![1; spatial]].concat();
                } else {
                    aligned[0] = channels;
                }
                Some(Target { operand: 1, weight, from_end: spatial + 1, aligned, grouped, channels })
            }
            LayerKind::MatMul { transpose_a, transpose_b } => {
                let operand = (0..2).rev().find(|&i| draft.is_static(layer.inputs[i]))?;
                let weight = layer.inputs[operand];
                let grouped = shape(weight);
                let from_end = 2 - operand;
                let channels = result[result.len() - from_end];
                let last = if operand == 1 { !transpose_b } else { *transpose_a };
                let aligned = if last { vec![channels] } else { vec![channels, 1] };
                Some(Target { operand, weight, from_end, aligned, grouped, channels })
            }
            _ => None,
        }
    }

    /// Does this shape, broadcast to the result, vary along the channel axis alone?
    fn per_channel(&self, shape: &[usize]) -> bool {
        let (from_end, channels) = (self.from_end, self.channels);
        shape.iter().rev().enumerate().all(|(i, &n)| n == 1 || (i + 1 == from_end && n == channels))
    }

    /// The weight times `scale` of its channels, in its own shape.
    fn scaled(&self, patch: &mut Patch, scale: &Formula) -> Result<ValueId, TypeError> {
        let grouped = patch.reshape(self.weight, self.grouped.clone())?;
        let mut values = vec![grouped];
        for &v in &scale.values {
            let whole = patch.ty(v).elements() == self.channels;
            let shape = if whole { self.aligned.clone() } else { vec![1] };
            values.push(patch.reshape(v, shape)?);
        }
        let parts: Vec<u32> = (1..values.len() as u32).collect();
        let product = Expr::binary(Binary::Mul).compose(&[(&Expr::identity(), &[0]), (&scale.expr, &parts)]);
        let scaled = patch.pointwise(product, &values)?;
        let shape = patch.ty(self.weight).shape.clone();
        patch.reshape(scaled, shape)
    }
}

/// A run of steps from the result on that amounts to `result * scale + shift`.
struct Run {
    /// The node at which it ends.
    end: Ref,
    /// Static.
    scale: Formula,
    /// Static.
    shift: Option<Formula>,
}

impl Run {
    fn find(draft: &Draft, formula: &Formula, target: &Target) -> Option<Run> {
        use Binary::{Add, Div, Mul, Sub};
        let nodes = &formula.expr.nodes;
        let per_channel = per_channel_nodes(draft, formula, target);
        let dtype = draft.ty(target.weight).dtype;
        let mut here = nodes.iter().position(|n| *n == Node::Input(0))? as Ref;
        let (mut scale, mut shift, mut found) = (None::<Expr>, None::<Expr>, None);
        while let Some(next) = only_user(nodes, here) {
            let side = |r: Ref| per_channel[r as usize].then(|| formula.expr.clone().finish(r));
            let one = || literal(dtype, 1.0);
            match nodes[next as usize] {
                Node::Unary(Unary::Neg, _) => {
                    scale = Some(negated(&scale.unwrap_or_else(one)));
                    shift = shift.as_ref().map(negated);
                }
                Node::Binary(Mul, a, b) => {
                    let Some(s) = side(if a == here { b } else { a }) else { break };
                    shift = shift.map(|t| both(Mul, &t, &s));
                    scale = Some(scale.map_or(s.clone(), |old| both(Mul, &old, &s)));
                }
                Node::Binary(Div, a, b) if a == here => {
                    let Some(s) = side(b) else { break };
                    shift = shift.map(|t| both(Div, &t, &s));
                    scale = Some(both(Div, &scale.unwrap_or_else(one), &s));
                }
                Node::Binary(Add, a, b) => {
                    let Some(t) = side(if a == here { b } else { a }) else { break };
                    shift = Some(shift.map_or(t.clone(), |old| both(Add, &old, &t)));
                }
                Node::Binary(Sub, a, b) if a == here => {
                    let Some(t) = side(b) else { break };
                    shift = Some(shift.map_or_else(|| negated(&t), |old| both(Sub, &old, &t)));
                }
                Node::Binary(Sub, a, _) => {
                    let Some(t) = side(a) else { break };
                    scale = Some(negated(&scale.unwrap_or_else(one)));
                    shift = Some(shift.map_or(t.clone(), |old| both(Sub, &t, &old)));
                }
                _ => break,
            }
            here = next;
            if let Some(scale) = &scale {
                let shift = shift.as_ref().map(|t| over_statics(t, formula));
                found = Some(Run { end: here, scale: over_statics(scale, formula), shift });
            }
        }
        found
    }
}

/// `f` of two expressions over the same operands.
fn both(f: Binary, a: &Expr, b: &Expr) -> Expr {
    let all: Vec<u32> = (0..a.arity().max(b.arity()) as u32).collect();
    Expr::binary(f).compose(&[(a, &all), (b, &all)])
}

fn negated(a: &Expr) -> Expr {
    let all: Vec<u32> = (0..a.arity() as u32).collect();
    Expr::unary(Unary::Neg).compose(&[(a, &all)])
}

fn literal(dtype: DType, value: f64) -> Expr {
    Expr { nodes: vec![Node::Const(dtype, Scalar::Float(value))] }
}

/// An expression over an epilogue's operands that does not read the result, over just what it reads.
fn over_statics(expr: &Expr, epilogue: &Formula) -> Formula {
    let pruned = Formula { expr: expr.clone(), values: epilogue.values.clone() }.pruned();
    let places: Vec<u32> = (0..pruned.values.len() as u32).map(|i| i.saturating_sub(1)).collect();
    Formula { expr: pruned.expr.rename(&places), values: pruned.values[1..].to_vec() }
}

/// Literals that fold: others (0, infinity, what may overflow the weight) make NaN of different elements.
const MODERATE: std::ops::RangeInclusive<f64> = 1e-12..=1e12;

/// Which nodes are computed from static operands that vary along the channel axis alone, and moderate literals.
fn per_channel_nodes(draft: &Draft, formula: &Formula, target: &Target) -> Vec<bool> {
    let mut out: Vec<bool> = Vec::with_capacity(formula.expr.nodes.len());
    for node in &formula.expr.nodes {
        let mut holds = match *node {
            Node::Input(i) => {
                let v = formula.values[i as usize];
                v != RESULT && draft.is_static(v) && target.per_channel(&draft.ty(v).shape)
            }
            Node::Const(_, v) => MODERATE.contains(&v.as_f64().abs()),
            _ => true,
        };
        node.map(|r| {
            holds &= out[r as usize];
            r
        });
        out.push(holds);
    }
    out
}

/// The one node that reads `r`, once; `None` where there are none or several.
fn only_user(nodes: &[Node], r: Ref) -> Option<Ref> {
    let mut found = None;
    for (at, node) in nodes.iter().enumerate() {
        let mut reads = 0;
        node.map(|o| {
            reads += (o == r) as usize;
            o
        });
        match (reads, found) {
            (0, _) => {}
            (1, None) => found = Some(at as Ref),
            _ => return None,
        }
    }
    found
}

/// The shift as one operand or, where it reads no value, as a literal expression.
fn shifted(patch: &mut Patch, shift: Formula) -> Result<Formula, TypeError> {
    if shift.values.is_empty() {
        return Ok(shift);
    }
    let value = patch.pointwise(shift.expr, &shift.values)?;
    Ok(Formula { expr: Expr::identity(), values: vec![value] })
}

/// `formula` with everything up to node `end` replaced by `result + shift`.
fn replace_prefix(formula: &Formula, end: Ref, shift: Option<Formula>) -> Formula {
    let mut expr = Expr::identity();
    let mut values = formula.values.clone();
    let mut start = 0;
    if let Some(shift) = shift {
        let places: Vec<u32> = (0..shift.values.len() as u32).map(|i| i + values.len() as u32).collect();
        values.extend(&shift.values);
        expr = Expr::binary(Binary::Add).compose(&[(&expr, &[0]), (&shift.expr, &places)]);
        start = expr.root();
    }
    let mut at: Vec<Ref> = Vec::with_capacity(formula.expr.nodes.len());
    for (i, node) in formula.expr.nodes.iter().enumerate() {
        let r = if i as Ref == end { start } else { expr.push(node.map(|r| at[r as usize])) };
        at.push(r);
    }
    let root = at[at.len() - 1];
    Formula { expr: expr.finish(root), values }.inline(|_| None).pruned()
}

#[cfg(test)]
mod tests {
    use crate::network::expr::{Binary, Unary};
    use crate::network::layer::Convolution;
    use crate::network::{Builder, LayerKind, Network};
    use crate::pass::check::{self, binary, f32s, unary};

    /// `((x conv w) + bias) * scale + shift`, then tanh.
    fn network(kind: Convolution, weight: &[usize], channels: &[usize]) -> Network {
        let mut b = Builder::new();
        let x = b.input(f32s(&[2, 4, 5, 5]));
        let w = b.parameter("w", f32s(weight));
        let bias = b.parameter("bias", f32s(channels));
        let scale = b.parameter("scale", f32s(channels));
        let shift = b.parameter("shift", f32s(channels));
        let y = b.add(LayerKind::Convolution(kind), &[x, w]).unwrap();
        let y = binary(&mut b, Binary::Add, y, bias);
        let y = binary(&mut b, Binary::Mul, scale, y);
        let y = binary(&mut b, Binary::Sub, shift, y);
        let y = unary(&mut b, Unary::Tanh, y);
        b.finish(vec![y])
    }

    fn convolution(groups: usize, transposed: bool) -> Convolution {
        Convolution {
            stride: vec![1; 2],
            padding: vec![(1, 1); 2],
            dilation: vec![1; 2],
            groups,
            transposed,
            output_padding: vec![0; 2],
        }
    }

    #[test]
    fn batch_norm_moves_into_weights_of_every_kind() {
        for (groups, transposed, weight) in [
            (1, false, [6, 4, 3, 3]),
            (2, false, [6, 2, 3, 3]),
            (1, true, [4, 6, 3, 3]),
            (2, true, [4, 3, 3, 3]),
        ] {
            let out = check::optimize(network(convolution(groups, transposed), &weight, &[6, 1, 1]));
            assert_eq!(check::run_kinds(&out).matches('+').count(), 1, "{out}");
            let epilogue = out.layers.iter().find_map(|l| l.epilogue.as_ref()).unwrap();
            assert_eq!(epilogue.nodes.len(), 4, "tanh(result + shift): {epilogue:?}");
        }
    }

    #[test]
    fn what_varies_along_other_axes_stays() {
        let out = check::optimize(network(convolution(1, false), &[6, 4, 3, 3], &[6, 5, 1]));
        assert_eq!(check::run_kinds(&out), "convolution+");
        assert_eq!(out.layers.last().unwrap().inputs.len(), 5);
    }

    #[test]
    fn matrix_products_on_either_side() {
        for (left, transpose, scale) in
            [(true, false, &[1, 3][..]), (true, true, &[3]), (false, false, &[4, 1]), (false, true, &[4, 1])]
        {
            let mut b = Builder::new();
            let weight = match (left, transpose) {
                (true, false) => [5, 3],
                (true, true) => [3, 5],
                (false, false) => [4, 5],
                (false, true) => [5, 4],
            };
            let x = b.input(f32s(if left { &[2, 4, 5] } else { &[2, 5, 3] }));
            let w = b.parameter("w", f32s(&weight));
            let s = b.parameter("s", f32s(scale));
            let kind = LayerKind::MatMul { transpose_a: !left && transpose, transpose_b: left && transpose };
            let y = b.add(kind, &if left { [x, w] } else { [w, x] }).unwrap();
            let y = binary(&mut b, Binary::Mul, y, s);
            let out = check::optimize(b.finish(vec![y]));
            assert_eq!(check::run_kinds(&out), "matmul", "left {left} transpose {transpose}");
        }
    }

    #[test]
    fn a_weight_or_scale_that_is_computed_stays_out() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[4, 5]));
        let w = b.parameter("w", f32s(&[5, 3]));
        let s = b.input(f32s(&[3]));
        let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, w]).unwrap();
        let y = binary(&mut b, Binary::Mul, y, s);
        let out = check::optimize(b.finish(vec![y]));
        assert_eq!(check::run_kinds(&out), "matmul+");
    }
}
