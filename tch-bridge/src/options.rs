//! How a module is compiled.

use crate::env::{self, EnvError};
use crate::{Bounds, jit};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use trt_subgraph::DType;
use trt_subgraph::backend::Level;
use trt_subgraph::backend::cpu::Isa;

/// Who runs the engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum BackendChoice {
    /// The fastest one that works here.
    #[default]
    Auto,
    /// oneDNN and fused loops.
    Cpu,
    /// Kernels made for the GPU that the tensors are on.
    Cuda,
    /// The slow, obvious definition of every layer; for checking.
    Reference,
}

impl BackendChoice {
    /// As `TRT_BACKEND` takes it.
    pub fn name(self) -> &'static str {
        match self {
            BackendChoice::Auto => "auto",
            BackendChoice::Cpu => "cpu",
            BackendChoice::Cuda => "cuda",
            BackendChoice::Reference => "reference",
        }
    }
}

impl FromStr for BackendChoice {
    type Err = ();

    fn from_str(s: &str) -> Result<BackendChoice, ()> {
        let all = [BackendChoice::Auto, BackendChoice::Cpu, BackendChoice::Cuda, BackendChoice::Reference];
        all.into_iter().find(|choice| choice.name() == s).ok_or(())
    }
}

/// What engines compute in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Precision {
    /// The element types that the model has.
    #[default]
    Model,
    /// f16 for what the model computes in f32; sums, and what may leave f16's range, stay in f32.
    F16,
    /// bf16 for what the model computes in f32; sums stay in f32.
    BF16,
}

impl Precision {
    /// As `TRT_PRECISION` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Model => "model",
            Precision::F16 => "f16",
            Precision::BF16 => "bf16",
        }
    }

    /// The element type in place of f32.
    pub(crate) fn dtype(self) -> Option<DType> {
        match self {
            Precision::Model => None,
            Precision::F16 => Some(DType::F16),
            Precision::BF16 => Some(DType::BF16),
        }
    }
}

impl FromStr for Precision {
    type Err = ();

    fn from_str(s: &str) -> Result<Precision, ()> {
        [Precision::Model, Precision::F16, Precision::BF16].into_iter().find(|p| p.name() == s).ok_or(())
    }
}

/// Holding engines in fewer bits against f32, on sample inputs, when they are built: those of the call that asks for the engine, else random
/// ones. Read from `0.01`, or `0.01,tell`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct ParityGuard {
    /// How far a result may be off: the largest difference as a part of the largest magnitude; of integers the part that differs.
    pub tolerance: f64,
    /// Keep layers that differ in f32. Otherwise they are only named, in the log and the report.
    pub keep: bool,
}

impl FromStr for ParityGuard {
    type Err = ();

    fn from_str(s: &str) -> Result<ParityGuard, ()> {
        let (number, keep) = match s.split_once(',') {
            Some((number, word)) if word.trim() == "tell" => (number, false),
            Some(_) => return Err(()),
            None => (s, true),
        };
        let tolerance: f64 = number.trim().parse().map_err(drop)?;
        if tolerance >= 0.0 && tolerance.is_finite() { Ok(ParityGuard { tolerance, keep }) } else { Err(()) }
    }
}

/// Where a saved module keeps the weights of its engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SavedWeights {
    /// In the module's parameters, once: engines are built anew where it is loaded.
    #[default]
    Reference,
    /// Beside them as engines prepared them, too: a machine of the same kind starts at once, and the file is larger. Elsewhere, and
    /// where the parameters have changed since, engines are built anew.
    Embed,
}

/// How a module is compiled. `Options::default()` is what most callers want; fields that stay `None` follow the environment.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Who runs the engines; `None` follows `TRT_BACKEND`.
    pub backend: Option<BackendChoice>,
    /// What engines compute in; `None` follows `TRT_PRECISION`. Arguments and results keep their types whatever it is.
    pub precision: Option<Precision>,
    /// Hold engines in fewer bits against f32; `None` follows `TRT_PARITY_GUARD`.
    pub guard: Option<ParityGuard>,
    /// How much is tried to find the fastest way of running each layer; `None` follows `TRT_LEVEL`.
    pub level: Option<Level>,
    /// The fewest computing operators of a cluster; `None` follows `TRT_MIN_BLOCK_SIZE`, then the backend's policy, which takes three, or fewer
    /// with a large product.
    pub min_block_size: Option<usize>,
    /// Keep every legal cluster, whatever the cost model says of it.
    pub take_all: bool,
    /// Operators that stay on the host (`aten::gelu`, or one overload: `aten::add.Tensor`), added to `TRT_EXCLUDE_OPS`.
    pub exclude_ops: Vec<String>,
    /// Submodules whose nodes stay on the host, by the paths of their attributes: `layer4`, `encoder.layers.0`. What a submodule
    /// of these calls stays there too.
    pub exclude_modules: Vec<String>,
    /// Build engines inside the call that needs them. Otherwise they are built in the background and the host serves meanwhile.
    pub wait: bool,
    /// How many input shapes of a cluster are kept built; the least recently used one goes first.
    pub specialisations: usize,
    /// The sizes of arguments that engines are for; the host serves calls outside of them, and the log says so once. Of several bounds of
    /// one argument any suffices, whatever the sizes of other arguments are; arguments without bounds may have any size.
    pub bounds: Vec<Bounds>,
    /// Where saved modules keep the weights of engines.
    pub weights: SavedWeights,
    /// Threads of one call on the CPU engine; 0 follows torch's intra-op threads.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            backend: None,
            precision: None,
            guard: None,
            level: None,
            min_block_size: None,
            take_all: false,
            exclude_ops: Vec::new(),
            exclude_modules: Vec::new(),
            wait: false,
            specialisations: 16,
            bounds: Vec::new(),
            weights: SavedWeights::Reference,
            threads: 0,
        }
    }
}

impl Options {
    /// The defaults, with engines built inside the call that needs them.
    pub fn waiting() -> Options {
        Options { wait: true, ..Options::default() }
    }

    /// The options with the environment filled in.
    pub(crate) fn resolved(&self) -> Result<Options, EnvError> {
        let mut out = self.clone();
        if out.backend.is_none() {
            out.backend = Some(env::BACKEND.read()?.unwrap_or_default());
        }
        if out.precision.is_none() {
            out.precision = Some(env::PRECISION.read()?.unwrap_or_default());
        }
        if out.guard.is_none() {
            out.guard = env::PARITY_GUARD.read()?;
        }
        if out.level.is_none() {
            out.level = Some(env::LEVEL.read()?.unwrap_or_default());
        }
        if out.min_block_size.is_none() {
            let least: Option<std::num::NonZeroUsize> = env::MIN_BLOCK_SIZE.read()?;
            out.min_block_size = least.map(Into::into);
        }
        // Read by the CPU engine itself; a word that it does not know is told here.
        env::CPU_ISA.read::<Isa>()?;
        let listed = env::EXCLUDE_OPS.text().unwrap_or_default();
        out.exclude_ops.extend(listed.split(',').map(str::trim).filter(|s| !s.is_empty()).map(String::from));
        out.specialisations = out.specialisations.max(1);
        Ok(out)
    }

    /// How many threads a call on the CPU engine takes now.
    pub(crate) fn threads_of_a_call(&self) -> usize {
        if self.threads == 0 { tch::get_num_threads().max(1) as usize } else { self.threads }
    }

    /// What is to be told of each operator that is to stay on the host and that torch does not have.
    pub(crate) fn unknown_ops(&self) -> impl Iterator<Item = String> {
        self.exclude_ops.iter().filter(|op| !jit::operator_exists(op)).map(|op| {
            let like = jit::like_operator(op);
            format!("{op} is to stay on the host, but torch has no such operator{like}")
        })
    }

    /// Does the user keep this operator on the host?
    pub(crate) fn excludes(&self, op: &str) -> bool {
        self.exclude_ops
            .iter()
            .any(|e| op == e || op.strip_prefix(e.as_str()).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The submodule that the user keeps on the host, where this one is it or is in it.
    pub(crate) fn excluded_module(&self, path: &str) -> Option<&str> {
        let within =
            |e: &str| path.strip_prefix(e).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.exclude_modules.iter().find(|e| within(e)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_is_by_name_or_overload() {
        let o = Options {
            exclude_ops: vec!["aten::add".into(), "aten::mul.Tensor".into()],
            ..Options::default()
        };
        assert!(o.excludes("aten::add.Tensor") && o.excludes("aten::add") && o.excludes("aten::mul.Tensor"));
        assert!(!o.excludes("aten::addmm") && !o.excludes("aten::mul.Scalar"));
    }

    #[test]
    fn a_guard_is_a_tolerance_and_keeps_unless_told_not_to() {
        assert_eq!("0.01".parse(), Ok(ParityGuard { tolerance: 0.01, keep: true }));
        assert_eq!("1e-3, tell".parse(), Ok(ParityGuard { tolerance: 1e-3, keep: false }));
        for bad in ["", "-1", "nan", "inf", "0.01,keep", "tell"] {
            assert_eq!(bad.parse::<ParityGuard>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_submodule_is_left_out_with_all_that_is_in_it() {
        let o = Options { exclude_modules: vec!["layer1.0".into()], ..Options::default() };
        assert!(["layer1.0", "layer1.0.conv"].iter().all(|path| o.excluded_module(path) == Some("layer1.0")));
        assert!(["layer1", "layer1.01", ""].iter().all(|path| o.excluded_module(path).is_none()));
    }
}
