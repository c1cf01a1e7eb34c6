//! `tch-trt plan share` and `unshare`.

use super::{Source, told};
use crate::Document;
use crate::Failure;
use crate::terminal::{Style, one_line};
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
    /// The name in shared memory, with `shm:` before it or without
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
    /// Whose engine was put into it; none where that backend saves none.
    engine: Option<&'static str>,
    /// Whose engines are in it: that one, and those of other backends that the plan held.
    engines: Vec<String>,
}

/// What is no longer shared.
#[derive(Serialize)]
pub(super) struct Unshared {
    name: String,
}

/// The name itself of one that is written as commands take plans, `shm:NAME`.
fn without_prefix(name: &str) -> &str {
    name.strip_prefix("shm:").unwrap_or(name)
}

impl Share {
    pub(super) fn run(&self) -> Result<Shared, Failure> {
        let plan = self.source.open()?;
        let backend = self.source.backend(&plan)?;
        let options = self.source.options(&plan);
        let prepared = plan.prepared(backend, &options, self.with_weights);
        let prepared = prepared.and_then(Plan::from_bytes).map_err(|e| told(&self.source.plan, e))?;
        let name = without_prefix(&self.name);
        share(name, &prepared, self.mode).map_err(|e| Failure::from(e.to_string()))?;
        Ok(Shared {
            plan: self.source.plan.clone(),
            name: name.to_string(),
            bytes: prepared.bytes().len(),
            engine: prepared.is_built_for(backend, &options).then(|| backend.name()),
            engines: prepared.engines().iter().map(|e| e.backend.clone()).collect(),
        })
    }
}

impl Unshare {
    pub(super) fn run(&self) -> Result<Unshared, Failure> {
        let name = without_prefix(&self.name);
        unshare(name).map_err(|e| Failure::from(e.to_string()))?;
        Ok(Unshared { name: name.to_string() })
    }
}

impl Document for Shared {
    fn text(&self, style: Style) -> String {
        let engines: Vec<String> = self.engines.iter().map(|name| one_line(name)).collect();
        let engines = match engines.is_empty() {
            true => "no engine".to_string(),
            false => format!("an engine of {}", engines.join(" and of ")),
        };
        format!(
            "{} is shared as {}: {}, with {engines}\n",
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
