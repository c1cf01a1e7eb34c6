//! Pooling to a given size: result `i` of an axis covers `floor(i * in / out) .. ceil((i + 1) * in / out)`.

use super::formula::compute_type;
use super::pool::{batched, unbatched};
use super::resample::{Taps, bounded, resample};
use super::{Def, float_tensor, one};
use crate::network::layer::{Pool, PoolOp, ReduceOp};
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// The windows of one axis: (start, length).
fn windows(size: usize, outputs: usize) -> Vec<(usize, usize)> {
    let start = |i: usize| i * size / outputs;
    let end = |i: usize| ((i + 1) * size).div_ceil(outputs);
    (0..outputs).map(|i| (start(i), end(i) - start(i))).collect()
}

/// Window and stride, where all windows are equal and evenly spaced.
fn uniform(size: usize, outputs: usize) -> Option<(usize, usize)> {
    let windows = windows(size, outputs);
    let (_, len) = *windows.first()?;
    let stride = windows.get(1).map_or(size, |w| w.0);
    let even = windows.iter().enumerate().all(|(i, &w)| w == (i * stride, len));
    (even && stride > 0).then_some((len, stride))
}

/// One pooling layer, where that is enough.
fn pooling(sizes: &[usize], outputs: &[usize], op: PoolOp) -> Option<Pool> {
    let axes: Option<Vec<_>> = sizes.iter().zip(outputs).map(|(&n, &m)| uniform(n, m)).collect();
    let (window, stride) = axes?.into_iter().unzip();
    let n = sizes.len();
    let (padding, dilation, overhang) = (vec![(0, 0); n], vec![1; n], vec![0; n]);
    Some(Pool { op, window, stride, padding, dilation, overhang, indices: false })
}

/// The operand with a batch axis, whether that was added, and the output sizes.
fn operands(
    lower: &mut Lower,
    args: &Args,
    spatial: usize,
) -> Result<(ValueId, bool, Vec<usize>), Refusal> {
    let x = float_tensor(lower, args, "self")?;
    let outputs = args.sizes(lower, "output_size", spatial, None)?;
    bounded("output_size", &outputs)?;
    let (x, added) = batched(lower, x, spatial)?;
    if lower.shape(x)[1..].contains(&0) {
        let found = lower.ty(x).clone();
        return Err(Refusal::Shape { arg: "self", found, expected: "sizes of at least 1" });
    }
    Ok((x, added, outputs))
}

fn average(lower: &mut Lower, args: &Args, spatial: usize) -> Result<Vec<Item>, Refusal> {
    let (x, added, outputs) = operands(lower, args, spatial)?;
    let sizes = lower.shape(x)[2..].to_vec();
    let op = PoolOp::Average { count_padding: true, divisor: None };
    let out = if sizes == outputs {
        x
    } else if outputs.iter().all(|&n| n == 1) {
        let axes = (2..2 + spatial).collect();
        lower.add(LayerKind::Reduce { op: ReduceOp::Mean, axes, keep: true }, &[x])?
    } else if let Some(pool) = pooling(&sizes, &outputs, op) {
        lower.add(LayerKind::Pool(pool), &[x])?
    } else {
        let dtype = lower.dtype(x);
        let mut out = lower.cast(x, compute_type(dtype))?;
        for (at, (&size, &n)) in sizes.iter().zip(&outputs).enumerate() {
            let window = |(start, len)| (start..start + len).map(|i| (i, 1.0 / len as f64)).collect();
            out = resample(lower, out, 2 + at, &Taps(windows(size, n).into_iter().map(window).collect()))?;
        }
        lower.cast(out, dtype)?
    };
    one(unbatched(lower, out, added)?)
}

/// The windows of one axis laid side by side: the picked positions, and their number for each window. Shorter windows repeat their
/// last position, which changes neither their maximum nor where it is found first, nor where the last NaN is.
fn unrolled(size: usize, outputs: usize) -> (Vec<usize>, usize) {
    let windows = windows(size, outputs);
    let longest = windows.iter().map(|w| w.1).max().unwrap_or(1);
    let positions = |&(start, len): &(usize, usize)| (0..longest).map(move |i| start + i.min(len - 1));
    (windows.iter().flat_map(positions).collect(), longest)
}

fn index_table(lower: &mut Lower, positions: &[usize]) -> Result<ValueId, Refusal> {
    let ty = TensorType::new(DType::I64, [positions.len()]);
    let table = Literal::from_i64(ty, positions.iter().map(|&i| i as i64)).expect("as many as its type says");
    Ok(lower.builder.constant(table))
}

/// Values, and the position of each in the row-major plane. Layers apart, so that unread positions cost nothing.
fn largest(lower: &mut Lower, args: &Args, spatial: usize) -> Result<Vec<Item>, Refusal> {
    let (x, added, outputs) = operands(lower, args, spatial)?;
    let sizes = lower.shape(x)[2..].to_vec();
    let (values, positions) = if let Some(pool) = pooling(&sizes, &outputs, PoolOp::Max) {
        let found = Pool { indices: true, ..pool.clone() };
        (lower.add(LayerKind::Pool(pool), &[x])?, lower.builder.layer(LayerKind::Pool(found), &[x])?[1])
    } else {
        uneven_largest(lower, x, &sizes, &outputs)?
    };
    let results = [unbatched(lower, values, added)?, unbatched(lower, positions, added)?];
    Ok(results.map(Item::Tensor).to_vec())
}

fn uneven_largest(
    lower: &mut Lower,
    x: ValueId,
    sizes: &[usize],
    outputs: &[usize],
) -> Result<(ValueId, ValueId), Refusal> {
    let (mut tiled, mut window, mut plane) = (x, Vec::new(), vec![0]);
    for (at, (&size, &n)) in sizes.iter().zip(outputs).enumerate() {
        let (picked, longest) = unrolled(size, n);
        let table = index_table(lower, &picked)?;
        tiled = lower.add(LayerKind::Gather { axis: 2 + at, elements: false }, &[tiled, table])?;
        plane = plane.iter().flat_map(|&p| picked.iter().map(move |&i| p * size + i)).collect();
        window.push(longest);
    }
    let n = sizes.len();
    let (padding, dilation, overhang) = (vec![(0, 0); n], vec![1; n], vec![0; n]);
    let stride = window.clone();
    let pool = Pool { op: PoolOp::Max, window, stride, padding, dilation, overhang, indices: true };
    let found = lower.builder.layer(LayerKind::Pool(pool), &[tiled])?;
    let table = index_table(lower, &plane)?;
    let positions = lower.add(LayerKind::Gather { axis: 0, elements: false }, &[table, found[1]])?;
    Ok((found[0], positions))
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &["aten::adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor"],
        lower: |l, a| average(l, a, 1),
    },
    Def {
        schemas: &[
            "aten::adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
            "aten::_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
        ],
        lower: |l, a| average(l, a, 2),
    },
    Def {
        schemas: &[
            "aten::adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
            "aten::_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
        ],
        lower: |l, a| average(l, a, 3),
    },
    Def {
        schemas: &["aten::adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)"],
        lower: |l, a| largest(l, a, 1),
    },
    Def {
        schemas: &["aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)"],
        lower: |l, a| largest(l, a, 2),
    },
    Def {
        schemas: &["aten::adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)"],
        lower: |l, a| largest(l, a, 3),
    },
];
