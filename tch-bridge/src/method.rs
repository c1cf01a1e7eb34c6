//! One method: the host's own form of it, and the compiled forms, one for each kind of arguments.

use crate::divide::device_of;
use crate::engine::{ClusterEngine, serve_directly};
use crate::jit::{Graph, Handover, JitError, Kinds, Limits, Method, Modes, Module, Seen, Sizes};
use crate::recorder::{Recorder, records, records_values};
use crate::report::MethodReport;
use crate::saved;
use crate::settle::{by_kinds, by_sizes};
use crate::variant::{Builder, Stitched, Variant, all_seen};
use crate::{Bounds, Error, switch};
use arc_swap::ArcSwap;
use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tch::{IValue, Tensor};

/// The most compiled forms of one method, whether they hold as the module stands or not; the oldest goes first.
const VARIANTS: usize = 8;

/// The most compiled forms of one kind of arguments that are for one set of sizes each; the next one is for all sizes.
const SIZED: usize = 4;

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

    /// Runs the call on the host and watches it, then builds a variant from what was seen.
    fn observe<V: Borrow<IValue>>(
        &self,
        host: &Arc<Module>,
        builder: &Builder,
        inputs: &[V],
    ) -> Result<IValue, Error> {
        self.recorder.note_evaluation();
        let guard =
            if builder.options.wait { Some(lock(&self.observing)) } else { self.observing.try_lock().ok() };
        let kinds = Kinds::of_values(inputs);
        if guard.is_none() || self.find_for(&kinds, inputs).is_some() {
            return Ok(self.host.run(inputs)?);
        }
        let graph = match host.prepare(&self.own) {
            Ok(graph) => graph,
            Err(e) => {
                log::warn!("{}: the host serves every call: {e}", self.name);
                return Ok(self.host.run(inputs)?);
            }
        };
        let (result, seen) = self.run_watched(&graph, inputs)?;
        if let Some(seen) = seen {
            let variant = self.variant(kinds, graph, seen, inputs, false);
            self.build(host, builder, variant);
        }
        Ok(result)
    }

    /// Runs the call on the host and watches it, then builds the variant anew if the call took branches that none before had taken.
    fn watch<V: Borrow<IValue>>(
        &self,
        host: &Arc<Module>,
        builder: &Builder,
        variant: &Arc<Variant>,
        inputs: &[V],
    ) -> Result<IValue, Error> {
        let (result, seen) = self.run_watched(&variant.graph, inputs)?;
        let guard = self.observing.try_lock();
        let is_newest = self.variants.load().iter().any(|v| Arc::ptr_eq(v, variant));
        if guard.is_ok()
            && is_newest
            && let Some(more) = seen.and_then(|seen| variant.with(seen))
        {
            log::info!("{}: a call took branches that none before it had taken", self.name);
            self.build(host, builder, more);
        }
        Ok(result)
    }

    /// The result of the graph on the host, and what its values held; of the host's own form where the graph has none.
    fn run_watched<V: Borrow<IValue>>(
        &self,
        graph: &Graph,
        inputs: &[V],
    ) -> Result<(IValue, Option<Vec<Seen>>), Error> {
        match graph.observe(inputs) {
            Ok((result, seen)) => Ok((result, Some(seen))),
            // torch simplifies what it runs, and may so have an answer where the graph as it stands has none.
            Err(_) if graph.facts()?.repeatable => Ok((self.host.run(inputs)?, None)),
            Err(e) => Err(e.into()),
        }
    }

    /// What is to be built for a graph and what a run of it showed: branches that calls of this kind never take are left out first.
    fn variant<V: Borrow<IValue>>(
        &self,
        kinds: Kinds,
        graph: Graph,
        seen: Vec<Seen>,
        inputs: &[V],
        alone: bool,
    ) -> Variant {
        let modes = graph.reads_modes().then(Modes::now);
        let warn = |e: Error| log::warn!("{}: branches on ranks or sizes stay as they are: {e}", self.name);
        let shorter = by_kinds(&graph, &seen, inputs, alone).map_err(warn).unwrap_or(None);
        let mut settled = shorter.is_some();
        let (mut graph, mut seen) = shorter.unwrap_or((graph, seen));
        let mut sizes = None;
        let is_alike = |v: &&Arc<Variant>| v.sizes.is_some() && v.kinds == kinds && v.graph.still_holds();
        if self.variants.load().iter().filter(is_alike).count() < SIZED
            && let Some((sized, shown)) = by_sizes(&graph, inputs, alone).map_err(warn).unwrap_or(None)
        {
            (graph, seen, settled) = (sized, shown, true);
            sizes = Sizes::of_values(inputs);
        }
        let (graph, calls, made) = (Arc::new(graph), AtomicU32::new(0), OnceLock::new());
        Variant { kinds, modes, sizes, graph, runs: vec![seen], settled, calls, made }
    }

    /// Makes the variant the newest one, in place of one of the same graph, and builds its engines, in this thread or in the background.
    fn build(&self, host: &Arc<Module>, builder: &Builder, variant: Variant) {
        let variant = Arc::new(variant);
        let mut all = vec![variant.clone()];
        let others = self.variants.load_full();
        // One that does not hold may do so again: a module goes from evaluation to training and back.
        let stays = |v: &&Arc<Variant>| !Arc::ptr_eq(&v.graph, &variant.graph);
        all.extend(others.iter().filter(stays).take(VARIANTS - 1).cloned());
        self.variants.store(Arc::new(all));
        let (host, builder, made) = (host.clone(), builder.clone(), variant.clone());
        let (own, name) = (self.own.clone(), self.name.clone());
        let (wait, stream) = (builder.options.wait, Handover::of(device_of(&all_seen(&variant.runs))));
        let build = move || {
            let built = catch_unwind(AssertUnwindSafe(|| {
                builder.build(&host, (&own, &name), &made.graph, &made.runs)
            }));
            let built = match built {
                Ok(Ok(stitched)) => Ok(stitched),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("the compiler panicked; this is a bug".to_string()),
            };
            match &built {
                Ok(stitched) => log::info!("{name}: a compiled form, engines: {}", stitched.clusters.len()),
                Err(why) => log::warn!("{name}: the host serves every call: {why}"),
            }
            drop(made.made.set(built));
            crate::report::write_if_asked(&builder, &name, &made);
        };
        if wait {
            build();
            return;
        }
        let build = move || {
            if let Some(stream) = stream {
                stream.take();
            }
            build();
        };
        if let Err(e) = crate::background::spawn(build) {
            let why = format!("no thread could be started to build engines: {e}");
            log::warn!("{}: the host serves every call: {why}", self.name);
            drop(variant.made.set(Err(why)));
        }
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
