//! Windows over spatial axes.

use super::tensor::{Data, Element, Tensor, strides};
use crate::TensorType;
use crate::network::layer::{Pool, PoolOp};

/// One window: the positions in the spatial plane that it reads, and how many cells it counts with padding.
#[derive(Clone)]
struct Window {
    at: Vec<usize>,
    cells: usize,
}

/// The values of every window, and with `indices` the positions of their maxima: of the first among equals, of the last NaN.
/// A window of padding alone has the average 0 and the maximum minus infinity (or the least integer) at position 0.
pub(super) fn pool(p: &Pool, x: &Tensor, ty: &TensorType) -> Vec<Data> {
    let plane: usize = x.ty.shape[2..].iter().product();
    let windows = windows(p, &x.ty.shape[2..], &ty.shape[2..]);
    let planes = ty.shape[0] * ty.shape[1];
    match (p.op, &x.data) {
        (PoolOp::Max, Data::Float(v)) => {
            let (values, at) = maxima(v, plane, planes, &windows, f64::NEG_INFINITY);
            with_indices(p, Data::Float(values), at)
        }
        (PoolOp::Max, Data::Int(v)) => {
            let least = if ty.dtype == crate::DType::U8 { 0 } else { -1 << (8 * ty.dtype.size() - 1) };
            let (values, at) = maxima(v, plane, planes, &windows, least);
            with_indices(p, Data::Int(values), at)
        }
        (PoolOp::Average { count_padding, divisor }, data) => {
            let average = |plane: &[f64], w: &Window| {
                let cells = divisor.unwrap_or(if count_padding { w.cells } else { w.at.len() });
                let sum: f64 = w.at.iter().map(|&i| plane[i]).sum();
                if w.at.is_empty() { 0.0 } else { sum / cells as f64 }
            };
            let v = data.floats();
            let all = (0..planes).flat_map(|n| windows.iter().map(move |w| (n, w)));
            vec![Data::Float(all.map(|(n, w)| average(&v[n * plane..][..plane], w)).collect())]
        }
    }
}

fn with_indices(p: &Pool, values: Data, at: Vec<i64>) -> Vec<Data> {
    if p.indices { vec![values, Data::Int(at)] } else { vec![values] }
}

fn maxima<T: Element>(
    x: &[T],
    plane: usize,
    planes: usize,
    windows: &[Window],
    least: T,
) -> (Vec<T>, Vec<i64>) {
    let all = (0..planes).flat_map(|n| windows.iter().map(move |w| (&x[n * plane..][..plane], w)));
    let largest = |(plane, w): (&[T], &Window)| {
        let first = w.at.first().map_or((least, 0), |&i| (plane[i], i as i64));
        let wider = |best: (T, i64), &i: &usize| {
            if plane[i].is_nan() || plane[i] > best.0 { (plane[i], i as i64) } else { best }
        };
        w.at.iter().fold(first, wider)
    };
    all.map(largest).unzip()
}

/// The windows in row-major order of the result.
fn windows(p: &Pool, size: &[usize], count: &[usize]) -> Vec<Window> {
    let mut out = vec![Window { at: vec![0], cells: 1 }];
    for (axis, step) in strides(size).into_iter().enumerate() {
        let along: Vec<Window> = (0..count[axis]).map(|i| window(p, axis, i, size[axis])).collect();
        let cross = |outer: Window| {
            let join = move |inner: &Window| Window {
                at: outer
                    .at
                    .iter()
                    .flat_map(|o| inner.at.iter().map(move |i| o + i * step as usize))
                    .collect(),
                cells: outer.cells * inner.cells,
            };
            along.iter().map(join).collect::<Vec<_>>()
        };
        out = out.into_iter().flat_map(cross).collect();
    }
    out
}

/// Window `i` along one axis of `size` elements.
fn window(p: &Pool, axis: usize, i: usize, size: usize) -> Window {
    let (before, after) = p.padding[axis];
    let taps = (0..p.window[axis]).map(|t| i * p.stride[axis] + t * p.dilation[axis]);
    let cells = taps.clone().filter(|&at| at < before + size + after).count();
    let at = taps.filter_map(|at| at.checked_sub(before)).filter(|&at| at < size).collect();
    Window { at, cells }
}
