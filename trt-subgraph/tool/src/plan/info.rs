//! `tch-trt plan info`.

use super::Source;
use crate::Document;
use crate::Failure;
use crate::terminal::{Style, one_line, table};
use clap::Args;
use partitioner::{count, quantity};
use serde::Serialize;
use std::collections::BTreeMap;
use trt_subgraph::backend::{BACKENDS, CompileOptions};
use trt_subgraph::plan::{Plan, Port};

/// Arguments of `plan info`.
#[derive(Args)]
pub(super) struct Info {
    #[command(flatten)]
    source: Source,
    /// Add the network's text form
    #[arg(long)]
    network: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What there is to know.
#[derive(Serialize)]
pub(super) struct Facts {
    plan: String,
    bytes: usize,
    producer: String,
    /// Who is meant to run it; none for anybody.
    backend: Option<String>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    layers: usize,
    parameters: usize,
    weight_bytes: usize,
    holds_weights: bool,
    engines: Vec<Engine>,
    notes: BTreeMap<String, String>,
    network: Option<String>,
}

/// An input or output.
#[derive(Serialize)]
struct Tensor {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

/// A saved engine.
#[derive(Serialize)]
struct Engine {
    backend: String,
    /// What it depends on.
    fingerprint: String,
    /// Is it used on this machine?
    fits_here: bool,
}

impl Info {
    pub(super) fn run(&self) -> Result<Facts, Failure> {
        let plan = self.source.open()?;
        let tensor = |p: &Port| Tensor { name: p.name.clone(), ty: p.ty.to_string() };
        let network = plan.network();
        Ok(Facts {
            plan: self.source.plan.clone(),
            bytes: plan.bytes().len(),
            producer: plan.producer().to_string(),
            backend: plan.backend().map(str::to_string),
            inputs: plan.inputs().iter().map(tensor).collect(),
            outputs: plan.outputs().iter().map(tensor).collect(),
            layers: network.run_layers(),
            parameters: network.parameters.len(),
            weight_bytes: network.parameters.iter().map(|p| p.ty.bytes()).sum(),
            holds_weights: plan.holds_weights(),
            engines: engines(&plan, &self.source.options(&plan)),
            notes: plan.notes().clone(),
            network: self.network.then(|| network.to_string()),
        })
    }
}

fn engines(plan: &Plan, options: &CompileOptions) -> Vec<Engine> {
    let one = |e: &trt_subgraph::plan::SavedEngine| {
        let backend = BACKENDS.iter().find(|b| b.name() == e.backend);
        let here = backend.and_then(|b| b.fingerprint(options));
        let (backend, fingerprint) = (e.backend.clone(), e.fingerprint.clone());
        Engine { backend, fits_here: here.as_ref() == Some(&fingerprint), fingerprint }
    };
    plan.engines().iter().map(one).collect()
}

impl Document for Facts {
    fn text(&self, style: Style) -> String {
        let backend = one_line(self.backend.as_deref().unwrap_or("any backend"));
        let mut out = format!(
            "{} {}, by {}, for {backend}\n",
            style.bold(&self.plan),
            quantity(self.bytes as f64, "B"),
            one_line(&self.producer)
        );
        for (what, tensors) in [("input", &self.inputs), ("output", &self.outputs)] {
            let rows: Vec<Vec<String>> =
                tensors.iter().map(|t| vec![format!("{what} {}", one_line(&t.name)), t.ty.clone()]).collect();
            out += &table(&rows);
        }
        let held = if self.holds_weights { "in the plan" } else { "not in the plan" };
        out += &format!(
            "{}, {} of {} {held}\n",
            count(self.layers, "layer"),
            count(self.parameters, "parameter"),
            quantity(self.weight_bytes as f64, "B"),
        );
        for e in &self.engines {
            let here =
                if e.fits_here { style.green("used here") } else { style.yellow("not for this machine") };
            out += &format!("engine of {}, {here}: {}\n", one_line(&e.backend), one_line(&e.fingerprint));
        }
        for (key, value) in &self.notes {
            out += &format!("{}: {}\n", one_line(key), one_line(value));
        }
        out + self.network.as_deref().unwrap_or_default()
    }
}
