//! `tch-trt inspect`: who runs what, and why not.

mod inspection;
mod page;
mod text;

use super::model::ModelArgs;
use super::spec::{Filling, Point};
use clap::Args;
use inspection::Inspection;
pub(crate) use inspection::type_text;
use std::path::{Path, PathBuf};
use trt_tool::Failure;
use trt_tool::logging;
use trt_tool::terminal::progress;

/// Arguments of `inspect`.
#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// Write a self-contained page with the graph
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the graph in Graphviz's language
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Inspect {
    /// Compiles the method for the inputs and describes what came of it.
    pub(crate) fn run(&self) -> Result<Inspection, Failure> {
        if self.html.is_some() && self.html == self.dot {
            return Err("--html and --dot name the same file".to_string().into());
        }
        for path in [&self.html, &self.dot].into_iter().flatten() {
            Failure::unless_writable(path)?;
        }
        let spinner = progress(0, "reading the model");
        let loaded = self.model.load()?;
        let values = self.model.values(&loaded, Filling::usual(0), Point::Opt)?;
        spinner.set_prefix("building engines");
        tch::no_grad(|| loaded.module.compile_method(&self.model.method, &values))?;
        let variant = loaded.module.newest(&self.model.method)?;
        let variant = variant.ok_or_else(|| {
            format!("the method cannot be prepared for engines: {}", logging::reason("nothing says why"))
        })?;
        let stitched = match variant.made.get() {
            Some(Ok(stitched)) => stitched,
            Some(Err(why)) => return Err(format!("the method could not be compiled: {why}").into()),
            None => return Err("the method is still being compiled".to_string().into()),
        };
        let inspection = Inspection::of(&self.model, &loaded, &values, stitched);
        if let Some(path) = &self.html {
            write(path, &page::page(&inspection, stitched))?;
        }
        if let Some(path) = &self.dot {
            write(path, &page::dot(stitched))?;
        }
        spinner.finish_and_clear();
        Ok(inspection)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    Failure::or_written(path, text)
}
