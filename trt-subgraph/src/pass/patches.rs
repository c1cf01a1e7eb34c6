//! Convolutions of few channels whose windows lie side by side, as vision transformers begin with, are matrix products of the windows: a
//! row of each, and no border of zeros to whole units of channels.
//!
//! ```text
//! convolution(x[n, c, h * k, w * k], f[o, c, k, k]) stride=[k, k]
//!     =>   permute(reshape(permute(reshape(x)) to [n, h * w, c * k * k]) @ reshape(f)^T; 0, 2, 1), reshaped
//! ```

use super::Pass;
use crate::network::{Draft, Edit, LayerKind, Patch};

pub(super) const PASS: Pass = Pass { name: "patches", rule: |_| Box::new(rule) };

/// Channels with which convolutions fill what they read at once.
const MANY: usize = 8;

fn rule(draft: &Draft, at: usize) -> Option<Edit> {
    let layer = draft.layer(at);
    let LayerKind::Convolution(c) = &layer.kind else { return None };
    let (x, f) = (draft.ty(layer.inputs[0]), draft.ty(layer.inputs[1]));
    let (sizes, window) = (&x.shape[2..], &f.shape[2..]);
    let apart =
        c.stride == *window && c.dilation.iter().all(|&d| d == 1) && c.padding.iter().all(|&p| p == (0, 0));
    let whole = sizes.iter().zip(window).all(|(n, k)| n.is_multiple_of(*k));
    let few = x.shape[1] < MANY && window.iter().product::<usize>() >= MANY;
    if c.transposed
        || c.groups != 1
        || layer.epilogue.is_some()
        || x.elements() == 0
        || !(apart && whole && few)
    {
        return None;
    }
    let mut patch = Patch::new(draft, &layer.origin);
    // Every spatial axis is two: which window, and where in it.
    let mut split = x.shape[..2].to_vec();
    split.extend(sizes.iter().zip(window).flat_map(|(n, k)| [n / k, *k]));
    let spatial = sizes.len();
    let which = (0..spatial).map(|i| 2 + 2 * i);
    let inside = (0..spatial).map(|i| 3 + 2 * i);
    let axes = std::iter::once(0).chain(which).chain([1]).chain(inside).collect();
    let depth = f.shape[1..].iter().product::<usize>();
    let y = &draft.ty(layer.outputs[0]).shape;
    let rows = y[2..].iter().product::<usize>();
    let left = patch.reshape(layer.inputs[0], split).ok()?;
    let left = patch.add(LayerKind::Permute { axes }, &[left]).ok()?;
    let left = patch.reshape(left, [x.shape[0], rows, depth]).ok()?;
    let right = patch.reshape(layer.inputs[1], [f.shape[0], depth]).ok()?;
    let product = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let new = patch.add(product, &[left, right]).ok()?;
    let new = patch.add(LayerKind::Permute { axes: vec![0, 2, 1] }, &[new]).ok()?;
    let new = patch.reshape(new, y.clone()).ok()?;
    patch.only(layer.outputs[0], new)
}

#[cfg(test)]
mod tests {
    use crate::network::expr::Binary;
    use crate::network::layer::Convolution;
    use crate::network::{Builder, LayerKind};
    use crate::pass::check::{self, binary, f32s};

    fn kinds(stride: usize, padding: (usize, usize), image: &[usize]) -> String {
        let mut b = Builder::new();
        let (x, f) = (b.input(f32s(image)), b.parameter("f", f32s(&[6, image[1], 4, 4])));
        let bias = b.parameter("bias", f32s(&[6, 1, 1]));
        let c = Convolution {
            stride: vec![stride; 2],
            padding: vec![padding; 2],
            dilation: vec![1; 2],
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        };
        let y = b.add(LayerKind::Convolution(c), &[x, f]).unwrap();
        let y = binary(&mut b, Binary::Add, y, bias);
        check::run_kinds(&check::optimize(b.finish(vec![y])))
    }

    #[test]
    fn windows_side_by_side_are_rows() {
        assert_eq!(kinds(4, (0, 0), &[2, 3, 8, 12]), "reshape permute reshape matmul+ reshape permute");
    }

    #[test]
    fn other_windows_stay() {
        for (stride, padding, image) in [
            (2, (0, 0), [2, 3, 8, 12]),
            (4, (2, 2), [2, 3, 8, 12]),
            (4, (0, 0), [2, 3, 8, 13]),
            (4, (0, 0), [2, 8, 8, 12]),
        ] {
            assert_eq!(kinds(stride, padding, &image), "convolution+");
        }
    }
}
