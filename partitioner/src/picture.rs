//! The partition as one SVG file: engines as coloured boxes, the host in grey with its reasons as tooltips.

use crate::cluster::{Cluster, Partition};
use crate::graph::{Edge, FlowGraph, NodeId, Role, ValueId};
use crate::layout::{Gaps, Layout, layout};
use crate::report::Coverage;
use crate::scene::{Item, scene};
use crate::text::{count, names, quantity, short, tally_names};
use std::collections::HashMap;
use std::fmt::Write;

/// Fill and stroke of one engine after another.
const ENGINES: [(&str, &str); 6] = [
    ("#e3f0fd", "#3b82c4"),
    ("#e4f5e6", "#3f9950"),
    ("#f0e9fb", "#8257c2"),
    ("#fdf1dc", "#c98a1b"),
    ("#dff4f3", "#2b958f"),
    ("#fce8ee", "#c74a70"),
];
/// Engines of at most so many nodes show them.
const FEW_NODES: usize = 24;
const MARGIN: f64 = 24.0;
const LINE: f64 = 17.0;
const OUTER: Gaps = Gaps { across: 28.0, down: 38.0 };
const INNER: Gaps = Gaps { across: 14.0, down: 18.0 };

/// A box ready to be drawn at any place.
struct Card {
    size: (f64, f64),
    fill: &'static str,
    stroke: &'static str,
    radius: f64,
    /// The first line is bold when there are several.
    lines: Vec<String>,
    tooltip: String,
    inside: Option<Inside>,
}

/// The nodes within an engine's box, below its lines.
struct Inside {
    nodes: Vec<NodeId>,
    layout: Layout,
}

/// Draws the partition under a title.
pub fn picture(graph: &FlowGraph, partition: &Partition, title: &str) -> String {
    let scene = scene(graph, partition);
    let cards: Vec<Card> = scene.items.iter().map(|item| card(graph, partition, item)).collect();
    let sizes: Vec<(f64, f64)> = cards.iter().map(|card| card.size).collect();
    let ends: Vec<(usize, usize)> = scene.arrows.iter().map(|&(ends, _)| ends).collect();
    let drawn = layout(&sizes, &ends, OUTER);
    let caption = caption(graph, partition);
    let top = MARGIN + 2.0 * LINE + 16.0;
    let width = drawn.width.max(text_width(title) * 1.3).max(text_width(&caption)) + 2.0 * MARGIN;
    let left = (width - drawn.width) / 2.0;
    let mut svg = Svg::open(width, drawn.height + top + MARGIN);
    svg.text(MARGIN, MARGIN + 12.0, "t", title);
    svg.text(MARGIN, MARGIN + 12.0 + LINE + 3.0, "q", &caption);
    for (path, (_, data)) in drawn.path.iter().zip(&scene.arrows) {
        svg.arrow(path, (left, top), if *data { "a" } else { "a o" });
    }
    for (card, corner) in cards.iter().zip(&drawn.corner) {
        svg.card(graph, card, (corner.0 + left, corner.1 + top));
    }
    svg.close()
}

fn caption(graph: &FlowGraph, partition: &Partition) -> String {
    let coverage = Coverage::new(graph, partition);
    let engines = count(partition.clusters.len(), "engine");
    format!("{engines} · {coverage}")
}

fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.7
}

fn card(graph: &FlowGraph, partition: &Partition, item: &Item) -> Card {
    let plain = |fill, stroke, radius, lines: Vec<String>, tooltip| {
        let bold = if lines.len() > 1 { 1.1 } else { 1.0 };
        let widest = lines.iter().map(|line| text_width(line) * bold).fold(0.0, f64::max);
        let size = (widest + 28.0, lines.len() as f64 * LINE + 13.0);
        Card { size, fill, stroke, radius, lines, tooltip, inside: None }
    };
    match item {
        Item::Inputs(values) => {
            plain("#ffffff", "#94a3b8", 14.0, vec![values_text(graph, values, "input")], String::new())
        }
        Item::Outputs(values) => {
            plain("#ffffff", "#94a3b8", 14.0, vec![values_text(graph, values, "output")], String::new())
        }
        Item::Host(nodes) => {
            let counts = tally_names(graph, nodes.iter().copied());
            let mut lines = vec![names(&counts, 3)];
            lines.extend(refusal(partition, nodes));
            plain("#eceef1", "#9aa3ae", 5.0, lines, reasons(graph, partition, nodes))
        }
        Item::Engine(index) => {
            let cluster = &partition.clusters[*index];
            let (fill, stroke) = ENGINES[index % ENGINES.len()];
            let lines = engine_lines(graph, cluster, *index);
            let mut card = plain(fill, stroke, 9.0, lines, String::new());
            if cluster.nodes.len() <= FEW_NODES {
                let inside = inside(graph, cluster);
                card.size.0 = card.size.0.max(inside.layout.width + 28.0);
                card.size.1 += inside.layout.height + 12.0;
                card.inside = Some(inside);
            }
            card
        }
    }
}

fn values_text(graph: &FlowGraph, values: &[ValueId], word: &str) -> String {
    match values {
        [one] => format!("{word} {}", graph.value(*one).text).trim_end().to_string(),
        _ => count(values.len(), word),
    }
}

/// The kind of refusal, of a box with one refused node.
fn refusal(partition: &Partition, nodes: &[NodeId]) -> Option<String> {
    let &[node] = nodes else { return None };
    let at = partition.host.binary_search_by_key(&node, |host| host.node).ok()?;
    let stay = &partition.host[at].stay;
    (!stay.by_choice()).then(|| stay.heading())
}

fn reasons(graph: &FlowGraph, partition: &Partition, nodes: &[NodeId]) -> String {
    let line = |&id: &NodeId| {
        let at = partition.host.binary_search_by_key(&id, |host| host.node).ok()?;
        let (node, stay) = (graph.node(id), &partition.host[at].stay);
        let place = if node.place.is_empty() { String::new() } else { format!(" at {}", node.place) };
        Some(format!("{}{place}: {stay}", node.name))
    };
    nodes.iter().take(20).filter_map(line).collect::<Vec<_>>().join("\n")
}

fn engine_lines(graph: &FlowGraph, cluster: &Cluster, index: usize) -> Vec<String> {
    let tally = &cluster.tally;
    let work = quantity(tally.cost.operations, "FLOP");
    let mut lines = vec![format!("engine {index} · {} · {work}", count(tally.nodes, "op"))];
    if cluster.nodes.len() > FEW_NODES {
        let counts = tally_names(graph, cluster.nodes.iter().copied());
        lines.extend(counts.chunks(4).take(2).map(|chunk| names(chunk, 4)));
        let rest: usize = counts.iter().skip(8).map(|(_, n)| n).sum();
        if rest > 0 {
            lines.push(format!("and {}", count(rest, "other")));
        }
    }
    for (word, values) in [("in", &cluster.inputs), ("out", &cluster.outputs)] {
        let mut texts = values.iter().map(|&v| graph.value(v).text.as_str()).filter(|text| !text.is_empty());
        if let Some(first) = texts.next() {
            let more = texts.count();
            let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
            lines.push(format!("{word} {first}{rest}"));
        }
    }
    lines
}

fn inside(graph: &FlowGraph, cluster: &Cluster) -> Inside {
    let index: HashMap<NodeId, usize> = cluster.nodes.iter().copied().zip(0..).collect();
    let mut arrows: Vec<(usize, usize)> = graph
        .edges()
        .filter(|(_, _, edge)| matches!(edge, Edge::Data(_)))
        .filter_map(|(u, v, _)| Some((*index.get(&u)?, *index.get(&v)?)))
        .collect();
    arrows.sort_unstable();
    arrows.dedup();
    let size = |id: &NodeId| (text_width(short(&graph.node(*id).name)) + 18.0, 22.0);
    let sizes: Vec<(f64, f64)> = cluster.nodes.iter().map(size).collect();
    Inside { nodes: cluster.nodes.clone(), layout: layout(&sizes, &arrows, INNER) }
}

struct Svg(String);

impl Svg {
    fn open(width: f64, height: f64) -> Svg {
        let mut svg = Svg(String::new());
        svg.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" \
             font-size=\"12\">\n<style>.t{{font-size:16px;font-weight:600;fill:#111827}}.q{{fill:#6b7280}}\
             .b{{font-weight:600;fill:#111827}}.n{{fill:#374151}}.m{{text-anchor:middle}}.a{{fill:none;stroke:#64748b;stroke-width:1.3}}\
             .o{{stroke-dasharray:4 3}}.i{{stroke-width:1;stroke:#94a3b8}}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8L8 4L0 7.2z\" fill=\"#64748b\"/></marker></defs>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
        ));
        svg
    }

    fn close(mut self) -> String {
        self.put(format_args!("</svg>"));
        self.0
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{text}").expect("a string takes all text");
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.put(format_args!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text)));
    }

    /// A smooth line through the points that leaves and enters vertically.
    fn arrow(&mut self, points: &[(f64, f64)], (left, top): (f64, f64), class: &str) {
        let mut d = format!("M{:.1} {:.1}", points[0].0 + left, points[0].1 + top);
        for pair in points.windows(2) {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (x + left, y + top));
            let bend = (y1 - y0) / 2.0;
            write!(d, "C{x0:.1} {:.1} {x1:.1} {:.1} {x1:.1} {y1:.1}", y0 + bend, y1 - bend)
                .expect("a string takes all text");
        }
        self.put(format_args!("<path class=\"{class}\" d=\"{d}\" marker-end=\"url(#tip)\"/>"));
    }

    fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), radius: f64, paint: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"{radius}\" {paint}/>"
        ));
    }

    fn card(&mut self, graph: &FlowGraph, card: &Card, (x, y): (f64, f64)) {
        self.put(format_args!("<g><title>{}</title>", escape(&card.tooltip)));
        let paint = format!("fill=\"{}\" stroke=\"{}\" stroke-width=\"1.4\"", card.fill, card.stroke);
        self.rect((x, y), card.size, card.radius, &paint);
        for (at, line) in card.lines.iter().enumerate() {
            let bold = at == 0 && (card.lines.len() > 1 || card.inside.is_some());
            let middle = (x + card.size.0 / 2.0, y + 19.0 + at as f64 * LINE);
            self.text(middle.0, middle.1, if bold { "b m" } else { "n m" }, line);
        }
        if let Some(inside) = &card.inside {
            let left = x + (card.size.0 - inside.layout.width) / 2.0;
            let top = y + card.size.1 - inside.layout.height - 12.0;
            for path in &inside.layout.path {
                self.arrow(path, (left, top), "a i");
            }
            for (&id, corner) in inside.nodes.iter().zip(&inside.layout.corner) {
                self.node(graph, id, (corner.0 + left, corner.1 + top), card.stroke);
            }
        }
        self.put(format_args!("</g>"));
    }

    fn node(&mut self, graph: &FlowGraph, id: NodeId, at: (f64, f64), stroke: &str) {
        let node = graph.node(id);
        let name = short(&node.name);
        let dashed = if node.role == Role::Free { " stroke-dasharray=\"3 2\"" } else { "" };
        self.put(format_args!(
            "<g><title>{}</title>",
            escape(format!("{} {}", node.name, node.place).trim())
        ));
        let paint = format!("fill=\"#ffffff\" stroke=\"{stroke}\"{dashed}");
        self.rect(at, (text_width(name) + 18.0, 22.0), 4.0, &paint);
        self.text(at.0 + text_width(name) / 2.0 + 9.0, at.1 + 15.0, "n m", name);
        self.put(format_args!("</g>"));
    }
}

fn escape(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control() && c != '\n', " ");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
