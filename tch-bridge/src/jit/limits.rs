//! The sizes between which calls of a method are for engines; all others are the host's.

use super::kinds::each_tensor;
use super::tensor::TensorView;
use crate::Bounds;
use crate::sys::ffi;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tch::{IValue, Tensor};

/// The bounds of a method's arguments.
#[derive(Clone, Default, Debug)]
pub(crate) struct Limits {
    /// Boxes by argument: where there are some, each tensor in the argument has to be in one of them.
    regions: Vec<Region>,
    /// Calls that were outside. The first one is told in the log.
    outside: Arc<AtomicU64>,
}

/// The least and the greatest size of each axis.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Region {
    argument: usize,
    sizes: Vec<(i64, i64)>,
}

/// A tensor that is in none of its argument's regions.
struct Outside<'a> {
    argument: usize,
    sizes: &'a [i64],
}

impl Region {
    fn holds(&self, sizes: &[i64]) -> bool {
        self.sizes.len() == sizes.len()
            && self.sizes.iter().zip(sizes).all(|((least, most), n)| (least..=most).contains(&n))
    }
}

impl Limits {
    /// Those of these bounds that are about arguments of these names.
    pub(crate) fn new(bounds: &[Bounds], arguments: &[impl AsRef<str>]) -> Limits {
        let one = |b: &Bounds| {
            let argument = arguments.iter().position(|name| name.as_ref() == b.argument)?;
            Some(Region { argument, sizes: b.min.iter().copied().zip(b.max.iter().copied()).collect() })
        };
        Limits { regions: bounds.iter().filter_map(one).collect(), outside: Arc::default() }
    }

    /// Is there nothing to look at?
    pub(crate) fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    fn check<'a>(&self, argument: usize, sizes: &'a [i64]) -> Result<(), Outside<'a>> {
        let mut own = self.regions.iter().filter(|b| b.argument == argument).peekable();
        match own.peek().is_none() || own.any(|b| b.holds(sizes)) {
            true => Ok(()),
            false => Err(Outside { argument, sizes }),
        }
    }

    /// May engines serve a call of `method` with these values? Counts those for which they may not, and says once why.
    pub(crate) fn hold_values<V: Borrow<IValue>>(&self, method: &str, values: &[V]) -> bool {
        let mut holds = true;
        if !self.is_empty() {
            for (at, value) in values.iter().enumerate() {
                each_tensor(value.borrow(), &mut |t| holds = holds && self.holds(method, at, t));
            }
        }
        holds
    }

    /// The same for tensors. Allocates nothing.
    pub(crate) fn hold_tensors<T: Borrow<Tensor>>(&self, method: &str, tensors: &[T]) -> bool {
        self.is_empty() || tensors.iter().enumerate().all(|(at, t)| self.holds(method, at, t.borrow()))
    }

    fn holds(&self, method: &str, argument: usize, tensor: &Tensor) -> bool {
        let view = TensorView::of(tensor);
        let checked = self.check(argument, view.sizes());
        checked.map_err(|outside| self.say(method, &outside)).is_ok()
    }

    pub(super) fn hold_raw(&self, arguments: &[ffi::RawKind]) -> bool {
        let (mut argument, mut depth) = (0, 0usize);
        self.is_empty()
            || arguments.iter().all(|raw| {
                let mut inside = true;
                match raw.mark {
                    ffi::Mark::Open => depth += 1,
                    ffi::Mark::Close => depth = depth.saturating_sub(1),
                    ffi::Mark::Tensor => {
                        let checked = self.check(argument, TensorView::of_raw(&raw.view).sizes());
                        inside = checked.map_err(|outside| self.say("a saved module", &outside)).is_ok();
                    }
                    _ => {}
                }
                argument += usize::from(depth == 0);
                inside
            })
    }

    /// How many calls were outside.
    pub(crate) fn outside(&self) -> u64 {
        self.outside.load(Ordering::Relaxed)
    }

    fn say(&self, of: &str, outside: &Outside<'_>) {
        if self.outside.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        let range = |b: &Region| {
            let (least, most): (Vec<i64>, Vec<i64>) = b.sizes.iter().copied().unzip();
            format!("{least:?} to {most:?}")
        };
        let own = self.regions.iter().filter(|b| b.argument == outside.argument);
        log::warn!(
            "{of}: the host serves calls outside of the bounds: argument {} is {:?}, engines are for {}",
            outside.argument,
            outside.sizes,
            own.map(range).collect::<Vec<_>>().join(", or ")
        );
    }

    /// Reads what [`Limits`] prints.
    pub(super) fn parse(text: &str) -> Option<Limits> {
        let numbers = |text: &str| match text {
            "" => Some(Vec::new()),
            text => text.split('.').map(|n| n.parse().ok()).collect::<Option<Vec<i64>>>(),
        };
        let one = |text: &str| {
            let (argument, sizes) = text.split_once('=')?;
            let (least, most) = sizes.split_once('-')?;
            let (least, most) = (numbers(least)?, numbers(most)?);
            let sizes = least.iter().copied().zip(most.iter().copied()).collect();
            (least.len() == most.len()).then_some(Region { argument: argument.parse().ok()?, sizes })
        };
        let regions = text.split(',').map(one).collect::<Option<_>>()?;
        Some(Limits { regions, outside: Arc::default() })
    }
}

impl fmt::Display for Limits {
    /// `0=1.3.64.64-8.3.512.512,1=1-8`: an argument by its place, the least sizes, the greatest sizes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |sizes: Vec<i64>| sizes.iter().map(i64::to_string).collect::<Vec<_>>().join(".");
        for (at, one) in self.regions.iter().enumerate() {
            let (least, most) = one.sizes.iter().copied().unzip();
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}={}-{}", one.argument, joined(least), joined(most))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let image = |min: [i64; 2], max: [i64; 2]| Bounds::new("x", min, max);
        let bounds = [image([1, 4], [8, 4]), image([1, 6], [1, 9]), Bounds::new("other", [0], [0])];
        Limits::new(&bounds, &["y", "x"])
    }

    #[test]
    fn one_region_of_its_argument_has_to_hold_each_tensor() {
        let (limits, of) = (limits(), |sizes: [i64; 2]| Tensor::zeros(sizes, tch::kind::FLOAT_CPU));
        let holds = |x: IValue| limits.hold_values("forward", &[IValue::Tensor(of([100, 1])), x]);
        assert!(holds(IValue::Tensor(of([8, 4]))) && holds(IValue::Tensor(of([1, 7]))));
        assert!(!holds(IValue::Tensor(of([9, 4]))) && !holds(IValue::Tensor(of([2, 7]))));
        assert!(!holds(IValue::Tensor(Tensor::from(1.0))));
        assert!(holds(IValue::TensorList(vec![of([1, 4]), of([1, 9])])));
        assert!(!holds(IValue::TensorList(vec![of([1, 4]), of([0, 9])])));
        assert!(holds(IValue::None));
    }

    #[test]
    fn limits_read_back_from_their_text() {
        let text = limits().to_string();
        assert_eq!(text, "1=1.4-8.4,1=1.6-1.9");
        let read = Limits::parse(&text).expect("it reads");
        assert_eq!(read.regions, limits().regions);
        for damaged in ["", "1", "1=2", "1=2-", "x=1-1", "1=1-1,"] {
            assert!(Limits::parse(damaged).is_none(), "{damaged}");
        }
    }
}
