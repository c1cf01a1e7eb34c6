//! TorchScript modules and their methods.

use std::borrow::Borrow;
use std::fs::File;
use std::io::Read;
use std::mem::size_of;
use std::path::Path;
use std::sync::Arc;

use cxx::UniquePtr;
use tch::{CModule, Device, IValue, Tensor};
use trt_subgraph::files;

use super::engine::HostEngine;
use super::graph::{Role, ValueType};
use super::tensor::{Recording, adopt, borrow, device_to_raw};
use super::{Graph, JitError, value};
use crate::sys::ffi;

// `tch::CModule` keeps its module pointer private; it is the only field.
const _: () = assert!(size_of::<CModule>() == size_of::<*mut ffi::TorchModule>());

/// A TorchScript module. Cloning the handle is not offered: [`Module::share`] and [`Module::fork`] say what is shared.
pub struct Module {
    pub(super) inner: UniquePtr<ffi::Module>,
}

/// What an attribute of a module starts as.
#[derive(Debug)]
pub enum Initial {
    /// A tensor that training changes; the module keeps this very tensor.
    Parameter(Tensor),
    /// A tensor that training does not change; the module keeps this very tensor.
    Buffer(Tensor),
    /// Anything else.
    Value(IValue),
}

/// A tensor of a module under its qualified name, by identity.
#[derive(Debug)]
pub struct NamedTensor {
    /// Attribute names from the root, joined by dots.
    pub name: String,
    /// The very tensor that the module holds.
    pub tensor: Tensor,
    /// What the module registered it as.
    pub role: Role,
}

/// An argument of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its declared type.
    pub ty: ValueType,
    /// Whether it may be left out.
    pub has_default: bool,
}

impl Module {
    /// Reads a TorchScript file, onto `device` where one is given.
    ///
    /// # Errors
    /// [`JitError::Io`], [`JitError::NotTorchScript`], [`JitError::Damaged`], [`JitError::Unreadable`],
    /// [`JitError::UnknownOperator`] or [`JitError::UnknownClass`].
    pub fn load(path: impl AsRef<Path>, device: Option<Device>) -> Result<Self, JitError> {
        let path = path.as_ref();
        let io = |source| JitError::Io { path: path.to_owned(), source };
        let mut start = Vec::new();
        // Opening a pipe waits for its writer.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(io(std::io::Error::other("this is not a regular file")));
        }
        File::open(path).and_then(|file| file.take(4).read_to_end(&mut start)).map_err(io)?;
        check_zip(&start)?;
        let Some(name) = path.to_str() else {
            return Self::load_bytes(&std::fs::read(path).map_err(io)?, device);
        };
        let device: Vec<_> = device.map(device_to_raw).into_iter().collect();
        Ok(Self { inner: ffi::load_path(name, &device).map_err(|e| JitError::from_load(&e))? })
    }

    /// Reads a TorchScript file from memory; otherwise as [`Self::load`].
    pub fn load_bytes(bytes: &[u8], device: Option<Device>) -> Result<Self, JitError> {
        check_zip(bytes)?;
        let device: Vec<_> = device.map(device_to_raw).into_iter().collect();
        Ok(Self { inner: ffi::load_bytes(bytes, &device).map_err(|e| JitError::from_load(&e))? })
    }

    /// Can a TorchScript file hold the names of all attributes?
    ///
    /// # Errors
    /// [`JitError::Argument`] names the one that it cannot.
    pub(crate) fn check_names(&self) -> Result<(), JitError> {
        Ok(ffi::check_names(&self.inner)?)
    }

    /// Writes the module as a TorchScript file.
    ///
    /// # Errors
    /// [`JitError::Argument`] where such a file cannot hold the name of an attribute.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), JitError> {
        let path = path.as_ref();
        let bytes = self.save_bytes()?;
        let fail = |source| JitError::Io { path: path.to_owned(), source };
        files::write(path, |other| std::fs::write(other, &bytes).map_err(fail), fail)
    }

    /// The bytes that [`Self::save`] writes.
    pub fn save_bytes(&self) -> Result<Vec<u8>, JitError> {
        self.check_names()?;
        Ok(ffi::save_bytes(&self.inner)?.as_bytes().to_vec())
    }

    /// A second handle to the module that `module` holds: both see every change.
    pub fn share(module: &CModule) -> Self {
        // SAFETY: the only field of `CModule` is a pointer to a live torch::jit::Module (see the assertion above).
        let inner =
            unsafe { ffi::share_torch(*std::ptr::from_ref(module).cast::<*const ffi::TorchModule>()) };
        Self { inner }
    }

    /// A `tch` handle to this module: both see every change.
    pub fn to_cmodule(&self) -> CModule {
        // SAFETY: `to_torch` returns a fresh `new torch::jit::Module`, which `CModule` owns and deletes.
        unsafe { std::mem::transmute::<*mut ffi::TorchModule, CModule>(ffi::to_torch(&self.inner)) }
    }

    /// A module with these attributes and the methods that `source` defines, such as
    /// `def forward(self, x): return torch.relu(x) * self.scale`. Dots in a name make submodules.
    ///
    /// # Errors
    /// [`JitError::Source`] with torch's diagnosis; [`JitError::Argument`] for an empty or repeated name.
    pub fn from_source<N: AsRef<str>>(source: &str, attributes: &[(N, Initial)]) -> Result<Self, JitError> {
        let module = Self::with_attributes("Source", attributes)?;
        ffi::define(&module.inner, source)?;
        Ok(module)
    }

    pub(super) fn with_attributes<N: AsRef<str>>(
        class: &str,
        attributes: &[(N, Initial)],
    ) -> Result<Self, JitError> {
        let inner = ffi::new_module(class)?;
        for (name, initial) in attributes {
            let name = name.as_ref();
            match initial {
                Initial::Parameter(tensor) => {
                    ffi::register_tensor(&inner, name, borrow(tensor), ffi::Role::Parameter)?;
                }
                Initial::Buffer(tensor) => {
                    ffi::register_tensor(&inner, name, borrow(tensor), ffi::Role::Buffer)?;
                }
                Initial::Value(initial) => {
                    ffi::register_value(&inner, name, value::stack_of([initial])?.pin_mut())?;
                }
            }
        }
        Ok(Self { inner })
    }

    /// A module of a fresh type that shares this one's parameters, buffers and submodules by identity. Its methods are
    /// copies that have not run yet. It lacks the methods and attributes named in `dropped`. This module is left as it is.
    pub fn fork<N: AsRef<str>>(&self, dropped: &[N]) -> Result<Self, JitError> {
        let dropped: Vec<String> = dropped.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(Self { inner: ffi::fork_type(&self.inner, &dropped)? })
    }

    /// A module without methods that holds this very module: what a method stitched into it does to attributes, it does to
    /// those of this module.
    pub fn shell(&self) -> Result<Self, JitError> {
        Ok(Self { inner: ffi::shell(&self.inner)? })
    }

    /// A module of the same type with copies of all that this one holds.
    ///
    /// # Errors
    /// [`JitError::Runtime`] where it holds an object that torch cannot copy.
    pub fn deep_copy(&self) -> Result<Self, JitError> {
        Ok(Self { inner: ffi::deep_copy(&self.inner)? })
    }

    /// Gives `to`, a [`Module::fork`] of this module, a copy of a method under another name.
    pub(crate) fn copy_method(&self, method: &str, to: &Module, name: &str) -> Result<(), JitError> {
        Ok(ffi::copy_method(&self.inner, method, &to.inner, name)?)
    }

    /// Adds the method `name`, which calls the first of `methods` whose form, an attribute that
    /// [`Graph::register_form`] made, fits the call, else the method `host`.
    pub(crate) fn select_form(
        &self,
        name: &str,
        host: &str,
        methods: &[String],
        forms: &[String],
    ) -> Result<(), JitError> {
        Ok(ffi::select_form(&self.inner, name, host, methods, forms)?)
    }

    /// The engines that the module and its submodules hold, by the names of their attributes.
    pub(crate) fn engines(&self) -> Vec<(String, Arc<dyn HostEngine>)> {
        ffi::engines(&self.inner).into_iter().map(|raw| (raw.name, raw.handle.0)).collect()
    }

    /// The names of the root module's attributes.
    pub(crate) fn attribute_names(&self) -> Vec<String> {
        ffi::attribute_names(&self.inner)
    }

    /// The names of the methods.
    pub fn method_names(&self) -> Vec<String> {
        ffi::method_names(&self.inner)
    }

    /// The method of this name.
    ///
    /// # Errors
    /// [`JitError::Argument`] where there is none.
    pub fn method(&self, name: &str) -> Result<Method, JitError> {
        Ok(Method { inner: ffi::method(&self.inner, name)? })
    }

    /// The paths of all submodules: attribute names joined by dots.
    pub fn submodule_names(&self) -> Vec<String> {
        ffi::submodule_names(&self.inner)
    }

    /// All tensors of the module and its submodules.
    pub fn named_tensors(&self) -> Result<Vec<NamedTensor>, JitError> {
        let adopt = |raw: ffi::RawTensor| NamedTensor {
            name: raw.name,
            tensor: adopt(raw.tensor),
            role: Role::from_raw(raw.role),
        };
        Ok(ffi::named_tensors(&self.inner)?.into_iter().map(adopt).collect())
    }

    /// Does autograd record some of this for a tensor that the module or one of its submodules holds?
    pub(crate) fn is_recorded(&self, recording: Recording) -> bool {
        ffi::module_is_recorded(&self.inner, recording.0)
    }

    /// What torch itself makes of the module for inference: frozen, and its graph rewritten by torch's own passes. A copy.
    ///
    /// # Errors
    /// [`JitError::Runtime`] where torch cannot freeze it, as in training mode.
    pub fn optimized_for_inference(&self, method: &str) -> Result<Self, JitError> {
        Ok(Self { inner: ffi::optimize_for_inference(&self.inner, method)? })
    }

    /// Whether the root module is in training mode; true where it does not say.
    pub fn is_training(&self) -> Result<bool, JitError> {
        Ok(ffi::is_training(&self.inner)?)
    }

    /// Puts the module and its submodules into training or evaluation mode.
    pub fn set_training(&self, on: bool) -> Result<(), JitError> {
        Ok(ffi::set_training(&self.inner, on)?)
    }

    /// See [`Graph`].
    pub fn prepare(&self, method: &str) -> Result<Graph, JitError> {
        Ok(Graph { inner: ffi::prepare(&self.inner, method)? })
    }
}

/// A method bound to its module, ready to run from any thread.
pub struct Method {
    inner: UniquePtr<ffi::Method>,
}

impl Method {
    /// Runs the method.
    ///
    /// # Errors
    /// [`JitError::Argument`] where the arguments do not fit the schema, else what the model raised.
    pub fn run<V: Borrow<IValue>>(&self, arguments: &[V]) -> Result<IValue, JitError> {
        let mut stack = value::stack_of(arguments.iter().map(Borrow::borrow))?;
        ffi::run_method(&self.inner, stack.pin_mut())?;
        value::pop(stack.pin_mut())
    }

    /// Runs a method from tensors to tensors; a list or tuple of tensors comes as its elements.
    ///
    /// # Errors
    /// As [`Self::run`], and [`JitError::Argument`] where the result is not made of tensors.
    pub fn run_tensors<T: Borrow<Tensor>>(&self, arguments: &[T]) -> Result<Vec<Tensor>, JitError> {
        let mut stack = ffi::new_stack();
        for argument in arguments {
            ffi::push_tensor(stack.pin_mut(), borrow(argument.borrow()));
        }
        ffi::run_method(&self.inner, stack.pin_mut())?;
        let count = match ffi::top_kind(&stack)? {
            ffi::ValueKind::Tensor => 1,
            ffi::ValueKind::Tuple | ffi::ValueKind::TensorList => ffi::unpack(stack.pin_mut())?,
            _ => 0,
        };
        let mut tensors = Vec::with_capacity(count);
        for _ in 0..count {
            if ffi::top_kind(&stack)? != ffi::ValueKind::Tensor {
                tensors.clear();
                break;
            }
            tensors.push(adopt(ffi::pop_tensor(stack.pin_mut())?));
        }
        if tensors.is_empty() && ffi::stack_len(&stack) > 0 {
            return Err(JitError::Argument(
                "the method does not return tensors; run it with IValues".to_owned(),
            ));
        }
        Ok(tensors)
    }

    /// The same method, whose operators run one after the other as they are written: torch's executor changes neither them nor what
    /// autograd does for them.
    pub(crate) fn stepwise(&self) -> Result<Method, JitError> {
        Ok(Method { inner: ffi::stepwise(&self.inner)? })
    }

    /// The same method with an executor of its own, which has seen no call: torch's executors go by their first calls.
    pub(crate) fn twin(&self) -> Result<Method, JitError> {
        Ok(Method { inner: ffi::twin(&self.inner)? })
    }

    /// What the method takes, without `self`.
    pub fn arguments(&self) -> Vec<Argument> {
        let argument = |raw: ffi::RawArgument| Argument {
            ty: ValueType::parse(&raw.type_name),
            name: raw.name,
            has_default: raw.has_default,
        };
        ffi::method_arguments(&self.inner).into_iter().map(argument).collect()
    }

    /// The operators that do what they do in training whatever mode the module is in, as a trace in training mode has them.
    pub fn training_operators(&self) -> Vec<String> {
        ffi::training_operators(&self.inner)
    }

    /// The default of each argument, without `self`; `None` where there is none.
    pub(crate) fn defaults(&self) -> Result<Vec<IValue>, JitError> {
        let mut stack = ffi::method_defaults(&self.inner);
        let mut defaults = Vec::new();
        while ffi::stack_len(&stack) > 0 {
            defaults.push(value::pop(stack.pin_mut())?);
        }
        Ok(defaults)
    }

    /// The graph of the method as torch prints it.
    pub fn graph_text(&self) -> Result<String, JitError> {
        Ok(ffi::method_source(&self.inner)?)
    }
}

fn check_zip(start: &[u8]) -> Result<(), JitError> {
    match start {
        [b'P', b'K', 3, 4, ..] => Ok(()),
        [] => Err(JitError::Damaged("the file is empty".to_owned())),
        _ => Err(JitError::NotTorchScript("it does not start like a zip archive".to_owned())),
    }
}
