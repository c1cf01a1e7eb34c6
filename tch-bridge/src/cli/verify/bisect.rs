//! Where two answers part: the first engine that differs on the host's own values, the smallest run of its calls that still
//! does, and the first fused layer of that which the definition of layers contradicts.
//!
//! One observed run on the host gives the value of everything that enters, leaves or lies within an engine. An engine is then
//! asked alone, with the host's values as its inputs, so that errors of earlier engines do not add up. Its calls are narrowed by
//! bisection, first from the end, then from the start; what is found differs, and differs no longer without its first or last call.

use super::super::{archive, verify::compare::describe};
use super::compare::{Comparison, Tolerance, compare};
use super::part::{Part, Whole};
use crate::engine::{Entry, serve_directly};
use crate::jit::{Module, ValueId};
use crate::{TrtModule, switch};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tch::{IValue, Tensor};
use trt_tool::Failure;
use trt_tool::terminal::Style;

/// The smallest part that differs.
#[derive(Serialize)]
pub(crate) struct Finding {
    /// The number of the engine.
    pub(crate) engine: usize,
    /// The calls of the model that it is made of.
    pub(crate) calls: Vec<CallFacts>,
    pub(crate) inputs: Vec<String>,
    /// Its outputs, from the host's inputs, against the host's.
    pub(crate) outputs: Vec<Comparison>,
    /// The first fused layer that differs from its definition; none where each by itself is right or they are too large to tell.
    pub(crate) layer: Option<String>,
    /// What was written.
    pub(crate) files: Vec<String>,
    /// The command that shows the fault again.
    pub(crate) repeat: Option<String>,
    /// The network that was compiled, in its text form.
    network: String,
    /// The calls as a module, where they can be one, and its arguments.
    #[serde(skip)]
    module: Option<Module>,
    #[serde(skip)]
    tensors: Vec<(String, Tensor)>,
}

/// A call of the model.
#[derive(Serialize)]
pub(crate) struct CallFacts {
    name: String,
    /// The line of the model's source.
    place: String,
}

/// Finds the first engine that differs for these arguments, and what of it does.
pub(crate) fn bisect(
    module: &TrtModule,
    method: &str,
    values: &[IValue],
    tolerance: Tolerance,
) -> Result<Option<Finding>, Failure> {
    let variant = module.newest(method)?;
    let Some(variant) = variant else { return Ok(None) };
    let Some(Ok(stitched)) = variant.made.get() else { return Ok(None) };
    let mut wanted: BTreeSet<u32> = BTreeSet::new();
    for source in stitched.clusters.iter().map(|c| c.source()) {
        wanted.extend(source.inputs.iter().map(|i| i.var.0));
        wanted.extend(source.calls.iter().flat_map(|c| &c.outputs).map(|v| v.0));
    }
    let wanted: Vec<ValueId> = wanted.into_iter().map(ValueId).collect();
    let (_, kept) = tch::no_grad(|| variant.graph.keep(values, &wanted))?;
    let kept = wanted.iter().zip(kept).filter_map(|(id, value)| Some((id.0, value?)));
    let kept: HashMap<u32, IValue> = kept.collect();
    for (number, engine) in stitched.clusters.iter().enumerate() {
        let search = Search { whole: Whole { engine, kept: &kept }, tolerance };
        let all = 0..engine.source().calls.len();
        if search.differs(all.clone()).is_none() {
            continue;
        }
        let range = search.narrow(all);
        let Some((part, outputs)) = search.differs(range.clone()) else { continue };
        let calls = engine.source().calls[range].iter();
        let layer = part.first_wrong_layer(engine);
        let module = variant.graph.carve(&part.given_ids(), &part.output_ids()).ok();
        return Ok(Some(Finding {
            engine: number,
            calls: calls.map(|c| CallFacts { name: c.op.clone(), place: c.place.clone() }).collect(),
            inputs: part.tensors.iter().map(describe).collect(),
            outputs,
            layer,
            files: Vec::new(),
            repeat: None,
            network: part.network(engine).map_or_else(|why| why, |n| n.to_string()),
            tensors: part.arguments(),
            module,
        }));
    }
    Ok(None)
}

struct Search<'a> {
    whole: Whole<'a>,
    tolerance: Tolerance,
}

impl Search<'_> {
    /// The part of these calls and how it differs from the host; `None` where it agrees, or cannot be taken alone.
    fn differs(&self, range: Range<usize>) -> Option<(Part, Vec<Comparison>)> {
        let part = self.whole.part(range)?;
        let engine = self.whole.engine.for_part(part.source.clone(), part.parameters.clone_handles()).ok()?;
        let engine = Arc::new(engine);
        engine.build(Entry::of(part.border.clone(), &part.tensors, engine.device()));
        let found = switch::force_enabled(|| {
            tch::no_grad(|| serve_directly(&engine, &part.tensors, &part.border.ints))
        })?;
        let one = |((at, found), expected): ((usize, &Tensor), &Tensor)| {
            compare(&format!("output.{at}"), found, expected, self.tolerance, 1.0).ok()
        };
        let compared = found.iter().enumerate().zip(&part.expected).map(one).collect::<Option<Vec<_>>>()?;
        compared.iter().any(|c| !c.passed).then_some((part, compared))
    }

    /// The end of a smallest prefix that differs, then the start of a smallest suffix of that.
    fn narrow(&self, all: Range<usize>) -> Range<usize> {
        let (mut agrees, mut end) = (all.start, all.end);
        while end - agrees > 1 {
            let middle = agrees + (end - agrees) / 2;
            if self.differs(all.start..middle).is_some() { end = middle } else { agrees = middle }
        }
        let (mut start, mut agrees) = (all.start, end);
        while agrees - start > 1 {
            let middle = start + (agrees - start) / 2;
            if self.differs(middle..end).is_some() { start = middle } else { agrees = middle }
        }
        start..end
    }
}

impl Finding {
    /// Writes the part into a folder: as a module and its inputs where it can be one, and as a network.
    /// `options`: those of the command that repeats the fault.
    pub(crate) fn write(&mut self, folder: &Path, options: &str) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(|e| Failure::unwritten(folder, e))?;
        let network = folder.join("differs.network");
        Failure::or_written(&network, &self.network)?;
        self.files.push(network.display().to_string());
        if let Some(module) = &self.module {
            let (model, inputs) = (folder.join("differs.pt"), folder.join("differs.safetensors"));
            module.save(&model)?;
            archive::write(&inputs, &self.tensors)?;
            let [model, inputs] = [model, inputs].map(|p| p.display().to_string());
            self.repeat = Some(format!("tch-trt verify {model} --inputs {inputs} --take-all{options}"));
            self.files.extend([model, inputs]);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn call_names(&self) -> Vec<&str> {
        self.calls.iter().map(|c| c.name.as_str()).collect()
    }

    pub(crate) fn text(&self, style: Style) -> String {
        let head = format!(
            "engine {} differs on the host's own values, and so do these of its calls alone:",
            self.engine
        );
        let mut out = format!("{}\n", style.bold(&head));
        for call in &self.calls {
            let place = if call.place.is_empty() { String::new() } else { format!(" at {}", call.place) };
            out += &format!("  {}{place}\n", style.yellow(&call.name));
        }
        out += &format!("  on {}\n", self.inputs.join(" "));
        for c in self.outputs.iter().filter(|c| !c.passed) {
            out += &format!(
                "  {} {}: max abs {:.3e}, {} elements off\n",
                c.name, c.found, c.max_abs, c.mismatches
            );
        }
        match &self.layer {
            Some(layer) => out += &format!("  first wrong layer: {layer}\n"),
            None => out += "  each of its fused layers alone gives what it is defined to give\n",
        }
        if !self.files.is_empty() {
            out += &format!("  written: {}\n", self.files.join(", "));
        }
        if let Some(command) = &self.repeat {
            out += &format!("  again: {command}\n");
        }
        out
    }
}
