//! `tch-trt plan run`.

use super::{Source, told};
use crate::Document;
use crate::Failure;
use crate::archive::{self, Array, Element};
use crate::logging;
use crate::terminal::{Style, table};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use trt_subgraph::session::Session;
use trt_subgraph::{Literal, TensorType};

/// Arguments of `plan run`.
#[derive(Args)]
pub(super) struct Run {
    #[command(flatten)]
    source: Source,
    /// The inputs, .npz or .safetensors; tensors go to the inputs of their names
    #[arg(long = "inputs", value_name = "FILE")]
    given: PathBuf,
    /// Where the outputs go, .npz or .safetensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What was run.
#[derive(Serialize)]
pub(super) struct Ran {
    plan: String,
    backend: &'static str,
    outputs: Vec<Output>,
    /// Where the outputs went.
    file: String,
    /// What was warned of, such as an engine in the plan that is of another machine.
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
    pub(super) fn run(&self) -> Result<Ran, Failure> {
        archive::unless_writable(&self.output)?;
        let plan = self.source.open()?;
        let backend = self.source.backend(&plan)?;
        let session = Session::new(&plan, backend, &self.source.options(&plan));
        let mut session = session.map_err(|e| told(&self.source.plan, e))?;
        let failed = |e: &dyn std::fmt::Display| Failure::file(&self.given, e);
        let mut missing: Vec<&str> = plan.inputs().iter().map(|p| p.name.as_str()).collect();
        for (name, array) in archive::read(&self.given)? {
            // What NumPy calls arrays that were given none.
            let numbered = || plan.inputs().get(name.strip_prefix("arr_")?.parse::<usize>().ok()?);
            let name = match plan.inputs().iter().any(|p| p.name == name) {
                true => name,
                false => numbered().map_or(name, |p| p.name.clone()),
            };
            let value = literal(&array).ok_or_else(|| {
                failed(&format!("`{name}`: elements of type {} are not taken", array.element()))
            })?;
            session.set(&name, &value).map_err(|e| failed(&e))?;
            missing.retain(|m| *m != name);
        }
        if !missing.is_empty() {
            return Err(failed(&format!("no tensor for {}", missing.join(", "))));
        }
        session.run().map_err(|e| told(&self.source.plan, e))?;
        let mut outputs = Vec::new();
        for port in plan.outputs() {
            let value = session.get(&port.name).map_err(|e| told(&self.source.plan, e))?;
            let element = Element::Real(port.ty.dtype);
            let array = Array::new(element, port.ty.shape.to_vec(), value.bytes().to_vec());
            outputs.push((port.name.clone(), array.expect("a literal has the bytes of its type")));
        }
        archive::write(&self.output, &outputs)?;
        let output = |p: &trt_subgraph::plan::Port| Output { name: p.name.clone(), ty: p.ty.to_string() };
        Ok(Ran {
            plan: self.source.plan.clone(),
            backend: backend.name(),
            outputs: plan.outputs().iter().map(output).collect(),
            file: self.output.display().to_string(),
            notes: logging::warnings(),
        })
    }
}

/// The same tensor as a plan takes it; `None` of elements that no plan takes.
fn literal(array: &Array) -> Option<Literal> {
    let Element::Real(dtype) = array.element() else { return None };
    Literal::from_bytes(TensorType::new(dtype, array.shape()), array.bytes())
}

impl Document for Ran {
    fn text(&self, style: Style) -> String {
        let rows: Vec<Vec<String>> =
            self.outputs.iter().map(|o| vec![o.name.clone(), o.ty.clone()]).collect();
        let mut out = format!("{} on {}\n{}", style.bold(&self.plan), self.backend, table(&rows));
        for note in &self.notes {
            out += &format!("{} {note}\n", style.yellow("note:"));
        }
        out += &format!("written to {}\n", self.file);
        out
    }
}
