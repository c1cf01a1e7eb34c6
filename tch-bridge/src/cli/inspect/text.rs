//! An inspection as text.

use super::inspection::{EngineFacts, Inspection, NodeFacts};
use partitioner::{count, quantity};
use std::collections::BTreeSet;
use trt_tool::Document;
use trt_tool::terminal::{Style, cut, percent, table, without_folders};

impl Document for Inspection {
    fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out += &text;
            out.push('\n');
        };
        line(format!("{} {} ({})", style.bold(&self.model), self.method, self.inputs.join(", ")));
        line(format!("backend {}", self.backend));
        if !self.enabled {
            line("the switch is off: in other programs the host serves every call (USE_TRT=1 switches engines on)".into());
        }
        let covered = &self.coverage;
        let mut taken = format!("{} of {}", covered.taken_nodes, count(covered.nodes, "node"));
        if covered.operations > 0.0 {
            taken += &format!(" and {} of {}", percent(self.fraction), quantity(covered.operations, "FLOP"));
        }
        let idle = if covered.compute == 0 { ", none of which computes" } else { "" };
        line(match self.engines.len() {
            0 => format!("no engine: the host runs {}{idle}", count(covered.nodes, "node")),
            engines => format!("{taken} in {}, built in {:.0} ms", count(engines, "engine"), self.build_ms),
        });
        for engine in &self.engines {
            line(String::new());
            line(engine_text(engine, style).trim_end().to_string());
        }
        line(String::new());
        let host: Vec<&NodeFacts> = self.nodes.iter().filter(|n| n.engine.is_none()).collect();
        if host.is_empty() {
            line("nothing is left to the host".into());
        } else {
            line(style.bold(&format!("host: {}", count(host.len(), "node"))));
            let raising = raising(&self.nodes);
            let (checks, others): (Vec<_>, Vec<_>) =
                host.into_iter().partition(|n| raising.contains(&n.block));
            grouped(&others).into_iter().for_each(|(node, places)| line(host_text(node, places, style)));
            if !checks.is_empty() {
                let (nodes, places) = (count(checks.len(), "node"), count(raising.len(), "place"));
                let name = style.yellow("prim::RaiseException");
                line(format!(
                    "  {name} and what makes its message, {nodes} in {places}: they run where a check of the model's code fails"
                ));
            }
        }
        line(String::new());
        line(style.bold("every node"));
        line(nodes_table(&self.nodes).trim_end().to_string());
        if self.nodes.iter().any(|n| n.name == LAID_AS) {
            line(format!(
                "{LAID_AS} gives the value in place of a write in place the strides of what was written"
            ));
        }
        out
    }
}

/// The operator that writes in place become.
const LAID_AS: &str = "trt::laid_as";

/// The blocks that raise an exception: the failing sides of the checks in the model's code.
fn raising(nodes: &[NodeFacts]) -> BTreeSet<usize> {
    nodes.iter().filter(|n| n.name == "prim::RaiseException" && n.block > 0).map(|n| n.block).collect()
}

fn engine_text(engine: &EngineFacts, style: Style) -> String {
    let place = if engine.block > 0 { format!(" in block {}", engine.block) } else { String::new() };
    let head = style.bold(&format!("engine {}{place}", engine.number));
    let (nodes, operations) = (count(engine.nodes, "node"), quantity(engine.operations, "FLOP"));
    let mut out =
        format!("{head}: {nodes}, {operations}, {} across the border\n", quantity(engine.border_bytes, "B"));
    out += &format!("  in  {}\n  out {}\n", engine.inputs.join(" "), engine.outputs.join(" "));
    if let Some(why) = &engine.refused {
        out += &format!("  {} {why}\n", style.yellow("the host serves:"));
        return out;
    }
    out += &format!(
        "  {} weights, {} arena, built in {:.0} ms; {} as written, {} as run:\n",
        quantity(engine.weight_bytes as f64, "B"),
        quantity(engine.arena_bytes as f64, "B"),
        engine.build_ms,
        count(engine.layers_before, "layer"),
        engine.layers.len()
    );
    if let Some(parity) = &engine.parity {
        out += &format!("  {parity}\n");
    }
    for layer in &engine.layers {
        let text = layer.text.split("  # ").next().unwrap_or_default();
        out += &format!("    {text}  {}\n", style.dim(&without_folders(&layer.origin)));
    }
    out
}

/// Nodes of one operator that are left for one reason, as the first of them and how many there are.
fn grouped<'a>(nodes: &[&'a NodeFacts]) -> Vec<(&'a NodeFacts, usize)> {
    let mut groups: Vec<(&NodeFacts, usize)> = Vec::new();
    for &node in nodes {
        match groups.iter_mut().find(|(first, _)| first.name == node.name && first.reason == node.reason) {
            Some((_, places)) => *places += 1,
            None => groups.push((node, 1)),
        }
    }
    groups
}

/// The operator, why the host runs it, and on a line of its own where the model calls it.
fn host_text(node: &NodeFacts, places: usize, style: Style) -> String {
    let more = if places > 1 { format!(", {places} times") } else { String::new() };
    let why = node.reason.as_deref().unwrap_or_default();
    let place = match node.place.as_str() {
        "" => String::new(),
        place => format!("\n      {}", style.dim(&format!("at {}", without_folders(place)))),
    };
    format!("  {}{more}: {why}{place}", style.yellow(&node.name))
}

fn nodes_table(nodes: &[NodeFacts]) -> String {
    let mut rows = vec![["node", "runs in", "operations", "bytes", "at"].map(String::from).to_vec()];
    for node in nodes {
        let who = node.engine.map_or_else(|| "host".to_string(), |at| format!("engine {at}"));
        let name = format!("{} -> {}", node.name, node.outputs.join(" "));
        rows.push(vec![
            name.trim_end_matches(" -> ").to_string(),
            who,
            quantity(node.operations, ""),
            quantity(node.bytes, ""),
            cut(&without_folders(&node.place), 60),
        ]);
    }
    table(&rows)
}
