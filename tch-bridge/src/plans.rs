//! Engines as files of their own, which `tch-trt plan` and the crate `trt_subgraph` run without libtorch.

use crate::engine::Entry;
use crate::jit::ValueId;
use crate::{Error, TrtModule};
use std::path::{Path, PathBuf};
use trt_subgraph::{DType, TensorType};

/// The longest name of a file without the end that tells it from another.
const LONGEST: usize = 120;

impl TrtModule {
    /// Writes each engine that has been built so far as a plan (`docs/plan-format.md`), `engine-N-SHAPES.plan`, one for each shape
    /// that it was built for, into a folder, which is made where it is not there; gives the files. A plan holds its weights, and the
    /// engine where the backend saves any. Inputs that are arguments of the method have their names.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written or an engine makes no plan.
    pub fn write_plans(&self, folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
        let folder = folder.as_ref();
        let io = |path: &Path, source| Error::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(|e| io(folder, e))?;
        let mut written: Vec<PathBuf> = Vec::new();
        let mut number = 0;
        for state in self.states() {
            let arguments: Vec<String> = self.arguments(&state.name)?.into_iter().map(|a| a.name).collect();
            for form in state.forms().iter().rev() {
                let Some(stitched) = form.ready() else { continue };
                let body = form.graph.facts()?.blocks.swap_remove(0);
                for (at, cluster) in stitched.clusters.iter().enumerate() {
                    let names = names(&body.inputs[1..], stitched.inputs(at), &arguments);
                    for entry in cluster.ready_for().iter().rev() {
                        let path = free(folder, &format!("engine-{number}-{}", shapes(entry)), &written);
                        let plan = cluster.plan(entry, &names);
                        let plan = plan.map_err(|why| io(&path, std::io::Error::other(why)))?;
                        plan.save(&path).map_err(|e| io(&path, std::io::Error::other(e)))?;
                        written.push(path);
                    }
                    number += 1;
                }
            }
        }
        Ok(written)
    }
}

/// The names of an engine's inputs, given the method's: arguments by name, others as `input0`, by their places.
fn names(method: &[ValueId], engine: &[ValueId], arguments: &[String]) -> Vec<String> {
    let argument = |value: &ValueId| arguments.get(method.iter().position(|m| m == value)?).cloned();
    let name = |(at, value)| {
        let other = format!("input{at}");
        let taken = arguments.contains(&other);
        argument(value).unwrap_or(if taken { format!("{other}_") } else { other })
    };
    engine.iter().enumerate().map(name).collect()
}

/// `8x3x224x224-i64_8x128`: the shapes of the inputs, with element types other than f32, then numbers.
fn shapes(entry: &Entry) -> String {
    let one = |ty: &TensorType| {
        let sizes: Vec<String> = ty.shape.iter().map(usize::to_string).collect();
        let sizes = if sizes.is_empty() { "scalar".to_string() } else { sizes.join("x") };
        if ty.dtype == DType::F32 { sizes } else { format!("{}_{sizes}", ty.dtype) }
    };
    let tensors = entry.border.tensors.iter().map(one);
    let mut text = tensors.chain(entry.border.ints.iter().map(i64::to_string)).collect::<Vec<_>>().join("-");
    text.truncate(LONGEST);
    if text.is_empty() { "constant".to_string() } else { text }
}

/// The path of a plan that is not among these, which differ in more than names tell.
fn free(folder: &Path, name: &str, taken: &[PathBuf]) -> PathBuf {
    let path = |end: &str| folder.join(format!("{name}{end}.plan"));
    let mut all = std::iter::once(path("")).chain((2..).map(|n| path(&format!("-{n}"))));
    all.find(|path| !taken.contains(path)).expect("numbers do not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use trt_subgraph::source::Border;

    #[test]
    fn names_tell_shapes_and_differ() {
        let tensors = vec![TensorType::new(DType::F32, [1, 3, 8]), TensorType::new(DType::I64, [])];
        let border = Border { tensors, ints: vec![7], parameters: vec![] };
        let entry = Entry { border, orders: vec![], tf32: Default::default() };
        assert_eq!(shapes(&entry), "1x3x8-i64_scalar-7");
        let first = free(Path::new("d"), "a", &[]);
        assert_eq!(free(Path::new("d"), "a", &[first]), Path::new("d/a-2.plan"));
    }
}
