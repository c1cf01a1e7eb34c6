//! Who is timed, and the timing of one stretch.

use super::super::leaves::copies;
use super::super::model::Loaded;
use crate::jit::{JitError, Method};
use crate::{Error, saved, switch};
use serde::Serialize;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use tch::{IValue, Tensor};

/// One way to run the method.
pub(crate) struct Contender<'a> {
    pub(crate) name: &'static str,
    loaded: &'a Loaded,
    how: How<'a>,
}

enum How<'a> {
    Engines(&'a str),
    Host(&'a Method),
    /// torch's own optimisation for inference.
    Jit(Box<Method>),
}

/// Whom to compare the engines with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rival {
    /// libtorch, as the model was saved
    Host,
    /// libtorch after torch.jit.freeze and optimize_for_inference
    Jit,
}

impl<'a> Contender<'a> {
    pub(crate) fn engines(loaded: &'a Loaded, method: &'a str) -> Contender<'a> {
        Contender { name: "engines", loaded, how: How::Engines(method) }
    }

    /// # Errors
    /// Where torch cannot freeze the module.
    pub(crate) fn rival(rival: Rival, loaded: &'a Loaded, method: &str) -> Result<Contender<'a>, JitError> {
        Ok(match rival {
            Rival::Host => Contender { name: "host", loaded, how: How::Host(&loaded.host) },
            Rival::Jit => {
                let plain = saved::without_engines(loaded.module.host_module())?;
                let frozen = plain.optimized_for_inference(method)?;
                Contender { name: "jit", loaded, how: How::Jit(Box::new(frozen.method(method)?)) }
            }
        })
    }

    /// One call; on return its result is complete.
    pub(crate) fn call(&self, arguments: &Arguments) -> Result<(), Error> {
        self.start(arguments)?;
        self.loaded.synchronize();
        Ok(())
    }

    fn start(&self, arguments: &Arguments) -> Result<(), Error> {
        let module = &self.loaded.module;
        match (&self.how, arguments) {
            (How::Engines(method), Arguments::Tensors(ts)) => {
                drop(switch::force_enabled(|| module.method_ts(method, ts))?);
            }
            (How::Engines(method), Arguments::Values(values)) => {
                drop(switch::force_enabled(|| module.method_is(method, values))?);
            }
            (How::Host(host), Arguments::Tensors(ts)) => drop(host.run_tensors(ts)?),
            (How::Host(host), Arguments::Values(values)) => drop(host.run(values)?),
            (How::Jit(jit), Arguments::Tensors(ts)) => drop(jit.run_tensors(ts)?),
            (How::Jit(jit), Arguments::Values(values)) => drop(jit.run(values)?),
        }
        Ok(())
    }

    /// Calls one after the other for this long: the times until each call returns, before its result is complete.
    pub(crate) fn submissions(
        &self,
        arguments: &Arguments,
        length: Duration,
    ) -> Result<Vec<Duration>, Error> {
        let (start, mut times) = (Instant::now(), Vec::new());
        tch::no_grad(|| {
            while start.elapsed() < length || times.is_empty() {
                let before = Instant::now();
                self.start(arguments)?;
                times.push(before.elapsed());
                self.loaded.synchronize();
            }
            Ok(times)
        })
    }

    /// Calls from as many threads as there are sets of arguments, for this long; the latencies of all calls.
    ///
    /// # Errors
    /// The first error of a call.
    pub(crate) fn run_for(&self, arguments: &[Arguments], length: Duration) -> Result<Vec<Duration>, Error> {
        let one = |arguments: &Arguments, start: &Barrier| {
            let mut latencies = Vec::new();
            start.wait();
            let end = Instant::now() + length;
            tch::no_grad(|| {
                loop {
                    let before = Instant::now();
                    self.call(arguments)?;
                    let after = Instant::now();
                    latencies.push(after - before);
                    if after >= end {
                        return Ok(());
                    }
                }
            })
            .map(|()| latencies)
        };
        let start = Barrier::new(arguments.len());
        if let [only] = arguments {
            return one(only, &start);
        }
        let (one, start) = (&one, &start);
        let per_thread: Vec<Result<Vec<Duration>, Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = arguments.iter().map(|a| scope.spawn(move || one(a, start))).collect();
            threads.into_iter().map(|t| t.join().expect("errors are returned")).collect()
        });
        Ok(per_thread.into_iter().collect::<Result<Vec<_>, _>>()?.concat())
    }
}

/// One caller's arguments.
pub(crate) enum Arguments {
    /// Of a method from tensors to one tensor, which has a shorter way in.
    Tensors(Vec<Tensor>),
    Values(Vec<IValue>),
}

// SAFETY: each caller has copies of its own, made by `copies`, which share no memory and hold no object of the interpreter.
unsafe impl Sync for Arguments {}

impl Arguments {
    /// A copy for one caller. `one_tensor`: the method gives one tensor.
    pub(crate) fn copy(values: &[IValue], one_tensor: bool) -> Result<Arguments, JitError> {
        let values = copies(values)?;
        let tensor = |v: &IValue| if let IValue::Tensor(t) = v { Some(t.shallow_clone()) } else { None };
        let tensors: Option<Vec<Tensor>> = values.iter().map(tensor).collect();
        Ok(match tensors {
            Some(tensors) if one_tensor => Arguments::Tensors(tensors),
            _ => Arguments::Values(values),
        })
    }
}
