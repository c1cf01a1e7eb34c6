//! Layers that work on groups of elements: reductions, scans, statistics, softmax, sorting.

use super::tensor::{Data, Element, Tensor, beats, each, positions, strides};
use crate::network::layer::{ReduceOp, ScanOp};

/// The positions of a tensor's elements, one group along `axes` after the other, and the size of a group.
fn groups(shape: &[usize], axes: &[usize]) -> (Vec<usize>, usize) {
    let kept = (0..shape.len()).filter(|a| !axes.contains(a));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let from = strides(shape);
    let sizes: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
    let steps: Vec<isize> = order.iter().map(|&a| from[a]).collect();
    (positions(&sizes, &steps, 0), axes.iter().map(|&a| shape[a]).product())
}

/// Every group along `axes` replaced by `f` of it, element for element.
fn along<T: Element>(x: &[T], shape: &[usize], axes: &[usize], f: impl Fn(&[T]) -> Vec<T>) -> Vec<T> {
    let mut out = x.to_vec();
    let (at, size) = groups(shape, axes);
    for group in at.chunks(size.max(1)) {
        let row: Vec<T> = group.iter().map(|&i| x[i]).collect();
        for (&i, value) in group.iter().zip(f(&row)) {
            out[i] = value;
        }
    }
    out
}

/// One value from each of `count` groups along `axes`.
pub(super) fn reduce(x: &Tensor, op: ReduceOp, axes: &[usize], count: usize) -> Data {
    let (at, size) = groups(&x.ty.shape, axes);
    let group = |g: usize| &at[g * size..(g + 1) * size];
    if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
        let largest = op == ReduceOp::ArgMax;
        let position = |g: usize| match &x.data {
            Data::Float(v) => extremum(v, group(g), largest).0 as i64,
            Data::Int(v) => extremum(v, group(g), largest).0 as i64,
        };
        return Data::Int((0..count).map(position).collect());
    }
    let sums = each!(&x.data, v => (0..count).map(|g| fold(op, v, group(g))).collect());
    match sums {
        Data::Float(v) if op == ReduceOp::Mean => Data::Float(v.iter().map(|s| s / size as f64).collect()),
        other => other,
    }
}

fn fold<T: Element>(op: ReduceOp, v: &[T], group: &[usize]) -> T {
    let any = |start: T, f: fn(T, T) -> T| group.iter().fold(start, |sum, &i| f(sum, v[i]));
    match op {
        ReduceOp::Sum | ReduceOp::Mean => any(T::ZERO, T::plus),
        ReduceOp::Prod => any(T::ONE, T::times),
        ReduceOp::Any => any(T::ZERO, |a, b| if a > b { a } else { b }),
        ReduceOp::All => any(T::ONE, T::times),
        ReduceOp::Max | ReduceOp::ArgMax => extremum(v, group, true).1,
        ReduceOp::Min | ReduceOp::ArgMin => extremum(v, group, false).1,
    }
}

/// Position in the group, and value, of the first largest (or smallest) element; NaN wins. The group is not empty.
fn extremum<T: Element>(v: &[T], group: &[usize], largest: bool) -> (usize, T) {
    let mut best = (0, v[group[0]]);
    for (n, &i) in group.iter().enumerate() {
        if beats(v[i], best.1, largest) {
            best = (n, v[i]);
        }
    }
    best
}

/// Running `op` along `axis`.
pub(super) fn scan(x: &Tensor, op: ScanOp, axis: usize) -> Data {
    each!(&x.data, v => along(v, &x.ty.shape, &[axis], |row| running(op, row)))
}

fn running<T: Element>(op: ScanOp, row: &[T]) -> Vec<T> {
    let mut sum = if op == ScanOp::Sum { T::ZERO } else { T::ONE };
    let mut step = |&x: &T| {
        sum = if op == ScanOp::Sum { sum.plus(x) } else { sum.times(x) };
        sum
    };
    row.iter().map(&mut step).collect()
}

/// `(x - mean) / sqrt(var + eps)`, or `x / sqrt(mean(x^2) + eps)`, with statistics over `axes`.
pub(super) fn normalize(x: &Tensor, axes: &[usize], eps: f64, rms: bool) -> Data {
    Data::Float(along(x.data.floats(), &x.ty.shape, axes, |row| {
        let n = row.len() as f64;
        let mean = if rms { 0.0 } else { row.iter().sum::<f64>() / n };
        let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
        row.iter().map(|v| (v - mean) / (variance + eps).sqrt()).collect()
    }))
}

/// Softmax along `axis`, or its logarithm.
pub(super) fn softmax(x: &Tensor, axis: usize, log: bool) -> Data {
    Data::Float(along(x.data.floats(), &x.ty.shape, &[axis], |row| {
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|v| (v - largest).exp()).sum();
        let value = |v: &f64| if log { v - largest - sum.ln() } else { (v - largest).exp() / sum };
        row.iter().map(value).collect()
    }))
}

/// The `k` first elements along `axis` in sorted order, and their positions.
pub(super) fn top_k(x: &Tensor, axis: usize, k: usize, largest: bool) -> [Data; 2] {
    let (at, size) = groups(&x.ty.shape, &[axis]);
    let mut shape = x.ty.shape.clone();
    shape[axis] = k;
    let (to, _) = groups(&shape, &[axis]);
    let (mut source, mut position) = (vec![0; to.len()], vec![0; to.len()]);
    for (group, to) in at.chunks(size.max(1)).zip(to.chunks(k.max(1))) {
        let order = match &x.data {
            Data::Float(v) => order(group.iter().map(|&i| v[i]).collect(), largest),
            Data::Int(v) => order(group.iter().map(|&i| v[i]).collect(), largest),
        };
        for (&to, n) in to.iter().zip(order) {
            source[to] = group[n];
            position[to] = n as i64;
        }
    }
    [x.data.take(&source), Data::Int(position)]
}

/// Positions in sorted order; NaN counts as largest, ties keep their order.
fn order<T: Element>(row: Vec<T>, largest: bool) -> Vec<usize> {
    let mut at: Vec<usize> = (0..row.len()).collect();
    at.sort_by(|&a, &b| {
        let (a, b) = (row[a], row[b]);
        let ascending = a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
        if largest { ascending.reverse() } else { ascending }
    });
    at
}
