//! Who runs what, and why: the report of a module.

mod text;

use crate::engine::{Built, ClusterEngine};
pub use crate::engine::{DifferingLayer, Kept, Parity};
use crate::jit::Module;
use crate::variant::{Builder, Stitched, Variant};
use crate::{Bounds, Error, Precision, env, notice, switch};
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use trt_subgraph::files;

/// What reports say where the switch is off.
pub(crate) const SWITCHED_OFF: &str = "engines are switched off in this process: the host serves every call (USE_TRT=1 or set_enabled switches them on)";

/// What is said of calls that autograd recorded.
pub(crate) const RECORDED: &str =
    "the host serves calls that record gradients or tangents; for inference use no_grad";

/// The report of a module. `Display` gives the text, [`Report::json`] the data, [`Report::svg`] the picture.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The backend and what it found on this machine, or why there is none.
    pub backend: String,
    /// Is the process's switch on? Where it is off, the host serves every call.
    pub enabled: bool,
    /// Calls that the host served whole, because they recorded gradients or tangents.
    pub recorded: u64,
    /// The sizes that engines are for, as the options say them; none where every size is.
    pub bounds: Vec<Bounds>,
    /// Calls, those of `compile` among them, whose sizes lay outside of the bounds: the host served them. Of a module that was loaded with
    /// its bounds the log tells.
    pub outside: u64,
    /// One for each compiled form of each method; empty before the first call with engines enabled.
    pub methods: Vec<MethodReport>,
    /// The engines that the module was loaded with.
    pub loaded: Vec<LoadedReport>,
}

/// How many calls were left to the host whole.
#[derive(Clone, Copy, Default)]
pub(crate) struct Left {
    /// They recorded gradients or tangents.
    pub(crate) recorded: u64,
    /// They lay outside of the bounds.
    pub(crate) outside: u64,
}

/// An engine that the module was loaded with.
#[derive(Clone, Debug, Serialize)]
pub struct LoadedReport {
    /// The attribute that holds it.
    pub attribute: String,
    /// What stands behind it; `None` where it could not be remade and the host serves.
    pub engine: Option<EngineReport>,
}

/// One compiled form of a method.
#[derive(Clone, Debug, Serialize)]
pub struct MethodReport {
    /// The method's name.
    pub method: String,
    /// Who runs its engines, in words; `None` until it is divided.
    #[serde(skip)]
    pub backend: Option<String>,
    /// What happened to it.
    pub state: State,
}

/// What happened to a method.
#[derive(Clone, Debug, Serialize)]
pub enum State {
    /// Engines are being built; the host serves.
    Building,
    /// It could not be compiled; the host serves.
    Failed(String),
    /// It is divided between engines and the host.
    Divided {
        /// The method's body first, then the bodies of its branches and loops that hold operators.
        blocks: Vec<BlockReport>,
        /// What stands behind each engine, in the order of the blocks' engines.
        engines: Vec<EngineReport>,
        /// Is it nothing but one engine, from its arguments to its one result?
        whole: bool,
        /// Time to divide, rewrite and build the first engines.
        build: Duration,
    },
}

/// One block of a method.
#[derive(Clone, Debug, Serialize)]
pub struct BlockReport {
    /// Engines, host operators with reasons, coverage.
    pub partition: partitioner::Report,
    /// The block as a self-contained SVG picture.
    #[serde(skip)]
    pub svg: String,
    /// The block in Graphviz's language.
    #[serde(skip)]
    pub dot: String,
}

/// What stands behind one engine.
#[derive(Clone, Debug, Serialize)]
pub struct EngineReport {
    /// Its method and number: `forward, engine 0`.
    pub name: String,
    /// Who runs it; `None` until the first call shows that.
    pub backend: Option<String>,
    /// What it computes in.
    pub precision: Precision,
    /// Calls that it served.
    pub served: u64,
    /// For how many shapes the module that was saved last holds it.
    pub embedded: u64,
    /// The shapes that it was asked for, newest first.
    pub shapes: Vec<ShapeReport>,
}

/// One shape of one engine.
#[derive(Clone, Debug, Serialize)]
pub struct ShapeReport {
    /// The types of the inputs.
    pub inputs: Vec<String>,
    /// Why the host serves this shape, if it does.
    pub refused: Option<String>,
    /// Layers that a call computes, before and after fusion.
    pub layers: (usize, usize),
    /// The steps of the engine, in order.
    pub steps: Vec<String>,
    /// Bytes of prepared weights.
    pub weight_bytes: usize,
    /// Are these those of another shape, prepared once?
    pub shares_weights: bool,
    /// Bytes of working memory.
    pub arena_bytes: usize,
    /// Time to build.
    pub build: Duration,
    /// What became of the plan that a saved module holds for this shape: `used`, or why the engine was built anew. `None` where it
    /// holds none.
    pub plan: Option<String>,
    /// What the guard of its precision found, where there was one.
    pub parity: Option<Parity>,
}

impl Report {
    pub(crate) fn new(
        builder: &Builder,
        methods: Vec<MethodReport>,
        loaded: Vec<LoadedReport>,
        left: Left,
    ) -> Report {
        let mut backends: Vec<String> = methods.iter().filter_map(|m| m.backend.clone()).collect();
        if backends.is_empty() {
            backends.push(builder.runners.of(tch::Device::Cpu, &builder.options).describe(&builder.options));
        }
        backends.dedup();
        let Left { recorded, outside } = left;
        Report {
            backend: backends.join("; "),
            enabled: switch::is_chosen(),
            recorded,
            bounds: builder.options.bounds.clone(),
            outside,
            methods,
            loaded,
        }
    }

    /// The report as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }

    /// A picture of the newest compiled form of `forward`, else of the first method; `None` when nothing is compiled yet.
    pub fn svg(&self) -> Option<&str> {
        let divided = |m: &&MethodReport| matches!(m.state, State::Divided { .. });
        let mut methods = self.methods.iter().filter(divided);
        let chosen = methods.clone().find(|m| m.method == "forward").or_else(|| methods.next())?;
        let State::Divided { blocks, .. } = &chosen.state else { return None };
        blocks.first().map(|b| b.svg.as_str())
    }

    /// The number of engines in all methods.
    pub fn engines(&self) -> usize {
        let count =
            |m: &MethodReport| if let State::Divided { engines, .. } = &m.state { engines.len() } else { 0 };
        self.methods.iter().map(count).sum()
    }

    /// Time to divide, rewrite and build the first engines, of all methods.
    pub fn build_time(&self) -> Duration {
        let time = |m: &MethodReport| {
            if let State::Divided { build, .. } = &m.state { *build } else { Duration::ZERO }
        };
        self.methods.iter().map(time).sum()
    }

    /// Writes the report: the picture where the path ends in `.svg`, JSON where it ends in `.json`, else text.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let text = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => self.svg().unwrap_or_default().to_string(),
            Some("json") => self.json(),
            _ => self.to_string(),
        };
        let fail = |source| Error::Io { path: path.to_owned(), source };
        files::write(path, |other| std::fs::write(other, &text).map_err(fail), fail)
    }
}

impl MethodReport {
    pub(crate) fn of(method: &str, variant: &Variant) -> MethodReport {
        let state = match variant.made.get() {
            None => State::Building,
            Some(Err(why)) => State::Failed(why.clone()),
            Some(Ok(stitched)) => divided(method, stitched),
        };
        let backend = variant.made.get().and_then(|m| m.as_ref().ok()).map(|s| s.backend.clone());
        MethodReport { method: method.to_string(), backend, state }
    }
}

impl LoadedReport {
    /// Those of a module.
    pub(crate) fn of(module: &Module) -> Vec<LoadedReport> {
        let one = |(attribute, engine): (String, std::sync::Arc<dyn crate::jit::HostEngine>)| LoadedReport {
            attribute,
            engine: engine.report(),
        };
        module.engines().into_iter().map(one).collect()
    }
}

impl EngineReport {
    pub(crate) fn of(cluster: &ClusterEngine) -> EngineReport {
        EngineReport {
            name: cluster.name().to_string(),
            backend: Some(cluster.backend().name().to_string()),
            precision: cluster.precision(),
            served: cluster.served(),
            embedded: cluster.kept.load(Ordering::Relaxed),
            shapes: cluster.specialisations().iter().map(|s| shape(s)).collect(),
        }
    }

    /// Of an engine that no call has come to.
    pub(crate) fn unused(name: String, precision: Precision) -> EngineReport {
        EngineReport { name, backend: None, precision, served: 0, embedded: 0, shapes: Vec::new() }
    }
}

fn divided(method: &str, stitched: &Stitched) -> State {
    let blocks = stitched.blocks.iter().enumerate().filter(|(at, (flow, _))| *at == 0 || !flow.is_empty());
    let blocks = blocks.map(|(at, (flow, partition))| {
        let title = if at == 0 { method.to_string() } else { format!("{method}, block {at}") };
        BlockReport {
            partition: partitioner::Report::new(flow, partition),
            svg: partitioner::picture(flow, partition, &title),
            dot: partitioner::dot(flow, partition),
        }
    });
    let engines = stitched.clusters.iter().map(|cluster| EngineReport::of(cluster));
    State::Divided {
        blocks: blocks.collect(),
        engines: engines.collect(),
        whole: stitched.whole.is_some(),
        build: stitched.build,
    }
}

fn shape(specialisation: &crate::engine::Specialisation) -> ShapeReport {
    let inputs = specialisation.entry.border.tensors.iter().map(ToString::to_string).collect();
    match &specialisation.outcome {
        Built::Refused(why) => ShapeReport {
            inputs,
            refused: Some(why.clone()),
            layers: (0, 0),
            steps: vec![],
            weight_bytes: 0,
            shares_weights: false,
            arena_bytes: 0,
            build: Duration::ZERO,
            plan: None,
            parity: None,
        },
        Built::Ready(ready) => {
            let info = ready.pool.info();
            ShapeReport {
                inputs,
                refused: None,
                layers: (ready.layers, ready.fused_layers),
                steps: info.steps.clone(),
                weight_bytes: info.weight_bytes,
                shares_weights: ready.shares_weights,
                arena_bytes: info.arena_bytes,
                build: ready.build,
                plan: ready.plan.clone(),
                parity: ready.parity.clone(),
            }
        }
    }
}

/// Writes the report of a method that was just compiled where `TRT_REPORT` says.
pub(crate) fn write_if_asked(builder: &Builder, method: &str, variant: &Variant) {
    let Some(path) = env::REPORT.text() else { return };
    let report = Report::new(builder, vec![MethodReport::of(method, variant)], Vec::new(), Left::default());
    if let Err(e) = report.write(path) {
        notice::once(format!("{}: {e}", env::REPORT.name));
    }
}
