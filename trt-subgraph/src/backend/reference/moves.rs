//! Layers that rearrange elements.

use super::tensor::{Data, Tensor, positions, strides};
use crate::Literal;
use crate::network::layer::{PadMode, Range};

/// Result axis `i` is axis `axes[i]` of `x`.
pub(super) fn permute(x: &Tensor, axes: &[usize]) -> Data {
    let from = strides(&x.ty.shape);
    let shape: Vec<usize> = axes.iter().map(|&a| x.ty.shape[a]).collect();
    let steps: Vec<isize> = axes.iter().map(|&a| from[a]).collect();
    x.data.take(&positions(&shape, &steps, 0))
}

/// A strided part of every axis.
pub(super) fn slice(x: &Tensor, ranges: &[Range]) -> Data {
    let from = strides(&x.ty.shape);
    let shape: Vec<usize> = ranges.iter().map(|r| r.len).collect();
    let start = ranges.iter().zip(&from).map(|(r, &s)| r.start * s as usize).sum();
    let steps: Vec<isize> = ranges.iter().zip(&from).map(|(r, &s)| r.step * s).collect();
    x.data.take(&positions(&shape, &steps, start))
}

/// The operands one after the other along `axis`.
pub(super) fn concat(x: &[&Tensor], axis: usize) -> Data {
    let mut all = x[0].data.clone();
    let mut bases = vec![0];
    for t in &x[1..] {
        match (&mut all, &t.data) {
            (Data::Float(all), Data::Float(v)) => all.extend(v),
            (Data::Int(all), Data::Int(v)) => all.extend(v),
            _ => unreachable!("operands have one type"),
        }
    }
    for t in x {
        bases.push(bases[bases.len() - 1] + t.ty.elements());
    }
    let outer: usize = x[0].ty.shape[..axis].iter().product();
    let mut at = Vec::new();
    for o in 0..outer {
        for (t, base) in x.iter().zip(&bases) {
            let chunk: usize = t.ty.shape[axis..].iter().product();
            at.extend(base + o * chunk..base + (o + 1) * chunk);
        }
    }
    all.take(&at)
}

/// `x` with a border.
pub(super) fn pad(x: &Tensor, border: &[(usize, usize)], mode: PadMode) -> Data {
    let mut at = vec![Some(0)];
    for ((&n, step), &(before, after)) in x.ty.shape.iter().zip(strides(&x.ty.shape)).zip(border) {
        let axis = -(before as isize)..(n + after) as isize;
        let axis: Vec<Option<usize>> = axis.map(|i| source(i, n as isize, mode)).collect();
        let cross = |p: Option<usize>| axis.iter().map(move |i| Some(p? + (*i)? * step as usize));
        at = at.into_iter().flat_map(cross).collect();
    }
    let fill = if let PadMode::Constant(v) = mode { v } else { 0.0 };
    let fill = Tensor::load(&Literal::scalar(x.ty.dtype, fill)).data;
    match (&x.data, &fill) {
        (Data::Float(v), Data::Float(f)) => {
            Data::Float(at.iter().map(|p| p.map_or(f[0], |p| v[p])).collect())
        }
        (Data::Int(v), Data::Int(f)) => Data::Int(at.iter().map(|p| p.map_or(f[0], |p| v[p])).collect()),
        _ => unreachable!("one type"),
    }
}

/// Which of `n` elements stands at position `i`, counted from the first; `None` for a constant border.
fn source(i: isize, n: isize, mode: PadMode) -> Option<usize> {
    let inside = match mode {
        PadMode::Constant(_) => i,
        PadMode::Reflect if i < 0 => -i,
        PadMode::Reflect if i >= n => 2 * (n - 1) - i,
        PadMode::Reflect => i,
        PadMode::Replicate => i.clamp(0, (n - 1).max(0)),
        PadMode::Circular => i.rem_euclid(n.max(1)),
    };
    (0..n).contains(&inside).then_some(inside as usize)
}
