//! What a compiled form of a method relies on in its arguments.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Once;

use tch::{Device, IValue, Kind, Tensor};

use super::limits::Limits;
use super::tensor::{TensorView, device_from_raw, device_to_raw, kind_code, kind_from_code};
use crate::layout::AxisOrder;
use crate::sys::ffi;

/// Element type, rank, device and order in memory of every tensor among the arguments, and which are `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kinds(Vec<ArgumentKind>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ArgumentKind {
    Tensor { kind: Option<Kind>, rank: usize, device: Option<Device>, order: AxisOrder },
    None,
    Other,
    Open,
    Close,
}

/// What a thread asks of libtorch's operators: are gradients recorded, are types cast automatically on the CPU, on CUDA?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Modes(u8);

impl Modes {
    /// Those of the calling thread.
    pub(crate) fn now() -> Modes {
        Modes(ffi::modes())
    }
}

/// The sizes of every tensor among the arguments, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sizes(Vec<Vec<i64>>);

impl Sizes {
    /// `None` where a tensor is not plain: its sizes say little.
    pub(crate) fn of_values<V: Borrow<IValue>>(values: &[V]) -> Option<Sizes> {
        let mut all = Some(Vec::new());
        values.iter().for_each(|v| {
            each_tensor(v.borrow(), &mut |t| {
                let view = TensorView::of(t);
                all = all.take().filter(|_| view.is_plain());
                all.iter_mut().for_each(|all| all.push(view.sizes().to_vec()));
            });
        });
        all.map(Sizes)
    }

    /// Are those of these values these?
    pub(crate) fn fit_values<V: Borrow<IValue>>(&self, values: &[V]) -> bool {
        let (mut at, mut fit) = (0, true);
        let mut one = |t: &Tensor| {
            fit &= self.0.get(at).is_some_and(|sizes| has_sizes(&TensorView::of(t), sizes));
            at += 1;
        };
        values.iter().for_each(|v| each_tensor(v.borrow(), &mut one));
        fit && at == self.0.len()
    }

    /// Are those of these tensors these?
    pub(crate) fn fit_tensors<T: Borrow<Tensor>>(&self, tensors: &[T]) -> bool {
        let fits = |(sizes, t): (&Vec<i64>, &T)| has_sizes(&TensorView::of(t.borrow()), sizes);
        self.0.len() == tensors.len() && self.0.iter().zip(tensors).all(fits)
    }

    fn fit_raw(&self, arguments: &[ffi::RawKind]) -> bool {
        let mut tensors = arguments.iter().filter(|raw| raw.mark == ffi::Mark::Tensor);
        let fits = |sizes: &Vec<i64>| {
            tensors.next().is_some_and(|raw| has_sizes(TensorView::of_raw(&raw.view), sizes))
        };
        self.0.iter().all(fits) && tensors.next().is_none()
    }
}

fn has_sizes(view: &TensorView<'_>, sizes: &[i64]) -> bool {
    view.is_plain() && view.sizes() == sizes
}

pub(super) fn each_tensor(value: &IValue, visit: &mut dyn FnMut(&Tensor)) {
    match value {
        IValue::Tensor(t) => visit(t),
        IValue::Tuple(items) | IValue::GenericList(items) => items.iter().for_each(|v| each_tensor(v, visit)),
        IValue::TensorList(tensors) => tensors.iter().for_each(visit),
        IValue::GenericDict(pairs) => pairs.iter().for_each(|(k, v)| {
            each_tensor(k, visit);
            each_tensor(v, visit);
        }),
        _ => {}
    }
}

impl ArgumentKind {
    fn of(view: &TensorView<'_>) -> ArgumentKind {
        let order = AxisOrder::of(view.sizes(), view.strides()).unless_repeated();
        ArgumentKind::Tensor { kind: view.kind(), rank: view.sizes().len(), device: view.device(), order }
    }

    fn of_raw(raw: &ffi::RawKind) -> ArgumentKind {
        match raw.mark {
            ffi::Mark::Tensor => ArgumentKind::of(TensorView::of_raw(&raw.view)),
            ffi::Mark::None => ArgumentKind::None,
            ffi::Mark::Open => ArgumentKind::Open,
            ffi::Mark::Close => ArgumentKind::Close,
            _ => ArgumentKind::Other,
        }
    }

    /// The same for a tensor on any device.
    fn anywhere(self) -> ArgumentKind {
        match self {
            ArgumentKind::Tensor { kind, rank, order, .. } => {
                ArgumentKind::Tensor { kind, rank, device: None, order }
            }
            other => other,
        }
    }
}

impl Kinds {
    pub(crate) fn of_values<V: Borrow<IValue>>(values: &[V]) -> Kinds {
        let mut out = Vec::new();
        values.iter().for_each(|v| describe(v.borrow(), &mut out));
        Kinds(out)
    }

    /// Are these tensors of these kinds? Allocates nothing.
    pub(crate) fn fit_tensors<T: Borrow<Tensor>>(&self, tensors: &[T]) -> bool {
        self.0.len() == tensors.len()
            && self.0.iter().zip(tensors).all(|(k, t)| *k == ArgumentKind::of(&TensorView::of(t.borrow())))
    }

    /// The kinds of all arguments of a method where the last ones were left to their defaults.
    pub(crate) fn with_defaults(&self, defaults: &[IValue]) -> Kinds {
        let depth = |depth: &mut usize, kind: &ArgumentKind| {
            *depth = match kind {
                ArgumentKind::Open => *depth + 1,
                ArgumentKind::Close => depth.saturating_sub(1),
                _ => *depth,
            };
            Some(*depth)
        };
        let given = self.0.iter().scan(0, depth).zip(&self.0);
        let given = given.filter(|(depth, kind)| *depth == 0 && **kind != ArgumentKind::Open).count();
        let mut all = self.0.clone();
        defaults.iter().skip(given).for_each(|v| describe(v, &mut all));
        Kinds(all)
    }
}

fn describe(value: &IValue, out: &mut Vec<ArgumentKind>) {
    let list = |items: &[IValue], out: &mut Vec<ArgumentKind>| {
        out.push(ArgumentKind::Open);
        items.iter().for_each(|v| describe(v, out));
        out.push(ArgumentKind::Close);
    };
    let of = |t: &Tensor| ArgumentKind::of(&TensorView::of(t));
    match value {
        IValue::Tensor(t) => out.push(of(t)),
        IValue::None => out.push(ArgumentKind::None),
        IValue::Tuple(items) | IValue::GenericList(items) => list(items, out),
        IValue::TensorList(tensors) => {
            out.push(ArgumentKind::Open);
            out.extend(tensors.iter().map(of));
            out.push(ArgumentKind::Close);
        }
        IValue::GenericDict(pairs) => {
            out.push(ArgumentKind::Open);
            pairs.iter().for_each(|(k, v)| {
                describe(k, out);
                describe(v, out);
            });
            out.push(ArgumentKind::Close);
        }
        _ => out.push(ArgumentKind::Other),
    }
}

/// The kinds of a form in a saved module.
#[derive(Clone)]
pub(crate) struct KindsHandle {
    /// Nothing fits where they could not be read.
    kinds: Option<Kinds>,
    /// Whether tensors may be on any device.
    anywhere: bool,
    /// Those of the calls that it may serve, where its graph depends on them.
    modes: Option<Modes>,
    /// The same.
    sizes: Option<Sizes>,
    /// The sizes between which it may serve calls.
    limits: Limits,
}

impl KindsHandle {
    pub(crate) fn new(
        kinds: Kinds,
        anywhere: bool,
        modes: Option<Modes>,
        sizes: Option<Sizes>,
        limits: Limits,
    ) -> KindsHandle {
        let Kinds(mut all) = kinds;
        if anywhere {
            all.iter_mut().for_each(|k| *k = k.anywhere());
        }
        KindsHandle { kinds: Some(Kinds(all)), anywhere, modes, sizes, limits }
    }
}

impl fmt::Display for KindsHandle {
    /// `anywhere@1#2.3.8.8,!0=1.3.8.8-4.3.8.8 6/4/?/0231 none [ other ]`: where the modes matter, their bits; where the sizes matter, those of
    /// each tensor, with a comma after each; where there are some, the limits; for a tensor torch's code of the element type, the rank, the device and the order
    /// of its axes in memory, where that is not their own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.anywhere { "anywhere" } else { "there" })?;
        if let Some(Modes(bits)) = self.modes {
            write!(f, "@{bits}")?;
        }
        if let Some(Sizes(all)) = &self.sizes {
            f.write_str("#")?;
            for sizes in all {
                let sizes: Vec<String> = sizes.iter().map(i64::to_string).collect();
                write!(f, "{},", sizes.join("."))?;
            }
        }
        if !self.limits.is_empty() {
            write!(f, "!{}", self.limits)?;
        }
        for kind in self.kinds.iter().flat_map(|k| &k.0) {
            f.write_str(" ")?;
            match kind {
                ArgumentKind::None => f.write_str("none")?,
                ArgumentKind::Other => f.write_str("other")?,
                ArgumentKind::Open => f.write_str("[")?,
                ArgumentKind::Close => f.write_str("]")?,
                ArgumentKind::Tensor { kind, rank, device, order } => {
                    let code = kind.map_or(-1, kind_code);
                    let device = device.map(device_to_raw).map(|d| format!("{}.{}", d.kind, d.index));
                    write!(f, "{code}/{rank}/{}/", device.as_deref().unwrap_or("?"))?;
                    order.axes().into_iter().flatten().try_for_each(|axis| write!(f, "{axis}"))?;
                }
            }
        }
        Ok(())
    }
}

fn parse(text: &str) -> Option<KindsHandle> {
    let mut words = text.split(' ');
    let first = words.next()?;
    let (first, limits) = match first.split_once('!') {
        Some((first, limits)) => (first, Limits::parse(limits)?),
        None => (first, Limits::default()),
    };
    let (first, sizes) = match first.split_once('#') {
        Some((first, sizes)) => (first, Some(parse_sizes(sizes)?)),
        None => (first, None),
    };
    let (first, modes) = match first.split_once('@') {
        Some((first, bits)) => (first, Some(Modes(bits.parse().ok()?))),
        None => (first, None),
    };
    let anywhere = match first {
        "anywhere" => true,
        "there" => false,
        _ => return None,
    };
    let kind = |word: &str| {
        Some(match word {
            "none" => ArgumentKind::None,
            "other" => ArgumentKind::Other,
            "[" => ArgumentKind::Open,
            "]" => ArgumentKind::Close,
            tensor => parse_tensor(tensor)?,
        })
    };
    let kinds = Some(Kinds(words.map(kind).collect::<Option<_>>()?));
    Some(KindsHandle { kinds, anywhere, modes, sizes, limits })
}

fn parse_sizes(text: &str) -> Option<Sizes> {
    let one = |text: &str| match text {
        "" => Some(Vec::new()),
        text => text.split('.').map(|n| n.parse().ok()).collect(),
    };
    let all = match text {
        "" => Some(Vec::new()),
        text => text.strip_suffix(',')?.split(',').map(one).collect(),
    };
    all.map(Sizes)
}

fn parse_tensor(word: &str) -> Option<ArgumentKind> {
    let mut parts = word.split('/');
    let kind = kind_from_code(parts.next()?.parse().ok()?);
    let rank = parts.next()?.parse().ok()?;
    let device = match parts.next()? {
        "?" => None,
        known => {
            let (kind, index) = known.split_once('.')?;
            device_from_raw(&ffi::RawDevice { kind: kind.parse().ok()?, index: index.parse().ok()? })
        }
    };
    let axes = parts.next()?.chars().map(|c| c.to_digit(10).map(|d| d as usize));
    let order = AxisOrder::of_numbers(&axes.collect::<Option<Vec<_>>>()?)?;
    parts.next().is_none().then_some(ArgumentKind::Tensor { kind, rank, device, order })
}

pub(crate) fn kinds_fit(handle: &KindsHandle, arguments: &[ffi::RawKind]) -> bool {
    let Some(kinds) = &handle.kinds else { return false };
    let fits = |(kind, raw): (&ArgumentKind, &ffi::RawKind)| {
        let found = ArgumentKind::of_raw(raw);
        *kind == if handle.anywhere { found.anywhere() } else { found }
    };
    handle.modes.is_none_or(|modes| modes == Modes::now())
        && handle.sizes.as_ref().is_none_or(|sizes| sizes.fit_raw(arguments))
        && kinds.0.len() == arguments.len()
        && kinds.0.iter().zip(arguments).all(fits)
        && handle.limits.hold_raw(arguments)
}

/// Says that a form would have served a call, but autograd records it.
pub(crate) fn kinds_recorded() {
    static SAID: Once = Once::new();
    SAID.call_once(|| log::warn!("{}", crate::report::RECORDED));
}

pub(crate) fn kinds_share(handle: &KindsHandle) -> Box<KindsHandle> {
    Box::new(handle.clone())
}

pub(crate) fn kinds_text(handle: &KindsHandle) -> String {
    handle.to_string()
}

/// `usable` is false where what the text came with is damaged.
pub(crate) fn kinds_read(text: &str, usable: bool) -> Box<KindsHandle> {
    let read = parse(text).filter(|_| usable);
    if read.is_none() {
        log::warn!("the host serves a method of a saved module: its compiled form cannot be read");
    }
    let limits = Limits::default();
    Box::new(read.unwrap_or(KindsHandle { kinds: None, anywhere: false, modes: None, sizes: None, limits }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;

    #[test]
    fn kinds_read_back_from_their_text() {
        let image = Tensor::zeros([1, 3, 4, 4], tch::kind::FLOAT_CPU).permute([0, 3, 1, 2]);
        let values = [
            IValue::Tensor(image),
            IValue::None,
            IValue::Tuple(vec![IValue::Int(3), IValue::TensorList(vec![Tensor::from(1i64)])]),
        ];
        let sizes = || Sizes::of_values(&values);
        assert_eq!(sizes(), Some(Sizes(vec![vec![1, 4, 3, 4], vec![]])));
        let forms = [(false, None, None), (true, None, sizes()), (false, Some(Modes(5)), sizes())];
        for (anywhere, modes, sizes) in forms {
            let limits = Limits::new(&[Bounds::new("x", [1], [2])], &["x"]);
            let handle = KindsHandle::new(Kinds::of_values(&values), anywhere, modes, sizes.clone(), limits);
            let read = parse(&handle.to_string()).expect("it reads");
            assert_eq!(read.limits.to_string(), "0=1-2");
            let fields = (&read.kinds, read.anywhere, read.modes, read.sizes);
            assert_eq!(fields, (&handle.kinds, anywhere, modes, sizes));
        }
        for damaged in [
            "",
            "there@x",
            "there@256 none",
            "there#3 none",
            "there!0=1 none",
            "there#x, none",
            "nowhere",
            "there 6/4",
            "there 6/4/cpu/",
            "there 6/4/?/0031",
            "there x",
        ] {
            assert!(parse(damaged).is_none(), "{damaged}");
        }
    }

    #[test]
    fn defaults_are_added_where_arguments_were_left_out() {
        let list = IValue::GenericList(vec![IValue::Int(1), IValue::None]);
        let given = Kinds::of_values(&[IValue::Int(1), list]);
        let all = given.with_defaults(&[IValue::None, IValue::None, IValue::None, IValue::Double(0.5)]);
        assert_eq!(all.0[given.0.len()..], [ArgumentKind::None, ArgumentKind::Other]);
    }
}
