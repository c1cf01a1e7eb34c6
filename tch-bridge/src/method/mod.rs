//! One method: the host's own form of it, and the compiled forms, one for each kind of arguments.

mod observe;

use crate::engine::{ClusterEngine, serve_directly};
use crate::jit::{JitError, Kinds, Limits, Method, Module, Sizes};
use crate::recorder::{Recorder, records, records_values};
use crate::report::MethodReport;
use crate::saved;
use crate::variant::{Builder, Stitched, Variant};
use crate::{Bounds, Error, switch};
use arc_swap::ArcSwap;
use std::borrow::Borrow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tch::{IValue, Tensor};

pub(crate) struct MethodState {
    pub(crate) name: String,
    /// The name of the host's own form.
    own: String,
    host: Method,
    recorder: Recorder,
    /// The form with the engines that the module was loaded with.
    loaded: Option<Method>,
    /// Newest first; replaced as a whole.
    variants: ArcSwap<Vec<Arc<Variant>>>,
    /// The host serves what is outside of them.
    limits: Limits,
    observing: Mutex<()>,
}

impl MethodState {
    /// `traced` tells that it is a trace of the user's own code, which stands beside it.
    pub(crate) fn new(
        host: &Module,
        name: &str,
        bounds: &[Bounds],
        traced: bool,
    ) -> Result<MethodState, Error> {
        let own = saved::host_method(host, name);
        let method = host.method(&own)?;
        let arguments: Vec<String> = method.arguments().into_iter().map(|a| a.name).collect();
        Ok(MethodState {
            name: name.to_string(),
            recorder: Recorder::new(&method, traced)?,
            host: method,
            limits: Limits::new(bounds, &arguments),
            loaded: if own == name { None } else { Some(host.method(name)?) },
            own,
            variants: ArcSwap::from_pointee(Vec::new()),
            observing: Mutex::new(()),
        })
    }

    pub(crate) fn call_tensors<T: Borrow<Tensor>>(
        &self,
        host: &Arc<Module>,
        builder: &Builder,
        inputs: &[T],
    ) -> Result<Tensor, Error> {
        if records(host, inputs) {
            return self.one_tensor(self.record(host, |method| method.run_tensors(inputs))?);
        }
        if !switch::is_enabled()? {
            return self.one_tensor(self.host.run_tensors(inputs)?);
        }
        if !self.limits.hold_tensors(&self.name, inputs) {
            return self.one_tensor(self.evaluator().run_tensors(inputs)?);
        }
        let found = self.find(|v| v.kinds.fit_tensors(inputs), |sizes| sizes.fit_tensors(inputs));
        let Some(variant) = found else {
            return match &self.loaded {
                Some(loaded) => self.one_tensor(loaded.run_tensors(inputs)?),
                None => self.tensor(self.observe(host, builder, &values(inputs))?),
            };
        };
        match variant.ready() {
            Some(Stitched { whole: Some(cluster), .. }) => match serve_directly(cluster, inputs, &[]) {
                Some(outputs) => self.one_tensor(outputs),
                None => self.one_tensor(self.evaluator().run_tensors(inputs)?),
            },
            Some(_) if variant.is_to_be_watched() => {
                self.tensor(self.watch(host, builder, &variant, &values(inputs))?)
            }
            Some(stitched) => self.one_tensor(stitched.method.run_tensors(inputs)?),
            None => self.one_tensor(self.evaluator().run_tensors(inputs)?),
        }
    }

    pub(crate) fn call<V: Borrow<IValue>>(
        &self,
        host: &Arc<Module>,
        builder: &Builder,
        inputs: &[V],
    ) -> Result<IValue, Error> {
        if records_values(host, inputs) {
            return self.record(host, |method| method.run(inputs));
        }
        if !switch::is_enabled()? {
            return Ok(self.host.run(inputs)?);
        }
        if !self.limits.hold_values(&self.name, inputs) {
            return Ok(self.evaluator().run(inputs)?);
        }
        let Some(variant) = self.find_for(&Kinds::of_values(inputs), inputs) else {
            return match &self.loaded {
                Some(loaded) => Ok(loaded.run(inputs)?),
                None => self.observe(host, builder, inputs),
            };
        };
        match variant.ready() {
            Some(_) if variant.is_to_be_watched() => self.watch(host, builder, &variant, inputs),
            Some(stitched) => Ok(stitched.method.run(inputs)?),
            None => Ok(self.evaluator().run(inputs)?),
        }
    }

    /// Observes and builds for these arguments unless that was done, again where they take branches that were not taken before; waits for the
    /// engines. Neither the module nor the arguments change.
    pub(crate) fn compile<V: Borrow<IValue>>(
        &self,
        host: &Arc<Module>,
        builder: &Builder,
        inputs: &[V],
    ) -> Result<(), Error> {
        if !self.limits.hold_values(&self.name, inputs) {
            return Ok(());
        }
        let kinds = Kinds::of_values(inputs);
        let _guard = lock(&self.observing);
        let fresh = match self.find_for(&kinds, inputs) {
            Some(variant) => {
                variant.made.wait();
                let is_shown = variant.ready().is_none_or(|stitched| stitched.shown);
                match if is_shown { None } else { variant.with(variant.graph.rehearse(inputs)?) } {
                    Some(more) => more,
                    None => return ready(&variant, inputs),
                }
            }
            None => {
                let graph = match host.prepare(&self.own) {
                    Ok(graph) => graph,
                    Err(e) => {
                        log::warn!("{}: the host serves every call: {e}", self.name);
                        return Ok(());
                    }
                };
                let alone = !graph.facts()?.repeatable;
                let seen = if alone { graph.rehearse(inputs)? } else { graph.observe(inputs)?.1 };
                self.variant(kinds.clone(), graph, seen, inputs, alone)
            }
        };
        self.build(host, builder, fresh);
        let built = self.find_for(&kinds, inputs);
        built.map_or(Ok(()), |v| if v.wants_samples() { ready(&v, inputs) } else { Ok(()) })
    }

    /// Adds the compiled forms that are ready to `target`, as the method of this name; none are added where none are ready.
    pub(crate) fn add_to(&self, host: &Module, target: &Module) -> Result<(), JitError> {
        let variants = self.variants.load();
        let ready: Vec<_> =
            variants.iter().filter(|v| v.ready().is_some() && v.graph.still_holds()).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let own = saved::host_name(&self.name);
        host.copy_method(&self.own, target, &own)?;
        let defaults = self.host.defaults()?;
        let (mut methods, mut forms) = (Vec::new(), Vec::new());
        for (at, variant) in ready.iter().enumerate() {
            let (method, form) = saved::form_names(&self.name, at);
            variant.add_to(target, (&method, &form), &defaults, &self.limits)?;
            methods.push(method);
            forms.push(form);
        }
        target.select_form(&self.name, &own, &methods, &forms)
    }

    /// Calls that autograd recorded while engines were enabled: the host served them.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorder.calls()
    }

    /// Calls outside of the bounds: the host served them.
    pub(crate) fn outside(&self) -> u64 {
        self.limits.outside()
    }

    /// Serves a call that autograd records. See [`Recorder`].
    fn record<R>(&self, host: &Module, run: impl Fn(&Method) -> Result<R, JitError>) -> Result<R, Error> {
        let is_enabled = switch::is_enabled()?;
        if !is_enabled && !self.recorder.traced {
            return Ok(run(&self.host)?);
        }
        if is_enabled && self.recorder.count() == 1 {
            log::warn!("{}: {}", self.name, crate::report::RECORDED);
            if !self.recorder.traced && self.was_evaluated(host) && self.is_repeatable(host) {
                drop(tch::no_grad(|| run(self.recorder.method())));
            }
        }
        Ok(run(self.recorder.method())?)
    }

    /// Was there a call that autograd did not record?
    fn was_evaluated(&self, host: &Module) -> bool {
        let has_served = |e: &Arc<ClusterEngine>| e.served() > 0;
        self.recorder.saw_evaluation()
            || self.engines().iter().any(has_served)
            || host.engines().iter().filter_map(|(_, e)| e.report()).any(|e| e.served > 0)
    }

    /// May a call be made twice without a trace? Of a graph that nobody can prepare nothing is known.
    fn is_repeatable(&self, host: &Module) -> bool {
        let facts = match self.variants.load().first() {
            Some(variant) => variant.graph.facts(),
            None => host.prepare(&self.own).and_then(|graph| graph.facts()),
        };
        facts.is_ok_and(|facts| facts.repeatable)
    }

    /// The host's own form, for a call that autograd does not record, while engines are enabled.
    fn evaluator(&self) -> &Method {
        self.recorder.note_evaluation();
        &self.host
    }

    /// Was the module loaded with engines for this method?
    pub(crate) fn was_loaded(&self) -> bool {
        self.loaded.is_some()
    }

    /// Does it have compiled forms that are ready?
    pub(crate) fn has_forms(&self) -> bool {
        self.variants.load().iter().any(|v| v.ready().is_some() && v.graph.still_holds())
    }

    /// The engines of all compiled forms that are finished.
    pub(crate) fn engines(&self) -> Vec<Arc<ClusterEngine>> {
        let variants = self.variants.load();
        variants.iter().filter_map(|v| v.ready()).flat_map(|s| s.clusters.iter().cloned()).collect()
    }

    pub(crate) fn describe(&self) -> Vec<MethodReport> {
        self.variants.load().iter().map(|v| MethodReport::of(&self.name, v)).collect()
    }

    /// All compiled forms, the newest first.
    pub(crate) fn forms(&self) -> Arc<Vec<Arc<Variant>>> {
        self.variants.load_full()
    }

    /// The compiled form that was made last, if any was.
    #[cfg(feature = "tool")]
    pub(crate) fn newest(&self) -> Option<Arc<Variant>> {
        self.variants.load().first().cloned()
    }

    /// The newest compiled form that `fits` and holds; one for the sizes of the call, which `has_sizes`, comes before one for all.
    fn find(
        &self,
        fits: impl Fn(&Variant) -> bool,
        has_sizes: impl Fn(&Sizes) -> bool,
    ) -> Option<Arc<Variant>> {
        let variants = self.variants.load();
        let right = |v: &&Arc<Variant>| fits(v) && v.sizes.as_ref().is_none_or(&has_sizes) && v.holds();
        let mut all = variants.iter().filter(right);
        let first = all.next()?;
        Some(
            if first.sizes.is_some() { first } else { all.find(|v| v.sizes.is_some()).unwrap_or(first) }
                .clone(),
        )
    }

    fn find_for<V: Borrow<IValue>>(&self, kinds: &Kinds, inputs: &[V]) -> Option<Arc<Variant>> {
        self.find(|v| v.kinds == *kinds, |sizes| sizes.fit_values(inputs))
    }

    fn one_tensor(&self, mut tensors: Vec<Tensor>) -> Result<Tensor, Error> {
        match (tensors.pop(), tensors.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(self.not_a_tensor()),
        }
    }

    fn tensor(&self, value: IValue) -> Result<Tensor, Error> {
        if let IValue::Tensor(tensor) = value { Ok(tensor) } else { Err(self.not_a_tensor()) }
    }

    fn not_a_tensor(&self) -> Error {
        Error::Result {
            method: self.name.clone(),
            expected: "one tensor",
            found: "several values or none (call it with forward_is or method_is)".into(),
        }
    }
}

/// Has engines built for a call with these inputs, unless they are there.
fn ready<V: Borrow<IValue>>(variant: &Variant, inputs: &[V]) -> Result<(), Error> {
    let Ok(stitched) = variant.made.wait() else { return Ok(()) };
    if variant.graph.facts()?.repeatable {
        stitched.clusters.iter().for_each(|c| c.wait_for_builds(true));
        let ran = switch::force_enabled(|| tch::no_grad(|| stitched.method.run(inputs)));
        stitched.clusters.iter().for_each(|c| c.wait_for_builds(false));
        ran?;
    } else {
        let seen = variant.graph.rehearse(inputs)?;
        stitched.specialise(&variant.graph.facts()?, &seen);
    }
    Ok(())
}

fn values<T: Borrow<Tensor>>(inputs: &[T]) -> Vec<IValue> {
    inputs.iter().map(|t| IValue::Tensor(t.borrow().shallow_clone())).collect()
}

fn lock(mutex: &Mutex<()>) -> MutexGuard<'_, ()> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
