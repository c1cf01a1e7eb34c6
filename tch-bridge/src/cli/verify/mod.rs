//! `tch-trt verify`: do the engines give the host's answers?

mod bisect;
mod compare;
mod judge;
mod part;
#[cfg(test)]
mod tests;
mod text;

use super::leaves::{copies, leaves};
use super::model::{Loaded, ModelArgs};
use super::spec::{Filling, Point, Shapes, Spread, is_float, kind_name};
use super::{archive, inspect};
use crate::jit::words;
use crate::switch;
use bisect::Finding;
use clap::{Args, ValueEnum};
use compare::{Comparison, Tolerance, compare};
use judge::Judge;
use serde::Serialize;
use std::path::PathBuf;
use tch::{IValue, Kind};
use trt_tool::Failure;
use trt_tool::logging;
use trt_tool::terminal::{percent, progress};

/// Arguments of `verify`.
#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    model: ModelArgs,
    /// How many sets of random inputs, of several seeds and value ranges
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The seed of the first set
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// Inputs from a .npz or .safetensors file in place of random ones
    #[arg(long = "inputs", value_name = "FILE")]
    given: Option<PathBuf>,
    /// Relative tolerance [default: by element type]
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true)]
    rtol: Option<f64>,
    /// Absolute tolerance [default: a tenth of the relative one, times the largest magnitude expected]
    #[arg(long, value_name = "X", value_parser = tolerance, allow_negative_numbers = true)]
    atol: Option<f64>,
    /// The part of integer and boolean elements that must be equal
    #[arg(long, value_name = "PART", default_value_t = 1.0, value_parser = part)]
    agreement: f64,
    /// What is right
    #[arg(long, value_enum, default_value_t = Against::Host)]
    against: Against,
    /// Where outputs differ, find the first engine and the smallest part of it that does
    #[arg(long)]
    bisect: bool,
    /// The folder for what --bisect writes
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "bisect")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "a number from 0, such as 1e-4".into())
}

fn part(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x));
    number.ok_or_else(|| "a number from 0 to 1".into())
}

/// What is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Against {
    /// The host, libtorch
    Host,
    /// A float64 copy of the model; the engines may be as far from it as the tolerance, or twice as far as the host
    F64,
}

/// What was found.
#[derive(Serialize)]
pub(crate) struct Verification {
    model: String,
    method: String,
    backend: String,
    against: Against,
    tolerance: Tolerance,
    passed: bool,
    /// How many engines there are, and how many calls they served in the comparisons: each set is one call of the method, which
    /// calls each engine as often as its code comes there.
    engines: usize,
    served: u64,
    /// Part of the method's operations that is in engines, 0 to 1; none where that is not known.
    fraction: Option<f64>,
    runs: Vec<Run>,
    /// What the user should know of the result's worth.
    notes: Vec<String>,
    /// The smallest part that differs, where it was asked for and found.
    bisection: Option<Finding>,
}

/// One set of inputs.
#[derive(Serialize)]
struct Run {
    /// Where the values come from.
    values: String,
    seed: Option<u32>,
    inputs: Vec<String>,
    /// The engines' outputs.
    outputs: Vec<Comparison>,
    /// The host's outputs against float64.
    host: Option<Vec<Comparison>>,
    passed: bool,
    /// Parts of the result that are neither tensors nor numbers.
    #[serde(skip)]
    left_out: Vec<String>,
}

/// A set of inputs and where it comes from.
struct Inputs {
    label: String,
    seed: Option<u32>,
    values: Vec<IValue>,
}

impl Verify {
    /// Runs host and engines on each set of inputs.
    pub(crate) fn run(&self) -> Result<Verification, Failure> {
        if self.bisect {
            Failure::unless_fillable(&self.out)?;
        }
        let loaded = self.model.load()?;
        let sets = self.sets(&loaded)?;
        let judge = match self.against {
            Against::Host => None,
            Against::F64 => Some(Judge::load(&self.model.model, &self.model.method, loaded.device)?),
        };
        let bar = progress(sets.len() as u64, "sets of inputs");
        let mut runs = Vec::new();
        let mut bisection = None;
        let mut served = 0;
        for set in &sets {
            let (run, calls) = self.one(&loaded, judge.as_ref(), set)?;
            served += calls;
            if self.bisect && bisection.is_none() && !run.passed {
                bar.set_message("looking for the fault");
                let (method, tolerance) = (&self.model.method, self.tolerance(&loaded));
                bisection = logging::without_warnings(|| {
                    bisect::bisect(&loaded.module, method, &set.values, tolerance)
                })?;
                if let Some(finding) = &mut bisection {
                    finding.write(&self.out, &self.repeat())?;
                }
            }
            runs.push(run);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let (engines, _) = loaded.served();
        let passed = served > 0 && runs.iter().all(|r| r.passed);
        let fraction = loaded.coverage(&self.model.method).map(|c| c.fraction());
        let mut notes = self.notes(&loaded, engines, served, passed, bisection.is_some());
        if let Some(part) = fraction.filter(|part| *part < 0.5 && served > 0) {
            let part = percent(part);
            notes.push(format!("engines hold {part} of the operations: of the rest the host was compared with itself; `tch-trt inspect` tells why"));
        }
        let mut left_out: Vec<&str> = runs.iter().flat_map(|r| &r.left_out).map(String::as_str).collect();
        left_out.sort_unstable();
        left_out.dedup();
        if !left_out.is_empty() {
            notes.push(format!("neither tensors nor numbers, not compared: {}", left_out.join(", ")));
        }
        Ok(Verification {
            model: self.model.model.display().to_string(),
            method: self.model.method.clone(),
            backend: loaded.backend(),
            against: self.against,
            tolerance: self.tolerance(&loaded),
            passed,
            engines,
            served,
            fraction,
            runs,
            notes,
            bisection,
        })
    }

    /// The options that judge again as this run does.
    fn repeat(&self) -> String {
        let mut options = String::new();
        for (name, value) in [("rtol", self.rtol), ("atol", self.atol)] {
            options += &value.map(|x| format!(" --{name} {x:e}")).unwrap_or_default();
        }
        if self.agreement < 1.0 {
            options += &format!(" --agreement {}", self.agreement);
        }
        options + &self.model.repeat()
    }

    fn tolerance(&self, loaded: &Loaded) -> Tolerance {
        let tf32 = self.model.is_on_gpu().then_some(Kind::Half);
        Tolerance { rtol: self.rtol, atol: self.atol, narrow: loaded.narrow.or(tf32) }
    }

    /// The given inputs, or random ones: a seed for each, floating-point values of several sizes, and the smallest, usual and
    /// largest shapes of ranges.
    fn sets(&self, loaded: &Loaded) -> Result<Vec<Inputs>, Failure> {
        if let Some(path) = &self.given {
            let values = loaded.place(archive::arguments(path, loaded, &self.model.inputs)?)?;
            return Ok(vec![Inputs { label: path.display().to_string(), seed: None, values }]);
        }
        let spreads = [Spread::Normal(1.0), Spread::Unit, Spread::Normal(10.0), Spread::Normal(0.01)];
        let (mut ranged, mut spread_out) = (false, false);
        self.model.inputs.iter().for_each(|spec| {
            spec.value.for_each_tensor(&mut |t| {
                ranged |= matches!(t.shapes, Shapes::Range { .. });
                spread_out |= is_float(t.kind) && t.range.is_none();
            });
        });
        let points: &[(Point, &str)] = match ranged {
            true => &[
                (Point::Opt, ", usual shapes"),
                (Point::Min, ", smallest shapes"),
                (Point::Max, ", largest shapes"),
            ],
            false => &[(Point::Opt, "")],
        };
        let mut sets = Vec::new();
        for at in 0..self.runs as usize * points.len() {
            let (point, shapes) = points[at % points.len()];
            let (seed, spread) = (self.seed + at as u32, spreads[at / points.len() % spreads.len()]);
            let values = self.model.values(loaded, Filling { seed: seed.into(), spread }, point)?;
            let drawn = if spread_out { spread.describe() } else { "random".into() };
            let label = format!("{drawn}{shapes}");
            sets.push(Inputs { label, seed: Some(seed), values });
        }
        Ok(sets)
    }

    /// Compares one set, and tells how many calls of engines that took.
    fn one(&self, loaded: &Loaded, judge: Option<&Judge>, set: &Inputs) -> Result<(Run, u64), Failure> {
        let (method, seed) = (&self.model.method, i64::from(set.seed.unwrap_or(self.seed)));
        let call = |engines: bool| -> Result<IValue, Failure> {
            let values = copies(&set.values)?;
            tch::manual_seed(seed);
            Ok(tch::no_grad(|| match engines {
                true => switch::force_enabled(|| loaded.module.method_is(method, &values)),
                false => Ok(loaded.host.run(&values)?),
            })?)
        };
        let expected = call(false)?;
        loaded.compile(method, &copies(&set.values)?)?;
        let before = loaded.served().1;
        let found = call(true)?;
        let served = loaded.served().1 - before;
        tch::manual_seed(seed);
        let tolerance = self.tolerance(loaded);
        let truth = judge.map(|j| tch::no_grad(|| j.run(&set.values))).transpose();
        let truth = truth.map_err(|e| format!("the model does not run in float64: {e}"))?;
        let (right, host) = match &truth {
            Some(truth) => (truth, Some(self.compare_all(&expected, truth, tolerance)?)),
            None => (&expected, None),
        };
        let mut outputs = self.compare_all(&found, right, tolerance)?;
        for (engine, host) in outputs.iter_mut().zip(host.iter().flatten()) {
            let alike = engine.nan == host.nan && engine.inf == host.inf && engine.found == host.found;
            engine.passed |= alike && engine.max_abs <= 2.0 * host.max_abs;
        }
        let run = Run {
            values: set.label.clone(),
            seed: set.seed,
            inputs: set.values.iter().map(inspect::type_text).collect(),
            passed: outputs.iter().all(|c| c.passed),
            outputs,
            host,
            left_out: leaves("output", &found)?.1,
        };
        Ok((run, served))
    }

    fn compare_all(
        &self,
        found: &IValue,
        expected: &IValue,
        tolerance: Tolerance,
    ) -> Result<Vec<Comparison>, Failure> {
        let ((found, _), (expected, _)) = (leaves("output", found)?, leaves("output", expected)?);
        let names = |of: &[(String, tch::Tensor)]| of.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
        if names(&found) != names(&expected) {
            let (found, expected) = (names(&found).join(", "), names(&expected).join(", "));
            return Err(format!("the results differ in structure: {found} and {expected}").into());
        }
        let one = |((name, found), (_, expected)): (&(String, tch::Tensor), &(String, tch::Tensor))| {
            compare(name, found, expected, tolerance, self.agreement)
                .map_err(|e| Failure::from(format!("{name} cannot be compared: {}", words(&e))))
        };
        tch::no_grad(|| found.iter().zip(&expected).map(one).collect())
    }

    fn notes(&self, loaded: &Loaded, engines: usize, served: u64, passed: bool, found: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if served == 0 {
            let why = match loaded.as_saved {
                true => loaded.unserved(),
                false => "`tch-trt inspect` tells why".into(),
            };
            notes.push(format!("no engine served a call: the host was compared with itself: {why}"));
        }
        if served > 0 || !loaded.as_saved {
            notes.extend(logging::warnings());
        }
        if !passed
            && (self.rtol.is_some() || self.atol.is_some())
            && let Some(kind) = loaded.narrow
        {
            notes.push(format!(
                "engines compute in {} where the model has f32, and are off by its rounding; without --rtol and --atol the tolerance allows for that",
                kind_name(kind)
            ));
        }
        if self.bisect && !passed && !found && engines > 0 {
            notes.push(match loaded.as_saved {
                true => "the engines in the file differ, which --bisect does not look into; those that it made anew do not: say --precision and the other options that the file was compiled with",
                false => "each engine gives the host's results on the host's values: the difference builds up over several engines",
            }.into());
        }
        notes
    }
}
