//! `tch-trt compile`: a TorchScript file with engines in it.

mod sets;

use super::inspect;
use super::model::ModelArgs;
use super::spec::{Filling, InputSpec, Point};
use crate::report::{EngineReport, MethodReport, State};
use crate::{Report, SavedWeights};
use clap::{Args, ValueEnum};
use partitioner::Coverage;
use partitioner::{count, quantity};
use serde::Serialize;
use sets::{ArgumentRanges, bounds, points, ranges, sets};
use std::path::PathBuf;
use trt_tool::Document;
use trt_tool::Failure;
use trt_tool::logging;
use trt_tool::terminal::{Style, progress, table};

/// Arguments of `compile`.
#[derive(Args)]
pub(crate) struct Compile {
    #[command(flatten)]
    model: ModelArgs,
    /// Where the module with engines goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write nothing, and exit with 1, unless engines take every operator that computes
    #[arg(long)]
    require_full: bool,
    /// Keep engines with their prepared weights in the file (embed), or build them anew where it is loaded (reference)
    #[arg(long, value_name = "HOW", default_value = "reference")]
    weights: Weights,
    /// Write each engine for each shape as a plan of its own into this folder, too
    #[arg(long, value_name = "FOLDER")]
    plan_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// Weights are in the file once, in the module
    Reference,
    /// Engines are in the file too: a machine of the same kind starts at once
    Embed,
}

/// What was compiled.
#[derive(Serialize)]
pub(crate) struct Compiled {
    model: String,
    method: String,
    backend: String,
    /// Where it went; none where it was not written.
    file: Option<String>,
    bytes: u64,
    weights: SavedWeights,
    /// For how many shapes of how many engines, added up, the file has the engine.
    embedded: u64,
    /// The plans that were written beside it.
    plans: Vec<String>,
    /// Was it asked for plans?
    #[serde(skip)]
    wants_plans: bool,
    /// The types of the arguments of each set that was compiled.
    sets: Vec<Vec<String>>,
    /// The host serves calls with a tensor that is in none of its argument's ranges.
    bounds: Vec<ArgumentRanges>,
    forms: Vec<Form>,
    /// Did engines take every operator that computes?
    full: bool,
    /// Was that asked for?
    required_full: bool,
}

/// The method, compiled for one kind of arguments.
#[derive(Serialize)]
struct Form {
    coverage: Coverage,
    /// Operators that compute and stay on the host, with the reason.
    host: Vec<HostOperator>,
    engines: Vec<Engine>,
    /// Is it nothing but one engine, from its arguments to its one result?
    whole: bool,
}

#[derive(Serialize)]
struct HostOperator {
    name: String,
    reason: String,
    count: usize,
}

#[derive(Serialize)]
struct Engine {
    name: String,
    /// The shapes that it was built for, oldest first.
    shapes: Vec<Shape>,
}

#[derive(Serialize)]
struct Shape {
    inputs: Vec<String>,
    /// Why the host serves it, if it does.
    refused: Option<String>,
    layers: usize,
    weight_bytes: usize,
    build_ms: f64,
    /// What the guard of the precision found.
    parity: Option<crate::report::Parity>,
}

impl Compile {
    /// Compiles the method for each set of inputs and writes the module.
    pub(crate) fn run(&self) -> Result<Compiled, Failure> {
        Failure::unless_writable(&self.output)?;
        if let Some(folder) = &self.plan_dir {
            Failure::unless_fillable(folder)?;
        }
        let spinner = progress(0, "reading the model");
        let mut within = Vec::new();
        let loaded = self.model.load_with(|options, arguments| {
            options.weights = self.weights.into();
            options.bounds = bounds(&self.model.inputs, arguments);
            within = ranges(&options.bounds);
        })?;
        let mut compiled_for: Vec<Vec<String>> = Vec::new();
        let mut calls = Vec::new();
        for set in sets(&self.model.inputs, &loaded.arguments) {
            for point in points(&set) {
                let values = tch::no_grad(|| Filling::usual(0).values(&set, &loaded.arguments, point))?;
                calls.push(loaded.place(values)?);
            }
        }
        // One that takes branches which none before took has them all compiled anew.
        let again = if calls.len() > 1 { &calls[..calls.len() - 1] } else { &[] };
        for values in calls.iter().chain(again) {
            let types: Vec<String> = values.iter().map(inspect::type_text).collect();
            spinner.set_prefix("building engines");
            spinner.set_message(types.join(", "));
            tch::no_grad(|| loaded.module.compile_method(&self.model.method, values))?;
            if !compiled_for.contains(&types) {
                compiled_for.push(types);
            }
        }
        let report = loaded.module.report();
        let methods = report.methods.iter().filter(|m| m.method == self.model.method);
        let forms = methods.map(Form::of).collect::<Result<Vec<_>, Failure>>()?;
        if forms.is_empty() {
            let why = logging::reason("nothing says why");
            return Err(format!("the method cannot be prepared for engines: {why}").into());
        }
        let full = forms.iter().all(Form::is_full);
        let written = full || !self.require_full;
        let mut plans = Vec::new();
        if written {
            spinner.set_prefix("writing");
            loaded.module.save(&self.output)?;
            if let Some(folder) = &self.plan_dir {
                plans = loaded.module.write_plans(folder)?;
            }
        }
        let embedded = engines_of(&loaded.module.report(), &self.model.method).map(|e| e.embedded).sum();
        spinner.finish_and_clear();
        Ok(Compiled {
            model: self.model.model.display().to_string(),
            method: self.model.method.clone(),
            backend: report.backend,
            file: written.then(|| self.output.display().to_string()),
            bytes: if written { std::fs::metadata(&self.output).map_or(0, |m| m.len()) } else { 0 },
            weights: self.weights.into(),
            embedded,
            plans: plans.iter().map(|path| path.display().to_string()).collect(),
            wants_plans: self.plan_dir.is_some(),
            sets: compiled_for,
            bounds: within,
            forms,
            full,
            required_full: self.require_full,
        })
    }
}

impl From<Weights> for SavedWeights {
    fn from(weights: Weights) -> SavedWeights {
        match weights {
            Weights::Reference => SavedWeights::Reference,
            Weights::Embed => SavedWeights::Embed,
        }
    }
}

fn engines_of<'a>(report: &'a Report, method: &'a str) -> impl Iterator<Item = &'a EngineReport> {
    report.methods.iter().filter(move |m| m.method == method).flat_map(|m| match &m.state {
        State::Divided { engines, .. } => &engines[..],
        _ => &[],
    })
}

impl Form {
    fn of(method: &MethodReport) -> Result<Form, Failure> {
        let (blocks, engines, whole) = match &method.state {
            State::Divided { blocks, engines, whole, .. } => (blocks, engines, *whole),
            State::Failed(why) => return Err(format!("the method could not be compiled: {why}").into()),
            State::Building => return Err("the method is still being compiled".to_string().into()),
        };
        let mut coverage = Coverage::default();
        let mut host = Vec::new();
        for block in blocks {
            coverage += block.partition.coverage;
            for group in block.partition.host.iter().filter(|g| g.compute > 0) {
                let reason = |message: &str| match message {
                    "" => group.reason.clone(),
                    more => format!("{}: {more}", group.reason),
                };
                host.extend(group.operators.iter().map(|o| HostOperator {
                    name: o.name.clone(),
                    reason: reason(&o.message),
                    count: o.count,
                }));
            }
        }
        Ok(Form { coverage, host, engines: engines.iter().map(Engine::of).collect(), whole })
    }

    fn is_full(&self) -> bool {
        let refused = |e: &Engine| e.shapes.iter().any(|s| s.refused.is_some());
        self.coverage.taken_compute == self.coverage.compute && !self.engines.iter().any(refused)
    }
}

impl Engine {
    fn of(report: &EngineReport) -> Engine {
        let shape = |s: &crate::report::ShapeReport| Shape {
            inputs: s.inputs.clone(),
            refused: s.refused.clone(),
            layers: s.layers.1,
            weight_bytes: s.weight_bytes,
            build_ms: s.build.as_secs_f64() * 1e3,
            parity: s.parity.clone(),
        };
        Engine { name: report.name.clone(), shapes: report.shapes.iter().rev().map(shape).collect() }
    }
}

impl Document for Compiled {
    fn passed(&self) -> bool {
        self.full || !self.required_full
    }

    fn text(&self, style: Style) -> String {
        let mut out = format!("{} {}\nbackend {}\n", style.bold(&self.model), self.method, self.backend);
        for types in &self.sets {
            out += &format!("compiled for ({})\n", types.join(", "));
        }
        if !self.bounds.is_empty() {
            let all: Vec<String> = self.bounds.iter().map(ToString::to_string).collect();
            let each = if all.len() > 1 { ", each argument by itself" } else { "" };
            out += &format!("for sizes within {}{each}; others are the host's\n", all.join(" and "));
        }
        for form in &self.forms {
            out += &format!(
                "{}, {} of {} computing operators\n",
                count(form.engines.len(), "engine"),
                form.coverage.taken_compute,
                form.coverage.compute
            );
            for shape in form.engines.iter().flat_map(|e| &e.shapes) {
                if let Some(why) = &shape.refused {
                    out +=
                        &format!("  {} {}: {why}\n", style.yellow("on the host:"), shape.inputs.join(", "));
                }
                if let Some(parity) = &shape.parity {
                    out += &format!("  {}: {parity}\n", shape.inputs.join(", "));
                }
            }
            let rows = form.host.iter().map(|o| vec![o.name.clone(), o.count.to_string(), o.reason.clone()]);
            let rows: Vec<_> = rows.collect();
            if !rows.is_empty() {
                out += &format!("on the host:\n{}", table(&rows));
            }
        }
        match &self.file {
            Some(file) => {
                out += &format!("written to {file}, {}\n", quantity(self.bytes as f64, "B"));
                if self.forms.iter().all(|form| form.engines.is_empty()) {
                    out += &format!(
                        "{} there is no engine in it: libtorch does everything, on every machine\n",
                        style.yellow("note:")
                    );
                }
                match (self.weights, self.embedded) {
                    (SavedWeights::Reference, _) => {}
                    (SavedWeights::Embed, 0) => {
                        out += "without its engines, of which this backend saves none: they are built anew where it is loaded\n";
                    }
                    (SavedWeights::Embed, n) => out += &format!("with {} in it\n", count(n, "engine")),
                }
                for plan in &self.plans {
                    out += &format!("plan {plan}\n");
                }
                if !self.plans.is_empty() && self.forms.iter().any(|form| !form.whole) {
                    out += &format!(
                        "{} what the host does before, between and after engines is in no plan: `tch-trt inspect` lists it\n",
                        style.yellow("note:")
                    );
                }
                if self.plans.is_empty() && self.wants_plans {
                    out += "no plan: there is no engine\n";
                }
            }
            None => {
                out +=
                    &format!("{} engines do not take all of it; nothing was written\n", style.red("failed:"))
            }
        }
        out
    }
}

/// The specs of one call.
type Set = Vec<InputSpec>;
