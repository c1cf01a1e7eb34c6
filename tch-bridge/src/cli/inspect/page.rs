//! The graph as a page of its own, and in Graphviz's language.

use super::inspection::Inspection;
use crate::variant::Stitched;
use partitioner::{Drawing, FlowGraph};
use serde::Serialize;

/// Style, script and the place for the data.
const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "\"the data\"";

/// What the page's script reads.
#[derive(Serialize)]
struct Data<'a> {
    inspection: &'a Inspection,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
struct Block {
    /// Its number in the method.
    number: usize,
    /// Where its nodes start in the inspection's.
    first: usize,
    drawing: Drawing,
}

/// A self-contained page.
pub(crate) fn page(inspection: &Inspection, stitched: &Stitched) -> String {
    let mut first = 0;
    let mut block = |(number, graph): (usize, &FlowGraph)| {
        let block = Block { number, first, drawing: partitioner::drawing(graph) };
        first += graph.len();
        block
    };
    let graphs = stitched.blocks.iter().map(|(graph, _)| graph).enumerate();
    let blocks = graphs.map(&mut block).filter(|b| !b.drawing.cards.is_empty()).collect();
    let data = serde_json::to_string(&Data { inspection, blocks }).expect("it has only string keys");
    // Within a script element only `</` and `<!` could end or change it.
    TEMPLATE.replacen(PLACE, &data.replace('<', "\\u003c"), 1)
}

/// The blocks one after the other, each as a digraph.
pub(crate) fn dot(stitched: &Stitched) -> String {
    let blocks = stitched.blocks.iter().enumerate().filter(|(at, (graph, _))| *at == 0 || !graph.is_empty());
    blocks.map(|(_, (graph, partition))| partitioner::dot(graph, partition)).collect()
}
