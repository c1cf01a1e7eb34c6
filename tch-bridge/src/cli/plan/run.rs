//! `tch-trt plan run`.

use super::super::failure::Failure;
use super::super::terminal::{Style, table};
use super::super::{Document, archive};
use super::{Source, told};
use crate::jit::words;
use crate::types::{dtype_of_kind, kind_of_dtype};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use tch::Tensor;
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
        for (name, tensor) in archive::read(&self.given)? {
            let value = literal(&tensor).map_err(|e| failed(&format!("`{name}`: {e}")))?;
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
            let sizes: Vec<i64> = port.ty.shape.iter().map(|&n| n as i64).collect();
            let tensor = Tensor::f_from_data_size(value.bytes(), &sizes, kind_of_dtype(port.ty.dtype));
            outputs.push((port.name.clone(), tensor.map_err(|e| failed(&words(&e)))?));
        }
        archive::write(&self.output, &outputs)?;
        let output = |p: &trt_subgraph::plan::Port| Output { name: p.name.clone(), ty: p.ty.to_string() };
        Ok(Ran {
            plan: self.source.plan.clone(),
            backend: backend.name(),
            outputs: plan.outputs().iter().map(output).collect(),
            file: self.output.display().to_string(),
        })
    }
}

/// The tensor's elements on the host, row-major.
fn literal(tensor: &Tensor) -> Result<Literal, String> {
    let kind = tensor.kind();
    let dtype = dtype_of_kind(kind).ok_or_else(|| format!("elements of type {kind:?} are not taken"))?;
    let shape: Vec<usize> = tensor.size().iter().map(|&n| n as usize).collect();
    let mut out = Literal::zeros(TensorType::new(dtype, shape));
    let dense = tch::no_grad(|| tensor.f_contiguous()).map_err(|e| words(&e))?;
    dense.f_copy_data_u8(out.bytes_mut(), dense.numel()).map_err(|e| words(&e))?;
    Ok(out)
}

impl Document for Ran {
    fn text(&self, style: Style) -> String {
        let rows: Vec<Vec<String>> =
            self.outputs.iter().map(|o| vec![o.name.clone(), o.ty.clone()]).collect();
        let mut out = format!("{} on {}\n{}", style.bold(&self.plan), self.backend, table(&rows));
        out += &format!("written to {}\n", self.file);
        out
    }
}
