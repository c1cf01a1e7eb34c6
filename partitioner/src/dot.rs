//! The partition as a Graphviz graph: every node, clusters as boxes, the host in grey.

use crate::cluster::Partition;
use crate::graph::{Edge, FlowGraph, NodeId};
use crate::text::{quantity, short};
use std::fmt::Write;

/// Text for `dot -Tsvg`. Dashed edges are order, not data; dotted values are inputs and outputs of the graph.
pub fn dot(graph: &FlowGraph, partition: &Partition) -> String {
    let mut out =
        String::from("digraph partition {\n  node [shape=box, style=\"rounded,filled\", fontname=sans];\n");
    for (index, cluster) in partition.clusters.iter().enumerate() {
        let work = quantity(cluster.tally.cost.operations, "FLOP");
        line(&mut out, format_args!("  subgraph cluster_{index} {{"));
        line(
            &mut out,
            format_args!("    label=\"engine {index}, {work}\"; style=filled; color=\"#dbeafe\";"),
        );
        for &id in &cluster.nodes {
            line(&mut out, format_args!("    {}", declare(graph, id, "white", "")));
        }
        out.push_str("  }\n");
    }
    for host in &partition.host {
        line(&mut out, format_args!("  {}", declare(graph, host.node, "#e5e7eb", &host.stay.to_string())));
    }
    for (u, v, edge) in graph.edges() {
        let style = match edge {
            Edge::Order => "style=dashed".to_string(),
            Edge::Data(value) => format!("label=\"{}\"", escape(&graph.value(value).text)),
        };
        line(&mut out, format_args!("  n{} -> n{} [{style}];", u.0, v.0));
    }
    for (id, value) in graph.values().filter(|(_, value)| value.producer.is_none() || value.escapes) {
        let text = escape([value.name.as_str(), value.text.as_str()].join(" ").trim());
        line(&mut out, format_args!("  v{} [label=\"{text}\", style=dotted];", id.0));
        match value.producer {
            Some(producer) => line(&mut out, format_args!("  n{} -> v{};", producer.0, id.0)),
            None => value
                .readers
                .iter()
                .for_each(|reader| line(&mut out, format_args!("  v{} -> n{};", id.0, reader.0))),
        }
    }
    out.push_str("}\n");
    out
}

fn declare(graph: &FlowGraph, id: NodeId, fill: &str, more: &str) -> String {
    let node = graph.node(id);
    let tooltip = [node.name.as_str(), node.place.as_str(), more].join(" ");
    let (name, tooltip) = (escape(short(&node.name)), escape(tooltip.trim()));
    format!("n{} [label=\"{name}\", tooltip=\"{tooltip}\", fillcolor=\"{fill}\"];", id.0)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a string takes all text");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")
}
