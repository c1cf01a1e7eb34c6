//! Transposed convolutions are plain ones: each result lies in one of `stride` phases, of which each reads taps of its own, as many. All
//! phases together are channels of one convolution; what they give is then put where it belongs.
//!
//! ```text
//! y = convolution(x[n, c, h, w], f[c, o, j * s, j * s]) transposed, stride=[s, s]
//!     =>   z[n, s * s * o, q, q] = convolution(x, g[s * s * o, c, j, j])
//!          y = permute(reshape(permute(reshape(z) to [n, q, s, q, s, o]) to [n, q * s, q * s, o])), cut to y's sizes
//! ```

use super::Pass;
use crate::network::layer::{Convolution, PadMode, Range};
use crate::network::{Draft, Edit, Layer, LayerKind, Patch, TypeError, ValueId};

pub(super) const PASS: Pass = Pass {
    name: "phases",
    rule: |options| {
        let all = options.all_phases;
        Box::new(move |draft, at| rule(draft, at, all))
    },
};

/// One spatial axis.
struct Axis {
    stride: usize,
    /// Taps of each phase.
    taps: usize,
    /// Zeros that follow the filter's own taps.
    missing: usize,
    /// Zeros around the input.
    border: (usize, usize),
    /// Where the result starts in what all phases give, and how long it is.
    cut: Range,
}

impl Axis {
    /// `None` where the result has places that no tap reaches.
    fn of(c: &Convolution, i: usize, window: usize, result: usize) -> Option<Axis> {
        let (stride, (before, after)) = (c.stride[i], c.padding[i]);
        let taps = window.div_ceil(stride);
        let whole = before / stride;
        let border =
            ((taps - 1).checked_sub(whole)?, (window - 1 + c.output_padding[i]).checked_sub(after)? / stride);
        let cut = Range { start: before % stride, step: 1, len: result };
        Some(Axis { stride, taps, missing: taps * stride - window, border, cut })
    }

    /// How long the result of all phases is, from an input of this length.
    fn given(&self, length: usize) -> usize {
        (length + self.border.0 + self.border.1 - (self.taps - 1)) * self.stride
    }
}

fn rule(draft: &Draft, at: usize, all: bool) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Convolution(c) = &layer.kind else { return None };
    let (x, f) = (draft.ty(layer.inputs[0]), draft.ty(layer.inputs[1]));
    let y = draft.ty(layer.outputs[0]);
    let plain = c.transposed && c.groups == 1 && c.dilation.iter().all(|&d| d == 1);
    if !plain || !draft.is_static(layer.inputs[1]) || x.elements() == 0 || y.elements() == 0 {
        return None;
    }
    let axis = |i| Axis::of(c, i, f.shape[i + 2], y.shape[i + 2]);
    let axes: Vec<Axis> = (0..c.stride.len()).map(axis).collect::<Option<_>>()?;
    let whole = |(a, n): (&Axis, &usize)| a.missing == 0 && a.given(*n) == a.cut.len;
    if !all && !axes.iter().zip(&x.shape[2..]).all(whole) {
        return None;
    }
    let mut patch = Patch::new(draft, &layer.origin);
    let new = rewrite(&mut patch, layer, &axes).ok()?;
    patch.only(layer.outputs[0], new)
}

fn rewrite(patch: &mut Patch, layer: &Layer, axes: &[Axis]) -> Result<ValueId, TypeError> {
    let (spatial, phases) = (axes.len(), axes.iter().map(|a| a.stride).product::<usize>());
    let channels = patch.ty(layer.inputs[1]).shape[1];
    let filters = filters(patch, layer.inputs[1], axes)?;
    let convolution = LayerKind::Convolution(Convolution {
        stride: vec![1; spatial],
        padding: axes.iter().map(|a| a.border).collect(),
        dilation: vec![1; spatial],
        groups: 1,
        transposed: false,
        output_padding: vec![0; spatial],
    });
    let operands = &layer.inputs[2..];
    let strides: Vec<usize> = axes.iter().map(|a| a.stride).collect();
    // Of one element for each channel, the epilogue stays with the products.
    let of_channels = operands.iter().all(|&v| is_of_channels(&patch.ty(v).shape, spatial));
    let mut inputs = vec![layer.inputs[0], filters];
    let z = if of_channels {
        for &v in operands {
            inputs.push(repeated(patch, v, &strides)?);
        }
        patch.fused(convolution, &inputs, layer.epilogue.clone())?[0]
    } else {
        patch.add(convolution, &inputs)?
    };
    let z_shape = patch.ty(z).shape.clone();
    debug_assert_eq!(z_shape[1], phases * channels);
    let apart = [&z_shape[..1], &strides, &[channels], &z_shape[2..]].concat();
    let z = patch.reshape(z, apart)?;
    let places = (0..spatial).flat_map(|i| [spatial + 2 + i, 1 + i]);
    let order = std::iter::once(0).chain(places).chain([spatial + 1]).collect();
    let z = patch.add(LayerKind::Permute { axes: order }, &[z])?;
    let whole = z_shape[2..].iter().zip(&strides).map(|(n, s)| n * s);
    let whole: Vec<usize> = z_shape[..1].iter().copied().chain(whole).chain([channels]).collect();
    let z = patch.reshape(z, whole)?;
    let mut ranges = vec![Range::full(z_shape[0])];
    ranges.extend(axes.iter().map(|a| a.cut));
    ranges.push(Range::full(channels));
    let z = patch.add(LayerKind::Slice { ranges }, &[z])?;
    let order = [0, spatial + 1].into_iter().chain(1..=spatial).collect();
    let z = patch.add(LayerKind::Permute { axes: order }, &[z])?;
    match &layer.epilogue {
        Some(epilogue) if !of_channels => patch.pointwise(epilogue.clone(), &[&[z], operands].concat()),
        _ => Ok(z),
    }
}

/// The filters `[c, o, k...]` as those of the plain convolution, `[s... * o, c, taps...]`: taps of a phase lie `stride` apart, and a later
/// one reads what came earlier.
fn filters(patch: &mut Patch, f: ValueId, axes: &[Axis]) -> Result<ValueId, TypeError> {
    let (spatial, shape) = (axes.len(), patch.ty(f).shape.clone());
    let mut border = vec![(0, 0); 2];
    border.extend(axes.iter().map(|a| (0, a.missing)));
    let f = patch.add(LayerKind::Pad { border, mode: PadMode::Constant(0.0) }, &[f])?;
    let mut apart = shape[..2].to_vec();
    apart.extend(axes.iter().flat_map(|a| [a.taps, a.stride]));
    let mut ranges: Vec<Range> = apart.iter().map(|&n| Range::full(n)).collect();
    for (i, a) in axes.iter().enumerate() {
        ranges[2 + 2 * i] = Range { start: a.taps - 1, step: -1, len: a.taps };
    }
    let f = patch.reshape(f, apart)?;
    let f = patch.add(LayerKind::Slice { ranges }, &[f])?;
    let (of_phase, of_taps) = ((0..spatial).map(|i| 3 + 2 * i), (0..spatial).map(|i| 2 + 2 * i));
    let order = of_phase.chain([1, 0]).chain(of_taps).collect();
    let f = patch.add(LayerKind::Permute { axes: order }, &[f])?;
    let phases: usize = axes.iter().map(|a| a.stride).product();
    let mut packed = vec![phases * shape[1], shape[0]];
    packed.extend(axes.iter().map(|a| a.taps));
    patch.reshape(f, packed)
}

/// Has it, beside images with as many spatial axes, one element for each channel or one alone?
fn is_of_channels(shape: &[usize], spatial: usize) -> bool {
    let from = shape.len().checked_sub(spatial + 1);
    (0..shape.len()).all(|i| shape[i] == 1 || Some(i) == from)
}

/// One element for each channel, for the channels of every phase.
fn repeated(patch: &mut Patch, v: ValueId, strides: &[usize]) -> Result<ValueId, TypeError> {
    let spatial = strides.len();
    let channels: usize = patch.ty(v).shape.iter().product();
    if channels == 1 {
        return Ok(v);
    }
    let all = [strides, &[channels]].concat();
    let flat = patch.reshape(v, [channels])?;
    let repeated = patch.add(LayerKind::Broadcast { shape: all.clone() }, &[flat])?;
    let mut shape = vec![all.iter().product()];
    shape.extend(vec![1; spatial]);
    patch.reshape(repeated, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, Network};
    use crate::pass::check::{self, binary, f32s, unary};
    use crate::pass::{Options, optimize};

    fn transposed(stride: &[usize], padding: &[(usize, usize)], output_padding: &[usize]) -> LayerKind {
        LayerKind::Convolution(Convolution {
            stride: stride.to_vec(),
            padding: padding.to_vec(),
            dilation: vec![1; stride.len()],
            groups: 1,
            transposed: true,
            output_padding: output_padding.to_vec(),
        })
    }

    /// A transposed convolution with a bias and a rectifier, or with a further image added.
    fn network(kind: LayerKind, image: &[usize], window: &[usize], residual: bool) -> Option<Network> {
        let mut b = Builder::new();
        let x = b.input(f32s(image));
        let f = b.parameter("f", f32s(&[&[image[1], 3], window].concat()));
        let y = b.add(kind, &[x, f]).ok()?;
        let bias = b.parameter("bias", f32s(&[&[3][..], &vec![1; window.len()]].concat()));
        let y = binary(&mut b, Binary::Add, y, bias);
        let y = match residual {
            true => {
                let other = b.ty(y).clone();
                let other = b.input(other);
                binary(&mut b, Binary::Mul, y, other)
            }
            false => unary(&mut b, Unary::Tanh, y),
        };
        Some(optimize(b.finish(vec![y]), &Options { step_limit: Some(2), ..Options::default() }))
    }

    #[test]
    fn of_every_size_they_compute_the_same() {
        let mut random = Random::new(5);
        let mut rewritten = 0;
        for _ in 0..400 {
            let spatial = 1 + random.below(3);
            let mut some = |least, most| (0..spatial).map(|_| least + random.below(most)).collect::<Vec<_>>();
            let (stride, window, sizes) = (some(1, 3), some(1, 5), some(1, 4));
            let padding: Vec<(usize, usize)> = some(0, 3).into_iter().zip(some(0, 3)).collect();
            let output_padding = some(0, 2);
            let kind = transposed(&stride, &padding, &output_padding);
            let image = [&[2, 2], &sizes[..]].concat();
            let Some(network) = network(kind, &image, &window, random.chance(0.3)) else { continue };
            let options = Options { all_phases: true, ..Options::default() };
            let out = check::pass_with("phases", network, &options, false);
            rewritten += usize::from(!out.to_string().contains("transposed"));
        }
        assert!(rewritten > 200, "only {rewritten} were rewritten");
    }

    #[test]
    fn where_nothing_is_cut_and_no_zeros_are_multiplied_they_always_are() {
        let moved = "convolution+ reshape permute reshape slice permute";
        for (window, padding, all, expected) in [
            (2, 0, false, moved),
            (4, 1, false, "convolution+"),
            (4, 1, true, moved),
            (3, 1, false, "convolution+"),
            (3, 1, true, moved),
        ] {
            let kind = transposed(&[2, 2], &[(padding, padding); 2], &[0, 0]);
            let network = network(kind, &[1, 2, 4, 4], &[window; 2], false).expect("well typed");
            let options = Options { all_phases: all, ..Options::default() };
            let out = check::pass_with("phases", network, &options, false);
            assert_eq!(check::run_kinds(&out), expected, "window {window}");
        }
    }
}
