//! Matrix products and convolutions.

use super::tensor::{Data, Element, Tensor, positions, strides};
use crate::TensorType;
use crate::network::layer::Convolution;

/// `a[..., M, K] x b[..., K, N]` into `ty`; either may be given transposed.
pub(super) fn matmul(a: &Tensor, b: &Tensor, transposed: (bool, bool), ty: &TensorType) -> Data {
    let (batch, size) = ty.shape.split_at(ty.rank() - 2);
    let (m, n) = (size[0], size[1]);
    let k = a.ty.shape[a.ty.rank() - if transposed.0 { 2 } else { 1 }];
    let count = batch.iter().product();
    let a = a.data.take(&matrices(&a.ty, transposed.0, batch, [m, k]));
    let b = b.data.take(&matrices(&b.ty, transposed.1, batch, [k, n]));
    match (&a, &b) {
        (Data::Float(a), Data::Float(b)) => Data::Float(products(a, b, count, [m, k, n])),
        (Data::Int(a), Data::Int(b)) => Data::Int(products(a, b, count, [m, k, n])),
        _ => unreachable!("operands have one type"),
    }
}

/// The positions of the elements of every matrix of the batch, each row by row of its untransposed form.
fn matrices(ty: &TensorType, transposed: bool, batch: &[usize], size: [usize; 2]) -> Vec<usize> {
    let lead = ty.rank() - 2;
    let from = strides(&ty.shape);
    let mut steps: Vec<isize> = vec![0; batch.len() - lead];
    steps.extend((0..lead).map(|i| if ty.shape[i] == 1 { 0 } else { from[i] }));
    steps.extend(if transposed { [from[lead + 1], from[lead]] } else { [from[lead], from[lead + 1]] });
    positions(&[batch, &size].concat(), &steps, 0)
}

fn products<T: Element>(a: &[T], b: &[T], count: usize, [m, k, n]: [usize; 3]) -> Vec<T> {
    let mut out = vec![T::ZERO; count * m * n];
    for row in 0..count * m {
        let sums = &mut out[row * n..][..n];
        for p in 0..k {
            let left = a[row * k + p];
            let right = &b[(row / m * k + p) * n..][..n];
            for (sum, &r) in sums.iter_mut().zip(right) {
                *sum = sum.plus(left.times(r));
            }
        }
    }
    out
}

/// Each row of `x[T, K]` by the matrix of `w[E, K, N]` whose run holds it, into `ty`.
pub(super) fn grouped(x: &Tensor, w: &Tensor, offsets: &Tensor, ty: &TensorType) -> Data {
    let (rows, n, k) = (ty.shape[0], ty.shape[1], x.ty.shape[1]);
    let (x, w) = (x.data.floats(), w.data.floats());
    let ends = offsets.data.ints();
    let holds = |e: &usize, row: i64| (if *e == 0 { 0 } else { ends[e - 1] }..ends[*e]).contains(&row);
    let mut out = Vec::with_capacity(rows * n);
    for row in 0..rows {
        out.extend(match (0..ends.len()).rev().find(|e| holds(e, row as i64)) {
            Some(e) => products(&x[row * k..][..k], &w[e * k * n..][..k * n], 1, [1, k, n]),
            None => vec![0.0; n],
        });
    }
    Data::Float(out)
}

/// One spatial axis: `wide[i * stride + tap * dilation - before]` meets `narrow[i]`. The input is the wide side of a
/// convolution and the narrow side of a transposed one.
struct Axis {
    wide: usize,
    narrow: usize,
    taps: usize,
    stride: usize,
    dilation: usize,
    before: usize,
}

impl Axis {
    /// The narrow positions that meet a wide one for this tap, each with it.
    fn pairs(&self, tap: usize) -> impl Iterator<Item = (usize, usize)> {
        let at = move |i: usize| (i * self.stride + tap * self.dilation).checked_sub(self.before);
        (0..self.narrow).filter_map(move |i| at(i).filter(|&w| w < self.wide).map(|w| (i, w)))
    }
}

/// Cross-correlation of `x` with `w` into `ty`, or its gradient form.
pub(super) fn convolution(c: &Convolution, x: &Tensor, w: &Tensor, ty: &TensorType) -> Data {
    let (wide, narrow) = if c.transposed { (ty, &x.ty) } else { (&x.ty, ty) };
    // Missing outer axes have one element and one tap.
    let mut axes: Vec<Axis> = (c.stride.len()..3)
        .map(|_| Axis { wide: 1, narrow: 1, taps: 1, stride: 1, dilation: 1, before: 0 })
        .collect();
    axes.extend((0..c.stride.len()).map(|i| Axis {
        wide: wide.shape[i + 2],
        narrow: narrow.shape[i + 2],
        taps: w.ty.shape[i + 2],
        stride: c.stride[i],
        dilation: c.dilation[i],
        before: c.padding[i].0,
    }));
    let [depth, height, width] = &axes[..] else { unreachable!("at most three spatial axes") };
    let wide_plane = depth.wide * height.wide * width.wide;
    let narrow_plane = depth.narrow * height.narrow * width.narrow;
    let (narrow_channels, wide_channels) = (narrow.shape[1], wide.shape[1] / c.groups);
    let (x, w) = (x.data.floats(), w.data.floats());
    let mut out = vec![0.0; ty.elements()];
    for image in 0..ty.shape[0] {
        for n in 0..narrow_channels {
            let group = n / (narrow_channels / c.groups);
            for v in 0..wide_channels {
                let wide_at = ((image * c.groups + group) * wide_channels + v) * wide_plane;
                let narrow_at = (image * narrow_channels + n) * narrow_plane;
                let mut weights = w[(n * wide_channels + v) * depth.taps * height.taps * width.taps..].iter();
                for tap_d in 0..depth.taps {
                    for tap_h in 0..height.taps {
                        for tap_w in 0..width.taps {
                            let weight = weights.next().expect("a weight for each tap");
                            for (nd, wd) in depth.pairs(tap_d) {
                                for (nh, wh) in height.pairs(tap_h) {
                                    let narrow_at = narrow_at + (nd * height.narrow + nh) * width.narrow;
                                    let wide_at = wide_at + (wd * height.wide + wh) * width.wide;
                                    for (nw, ww) in width.pairs(tap_w) {
                                        if c.transposed {
                                            out[wide_at + ww] += weight * x[narrow_at + nw];
                                        } else {
                                            out[narrow_at + nw] += weight * x[wide_at + ww];
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    Data::Float(out)
}
