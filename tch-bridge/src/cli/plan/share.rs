//! `tch-trt plan share` and `unshare`.

use super::super::Document;
use super::super::failure::Failure;
use super::super::terminal::Style;
use super::{Source, told};
use clap::Args;
use partitioner::quantity;
use serde::Serialize;
use trt_subgraph::plan::{Plan, share, unshare};

/// Arguments of `plan share`.
#[derive(Args)]
pub(super) struct Share {
    #[command(flatten)]
    source: Source,
    /// The name in shared memory; `shm:NAME` then stands for a file
    #[arg(value_name = "NAME")]
    name: String,
    /// Who may read it, as chmod says it
    #[arg(long, value_name = "OCTAL", default_value = "600", value_parser = octal)]
    mode: u32,
    /// Keep the portable weights beside the engine
    #[arg(long)]
    with_weights: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Arguments of `plan unshare`.
#[derive(Args)]
pub(super) struct Unshare {
    /// The name in shared memory
    #[arg(value_name = "NAME")]
    name: String,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777 && m & 0o400 != 0);
    mode.ok_or_else(|| "an octal number such as 600 or 644, with 400 in it".to_string())
}

/// What was shared.
#[derive(Serialize)]
pub(super) struct Shared {
    plan: String,
    name: String,
    bytes: usize,
    /// Whose engine is in it; none where that saves none.
    engine: Option<&'static str>,
}

/// What is no longer shared.
#[derive(Serialize)]
pub(super) struct Unshared {
    name: String,
}

impl Share {
    pub(super) fn run(&self) -> Result<Shared, Failure> {
        let plan = self.source.open()?;
        let backend = self.source.backend(&plan)?;
        let options = self.source.options(&plan);
        let prepared = plan.prepared(backend, &options, self.with_weights);
        let prepared = prepared.and_then(Plan::from_bytes).map_err(|e| told(&self.source.plan, e))?;
        share(&self.name, &prepared, self.mode).map_err(|e| Failure::from(e.to_string()))?;
        Ok(Shared {
            plan: self.source.plan.clone(),
            name: self.name.clone(),
            bytes: prepared.bytes().len(),
            engine: prepared.is_built_for(backend, &options).then(|| backend.name()),
        })
    }
}

impl Unshare {
    pub(super) fn run(&self) -> Result<Unshared, Failure> {
        unshare(&self.name).map_err(|e| Failure::from(e.to_string()))?;
        Ok(Unshared { name: self.name.clone() })
    }
}

impl Document for Shared {
    fn text(&self, style: Style) -> String {
        let engine = self.engine.map_or("no engine".to_string(), |name| format!("an engine of {name}"));
        format!(
            "{} is shared as {}: {}, with {engine}\n",
            self.plan,
            style.bold(&format!("shm:{}", self.name)),
            quantity(self.bytes as f64, "B")
        )
    }
}

impl Document for Unshared {
    fn text(&self, _style: Style) -> String {
        format!("shm:{} is not shared any more; who runs it keeps it\n", self.name)
    }
}
