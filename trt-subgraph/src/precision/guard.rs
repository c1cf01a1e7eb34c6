//! Parity: a network in fewer bits is run beside the one in f32 on sample inputs before anybody relies on it.
//!
//! Where a result differs by more than was allowed, the first layers that do are found: those whose value is off while everything that they
//! read is not. They can be kept in f32, then what feeds them, until all results agree; where nothing helps, the whole network stays as it was.

use super::{Narrowed, narrow_but};
use crate::backend::{Backend, CompileError, CompileOptions, Level, RunError, Weights};
use crate::network::{Network, TypeError, ValueId};
use crate::pass::{Options, optimize};
use crate::{DType, Literal};
use std::collections::BTreeSet;
use std::fmt;

/// How often layers are kept in f32 before the whole network is.
const ROUNDS: usize = 24;

/// Bytes of values that are looked at together.
const TOGETHER: usize = 256 << 20;

/// Who runs both networks, on what.
pub struct Guard<'a> {
    /// Runs both.
    pub backend: &'a dyn Backend,
    /// How both are compiled.
    pub options: &'a CompileOptions,
    /// Of the network's parameters.
    pub weights: &'a dyn Weights,
    /// The inputs of some calls, as the network declares them.
    pub samples: &'a [Vec<Literal>],
    /// How far a tensor may be off: its largest difference as a part of the largest magnitude; of integers and booleans, the part of
    /// elements that differ.
    pub tolerance: f64,
}

/// A layer that differs by more than was allowed.
#[derive(Clone, PartialEq, Debug)]
pub struct Differing {
    /// Its operators and its line in the text of the network in f32.
    pub layer: String,
    /// By how much, see [`Guard::tolerance`].
    pub difference: f64,
}

/// What a guard let pass.
#[derive(Clone, PartialEq, Debug)]
pub struct Guarded {
    /// The network, optimised.
    pub network: Network,
    /// The layers that differed, the first one first.
    pub differing: Vec<Differing>,
    /// By how much the worst result differed when everything was narrow.
    pub before: f64,
    /// And in the network as it is.
    pub difference: f64,
    /// Keeping layers did not help: the network is all in f32.
    pub whole: bool,
}

/// Why a guard could not tell.
#[derive(Clone, PartialEq, Debug)]
pub enum GuardError {
    /// The network is not well typed.
    Type(TypeError),
    /// A network did not compile.
    Compile(CompileError),
    /// A network did not run.
    Run(RunError),
    /// A sample does not have the network's inputs.
    Sample(String),
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parity is not known: ")?;
        match self {
            GuardError::Type(e) => e.fmt(f),
            GuardError::Compile(e) => e.fmt(f),
            GuardError::Run(e) => e.fmt(f),
            GuardError::Sample(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for GuardError {}

impl From<TypeError> for GuardError {
    fn from(e: TypeError) -> GuardError {
        GuardError::Type(e)
    }
}

impl From<CompileError> for GuardError {
    fn from(e: CompileError) -> GuardError {
        GuardError::Compile(e)
    }
}

impl From<RunError> for GuardError {
    fn from(e: RunError) -> GuardError {
        GuardError::Run(e)
    }
}

impl Guard<'_> {
    /// An optimised network in `dtype`, held against itself in f32. With `keep`, layers that differ stay in f32; without, they are only told.
    pub fn narrow(&self, network: &Network, dtype: DType, keep: bool) -> Result<Guarded, GuardError> {
        let exact = self.run(network, self.options)?;
        let mut wide = BTreeSet::new();
        let mut out: Option<Guarded> = None;
        for _ in 0..ROUNDS {
            let narrowed = narrow_but(network, dtype, &wide)?;
            let fewer = optimize(narrowed.network.clone(), &Options::default());
            let difference = worst(&self.run(&fewer, self.options)?, &exact);
            let now = out.get_or_insert_with(|| Guarded {
                network: fewer.clone(),
                differing: Vec::new(),
                before: difference,
                difference,
                whole: false,
            });
            (now.network, now.difference) = (fewer, difference);
            if difference <= self.tolerance {
                break;
            }
            let first = self.first(network, &narrowed)?;
            for (at, difference) in &first {
                let layer = describe(network, *at);
                if now.differing.iter().all(|d| d.layer != layer) {
                    now.differing.push(Differing { layer, difference: *difference });
                }
            }
            let before = wide.len();
            first.iter().for_each(|(at, _)| widen(network, *at, &mut wide));
            if !keep || wide.len() == before {
                break;
            }
        }
        let mut out = out.expect("there is at least one round");
        if keep && out.difference > self.tolerance {
            (out.network, out.difference, out.whole) = (network.clone(), 0.0, true);
        }
        Ok(out)
    }

    /// The layers of the network in f32 whose values are off while those that they read are not, with their differences; those of the
    /// first values only, as many as are looked at together.
    fn first(&self, network: &Network, narrowed: &Narrowed) -> Result<Vec<(usize, f64)>, GuardError> {
        let statics = network.statics();
        let float = |v: ValueId| network.ty(v).dtype == DType::F32 && !statics[v.index()];
        let values: Vec<(usize, ValueId)> = (network.layers.iter().enumerate())
            .flat_map(|(at, l)| l.outputs.iter().map(move |&v| (at, v)))
            .filter(|&(_, v)| float(v) && narrowed.forms[v.index()].is_some())
            .collect();
        let options = CompileOptions { level: Level::Guess, ..self.options.clone() };
        let mut off = vec![false; network.values.len()];
        let mut rest = &values[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |&&(_, v): &&(usize, ValueId)| {
                bytes += network.ty(v).bytes() * self.samples.len().max(1);
                bytes <= TOGETHER
            };
            let (part, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = later;
            let showing = |network: &Network, outputs: Vec<ValueId>| {
                let mut network = Network { outputs, ..network.clone() };
                network.sort_and_drop_dead();
                self.run(&network, &options)
            };
            let expected = showing(network, part.iter().map(|p| p.1).collect())?;
            let form = |v: ValueId| narrowed.forms[v.index()].expect("filtered above");
            let found = showing(&narrowed.all, part.iter().map(|p| form(p.1)).collect())?;
            let mut first: Vec<(usize, f64)> = Vec::new();
            for (place, &(at, v)) in part.iter().enumerate() {
                let of = |samples: &[Vec<Literal>]| -> Vec<Vec<Literal>> {
                    samples.iter().map(|s| vec![s[place].clone()]).collect()
                };
                let difference = worst(&of(&found), &of(&expected));
                off[v.index()] = difference > self.tolerance;
                let reads_off = network.layers[at].inputs.iter().any(|v| off[v.index()]);
                if off[v.index()] && !reads_off && first.iter().all(|f| f.0 != at) {
                    first.push((at, difference));
                }
            }
            if !first.is_empty() {
                return Ok(first);
            }
        }
        Ok(Vec::new())
    }

    /// The outputs of each sample.
    fn run(&self, network: &Network, options: &CompileOptions) -> Result<Vec<Vec<Literal>>, GuardError> {
        let mut engine = self.backend.compile(network, self.weights, options)?;
        let signature = engine.signature().clone();
        let mut staging = self.backend.staging(&signature, options)?;
        let one = |sample: &Vec<Literal>| {
            if !sample.iter().map(Literal::ty).eq(&signature.inputs) {
                let types: Vec<String> = sample.iter().map(|l| l.ty().to_string()).collect();
                return Err(GuardError::Sample(format!(
                    "a sample has inputs {}, not those of the network",
                    types.join(", ")
                )));
            }
            for (at, input) in sample.iter().enumerate() {
                staging.input(at).copy_from_slice(input.bytes());
            }
            staging.send()?;
            // SAFETY: the staging was made for the engine's signature; its outputs are apart from everything.
            staging.call(&mut |io, stream| unsafe { engine.run(io, stream) })?;
            staging.fetch()?;
            staging.wait()?;
            let outputs = signature.outputs.iter().enumerate();
            let read = |(at, ty): (usize, &crate::TensorType)| {
                Literal::from_bytes(ty.clone(), staging.output(at)).expect("an output has its type's bytes")
            };
            Ok(outputs.map(read).collect())
        };
        self.samples.iter().map(one).collect()
    }
}

/// Keeps a layer in f32, or where it is, the nearest layers that feed it and are not.
fn widen(network: &Network, at: usize, wide: &mut BTreeSet<usize>) {
    let (statics, definition) = (network.statics(), network.definitions());
    let mut layers = BTreeSet::from([at]);
    let mut seen = layers.clone();
    while !layers.is_empty() {
        let fresh: Vec<usize> = layers.iter().copied().filter(|at| !wide.contains(at)).collect();
        if !fresh.is_empty() {
            wide.extend(fresh);
            return;
        }
        let inputs = layers.iter().flat_map(|&at| &network.layers[at].inputs);
        let feeding = inputs.filter(|v| !statics[v.index()]).filter_map(|v| definition[v.index()]);
        layers = feeding.filter(|&at| seen.insert(at)).collect();
    }
}

/// The operators of a layer and its line.
fn describe(network: &Network, at: usize) -> String {
    let layer = &network.layers[at];
    let kind = layer.kind.name();
    let ty = layer.outputs.first().map_or_else(String::new, |&v| format!(" {}", network.ty(v)));
    match layer.origin.as_str() {
        "" => format!("layer {at}, {kind}{ty}"),
        origin => format!("layer {at}, {kind}{ty} ({origin})"),
    }
}

/// The largest difference among these outputs of some calls.
fn worst(found: &[Vec<Literal>], expected: &[Vec<Literal>]) -> f64 {
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(f, e)| difference(f, e)).fold(0.0, f64::max)
}

/// See [`Guard::tolerance`]; infinite where one is NaN or infinite and the other is not so.
fn difference(found: &Literal, expected: &Literal) -> f64 {
    let count = expected.ty().elements();
    if !expected.ty().dtype.is_float() {
        let differing = (0..count).filter(|&i| found.i64_at(i) != expected.i64_at(i)).count();
        return differing as f64 / count.max(1) as f64;
    }
    let (mut scale, mut largest) = (0.0f64, 0.0f64);
    for i in 0..count {
        let (have, want) = (found.f64_at(i), expected.f64_at(i));
        if want.is_finite() && have.is_finite() {
            scale = scale.max(want.abs());
            largest = largest.max((have - want).abs());
        } else if !(have == want || have.is_nan() && want.is_nan()) {
            return f64::INFINITY;
        }
    }
    if largest == 0.0 { 0.0 } else { largest / scale }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::backend::reference::Reference;
    use crate::{Random, TensorType};

    /// Two products, one after the other; between them what f16 and bf16 cannot hold: the small difference of large numbers.
    const NETWORK: &str = "input %x: f32[4,16]\nparam \"a\": f32[16,16]\nparam \"b\": f32[16,8]\n\
        %a: f32[16,16] = parameter 0\n%b: f32[16,8] = parameter 1\n%m = matmul(%x, %a)  # first\n\
        %big = pointwise(%m) { i0 + 100:f32 }  # large\n%r = permute(%big) axes=[1,0]  # turn\n\
        %t = permute(%r) axes=[1,0]  # back\n%s = pointwise(%t) { i0 - 100:f32 }  # small\n\
        %y = matmul(%s, %b)  # second\noutput %y";

    fn network() -> (Network, Vec<Literal>, Vec<Vec<Literal>>) {
        let network = Network::parse(NETWORK).unwrap();
        let mut random = Random::new(3);
        let weights = network.parameters.iter().map(|p| random.literal_in(p.ty.clone(), -0.3, 0.3)).collect();
        let ty = network.ty(network.inputs[0]).clone();
        let samples = (0..2).map(|_| vec![random.literal_in(ty.clone(), -1.0, 1.0)]).collect();
        (network, weights, samples)
    }

    #[test]
    fn the_first_layer_that_differs_is_named_and_kept() {
        let (network, weights, samples) = network();
        let options = CompileOptions { threads: 1, ..CompileOptions::default() };
        let backends: [&dyn Backend; 2] = [&Reference, &Cpu];
        for backend in backends.into_iter().filter(|b| b.probe().is_ok()) {
            for dtype in [DType::F16, DType::BF16] {
                let tolerance = if dtype == DType::F16 { 5e-3 } else { 3e-2 };
                let guard =
                    Guard { backend, options: &options, weights: &weights, samples: &samples, tolerance };
                let told = guard.narrow(&network, dtype, false).unwrap();
                assert!(told.difference > tolerance && told.before == told.difference && !told.whole);
                let first = &told.differing[0];
                assert!(first.layer.contains("(small)") && first.difference > tolerance, "{first:?}");
                let kept = guard.narrow(&network, dtype, true).unwrap();
                assert!(kept.difference <= tolerance && !kept.whole, "{kept:?}");
                assert_eq!(kept.differing[0], told.differing[0]);
                kept.network.verify().unwrap();
                let narrow = |&v: &ValueId| kept.network.ty(v).dtype == dtype;
                let read = kept.network.layers.iter().flat_map(|l| &l.inputs).any(narrow);
                assert!(read, "all is in f32: {}", kept.network);
            }
        }
    }

    #[test]
    fn what_agrees_stays_narrow_and_what_never_does_stays_wide() {
        let (network, weights, samples) = network();
        let options = CompileOptions::default();
        let guard = |tolerance| Guard {
            backend: &Reference,
            options: &options,
            weights: &weights,
            samples: &samples,
            tolerance,
        };
        let narrow = guard(10.0).narrow(&network, DType::BF16, true).unwrap();
        assert!(narrow.differing.is_empty() && narrow.difference == narrow.before && narrow.difference > 0.0);
        let wide = guard(0.0).narrow(&network, DType::BF16, true).unwrap();
        assert!(wide.difference == 0.0 && !wide.differing.is_empty(), "{wide:?}");
    }

    #[test]
    fn an_overflow_is_a_difference() {
        let floats = |v: [f64; 2]| Literal::from_f64(TensorType::new(DType::F32, [2]), v).unwrap();
        assert_eq!(difference(&floats([1.0, f64::INFINITY]), &floats([1.0, 7e4])), f64::INFINITY);
        assert_eq!(difference(&floats([f64::NAN, 2.0]), &floats([f64::NAN, 4.0])), 0.5);
        let ints = |v: [i64; 2]| Literal::from_i64(TensorType::new(DType::I64, [2]), v).unwrap();
        assert_eq!(difference(&ints([1, 2]), &ints([1, 3])), 0.5);
    }

    #[test]
    fn a_sample_of_other_types_is_refused() {
        let (network, weights, _) = network();
        let samples = [vec![Literal::zeros(TensorType::new(DType::F32, [1]))]];
        let options = CompileOptions::default();
        let guard = Guard {
            backend: &Reference,
            options: &options,
            weights: &weights,
            samples: &samples,
            tolerance: 1.0,
        };
        assert!(matches!(guard.narrow(&network, DType::F16, true), Err(GuardError::Sample(_))));
    }
}
