//! What the commands on a model share: its file, its inputs, the options of its engines.

use super::failure;
use super::leaves::map_tensors;
use super::spec::{Filling, InputSpec, Point};
use crate::jit::{self, Argument, Method, Module};
use crate::nearest::suggestion;
use crate::report::{EngineReport, State};
use crate::{BackendChoice, Level, Options, ParityGuard, Precision, TrtModule, env, saved};
use clap::Args;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use partitioner::Coverage;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tch::{Device, IValue, Kind, Tensor};
use trt_tool::{Failure, logging};

/// A model and the inputs to call it with.
#[derive(Args)]
pub(crate) struct ModelArgs {
    /// A TorchScript file, traced or scripted
    pub(crate) model: PathBuf,
    /// One argument of the method: (1,3,224,224)@f16%channels_last, tokens=(1,128)@i64[0,30522), 0.5, JSON of these
    #[arg(short, long = "input", value_name = "SPEC", allow_hyphen_values = true)]
    pub(crate) inputs: Vec<InputSpec>,
    /// A shared library with custom operators or classes of the model; may be repeated
    #[arg(long = "library", value_name = "FILE")]
    libraries: Vec<PathBuf>,
    /// The method to call
    #[arg(long, default_value = "forward")]
    pub(crate) method: String,
    /// Where the model and its inputs are: cpu, cuda or cuda:N
    #[arg(long, value_parser = device, value_name = "DEVICE", default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    pub(crate) engines: EngineArgs,
}

fn device(text: &str) -> Result<Device, String> {
    let wrong = || "it takes: cpu, cuda, cuda:N".to_string();
    let device = match text.split_once(':') {
        None if text == "cpu" => return Ok(Device::Cpu),
        None if text == "cuda" => 0,
        Some(("cuda", index)) => index.parse().map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    match tch::Cuda::device_count() {
        0 => Err("libtorch finds no GPU on this machine".into()),
        count if device >= count as usize => Err(format!("libtorch finds {count} GPUs, counted from 0")),
        _ => Ok(Device::Cuda(device)),
    }
}

/// How engines are made.
#[derive(Args)]
pub(crate) struct EngineArgs {
    /// Who runs the engines
    #[arg(long, value_parser = backend_choice, value_name = "NAME")]
    backend: Option<BackendChoice>,
    /// What engines compute in where the model has f32: model, f16 or bf16
    #[arg(long, value_parser = precision, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
    /// Hold engines of that precision against f32 and keep layers that are off by more in f32, as a part of the largest magnitude: 0.01; with
    /// 0.01,tell only name them
    #[arg(long, value_parser = guard, value_name = "TOL")]
    parity_guard: Option<ParityGuard>,
    /// How much is tried to find the fastest way of running a layer: 0 times nothing, 2 times everything
    #[arg(long, value_parser = level, value_name = "0..2")]
    level: Option<Level>,
    /// Clusters with fewer computing operators stay on the host
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    min_block_size: Option<u32>,
    /// An operator that stays on the host, such as aten::gelu or aten::add.Tensor
    #[arg(long = "exclude-op", value_name = "OP")]
    exclude_ops: Vec<String>,
    /// A submodule whose nodes stay on the host, such as layer4 or encoder.layers.0; may be repeated
    #[arg(long = "exclude-module", value_name = "PATH")]
    exclude_modules: Vec<String>,
    /// Take every legal cluster, whatever the cost model says
    #[arg(long)]
    take_all: bool,
    /// Threads of one call, on the host and in engines; 0 leaves torch's default
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=256))]
    pub(crate) threads: u32,
}

fn backend_choice(text: &str) -> Result<BackendChoice, String> {
    text.parse().map_err(|()| format!("it takes: {}", env::BACKEND.values))
}

fn precision(text: &str) -> Result<Precision, String> {
    text.parse().map_err(|()| format!("it takes: {}", env::PRECISION.values))
}

fn guard(text: &str) -> Result<ParityGuard, String> {
    text.parse().map_err(|()| format!("it takes: {}", env::PARITY_GUARD.values))
}

fn level(text: &str) -> Result<Level, String> {
    text.parse().map_err(|()| format!("it takes: {}", env::LEVEL.values))
}

impl EngineArgs {
    /// What is asked for here or by the environment.
    fn chosen_precision(&self) -> Result<Precision, Failure> {
        Ok(match self.precision {
            Some(precision) => precision,
            None => env::PRECISION.read().map_err(crate::Error::from)?.unwrap_or_default(),
        })
    }

    /// Do options say how engines are made?
    pub(crate) fn says_how(&self) -> bool {
        let excludes = !self.exclude_ops.is_empty() || !self.exclude_modules.is_empty();
        let chosen = self.backend.is_some() || self.precision.is_some() || self.level.is_some();
        chosen || self.parity_guard.is_some() || self.min_block_size.is_some() || excludes || self.take_all
    }

    /// As options whose engines are built inside the call that needs them. Sets torch's number of threads.
    pub(crate) fn options(&self) -> Options {
        if self.threads > 0 {
            tch::set_num_threads(self.threads as i32);
        }
        Options {
            backend: self.backend,
            precision: self.precision,
            guard: self.parity_guard,
            level: self.level,
            min_block_size: self.min_block_size.map(|n| n as usize),
            take_all: self.take_all,
            exclude_ops: self.exclude_ops.clone(),
            exclude_modules: self.exclude_modules.clone(),
            threads: self.threads as usize,
            ..Options::waiting()
        }
    }
}

/// Why engines that came with a file did not serve, where no warning says it.
const UNFIT: &str = "the file was compiled for arguments of other element types, ranks or orders in memory, or for other branches";
/// Why a file without engines has none.
const NONE: &str = "the file has no engine: when it was compiled nothing was taken; `tch-trt inspect` of the model that it was made from tells why";

/// A loaded model.
pub(crate) struct Loaded {
    pub(crate) module: TrtModule,
    pub(crate) device: Device,
    /// The host's own form of the method.
    pub(crate) host: Method,
    pub(crate) arguments: Vec<Argument>,
    /// The method is called through the engines that came with the file, rather than through others that are made for it.
    pub(crate) as_saved: bool,
    /// The element type in which engines compute what the model has in f32, where it is another.
    pub(crate) narrow: Option<Kind>,
}

impl Loaded {
    /// The values, defaults where there are none, with their tensors on the model's device.
    pub(crate) fn place(&self, values: Vec<Option<IValue>>) -> Result<Vec<IValue>, Failure> {
        let mut to = |t: &Tensor| t.f_to_device(self.device);
        let defaults = self.host.defaults()?;
        let mut one =
            |(v, usual): (&Option<IValue>, &IValue)| map_tensors(v.as_ref().unwrap_or(usual), &mut to);
        Ok(values.iter().zip(&defaults).map(&mut one).collect::<Result<_, _>>()?)
    }

    /// Returns when the work on the model's device is done.
    pub(crate) fn synchronize(&self) {
        if let Device::Cuda(at) = self.device {
            tch::Cuda::synchronize(at as i64);
        }
    }

    /// Makes engines for such a call, unless those that came with the file serve, which are built in the call.
    pub(crate) fn compile(&self, method: &str, values: &[IValue]) -> Result<(), Failure> {
        if !self.as_saved {
            tch::no_grad(|| self.module.compile_method(method, values))?;
        }
        Ok(())
    }

    /// Who runs engines here, in words.
    pub(crate) fn backend(&self) -> String {
        if self.as_saved { self.module.backend_on(self.device) } else { self.module.report().backend }
    }

    /// Time to divide and build engines.
    pub(crate) fn build_time(&self) -> Duration {
        match self.as_saved {
            true => self.saved_engines().iter().flat_map(|e| &e.shapes).map(|s| s.build).sum(),
            false => self.module.report().build_time(),
        }
    }

    /// What stands behind the engines that came with the file, where they serve.
    pub(crate) fn saved_engines(&self) -> Vec<EngineReport> {
        let all = if self.as_saved { self.module.report().loaded } else { Vec::new() };
        all.into_iter().filter_map(|loaded| loaded.engine).collect()
    }

    /// Why no engine of the file serves.
    pub(crate) fn unserved(&self) -> String {
        if self.module.report().loaded.is_empty() { NONE.to_string() } else { logging::reason(UNFIT) }
    }

    /// What engines hold of the method, its compiled forms added up; `None` where there is none, and of engines that came with the file.
    pub(crate) fn coverage(&self, method: &str) -> Option<Coverage> {
        let report = self.module.report();
        let mut all: Option<Coverage> = None;
        for form in report.methods.iter().filter(|m| m.method == method && !self.as_saved) {
            let State::Divided { blocks, .. } = &form.state else { continue };
            blocks.iter().for_each(|b| *all.get_or_insert_default() += b.partition.coverage);
        }
        all
    }

    /// How many engines there are, and how many calls they served.
    pub(crate) fn served(&self) -> (usize, u64) {
        if self.as_saved {
            let engines = self.saved_engines();
            return (engines.len(), engines.iter().map(|e| e.served).sum());
        }
        let report = self.module.report();
        let of = |state: &State| match state {
            State::Divided { engines, .. } => engines.iter().map(|e| e.served).sum(),
            _ => 0,
        };
        (report.engines(), report.methods.iter().map(|m| of(&m.state)).sum())
    }
}

/// Opens a library for good: what it registers with torch stays.
fn open_library(path: &Path) -> Result<(), Failure> {
    // A bare name is looked for among the system's libraries, and a file of that name is meant.
    let file = std::path::absolute(path).ok().filter(|file| file.is_file());
    // SAFETY: the library's initialisers run, which is what the user asks for.
    let library = unsafe { Library::open(Some(file.as_deref().unwrap_or(path)), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(library.map_err(|e| failure::of_library(path, &e))?);
    Ok(())
}

/// The host's form of a method; one that changes the state of its module has a module of its own, so that the engines' calls
/// and the host's do not meet each other's traces.
fn host_of(module: &Module, method: &str) -> Result<Method, Failure> {
    let own = module.method(method)?;
    match module.prepare(method).and_then(|graph| graph.facts()) {
        Ok(facts) if !facts.repeatable => Ok(module.deep_copy()?.method(method)?),
        _ => Ok(own),
    }
}

impl ModelArgs {
    pub(crate) fn is_on_gpu(&self) -> bool {
        self.device != Device::Cpu
    }

    /// The options that make such engines on another model.
    pub(crate) fn repeat(&self) -> String {
        let mut options = String::new();
        if let Device::Cuda(at) = self.device {
            options += &format!(" --device cuda:{at}");
        }
        if let Some(backend) = self.engines.backend {
            options += &format!(" --backend {}", backend.name());
        }
        if let Some(precision) = self.engines.precision {
            options += &format!(" --precision {}", precision.name());
        }
        if let Some(level) = self.engines.level {
            options += &format!(" --level {}", u8::from(level));
        }
        if self.engines.threads > 0 {
            options += &format!(" --threads {}", self.engines.threads);
        }
        options
    }

    /// Reads the model and puts it into evaluation mode.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        self.load_with(|_, _| ())
    }

    /// As [`ModelArgs::load`], with further options, which may depend on the method's arguments.
    pub(crate) fn load_with(&self, more: impl FnOnce(&mut Options, &[Argument])) -> Result<Loaded, Failure> {
        self.libraries.iter().try_for_each(|path| open_library(path))?;
        if let Some(op) = self.engines.exclude_ops.iter().find(|op| !jit::operator_exists(op)) {
            let like = jit::like_operator(op);
            let form = "a name is like aten::gelu or aten::add.Tensor";
            return Err(format!("--exclude-op {op}: torch has no such operator ({form}){like}").into());
        }
        if self.engines.parity_guard.is_some() && self.engines.chosen_precision()? == Precision::Model {
            let why = "--parity-guard holds engines in fewer bits against f32: it goes with --precision f16 or bf16";
            return Err(why.to_string().into());
        }
        let mut options = self.engines.options();
        let read = TrtModule::read_host(&self.model, Some(self.device))?;
        let methods = saved::own_methods(&read);
        if !methods.contains(&self.method) {
            let like = suggestion(&self.method, methods.iter().map(String::as_str));
            let (method, all) = (&self.method, methods.join(", "));
            return Err(format!("the model has no method `{method}`; there are: {all}{like}").into());
        }
        more(&mut options, &read.method(&saved::host_method(&read, &self.method))?.arguments());
        let module = TrtModule::of(read, &options)?;
        module.set_eval()?;
        let host = host_of(module.host_module(), &module.host_method_name(&self.method))?;
        let arguments = host.arguments();
        let as_saved = module.was_loaded(&self.method)? && !self.engines.says_how();
        let mut loaded = Loaded { module, device: self.device, host, arguments, as_saved, narrow: None };
        let precision = match as_saved {
            true => loaded.saved_engines().iter().map(|e| e.precision).find(|p| *p != Precision::Model),
            false => Some(self.engines.chosen_precision()?),
        };
        loaded.narrow = match precision.unwrap_or_default() {
            Precision::Model => None,
            Precision::F16 => Some(Kind::Half),
            Precision::BF16 => Some(Kind::BFloat16),
        };
        Ok(loaded)
    }

    /// Random arguments of the specs' shapes.
    pub(crate) fn values(
        &self,
        model: &Loaded,
        filling: Filling,
        point: Point,
    ) -> Result<Vec<IValue>, Failure> {
        model.place(tch::no_grad(|| filling.values(&self.inputs, &model.arguments, point))?)
    }
}
