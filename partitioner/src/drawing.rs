//! Every node as a box at a place, for programs that draw the graph themselves.

use crate::graph::{Edge, FlowGraph, NodeId, Value, ValueId};
use crate::layout::{Gaps, layout};
use crate::text::short;
use serde::Serialize;
use std::collections::BTreeMap;

const GAPS: Gaps = Gaps { across: 22.0, down: 30.0 };
const HEIGHT: f64 = 26.0;
/// Width of a character, and of a box without its text.
const CHARACTER: f64 = 7.2;
const SIDES: f64 = 20.0;

/// What a box shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Shown {
    /// An input of the graph.
    Input(ValueId),
    /// A node.
    Node(NodeId),
    /// An output of the graph.
    Output(ValueId),
}

/// A box; `x` and `y` are its upper left corner.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// What it shows.
    pub shown: Shown,
    /// The text that it has room for.
    pub label: String,
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// An arrow from one box to another, by their positions in [`Drawing::cards`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arrow {
    /// Where it starts.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
    /// Data flows along it; else it is order alone.
    pub data: bool,
    /// The types of the values that flow.
    pub text: String,
    /// Corners of its path, from the lower edge of `from` to the upper edge of `to`.
    pub points: Vec<(f64, f64)>,
}

/// A layered drawing from top to bottom. Coordinates grow right and down from 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drawing {
    /// Inputs, then nodes in source order, then outputs.
    pub cards: Vec<Card>,
    /// Distinct in their ends.
    pub arrows: Vec<Arrow>,
    /// Right end.
    pub width: f64,
    /// Lower end.
    pub height: f64,
}

/// `in tokens i64[1,32]`.
fn border(way: &str, value: &Value) -> String {
    [way, &value.name, &value.text].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Draws all nodes of a graph with its inputs and outputs.
pub fn drawing(graph: &FlowGraph) -> Drawing {
    let read = graph.values().filter(|(_, v)| v.producer.is_none() && !v.readers.is_empty());
    let inputs: Vec<Shown> = read.map(|(id, _)| Shown::Input(id)).collect();
    let left = graph.values().filter(|(_, v)| v.escapes && v.producer.is_some());
    let outputs: Vec<Shown> = left.map(|(id, _)| Shown::Output(id)).collect();
    let node_at = |id: NodeId| inputs.len() + id.index();

    let mut ends: BTreeMap<(usize, usize), Vec<ValueId>> = BTreeMap::new();
    let mut draw = |from: usize, to: usize, value: Option<ValueId>| {
        ends.entry((from, to)).or_default().extend(value);
    };
    for (from, to, edge) in graph.edges() {
        draw(node_at(from), node_at(to), if let Edge::Data(v) = edge { Some(v) } else { None });
    }
    for (at, shown) in inputs.iter().enumerate() {
        let Shown::Input(value) = *shown else { continue };
        graph.value(value).readers.iter().for_each(|&reader| draw(at, node_at(reader), Some(value)));
    }
    for (at, shown) in outputs.iter().enumerate() {
        let Shown::Output(value) = *shown else { continue };
        let producer = graph.value(value).producer.expect("it was chosen for having one");
        draw(node_at(producer), inputs.len() + graph.len() + at, Some(value));
    }

    let nodes = graph.ids().map(Shown::Node);
    let shown: Vec<Shown> = inputs.iter().copied().chain(nodes).chain(outputs.iter().copied()).collect();
    let label = |shown: &Shown| match *shown {
        Shown::Node(id) => short(&graph.node(id).name).to_string(),
        Shown::Input(id) => border("in", graph.value(id)),
        Shown::Output(id) => border("out", graph.value(id)),
    };
    let labels: Vec<String> = shown.iter().map(label).collect();
    let size = |text: &String| (SIDES + CHARACTER * text.chars().count() as f64, HEIGHT);
    let sizes: Vec<(f64, f64)> = labels.iter().map(size).collect();
    let pairs: Vec<(usize, usize)> = ends.keys().copied().collect();
    let placed = layout(&sizes, &pairs, GAPS);
    let card = |((shown, label), (&(x, y), &(width, height)))| Card { shown, label, x, y, width, height };
    let texts = |values: &[ValueId]| {
        let texts = values.iter().map(|&v| graph.value(v).text.as_str()).filter(|t| !t.is_empty());
        texts.collect::<Vec<_>>().join(" ")
    };
    let arrows = ends.iter().zip(placed.path).map(|((&(from, to), values), points)| Arrow {
        from,
        to,
        data: !values.is_empty(),
        text: texts(values),
        points,
    });
    let arrows = arrows.collect();
    Drawing {
        cards: shown.into_iter().zip(labels).zip(placed.corner.iter().zip(&sizes)).map(card).collect(),
        arrows,
        width: placed.width,
        height: placed.height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cost, Crossing, Node, Role, Verdict};

    #[test]
    fn boxes_keep_apart_and_arrows_point_down() {
        let mut graph = FlowGraph::new();
        let x = graph.input(Crossing::Free, 4.0, "f32[1]");
        graph.name(x, "image").unwrap();
        let mut made = vec![x];
        for at in 0..12u32 {
            let node = graph.add(Node {
                name: format!("aten::op{at}"),
                place: String::new(),
                verdict: Verdict::Accept,
                role: Role::Compute,
                kernels: 1,
                cost: Cost::default(),
                effect: at % 5 == 0,
            });
            for value in [made[at as usize / 2], made[at as usize]] {
                graph.read(node, value).unwrap();
            }
            made.push(graph.produce(node, Crossing::Free, 4.0, "f32[1]").unwrap());
        }
        graph.escape(made[12]).unwrap();
        let drawn = drawing(&graph);
        assert_eq!(drawn.cards.len(), 14);
        assert_eq!([&drawn.cards[0].label, &drawn.cards[13].label], ["in image f32[1]", "out f32[1]"]);
        for (at, a) in drawn.cards.iter().enumerate() {
            assert!(
                a.x >= -1e-6 && a.x + a.width <= drawn.width + 1e-6 && a.y + a.height <= drawn.height + 1e-6
            );
            for b in &drawn.cards[at + 1..] {
                let apart = a.x + a.width <= b.x
                    || b.x + b.width <= a.x
                    || a.y + a.height <= b.y
                    || b.y + b.height <= a.y;
                assert!(apart, "{a:?} and {b:?} overlap");
            }
        }
        let down = |a: &Arrow| drawn.cards[a.from].y + HEIGHT <= drawn.cards[a.to].y;
        assert!(drawn.arrows.iter().all(down));
        assert!(
            drawn.arrows.iter().any(|a| a.data && a.text == "f32[1]") && drawn.arrows.iter().any(|a| !a.data)
        );
    }
}
