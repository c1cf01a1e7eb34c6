//! From specs to values: random tensors of the wanted shapes, and containers of the types that the method declares.

use super::{InputSpec, Shapes, TensorSpec, ValueSpec, is_float};
use crate::jit::{Argument, ValueType, words};
use tch::{Device, IValue, Kind, Tensor};

/// Which of a spec's three shapes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Point {
    Min,
    Opt,
    Max,
}

/// The values of random tensors. The same filling gives the same values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Filling {
    pub(crate) seed: i64,
    pub(crate) spread: Spread,
}

/// Values of floating-point tensors without a range of their own. Integers without one are 0 or 1, which are good indices
/// of nearly everything; booleans are either.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Spread {
    /// Normal, with this standard deviation.
    Normal(f64),
    /// Uniform in [0, 1).
    Unit,
}

impl Spread {
    /// In words.
    pub(crate) fn describe(self) -> String {
        match self {
            Spread::Normal(1.0) => "normal".into(),
            Spread::Normal(scale) => format!("normal x {scale}"),
            Spread::Unit => "uniform in [0, 1)".into(),
        }
    }
}

impl Filling {
    /// Standard normal values.
    pub(crate) fn usual(seed: i64) -> Filling {
        Filling { seed, spread: Spread::Normal(1.0) }
    }

    /// Values for the arguments of a method, `None` where one keeps its default.
    ///
    /// # Errors
    /// A sentence for the user when the specs do not fit the arguments.
    pub(crate) fn values(
        self,
        specs: &[InputSpec],
        arguments: &[Argument],
        point: Point,
    ) -> Result<Vec<Option<IValue>>, String> {
        tch::manual_seed(self.seed);
        let made = |(spec, argument): &(Option<&InputSpec>, &Argument)| {
            spec.map(|spec| self.value(&spec.value, &argument.ty, point)).transpose()
        };
        assign(specs, arguments)?.iter().map(made).collect()
    }

    fn value(self, spec: &ValueSpec, ty: &ValueType, point: Point) -> Result<IValue, String> {
        let inner = if let ValueType::Optional(inner) = ty { inner } else { ty };
        Ok(match spec {
            ValueSpec::Tensor(t) => IValue::Tensor(self.tensor(t, point)?),
            ValueSpec::Int(v) if *inner == ValueType::Float => IValue::Double(*v as f64),
            ValueSpec::Int(v) => IValue::Int(*v),
            ValueSpec::Float(v) => IValue::Double(*v),
            ValueSpec::Bool(v) => IValue::Bool(*v),
            ValueSpec::None => IValue::None,
            ValueSpec::Text(text) => IValue::String(text.clone()),
            ValueSpec::List(items) => {
                let ty_of = |at: usize| match inner {
                    ValueType::List(element) => (**element).clone(),
                    ValueType::Tuple(types) => types.get(at).cloned().unwrap_or(ValueType::None),
                    _ => ValueType::Other(String::new()),
                };
                let one = |(at, item)| self.value(item, &ty_of(at), point);
                pack(items.iter().enumerate().map(one).collect::<Result<_, _>>()?, inner)
            }
            ValueSpec::Dict(entries) => {
                let value_ty =
                    if let ValueType::Dict(_, value) = inner { &**value } else { &ValueType::None };
                let numbered = matches!(inner, ValueType::Dict(key, _) if **key == ValueType::Int);
                let key = |text: &String| match text.parse() {
                    Ok(number) if numbered => IValue::Int(number),
                    _ => IValue::String(text.clone()),
                };
                let one = |(k, v): &(String, ValueSpec)| Ok((key(k), self.value(v, value_ty, point)?));
                IValue::GenericDict(entries.iter().map(one).collect::<Result<_, String>>()?)
            }
        })
    }

    fn tensor(self, spec: &TensorSpec, point: Point) -> Result<Tensor, String> {
        let shape = match (&spec.shapes, point) {
            (Shapes::One(shape), _)
            | (Shapes::Range { min: shape, .. }, Point::Min)
            | (Shapes::Range { opt: shape, .. }, Point::Opt)
            | (Shapes::Range { max: shape, .. }, Point::Max) => shape,
        };
        let filled = if is_float(spec.kind) {
            self.floats(spec, shape)
        } else {
            let (from, to) = spec.range.unwrap_or((0.0, 2.0));
            let options = (Kind::Int64, Device::Cpu);
            Tensor::f_randint_low(from.ceil() as i64, to.ceil() as i64, shape, options)
        };
        let filled = filled.and_then(|t| t.f_to_kind(spec.kind));
        let placed = filled.and_then(|t| if spec.channels_last { channels_last(&t) } else { Ok(t) });
        placed.map_err(|e| format!("no tensor can be made for {spec}: {}", words(&e)))
    }

    fn floats(self, spec: &TensorSpec, shape: &[i64]) -> Result<Tensor, tch::TchError> {
        let wide = if spec.kind == Kind::Double { Kind::Double } else { Kind::Float };
        match (spec.range, self.spread) {
            (Some((from, to)), _) => {
                Tensor::f_rand(shape, (wide, Device::Cpu))?.f_mul_scalar_(to - from)?.f_add_scalar_(from)
            }
            (None, Spread::Unit) => Tensor::f_rand(shape, (wide, Device::Cpu)),
            (None, Spread::Normal(scale)) => {
                Tensor::f_randn(shape, (wide, Device::Cpu))?.f_mul_scalar_(scale)
            }
        }
    }
}

/// The same values with the channels, axis 1, as the innermost in memory.
fn channels_last(t: &Tensor) -> Result<Tensor, tch::TchError> {
    let rank = t.dim() as i64;
    let there: Vec<i64> = [0].into_iter().chain(2..rank).chain([1]).collect();
    let back: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    t.f_permute(there)?.f_contiguous()?.f_permute(back)
}

/// A list, tuple or typed list, as the method wants it.
pub(crate) fn pack(items: Vec<IValue>, ty: &ValueType) -> IValue {
    macro_rules! typed {
        ($variant:ident) => {{
            let unwrapped =
                items.iter().map(|v| if let IValue::$variant(x) = v { Some(x.to_owned()) } else { None });
            unwrapped.collect::<Option<Vec<_>>>()
        }};
    }
    let element = match ty {
        ValueType::Tuple(_) => return IValue::Tuple(items),
        ValueType::List(element) => &**element,
        _ => &ValueType::Tensor,
    };
    let list = match element {
        ValueType::Int => typed!(Int).map(IValue::IntList),
        ValueType::Float => typed!(Double).map(IValue::DoubleList),
        ValueType::Bool => typed!(Bool).map(IValue::BoolList),
        ValueType::Str => typed!(String).map(IValue::StringList),
        ValueType::Tensor => {
            let tensors =
                items.iter().map(|v| if let IValue::Tensor(t) = v { Some(t.shallow_clone()) } else { None });
            tensors.collect::<Option<Vec<_>>>().map(IValue::TensorList)
        }
        _ => None,
    };
    list.unwrap_or(IValue::GenericList(items))
}

/// The spec of each argument up to the last one that has one: named ones by name, the others by their place, as in Python.
pub(crate) fn assign<'a>(
    specs: &'a [InputSpec],
    arguments: &'a [Argument],
) -> Result<Vec<(Option<&'a InputSpec>, &'a Argument)>, String> {
    let mut of: Vec<Option<&InputSpec>> = vec![None; arguments.len()];
    for spec in specs {
        let Some(name) = &spec.name else { continue };
        let at = arguments.iter().position(|a| a.name == *name);
        let at = at.ok_or_else(|| format!("there is no argument `{name}`; {}", takes(arguments)))?;
        if of[at].replace(spec).is_some() {
            return Err(format!("the argument `{name}` is given twice"));
        }
    }
    for (at, spec) in specs.iter().filter(|s| s.name.is_none()).enumerate() {
        let place = of.get_mut(at);
        let place =
            place.ok_or_else(|| format!("{} inputs are too many; {}", specs.len(), takes(arguments)))?;
        if place.replace(spec).is_some() {
            let name = &arguments[at].name;
            return Err(format!(
                "the argument `{name}` is given twice: by its name, and by its place as {spec}"
            ));
        }
    }
    let given = of.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
    let needed = arguments.iter().rposition(|a| !a.has_default).map_or(0, |at| at + 1);
    for (at, argument) in arguments.iter().enumerate().take(given.max(needed)) {
        if of[at].is_none() && !argument.has_default {
            return Err(format!("no input is given for `{}`; {}", argument.name, takes(arguments)));
        }
    }
    Ok(of.into_iter().zip(arguments).take(given).collect())
}

fn takes(arguments: &[Argument]) -> String {
    if arguments.is_empty() {
        return "the method takes no arguments".into();
    }
    let one =
        |a: &Argument| format!("{}: {}{}", a.name, a.ty, if a.has_default { " (optional)" } else { "" });
    let listed: Vec<String> = arguments.iter().map(one).collect();
    format!("the method takes {}; give an --input for each", listed.join(", "))
}
