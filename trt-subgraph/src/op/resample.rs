//! Resampling one axis with fixed weights: what interpolation and uneven averages are made of.

use super::formula::pointwise;
use crate::network::layer::{Range, ReduceOp};
use crate::network::{LayerKind, ValueId};
use crate::source::{Lower, Refusal};
use crate::{DType, Literal, TensorType};

/// Results along one axis that a table of positions is made for.
pub(super) const LONGEST: usize = 1 << 22;

/// Refuses `outputs` sizes beyond [`LONGEST`].
pub(super) fn bounded(arg: &str, outputs: &[usize]) -> Result<(), Refusal> {
    match outputs.iter().find(|&&n| n > LONGEST) {
        Some(n) => {
            Err(Refusal::Attribute { arg: arg.to_string(), why: format!("a size of {n} is too large") })
        }
        None => Ok(()),
    }
}

/// A position that is read, and its weight.
type Tap = (usize, f64);

/// For each result along the axis, the positions it reads and their weights; at least one each.
pub(super) struct Taps(pub Vec<Vec<Tap>>);

/// `result[i] = sum of weight * x[position] over the taps of i`, along `axis`, in the floating-point type of `x`. Positions that
/// are no tap do not enter, be they infinite or NaN.
pub(super) fn resample(lower: &mut Lower, x: ValueId, axis: usize, taps: &Taps) -> Result<ValueId, Refusal> {
    let size = lower.shape(x)[axis];
    let plain = taps.0.iter().all(|t| matches!(t[..], [(_, w)] if w == 1.0));
    if plain {
        let positions: Vec<usize> = taps.0.iter().map(|t| t[0].0).collect();
        return pick(lower, x, axis, &positions);
    }
    let trailing = lower.ty(x).rank() - axis - 1;
    let even = taps.0.windows(2).all(|w| w[0].len() == w[1].len());
    let pair = even && taps.0.first().is_some_and(|t| t.len() == 2);
    if pair { blend(lower, x, axis, taps, trailing) } else { sums(lower, x, axis, taps, size, trailing) }
}

/// Two taps each: two gathers and one multiply-add.
fn blend(
    lower: &mut Lower,
    x: ValueId,
    axis: usize,
    taps: &Taps,
    trailing: usize,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let mut side = |at: usize| -> Result<[ValueId; 2], Refusal> {
        let positions: Vec<usize> = taps.0.iter().map(|t| t[at].0).collect();
        let weights = taps.0.iter().map(|t| t[at].1);
        let shape = [&[taps.0.len()], &vec![1; trailing][..]].concat();
        let weights = Literal::from_f64(TensorType::new(dtype, shape), weights).expect("one for each result");
        Ok([pick(lower, x, axis, &positions)?, lower.builder.constant(weights)])
    };
    let ([a, v], [b, w]) = (side(0)?, side(1)?);
    pointwise(lower, [a, v, b, w], dtype, |[a, v, b, w]| a * v + b * w)
}

/// Any number of taps: the positions side by side, weighted and summed.
fn sums(
    lower: &mut Lower,
    x: ValueId,
    axis: usize,
    taps: &Taps,
    size: usize,
    trailing: usize,
) -> Result<ValueId, Refusal> {
    let dtype = lower.dtype(x);
    let longest = taps.0.iter().map(Vec::len).max().unwrap_or(0);
    let slots: Vec<Option<Tap>> =
        taps.0.iter().flat_map(|t| (0..longest).map(|i| t.get(i).copied())).collect();
    let table = [taps.0.len(), longest];
    let aligned = [&table, &vec![1; trailing][..]].concat();
    let fill = |shape: &[usize], dtype, value: &dyn Fn(Option<Tap>) -> f64| {
        let values = slots.iter().map(|&slot| value(slot));
        Literal::from_f64(TensorType::new(dtype, shape), values).expect("one for each slot")
    };
    let positions = fill(&table, DType::I64, &|s| s.map_or(size - 1, |(i, _)| i) as f64);
    let weights = fill(&aligned, dtype, &|s| s.map_or(0.0, |(_, w)| w));
    let used = fill(&aligned, DType::Bool, &|s| s.is_some().into());
    let [positions, weights, used] = [positions, weights, used].map(|l| lower.builder.constant(l));
    let picked = lower.add(LayerKind::Gather { axis, elements: false }, &[x, positions])?;
    let terms = pointwise(lower, [picked, weights, used], dtype, |[x, w, used]| used.select(x * w, 0.0))?;
    lower.add(LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![axis + 1], keep: false }, &[terms])
}

/// `x` at these positions of `axis`: a slice where they are evenly spaced, repeats where each occurs equally often, else a gather.
pub(super) fn pick(
    lower: &mut Lower,
    x: ValueId,
    axis: usize,
    positions: &[usize],
) -> Result<ValueId, Refusal> {
    let shape = lower.shape(x).to_vec();
    let (size, len) = (shape[axis], positions.len());
    let times = len.checked_div(size).unwrap_or(0);
    if times > 0 && times * size == len && positions.iter().enumerate().all(|(i, &p)| p == i / times) {
        return repeat(lower, x, &[(axis, times)]);
    }
    let start = positions.first().copied().unwrap_or(0);
    let step = positions.get(1).map_or(1, |&p| p as isize - start as isize);
    let even = |(i, &p): (usize, &usize)| p as isize == start as isize + i as isize * step;
    if step != 0 && positions.iter().enumerate().all(even) {
        let mut ranges: Vec<Range> = shape.iter().map(|&n| Range::full(n)).collect();
        ranges[axis] = Range { start, step, len };
        return lower.add(LayerKind::Slice { ranges }, &[x]);
    }
    let ty = TensorType::new(DType::I64, [len]);
    let table = Literal::from_i64(ty, positions.iter().map(|&p| p as i64)).expect("one for each result");
    let table = lower.builder.constant(table);
    lower.add(LayerKind::Gather { axis, elements: false }, &[x, table])
}

/// Every position of the given axes `times` over, in place: `a a b b`.
pub(super) fn repeat(lower: &mut Lower, x: ValueId, axes: &[(usize, usize)]) -> Result<ValueId, Refusal> {
    let shape = lower.shape(x).to_vec();
    let (mut apart, mut stretched, mut out) = (Vec::new(), Vec::new(), shape.clone());
    for (axis, &n) in shape.iter().enumerate() {
        apart.push(n);
        stretched.push(n);
        if let Some(&(_, times)) = axes.iter().find(|a| a.0 == axis && a.1 != 1) {
            apart.push(1);
            stretched.push(times);
            out[axis] *= times;
        }
    }
    let x = lower.reshape(x, apart)?;
    let x = lower.broadcast(x, stretched)?;
    lower.reshape(x, out)
}
