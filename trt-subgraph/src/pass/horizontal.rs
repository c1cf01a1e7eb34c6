//! Horizontal fusion: convolutions or matrix products that read the same value in the same way become one wider layer, whose
//! result is cut apart again.
//!
//! ```text
//! q = matmul(x, wq) + bq          y = matmul(x, wq|wk) + bq|bk
//! k = matmul(x, wk) + bk    =>    q, k = slices of y
//! ```
//!
//! Siblings have equal parameters, static weights that differ in their output channels alone, and one epilogue over static
//! operands, which are joined along the channels like the weights (in `prepare`). They read `x` and static values only, so no
//! cycle arises.
//!
//! It is done where it pays, in bytes moved: each sibling but one saves reading `x` and a step ([`STEP`]); a slice costs nothing
//! where it is contiguous (every axis before the channels has size 1) or all its readers take strides, else a copy of itself.

use super::Pass;
use super::operands::joined;
use crate::network::layer::Range;
use crate::network::{Draft, Edit, Layer, LayerKind, Patch, ValueId};

pub(super) const PASS: Pass = Pass { name: "horizontal", rule: |_| Box::new(rule) };

/// What starting a step costs, in bytes that could be moved meanwhile: 2 us at 10 GB/s.
const STEP: usize = 20_000;

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let axes = Axes::of(draft, layer)?;
    let x = layer.inputs[0];
    let mut siblings: Vec<usize> = draft.readers(x).filter(|&o| alike(draft, layer, o, &axes)).collect();
    siblings.sort_unstable();
    siblings.dedup();
    if siblings.len() < 2 || siblings[0] != at || !pays(draft, x, &siblings, &axes) {
        return None;
    }
    let siblings: Vec<&Layer> = siblings.iter().map(|&s| draft.layer(s)).collect();
    let widths: Vec<usize> = siblings.iter().map(|s| axes.channels(&draft.ty(s.outputs[0]).shape)).collect();

    let origin = siblings.iter().fold(String::new(), |all, s| joined(&all, &s.origin));
    let mut patch = Patch::new(draft, origin);
    let mut inputs = vec![x];
    let weights: Vec<ValueId> = siblings.iter().map(|s| s.inputs[1]).collect();
    inputs.push(patch.add(LayerKind::Concat { axis: axes.weight }, &weights).ok()?);
    for i in 2..layer.inputs.len() {
        let operands: Vec<ValueId> = siblings.iter().map(|s| s.inputs[i]).collect();
        inputs.push(join(&mut patch, &operands, &widths, &axes)?);
    }
    let wide = patch.fused(layer.kind.clone(), &inputs, layer.epilogue.clone()).ok()?[0];
    let mut start = 0;
    for (sibling, &len) in siblings.iter().zip(&widths) {
        let mut ranges: Vec<Range> = patch.ty(wide).shape.iter().map(|&n| Range::full(n)).collect();
        let axis = ranges.len() - axes.from_end;
        ranges[axis] = Range { start, step: 1, len };
        let part = patch.add(LayerKind::Slice { ranges }, &[wide]).ok()?;
        patch.replace(sibling.outputs[0], part)?;
        start += len;
    }
    patch.done()
}

/// Where the output channels are.
struct Axes {
    /// In the weight.
    weight: usize,
    /// In the result and in epilogue operands, counted from the end.
    from_end: usize,
}

impl Axes {
    fn of(draft: &Draft, layer: &Layer) -> Option<Axes> {
        let (&x, &w) = (layer.inputs.first()?, layer.inputs.get(1)?);
        if draft.is_static(x) || !layer.inputs[1..].iter().all(|&v| draft.is_static(v)) {
            return None;
        }
        match &layer.kind {
            LayerKind::Convolution(c) if c.groups == 1 => {
                Some(Axes { weight: c.transposed as usize, from_end: c.stride.len() + 1 })
            }
            LayerKind::MatMul { transpose_b, .. } => {
                let rank = draft.ty(w).rank();
                Some(Axes { weight: rank - if *transpose_b { 2 } else { 1 }, from_end: 1 })
            }
            _ => None,
        }
    }

    fn channels(&self, result: &[usize]) -> usize {
        result[result.len() - self.from_end]
    }
}

/// Is the layer at `other` the same as `layer` but for the output channels?
fn alike(draft: &Draft, layer: &Layer, other: usize, axes: &Axes) -> bool {
    let other = draft.layer(other);
    let shape = |l: &Layer| draft.ty(l.inputs[1]).shape.clone();
    let same_weights = || {
        let (a, b) = (shape(layer), shape(other));
        a.len() == b.len() && (0..a.len()).all(|i| i == axes.weight || a[i] == b[i])
    };
    layer.kind == other.kind
        && layer.epilogue == other.epilogue
        && layer.inputs.len() == other.inputs.len()
        && layer.inputs[0] == other.inputs[0]
        && other.inputs[1..].iter().all(|&v| draft.is_static(v))
        && same_weights()
}

fn pays(draft: &Draft, x: ValueId, siblings: &[usize], axes: &Axes) -> bool {
    let saved = (siblings.len() - 1) * (draft.ty(x).bytes() + STEP);
    let copied = |&at: &usize| {
        let result = draft.layer(at).outputs[0];
        let shape = &draft.ty(result).shape;
        let contiguous = shape[..shape.len() - axes.from_end].iter().all(|&n| n == 1);
        let free = !draft.is_output(result)
            && draft.readers(result).all(|r| takes_strides(draft.layer(r), shape, axes));
        if contiguous || free { 0 } else { 2 * draft.ty(result).bytes() }
    };
    siblings.iter().map(copied).sum::<usize>() < saved
}

/// Does this reader work on a range of channels in place? A reshape does unless it merges the channels with an axis before.
fn takes_strides(reader: &Layer, shape: &[usize], axes: &Axes) -> bool {
    match &reader.kind {
        LayerKind::Pointwise(_)
        | LayerKind::MatMul { .. }
        | LayerKind::Reduce { .. }
        | LayerKind::Slice { .. }
        | LayerKind::Concat { .. }
        | LayerKind::Permute { .. } => true,
        LayerKind::Reshape { shape: new } => {
            let before: usize = shape[..shape.len() - axes.from_end].iter().product();
            let mut product = 1;
            before == 1
                || new.iter().any(|&n| {
                    product *= n;
                    product == before
                })
        }
        _ => false,
    }
}

/// Epilogue operands, one for each sibling, as one operand of the wide layer.
fn join(patch: &mut Patch, operands: &[ValueId], widths: &[usize], axes: &Axes) -> Option<ValueId> {
    let channel_axis = |shape: &[usize]| shape.len().checked_sub(axes.from_end);
    let is_flat = |v: ValueId| {
        let shape = &patch.ty(v).shape;
        channel_axis(shape).is_none_or(|a| shape[a] == 1)
    };
    if operands.iter().all(|&v| v == operands[0]) && is_flat(operands[0]) {
        return Some(operands[0]);
    }
    let mut parts = Vec::with_capacity(operands.len());
    for (&v, &width) in operands.iter().zip(widths) {
        let mut shape = patch.ty(v).shape.clone();
        let missing = axes.from_end.saturating_sub(shape.len());
        shape.splice(0..0, vec![1; missing]);
        let axis = channel_axis(&shape)?;
        shape[axis] = width;
        let wide = patch.ty(v).shape == shape;
        parts.push(if wide { v } else { patch.add(LayerKind::Broadcast { shape }, &[v]).ok()? });
    }
    let axis = channel_axis(&patch.ty(parts[0]).shape)?;
    patch.add(LayerKind::Concat { axis }, &parts).ok()
}
