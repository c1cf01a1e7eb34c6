//! `tch-trt run`: one call on tensors from a file.

use super::leaves::leaves;
use super::model::ModelArgs;
use super::{archive, inspect};
use crate::switch;
use clap::Args;
use partitioner::count;
use serde::Serialize;
use std::path::PathBuf;
use tch::IValue;
use trt_tool::Failure;
use trt_tool::terminal::{Style, table};
use trt_tool::{Document, logging};

/// Arguments of `run`.
#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    model: ModelArgs,
    /// The inputs, .npz or .safetensors; tensors go to the arguments of their names
    #[arg(long = "inputs", value_name = "FILE")]
    given: PathBuf,
    /// Where the outputs go, .npz or .safetensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Leave everything to the host
    #[arg(long)]
    host: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What was run.
#[derive(Serialize)]
pub(crate) struct Ran {
    model: String,
    method: String,
    backend: String,
    inputs: Vec<String>,
    outputs: Vec<Output>,
    /// How many calls engines served.
    served: u64,
    /// Where the outputs went.
    file: String,
    /// Parts of the result that are neither tensors nor numbers, and were not written.
    left_out: Vec<String>,
    /// What was warned of, such as an engine in the file that is damaged.
    notes: Vec<String>,
}

/// One output.
#[derive(Serialize)]
struct Output {
    name: String,
    #[serde(rename = "type")]
    ty: String,
}

impl Run {
    /// Calls the method, in engines unless the host is asked for, and writes its result.
    pub(crate) fn run(&self) -> Result<Ran, Failure> {
        archive::unless_writable(&self.output)?;
        let loaded = self.model.load()?;
        let values = loaded.place(archive::arguments(&self.given, &loaded, &self.model.inputs)?)?;
        let inputs = values.iter().map(inspect::type_text).collect();
        let method = &self.model.method;
        let result = tch::no_grad(|| -> Result<IValue, Failure> {
            if self.host {
                return Ok(loaded.host.run(&values)?);
            }
            loaded.compile(method, &super::leaves::copies(&values)?)?;
            Ok(switch::force_enabled(|| loaded.module.method_is(method, &values))?)
        })?;
        let (outputs, left_out) = leaves("output", &result)?;
        archive::write(&self.output, &outputs)?;
        let describe = |(name, t): &(String, tch::Tensor)| Output {
            name: name.clone(),
            ty: inspect::type_text(&IValue::Tensor(t.shallow_clone())),
        };
        Ok(Ran {
            model: self.model.model.display().to_string(),
            method: method.clone(),
            backend: if self.host { "host".into() } else { loaded.backend() },
            inputs,
            outputs: outputs.iter().map(describe).collect(),
            served: loaded.served().1,
            file: self.output.display().to_string(),
            left_out,
            notes: logging::warnings(),
        })
    }
}

impl Document for Ran {
    fn text(&self, style: Style) -> String {
        let rows: Vec<Vec<String>> =
            self.outputs.iter().map(|o| vec![o.name.clone(), o.ty.clone()]).collect();
        let mut out = format!("{} {} ({})\n", style.bold(&self.model), self.method, self.inputs.join(", "));
        out += &format!(
            "backend {}; engines served {}\n{}",
            self.backend,
            count(self.served, "call"),
            table(&rows)
        );
        if !self.left_out.is_empty() {
            let left_out = self.left_out.join(", ");
            out +=
                &format!("{} neither tensors nor numbers, not written: {left_out}\n", style.yellow("note:"));
        }
        for note in &self.notes {
            out += &format!("{} {note}\n", style.yellow("note:"));
        }
        out += &format!("written to {}\n", self.file);
        out
    }
}
