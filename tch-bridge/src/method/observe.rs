//! Calls that are watched, and the compiled forms that are made of what they showed.

use super::{MethodState, lock};
use crate::Error;
use crate::divide::device_of;
use crate::jit::{Graph, Handover, Kinds, Modes, Module, Seen, Sizes};
use crate::settle::{by_kinds, by_sizes};
use crate::variant::{Builder, Variant, all_seen};
use std::borrow::Borrow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};
use tch::IValue;

/// The most compiled forms of one method, whether they hold as the module stands or not; the oldest goes first.
const VARIANTS: usize = 8;

/// The most compiled forms of one kind of arguments that are for one set of sizes each; the next one is for all sizes.
const SIZED: usize = 4;

impl MethodState {
    /// Runs the call on the host and watches it, then builds a variant from what was seen.
    pub(super) fn observe<V: Borrow<IValue>>(
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
    pub(super) fn watch<V: Borrow<IValue>>(
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
    pub(super) fn variant<V: Borrow<IValue>>(
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
    pub(super) fn build(&self, host: &Arc<Module>, builder: &Builder, variant: Variant) {
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
}
