//! Borders: none are no layer, one within another are one; zeros before a convolution or an average and minus infinity before a
//! maximum become the padding of that layer.

use super::Pass;
use crate::network::layer::{PadMode, PoolOp};
use crate::network::{Draft, Edit, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "pad", rule: |_| Box::new(rule) };

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let mut patch = Patch::new(draft, &layer.origin);
    let mut inputs = layer.inputs.clone();
    let kind = match &layer.kind {
        LayerKind::Pad { border, .. } if border.iter().all(|&b| b == (0, 0)) => {
            return patch.only(layer.outputs[0], inputs[0]);
        }
        LayerKind::Pad { border, mode } => {
            let (x, inner, value) = constant(draft, inputs[0])?;
            if *mode != PadMode::Constant(value) {
                return None;
            }
            inputs[0] = x;
            LayerKind::Pad { border: sum(border, inner), mode: *mode }
        }
        LayerKind::Convolution(c) if !c.transposed => {
            let (x, border, value) = spatial(draft, inputs[0])?;
            if value != 0.0 {
                return None;
            }
            inputs[0] = x;
            let mut c = c.clone();
            c.padding = sum(&c.padding, border);
            LayerKind::Convolution(c)
        }
        LayerKind::Pool(p) => {
            let (x, border, value) = spatial(draft, inputs[0])?;
            let mut p = p.clone();
            let unpadded = p.padding.iter().all(|&b| b == (0, 0));
            p.padding = sum(&p.padding, border);
            match &mut p.op {
                PoolOp::Average { count_padding, .. } if value == 0.0 && (*count_padding || unpadded) => {
                    *count_padding = true;
                }
                PoolOp::Max if value == f64::NEG_INFINITY && !p.indices => {
                    let reach = |i: usize| p.dilation[i] * (p.window[i] - 1) + 1;
                    let inside = p.padding.iter().enumerate().all(|(i, b)| b.0.max(b.1) < reach(i));
                    inside.then_some(())?;
                }
                _ => return None,
            }
            inputs[0] = x;
            LayerKind::Pool(p)
        }
        _ => return None,
    };
    let new = patch.fused(kind, &inputs, layer.epilogue.clone()).ok()?;
    patch.only(layer.outputs[0], new[0])
}

/// Cells before and after each axis.
type Border = [(usize, usize)];

/// The constant border that makes `v`: what it surrounds, its width and its value.
fn constant(draft: &Draft, v: ValueId) -> Option<(ValueId, &Border, f64)> {
    let layer = draft.producer(v)?;
    match &layer.kind {
        LayerKind::Pad { border, mode: PadMode::Constant(value) } => Some((layer.inputs[0], border, *value)),
        _ => None,
    }
}

/// Like `constant`, where it surrounds the spatial axes alone; their part of the border.
fn spatial(draft: &Draft, v: ValueId) -> Option<(ValueId, &Border, f64)> {
    let (x, border, value) = constant(draft, v)?;
    let (outer, inner) = border.split_at(2.min(border.len()));
    outer.iter().all(|&b| b == (0, 0)).then_some((x, inner, value))
}

fn sum(a: &Border, b: &Border) -> Vec<(usize, usize)> {
    a.iter().zip(b).map(|(a, b)| (a.0 + b.0, a.1 + b.1)).collect()
}

#[cfg(test)]
mod tests {
    use crate::network::layer::{Convolution, PadMode, Pool, PoolOp};
    use crate::network::{Builder, LayerKind, ValueId};
    use crate::pass::check::{self, f32s};

    fn pad(b: &mut Builder, x: ValueId, border: [(usize, usize); 3], value: f64) -> ValueId {
        b.add(LayerKind::Pad { border: border.to_vec(), mode: PadMode::Constant(value) }, &[x]).unwrap()
    }

    #[test]
    fn borders_add_up_or_vanish() {
        let mut b = Builder::new();
        let x = b.input(f32s(&[1, 2, 5]));
        let y = pad(&mut b, x, [(0, 1), (0, 0), (2, 0)], 3.0);
        let y = pad(&mut b, y, [(1, 1), (0, 2), (0, 0)], 3.0);
        let z = pad(&mut b, x, [(0, 0); 3], 1.0);
        let out = check::pass("pad", b.finish(vec![y, z]), true);
        assert_eq!(check::kinds(&out), "pad");
    }

    #[test]
    fn zeros_go_into_convolutions() {
        let spatial = [(0, 0), (0, 0), (1, 2)];
        for (border, value, left) in [
            (spatial, 0.0, "convolution"),
            (spatial, 1.0, "pad convolution"),
            ([(1, 0), (0, 0), (1, 2)], 0.0, "pad convolution"),
        ] {
            let mut b = Builder::new();
            let (x, w) = (b.input(f32s(&[1, 2, 5])), b.parameter("w", f32s(&[3, 2, 3])));
            let y = pad(&mut b, x, border, value);
            let c = Convolution {
                stride: vec![2],
                padding: vec![(1, 0)],
                dilation: vec![1],
                groups: 1,
                transposed: false,
                output_padding: vec![0],
            };
            let y = b.add(LayerKind::Convolution(c), &[y, w]).unwrap();
            assert_eq!(check::kinds(&check::pass("pad", b.finish(vec![y]), true)), left);
        }
    }

    #[test]
    fn pools_take_what_does_not_count() {
        let average = |count_padding| PoolOp::Average { count_padding, divisor: None };
        let low = f64::NEG_INFINITY;
        for (op, own, value, left) in [
            (average(true), 1, 0.0, "pool"),
            (average(false), 0, 0.0, "pool"),
            (average(false), 1, 0.0, "pad pool"),
            (PoolOp::Max, 0, low, "pool"),
            (PoolOp::Max, 0, 0.0, "pad pool"),
            (PoolOp::Max, 2, low, "pad pool"),
        ] {
            let mut b = Builder::new();
            let x = b.input(f32s(&[1, 2, 5]));
            let y = pad(&mut b, x, [(0, 0), (0, 0), (1, 1)], value);
            let p = Pool {
                op,
                window: vec![3],
                stride: vec![1],
                padding: vec![(own, own)],
                dilation: vec![1],
                overhang: vec![0],
                indices: false,
            };
            let y = b.add(LayerKind::Pool(p), &[y]).unwrap();
            assert_eq!(check::kinds(&check::pass("pad", b.finish(vec![y]), true)), left, "{op:?} {value}");
        }
    }
}
