//! `tch-trt backends` and `tch-trt env`: what this machine can run, and what the environment asks for.

use crate::backend::{self, Runners};
use crate::{Options, env};
use clap::Args;
use serde::Serialize;
use tch::Device;
use trt_tool::Document;
use trt_tool::Failure;
use trt_tool::terminal::{Style, table};

/// Arguments of `backends` and `env`.
#[derive(Args)]
pub(crate) struct Plain {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Every backend.
#[derive(Serialize)]
pub(crate) struct Backends {
    backends: Vec<BackendFacts>,
    /// Who runs the engines of tensors on the CPU under the present environment; none where it asks for a backend that cannot
    /// run here.
    chosen: Option<&'static str>,
    /// Who runs those of tensors on a GPU; none where there is no GPU that engines run on.
    chosen_on_gpu: Option<&'static str>,
}

#[derive(Serialize)]
struct BackendFacts {
    name: &'static str,
    available: bool,
    /// What it found on this machine, or why it cannot run here.
    found: String,
}

impl Backends {
    pub(crate) fn gather() -> Result<Backends, Failure> {
        let facts = |b: std::sync::Arc<dyn trt_subgraph::backend::Backend>| {
            let probed = b.probe();
            let available = probed.is_ok();
            BackendFacts { name: b.name(), available, found: probed.unwrap_or_else(|why| why.why) }
        };
        let options = Options::default().resolved().map_err(crate::Error::from)?;
        let runners = Runners::new(&options).ok();
        let of = |device| runners.as_ref().map(|r| r.of(device, &options).backend.name());
        let backends: Vec<BackendFacts> = backend::all().into_iter().map(facts).collect();
        let gpu = backends.iter().any(|b| b.name == "cuda" && b.available);
        let chosen_on_gpu = if gpu { of(Device::Cuda(0)) } else { None };
        Ok(Backends { chosen: of(Device::Cpu), chosen_on_gpu, backends })
    }
}

impl Document for Backends {
    fn text(&self, style: Style) -> String {
        let row = |b: &BackendFacts| {
            let chosen = [self.chosen, self.chosen_on_gpu].contains(&Some(b.name));
            let mark = if chosen { "*" } else { " " };
            let state = if b.available { style.green("runs here") } else { style.red("cannot run") };
            format!("{mark} {:10} {state}: {}\n", b.name, b.found)
        };
        let mut out: String = self.backends.iter().map(row).collect();
        out += match self.chosen {
            Some(_) => "* runs the engines of its device under the present environment\n",
            None => "the backend that TRT_BACKEND names cannot run here\n",
        };
        out
    }
}

/// Every environment variable.
#[derive(Serialize)]
pub(crate) struct Environment {
    variables: Vec<VariableFacts>,
    /// The first value that is not understood.
    fault: Option<String>,
    /// What is understood and changes nothing.
    notes: Vec<String>,
}

#[derive(Serialize)]
struct VariableFacts {
    name: &'static str,
    value: Option<String>,
    values: &'static str,
    default: &'static str,
    doc: &'static str,
}

impl Environment {
    pub(crate) fn gather() -> Result<Environment, Failure> {
        let facts = |v: &env::Variable| VariableFacts {
            name: v.name,
            value: v.text(),
            values: v.values,
            default: v.default,
            doc: v.doc,
        };
        let resolved = Options::default().resolved();
        let unknown = resolved.as_ref().map(|options| options.unknown_ops().collect::<Vec<_>>());
        let notes =
            unknown.unwrap_or_default().into_iter().map(|w| format!("{}: {w}", env::EXCLUDE_OPS.name));
        let fault = crate::is_enabled().err().or_else(|| resolved.as_ref().err().cloned());
        Ok(Environment {
            variables: env::ALL.iter().map(facts).collect(),
            notes: notes.collect(),
            fault: fault.map(|e| e.to_string()),
        })
    }
}

impl Document for Environment {
    fn passed(&self) -> bool {
        self.fault.is_none()
    }

    fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let rows = self
            .variables
            .iter()
            .map(|v| vec![v.name.to_string(), v.value.clone().unwrap_or_else(|| "-".into())]);
        out += &table(&rows.collect::<Vec<_>>());
        out.push('\n');
        for v in &self.variables {
            let (name, values) = (style.bold(v.name), [("takes", v.values), ("default", v.default)]);
            out += &format!("{name}\n  {}\n", v.doc);
            values.iter().for_each(|(what, text)| out += &format!("  {what:8} {text}\n"));
        }
        for note in &self.notes {
            out += &format!("{} {note}\n", style.yellow("note:"));
        }
        if let Some(fault) = &self.fault {
            out += &format!("{} {fault}\n", style.red("error:"));
        }
        out
    }
}
