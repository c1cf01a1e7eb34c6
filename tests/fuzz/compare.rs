//! Values of two runs side by side.

use crate::kinds::digits;
use std::collections::HashSet;
use std::fmt;
use tch::{IValue, Kind, Tensor};
use tch_bridge::jit::TensorView;

/// What is left of numbers of this size is taken for rounding errors of larger ones that cancelled out.
const LEAST_SCALE: f64 = 1e-2;

/// As many elements of a tensor are shown.
const SHOWN: i64 = 16;

/// A tensor or a plain value somewhere in a result.
pub struct Leaf {
    pub place: String,
    value: IValue,
}

impl Leaf {
    pub fn tensor(place: String, tensor: Tensor) -> Leaf {
        Leaf { place, value: IValue::Tensor(tensor) }
    }

    /// A second handle to the same value.
    pub fn share(&self) -> Leaf {
        let value = match &self.value {
            IValue::Tensor(t) => IValue::Tensor(t.shallow_clone()),
            other => tests::measure::copied(other),
        };
        Leaf { place: self.place.clone(), value }
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            IValue::Tensor(t) => {
                let flat = t.flatten(0, -1).to_kind(Kind::Double).slice(0, 0, SHOWN, 1);
                let values: Vec<f64> = flat.try_into().unwrap_or_default();
                write!(f, "{:?} {:?} {values:?}", t.kind(), t.size())
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// Why two values are not the same.
pub enum Mismatch {
    /// Whatever the rounding.
    Certain(String),
    /// A float64 run may excuse it.
    Rounding(String),
}

/// The tensors and plain values that a value is made of.
pub fn leaves(place: &str, value: &IValue, out: &mut Vec<Leaf>) {
    match value {
        IValue::Tensor(t) => out.push(Leaf::tensor(place.into(), t.shallow_clone())),
        IValue::TensorList(l) => {
            let each = |(at, t): (usize, &Tensor)| Leaf::tensor(format!("{place}[{at}]"), t.shallow_clone());
            out.extend(l.iter().enumerate().map(each));
        }
        IValue::Tuple(l) | IValue::GenericList(l) => {
            l.iter().enumerate().for_each(|(at, v)| leaves(&format!("{place}[{at}]"), v, out));
        }
        other => out.push(Leaf { place: place.into(), value: tests::measure::copied(other) }),
    }
}

/// The largest finite number in a tensor of floating-point numbers; 0 for other values.
pub fn size(value: &IValue) -> f64 {
    match value {
        IValue::Tensor(t) if t.is_floating_point() && t.numel() > 0 => {
            t.to_kind(Kind::Double).abs().nan_to_num(0.0, 0.0, 0.0).max().double_value(&[])
        }
        _ => 0.0,
    }
}

/// How far results may be apart, in units of their tensor's greatest element.
fn tolerance(coarsest: Kind) -> f64 {
    200.0 * 0.5f64.powi(digits(coarsest) as i32).max(1e-15)
}

/// Which strides a result has in common with the host's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strides {
    /// None.
    Any,
    /// Those of axes of more than one element.
    Significant,
    /// All.
    Same,
}

/// In what a value differs from the host's.
pub fn mismatch(got: &Leaf, want: &Leaf, coarsest: Kind, layout: Strides) -> Option<Mismatch> {
    let certain = |why: String| Some(Mismatch::Certain(why));
    let (got, want) = match (&got.value, &want.value) {
        (IValue::Tensor(got), IValue::Tensor(want)) => (got, want),
        (got, want) if got == want => return None,
        (got, want) => return certain(format!("{got:?} instead of {want:?}")),
    };
    if (got.kind(), got.size()) != (want.kind(), want.size()) {
        let form = |t: &Tensor| format!("{:?} {:?}", t.kind(), t.size());
        return certain(format!("{} instead of {}", form(got), form(want)));
    }
    if layout != Strides::Any && !is_laid_alike(got, want, layout) {
        return certain(format!(
            "strides {:?} instead of {:?} of {:?}",
            got.stride(),
            want.stride(),
            want.size()
        ));
    }
    if want.numel() == 0 {
        return None;
    }
    if !want.is_floating_point() {
        return match got.equal(want) {
            true => None,
            false => {
                let at = got.not_equal_tensor(want).flatten(0, -1).nonzero().slice(0, 0, 3, 1);
                certain(format!(
                    "{} instead of {}",
                    got.flatten(0, -1).take(&at),
                    want.flatten(0, -1).take(&at)
                ))
            }
        };
    }
    let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
    if !classes(&got).equal(&classes(&want)) {
        return Some(Mismatch::Rounding("NaN or infinities in other places".into()));
    }
    let (off, scale) = (distance(&got, &want), scale(&want));
    (off > tolerance(coarsest) * scale)
        .then(|| Mismatch::Rounding(format!("off by {off:e} at a scale of {scale:e}")))
}

/// Is a doubtful result not much further from what float64 gives than the host's, and than the rounding of numbers of this size?
/// `nudged` gives it in float64 from values a little off.
pub fn as_exact<'a>(
    got: &Leaf,
    want: &Leaf,
    exact: Option<&Leaf>,
    nudged: impl FnOnce() -> Vec<&'a Leaf>,
    coarsest: Kind,
    size: f64,
) -> bool {
    let (IValue::Tensor(got), IValue::Tensor(want)) = (&got.value, &want.value) else { return false };
    let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
    let exact = match exact.map(|e| &e.value) {
        Some(IValue::Tensor(exact)) if exact.size() == want.size() && exact.is_floating_point() => {
            exact.to_kind(Kind::Double)
        }
        _ => {
            let close = distance(&got, &want) <= 50.0 * tolerance(coarsest) * scale(&want);
            return close && classes(&got).equal(&classes(&want));
        }
    };
    // Where the host itself is in another class than float64, or float64 than itself from values a little off, nothing can be said.
    let mut sure = classes(&want).eq_tensor(&classes(&exact));
    let is_right = |sure: &Tensor| {
        let class = classes(&got).eq_tensor(&classes(&want)).logical_or(&sure.logical_not());
        class.all().int64_value(&[]) != 0
    };
    if !is_right(&sure) {
        for other in nudged() {
            match &other.value {
                IValue::Tensor(t) if t.size() == exact.size() => {
                    sure = sure.logical_and(&classes(&t.to_kind(Kind::Double)).eq_tensor(&classes(&exact)));
                }
                _ => return false,
            }
        }
        if !is_right(&sure) {
            return false;
        }
    }
    let only = |t: &Tensor| t.masked_fill(&sure.logical_not(), 0.0);
    let (got, want, exact) = (only(&got), only(&want), only(&exact));
    distance(&got, &exact) <= 8.0 * distance(&want, &exact) + tolerance(coarsest) * scale(&exact).max(size)
}

/// 0 for finite numbers, else which kind of other number.
fn classes(t: &Tensor) -> Tensor {
    let whole = |t: Tensor| t.to_kind(Kind::Int64);
    whole(t.isnan()) + whole(t.isposinf()) * 2 + whole(t.isneginf()) * 3
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    let finite = a.isfinite().logical_and(&b.isfinite());
    (a - b).abs().masked_fill(&finite.logical_not(), 0.0).max().double_value(&[])
}

fn scale(t: &Tensor) -> f64 {
    t.abs().nan_to_num(0.0, 0.0, 0.0).max().double_value(&[]).max(LEAST_SCALE)
}

/// Do they lie in memory alike? What the host gives with gaps may be dense, with the axes in the same order.
fn is_laid_alike(got: &Tensor, want: &Tensor, layout: Strides) -> bool {
    let (sizes, got, want) = (want.size(), got.stride(), want.stride());
    let axes: Vec<usize> = (0..sizes.len()).filter(|&i| sizes[i] > 1).collect();
    if sizes.contains(&0) {
        return true;
    }
    if axes.iter().any(|&i| (got[i] == 0) != (want[i] == 0)) {
        return false;
    }
    // Whether the strides of these axes, from the inside outwards, are those of dense memory.
    let is_dense = |axes: &[usize]| {
        let mut inner = axes.to_vec();
        inner.sort_by_key(|&i| (want[i], sizes[i]));
        inner.iter().try_fold(1, |n, &i| (want[i] == n).then_some(n * sizes[i])).is_some()
    };
    if layout == Strides::Same && is_dense(&(0..sizes.len()).collect::<Vec<_>>()) {
        return got == want;
    }
    if is_dense(&axes) {
        return axes.iter().all(|&i| got[i] == want[i]);
    }
    let pairs = axes.iter().flat_map(|&i| axes.iter().map(move |&j| (i, j)));
    pairs.filter(|&(i, j)| want[i] > want[j]).all(|(i, j)| got[i] > got[j])
}

/// Tensors overlap in memory where they do on the host, and share none where they do not. The first `results` are results; pairs
/// without one are as the caller made them. With `constants`, the host may make one of equal
/// results or their parts, or several of one.
pub fn overlaps(got: &[Leaf], want: &[Leaf], results: usize, constants: bool) -> Result<(), String> {
    let [got_places, want_places] = [got, want].map(|all| all.iter().map(places).collect::<Vec<_>>());
    for i in 0..results.min(want.len()) {
        for j in i + 1..want.len() {
            let (g, w) = (shared(&got_places[i], &got_places[j]), shared(&want_places[i], &want_places[j]));
            // Asked where it matters: of many results there are very many pairs.
            let pooled = || constants && is_part(&want[i], &want[j]);
            let names = (&want[i].place, &want[j].place);
            match (g, w) {
                (Shared::Elements, Shared::Memory | Shared::Nothing) if !pooled() => {
                    return Err(format!("{} and {} overlap in memory; not so on the host", names.0, names.1));
                }
                (Shared::Memory | Shared::Nothing, Shared::Elements) if !pooled() => {
                    return Err(format!(
                        "{} and {} do not overlap in memory as on the host",
                        names.0, names.1
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Does one hold no elements but the other's, whatever their shapes? It may be a view of what is equal to the other.
fn is_part(a: &Leaf, b: &Leaf) -> bool {
    let (IValue::Tensor(a), IValue::Tensor(b)) = (&a.value, &b.value) else { return false };
    let values = |t: &Tensor| -> HashSet<u64> {
        let flat: Vec<f64> = t.to_kind(Kind::Double).flatten(0, -1).try_into().unwrap_or_default();
        flat.into_iter().map(f64::to_bits).collect()
    };
    let (x, y) = (values(a), values(b));
    a.kind() == b.kind() && (x.is_subset(&y) || y.is_subset(&x))
}

enum Shared {
    Elements,
    /// Different elements of it.
    Memory,
    Nothing,
}

/// The memory of a tensor, and the places in it where its elements are; `None` where there are none.
type Places = Option<(usize, HashSet<usize>)>;

fn places(leaf: &Leaf) -> Places {
    let IValue::Tensor(t) = &leaf.value else { return None };
    let each = t.kind().elt_size_in_bytes();
    let mut places = vec![t.data_ptr() as usize];
    for (size, stride) in t.size().into_iter().zip(t.stride()) {
        let step = stride as usize * each;
        places = places.iter().flat_map(|p| (0..size as usize).map(move |i| p + i * step)).collect();
    }
    (t.numel() > 0).then(|| (TensorView::of(t).storage_id(), places.into_iter().collect()))
}

fn shared(a: &Places, b: &Places) -> Shared {
    match (a, b) {
        (Some(a), Some(b)) if a.0 == b.0 && a.1.is_disjoint(&b.1) => Shared::Memory,
        (Some(a), Some(b)) if a.0 == b.0 => Shared::Elements,
        _ => Shared::Nothing,
    }
}
