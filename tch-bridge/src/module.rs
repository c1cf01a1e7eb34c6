//! The module that users hold: torch's module, with engines in its place where that is possible and switched on.

use crate::backend::Runners;
use crate::engine::ClusterEngine;
use crate::jit::{Argument, Initial, JitError, Module};
use crate::method::MethodState;
use crate::report::{Left, LoadedReport};
use crate::saved;
use crate::variant::Builder;
#[cfg(feature = "tool")]
use crate::variant::Variant;
use crate::{Error, Options, Report, notice, unmet};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use tch::nn::VarStore;
use tch::{CModule, Device, IValue, Tensor};
use trt_subgraph::files;

const FORWARD: &str = "forward";

/// A TorchScript module whose subgraphs run in engines while engines are [enabled](crate::set_enabled).
///
/// Nothing is compiled before the first call. That call runs on the host, which shows element types and shapes; the graph is
/// then divided and engines are built, in the background or, with [`Options::wait`], before the call returns. Later calls run
/// in engines; a new shape has an engine of its own built in the same way. Whatever an engine cannot serve, the host does, with
/// its own answer: calls that record gradients, tensors on other devices, operators that are not supported.
///
/// A module may be called from several threads at once.
///
/// [`TrtModule::save`] writes the module with its engines. A module that was loaded with engines is called through them;
/// what they were not compiled for, the host serves, unless [`TrtModule::compile`] compiles it anew.
pub struct TrtModule {
    host: Arc<Module>,
    builder: Builder,
    forward: Option<Arc<MethodState>>,
    methods: RwLock<HashMap<String, Arc<MethodState>>>,
}

impl TrtModule {
    /// Reads a TorchScript file, traced or scripted.
    ///
    /// # Errors
    /// [`Error::Torch`] when the file cannot be read; [`Error::Load`] when it is not TorchScript, is damaged or calls an
    /// unknown operator;
    /// [`Error::Environment`], [`Error::Backend`], [`Error::Submodule`] and [`Error::Bounds`] when the options cannot be met.
    pub fn load(path: impl AsRef<Path>, options: &Options) -> Result<TrtModule, Error> {
        TrtModule::read(path.as_ref(), None, options)
    }

    /// As [`TrtModule::load`], with all parameters and buffers put on this device.
    ///
    /// # Errors
    /// As [`TrtModule::load`]; [`Error::Load`] also where torch cannot use the device.
    pub fn load_on_device(
        path: impl AsRef<Path>,
        device: Device,
        options: &Options,
    ) -> Result<TrtModule, Error> {
        TrtModule::read(path.as_ref(), Some(device), options)
    }

    fn read(path: &Path, device: Option<Device>, options: &Options) -> Result<TrtModule, Error> {
        TrtModule::of(TrtModule::read_host(path, device)?, options)
    }

    pub(crate) fn read_host(path: &Path, device: Option<Device>) -> Result<Module, Error> {
        Module::load(path, device).map_err(|source| match source {
            JitError::Io { .. } => Error::Torch(source),
            _ => Error::Load { path: path.to_owned(), source },
        })
    }

    /// Puts engines into an existing module. Parameters and buffers stay shared with every other handle to it: a change that
    /// is made through one is seen by all.
    ///
    /// # Errors
    /// [`Error::Environment`], [`Error::Backend`], [`Error::Submodule`] and [`Error::Bounds`] when the options cannot be met.
    pub fn wrap(module: CModule, options: &Options) -> Result<TrtModule, Error> {
        TrtModule::of(Module::share(&module), options)
    }

    /// Records tch code as a module. The variables of `vs` become its parameters *by identity*, under their names, so that an
    /// optimiser step on them is a step of this module; so do other tensors that the code uses and somebody holds, as `captured_0` and so on. Control flow, sizes and the mode (`forward_t(x, false)` is that of evaluation) are
    /// recorded as they are for `inputs`.
    ///
    /// # Errors
    /// [`Error::Torch`] when the code panics or torch's tracer raises; else as [`TrtModule::wrap`].
    pub fn trace<F>(
        vs: &VarStore,
        inputs: &[Tensor],
        mut code: F,
        options: &Options,
    ) -> Result<TrtModule, Error>
    where
        F: FnMut(&[Tensor]) -> Tensor,
    {
        let mut attributes: Vec<(String, Initial)> = Vec::new();
        let trainable: Vec<Tensor> = vs.trainable_variables();
        for (name, tensor) in vs.variables() {
            let trains = trainable.iter().any(|t| t.as_ptr() == tensor.as_ptr()) || tensor.requires_grad();
            attributes
                .push((name, if trains { Initial::Parameter(tensor) } else { Initial::Buffer(tensor) }));
        }
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        let traced =
            Module::trace(FORWARD, inputs, &attributes, |xs| Ok::<_, std::convert::Infallible>(code(xs)))?;
        traced.set_training(false)?;
        let training = traced.method(FORWARD)?.training_operators();
        if !training.is_empty() {
            let names = training.join(", ");
            log::warn!(
                "{FORWARD}: traced in training mode, in which {names} will stay; for inference trace it in evaluation mode"
            );
        }
        let mut module = TrtModule::of(traced, options)?;
        let bounds = &module.builder.options.bounds;
        module.forward = Some(Arc::new(MethodState::new(&module.host, FORWARD, bounds, true)?));
        Ok(module)
    }

    pub(crate) fn of(host: Module, options: &Options) -> Result<TrtModule, Error> {
        let options = options.resolved()?;
        crate::is_enabled()?;
        options.unknown_ops().for_each(notice::once);
        unmet::submodules(&host, &options)?;
        unmet::bounds(&host, &options)?;
        let runners = Runners::new(&options)?;
        host.engines().iter().for_each(|(_, engine)| engine.set_waiting(options.wait));
        let host = Arc::new(host);
        let forward = match host.method_names().iter().any(|n| n == FORWARD) {
            true => Some(Arc::new(MethodState::new(&host, FORWARD, &options.bounds, false)?)),
            false => None,
        };
        crate::background::wait_at_the_end();
        Ok(TrtModule {
            host,
            builder: Builder { runners, options, frozen: Arc::default() },
            forward,
            methods: RwLock::default(),
        })
    }

    /// A module whose engines this backend runs.
    #[cfg(all(test, feature = "tool"))]
    pub(crate) fn with_backend(
        host: Module,
        backend: Arc<dyn trt_subgraph::backend::Backend>,
        options: &Options,
    ) -> Result<TrtModule, Error> {
        let mut module = TrtModule::of(host, options)?;
        module.builder.runners = Runners::only(backend, &module.builder.options);
        Ok(module)
    }

    /// Calls `forward` with tensors; its result is one tensor.
    ///
    /// # Errors
    /// The host's own error when the arguments do not fit the model; [`Error::Result`] when the result is something else.
    pub fn forward_ts<T: Borrow<Tensor>>(&self, inputs: &[T]) -> Result<Tensor, Error> {
        self.method_ts(FORWARD, inputs)
    }

    /// Calls `forward` with any values.
    ///
    /// # Errors
    /// The host's own error when the arguments do not fit the model.
    pub fn forward_is<V: Borrow<IValue>>(&self, inputs: &[V]) -> Result<IValue, Error> {
        self.method_is(FORWARD, inputs)
    }

    /// Calls a method with tensors; its result is one tensor.
    ///
    /// # Errors
    /// As [`TrtModule::forward_ts`].
    pub fn method_ts<T: Borrow<Tensor>>(&self, method: &str, inputs: &[T]) -> Result<Tensor, Error> {
        self.state(method)?.call_tensors(&self.host, &self.builder, inputs)
    }

    /// Calls a method with any values.
    ///
    /// # Errors
    /// As [`TrtModule::forward_is`].
    pub fn method_is<V: Borrow<IValue>>(&self, method: &str, inputs: &[V]) -> Result<IValue, Error> {
        self.state(method)?.call(&self.host, &self.builder, inputs)
    }

    /// Compiles `forward` for inputs like these now, whether engines are enabled or not, and returns when its engines are
    /// ready. Runs the model once on the host; a model that changes its own state or its arguments runs on copies of them.
    ///
    /// # Errors
    /// The host's own error when the arguments do not fit the model.
    pub fn compile<T: Borrow<Tensor>>(&self, inputs: &[T]) -> Result<(), Error> {
        let values: Vec<IValue> = inputs.iter().map(|t| IValue::Tensor(t.borrow().shallow_clone())).collect();
        self.compile_method(FORWARD, &values)
    }

    /// As [`TrtModule::compile`] for any method and any values.
    ///
    /// # Errors
    /// The host's own error when the arguments do not fit the model.
    pub fn compile_method<V: Borrow<IValue>>(&self, method: &str, inputs: &[V]) -> Result<(), Error> {
        let mut builder = self.builder.clone();
        builder.options.wait = true;
        self.state(method)?.compile(&self.host, &builder, inputs)
    }

    /// Who runs what and why, of every method that has been compiled so far.
    pub fn report(&self) -> Report {
        let methods = self.states().iter().flat_map(|s| s.describe()).collect();
        let left = Left {
            recorded: self.states().iter().map(|s| s.recorded()).sum(),
            outside: self.states().iter().map(|s| s.outside()).sum(),
        };
        Report::new(&self.builder, methods, LoadedReport::of(&self.host), left)
    }

    /// Writes a TorchScript file with the engines of every method that has been compiled so far, by a call or by
    /// [`TrtModule::compile`]; each of its compiled forms is kept, with the shapes that engines were built for. All other methods,
    /// parameters, buffers and state are as they are. Weights are in the file once: engines find them in the module. With
    /// [`SavedWeights::Embed`](crate::SavedWeights) the engines of the CPU are in it too.
    ///
    /// The file is read by [`TrtModule::load`], by [`CModule::load`] in a program that links this crate, and by Python and C++
    /// after loading `libtch_trt.so`. There engines are built anew in the background of the first call, while the host serves; those
    /// in the file serve the first call where the machine is of the same kind and the weights are the same.
    /// Arguments of other kinds than those compiled for (element types, ranks, `None`s) are the host's. Waits for nothing: a form
    /// that is still being compiled is left out.
    ///
    /// # Errors
    /// [`Error::Torch`] when torch cannot write the module, or the module has names that saving needs; [`Error::Io`] when the file
    /// cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let bytes = saved::with_engines(&self.host, &self.states())?.save_bytes()?;
        let fail = |source| Error::Io { path: path.to_owned(), source };
        files::write(path, |other| std::fs::write(other, &bytes).map_err(fail), fail)
    }

    /// Brings all engines up to date with the parameters as they are now. Calls do this by themselves where they see a change;
    /// this is for frozen modules, and for writes that torch does not count (through a raw pointer).
    pub fn refit(&self) {
        self.each_engine(|engine| engine.refit());
    }

    /// Says that the parameters stay as they are: calls no longer look for changes, which costs them tens of nanoseconds a
    /// parameter, and a reading of all that have gradients. After [`TrtModule::refit`] engines have the values of that moment; [`TrtModule::unfreeze`] has calls look again.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Takes [`TrtModule::freeze`] back.
    pub fn unfreeze(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        self.builder.frozen.store(frozen, Ordering::Relaxed);
        self.each_engine(|engine| engine.freeze(frozen));
    }

    fn each_engine(&self, act: impl Fn(&ClusterEngine)) {
        self.states().iter().flat_map(|state| state.engines()).for_each(|engine| act(&engine));
    }

    /// The names of the module's methods.
    pub fn method_names(&self) -> Vec<String> {
        saved::own_methods(&self.host)
    }

    /// What a method takes.
    ///
    /// # Errors
    /// [`Error::Torch`] when there is no such method.
    pub fn arguments(&self, method: &str) -> Result<Vec<Argument>, Error> {
        Ok(self.host.method(method)?.arguments())
    }

    /// The name of the host's own form of a method.
    #[cfg(feature = "tool")]
    pub(crate) fn host_method_name(&self, method: &str) -> String {
        saved::host_method(&self.host, method)
    }

    /// The host's module.
    #[cfg(feature = "tool")]
    pub(crate) fn host_module(&self) -> &Module {
        &self.host
    }

    /// Who would run engines on a device, in words.
    #[cfg(feature = "tool")]
    pub(crate) fn backend_on(&self, device: Device) -> String {
        let options = &self.builder.options;
        self.builder.runners.of(device, options).describe(options)
    }

    /// Was the module loaded with engines for this method?
    #[cfg(feature = "tool")]
    pub(crate) fn was_loaded(&self, method: &str) -> Result<bool, Error> {
        Ok(self.state(method)?.was_loaded())
    }

    /// The newest compiled form of a method.
    #[cfg(feature = "tool")]
    pub(crate) fn newest(&self, method: &str) -> Result<Option<Arc<Variant>>, Error> {
        Ok(self.state(method)?.newest())
    }

    /// Puts the module into training mode, where the host serves whatever depends on it.
    ///
    /// # Errors
    /// [`Error::Torch`] when a submodule has no such mode.
    pub fn set_train(&self) -> Result<(), Error> {
        Ok(self.host.set_training(true)?)
    }

    /// Puts the module into evaluation mode.
    ///
    /// # Errors
    /// [`Error::Torch`] when a submodule has no such mode.
    pub fn set_eval(&self) -> Result<(), Error> {
        Ok(self.host.set_training(false)?)
    }

    /// A handle to the host's module, sharing all parameters.
    pub fn host(&self) -> CModule {
        self.host.to_cmodule()
    }

    /// Those of the methods that were asked for so far, by name.
    pub(crate) fn states(&self) -> Vec<Arc<MethodState>> {
        let methods = self.methods.read().unwrap_or_else(PoisonError::into_inner);
        let mut states: Vec<Arc<MethodState>> =
            self.forward.iter().chain(methods.values()).cloned().collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    fn state(&self, name: &str) -> Result<Arc<MethodState>, Error> {
        if name == FORWARD
            && let Some(forward) = &self.forward
        {
            return Ok(forward.clone());
        }
        if let Some(state) = self.methods.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(state.clone());
        }
        let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = methods.get(name) {
            return Ok(state.clone());
        }
        let state = Arc::new(MethodState::new(&self.host, name, &self.builder.options.bounds, false)?);
        methods.insert(name.to_string(), state.clone());
        Ok(state)
    }
}

impl std::fmt::Debug for TrtModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrtModule").field("methods", &self.method_names()).finish_non_exhaustive()
    }
}

impl tch::nn::Module for TrtModule {
    /// Panics with the host's error where [`TrtModule::forward_ts`] returns it, as tch's own modules do.
    fn forward(&self, xs: &Tensor) -> Tensor {
        self.forward_ts(&[xs]).expect("the module takes this tensor")
    }
}
