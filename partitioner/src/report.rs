//! Who runs where, and why not: the partition as plain data and as text.

use crate::cluster::Partition;
use crate::graph::{Cost, FlowGraph, Role, ValueId};
use crate::text::{count, names, quantity, tally_names};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// A partition, described. `Display` gives the text: a line per engine, the host's nodes by reason, the coverage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// One for each cluster, in the order of [`Partition::clusters`].
    pub engines: Vec<Engine>,
    /// The host's nodes by reason, the reasons with the most compute nodes first.
    pub host: Vec<HostGroup>,
    /// How much left the host.
    pub coverage: Coverage,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Engine {
    /// Number of nodes.
    pub nodes: usize,
    /// Number of compute nodes.
    pub compute: usize,
    /// Operators and how often each occurs, the most frequent first.
    pub operators: Vec<(String, usize)>,
    /// Summed host work of the nodes.
    pub cost: Cost,
    /// Bytes of the values that enter and leave.
    pub border_bytes: f64,
    /// Type texts of the inputs, as far as given.
    pub inputs: Vec<String>,
    /// Type texts of the outputs, as far as given.
    pub outputs: Vec<String>,
    /// Estimated time won per call in ns.
    pub gain_ns: f64,
}

/// Nodes of the host with the same kind of reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostGroup {
    /// The kind of reason, see [`crate::Stay::heading`].
    pub reason: String,
    /// The partitioner left them on the host although the caller had accepted them.
    pub by_choice: bool,
    /// Number of nodes.
    pub nodes: usize,
    /// Number of compute nodes.
    pub compute: usize,
    /// The operators, the most frequent first.
    pub operators: Vec<HostOperator>,
}

/// An operator that stays on the host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HostOperator {
    /// Its name.
    pub name: String,
    /// What the verdict said of it beyond the kind of reason; may be empty.
    pub message: String,
    /// How often it occurs with this message.
    pub count: usize,
    /// Where in the model's source, each place once.
    pub places: Vec<String>,
}

/// What part of the graph runs in engines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Nodes in engines.
    pub taken_nodes: usize,
    /// Nodes in all.
    pub nodes: usize,
    /// Compute nodes in engines.
    pub taken_compute: usize,
    /// Compute nodes in all.
    pub compute: usize,
    /// Operations in engines.
    pub taken_operations: f64,
    /// Operations in all.
    pub operations: f64,
}

impl Report {
    /// Describes `partition`, a partition of `graph`.
    pub fn new(graph: &FlowGraph, partition: &Partition) -> Report {
        let texts = |values: &[ValueId]| -> Vec<String> {
            values.iter().map(|&v| graph.value(v).text.clone()).filter(|text| !text.is_empty()).collect()
        };
        let engines = partition.clusters.iter().map(|cluster| Engine {
            nodes: cluster.tally.nodes,
            compute: cluster.tally.compute,
            operators: tally_names(graph, cluster.nodes.iter().copied()),
            cost: cluster.tally.cost,
            border_bytes: cluster.tally.border_bytes,
            inputs: texts(&cluster.inputs),
            outputs: texts(&cluster.outputs),
            gain_ns: cluster.gain_ns,
        });
        Report {
            engines: engines.collect(),
            host: host_groups(graph, partition),
            coverage: Coverage::new(graph, partition),
        }
    }
}

fn host_groups(graph: &FlowGraph, partition: &Partition) -> Vec<HostGroup> {
    let mut by_reason: BTreeMap<String, HostGroup> = BTreeMap::new();
    for host in &partition.host {
        let node = graph.node(host.node);
        let group = by_reason.entry(host.stay.heading()).or_insert_with_key(|reason| HostGroup {
            reason: reason.clone(),
            by_choice: host.stay.by_choice(),
            nodes: 0,
            compute: 0,
            operators: vec![],
        });
        group.nodes += 1;
        group.compute += usize::from(node.role == Role::Compute);
        group.add(&node.name, host.stay.detail(), &node.place);
    }
    let mut groups: Vec<HostGroup> = by_reason.into_values().collect();
    groups.sort_by_key(|group| Reverse((group.compute, group.nodes)));
    groups.iter_mut().for_each(|group| group.operators.sort_by_key(|operator| Reverse(operator.count)));
    groups
}

impl HostGroup {
    fn add(&mut self, name: &str, message: &str, place: &str) {
        let known = self.operators.iter_mut().find(|known| known.name == name && known.message == message);
        let operator = match known {
            Some(operator) => operator,
            None => {
                let (name, message) = (name.to_string(), message.to_string());
                self.operators.push(HostOperator { name, message, count: 0, places: vec![] });
                self.operators.last_mut().expect("one was pushed")
            }
        };
        operator.count += 1;
        if !place.is_empty() && !operator.places.iter().any(|known| known == place) {
            operator.places.push(place.to_string());
        }
    }
}

impl Coverage {
    /// Counts nodes and operations.
    pub fn new(graph: &FlowGraph, partition: &Partition) -> Coverage {
        let mut coverage = Coverage::default();
        for (id, cluster) in graph.ids().zip(partition.cluster_of()) {
            let (node, taken) = (graph.node(id), cluster.is_some());
            let compute = usize::from(node.role == Role::Compute);
            coverage.nodes += 1;
            coverage.compute += compute;
            coverage.operations += node.cost.operations;
            if taken {
                coverage.taken_nodes += 1;
                coverage.taken_compute += compute;
                coverage.taken_operations += node.cost.operations;
            }
        }
        coverage
    }

    /// Part of the operations that runs in engines, 0 to 1; of the compute nodes when no operations were given; 1 for a
    /// graph without either.
    pub fn fraction(&self) -> f64 {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 1.0 };
        if self.operations > 0.0 {
            ratio(self.taken_operations, self.operations)
        } else {
            ratio(self.taken_compute as f64, self.compute as f64)
        }
    }
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, other: Coverage) {
        self.taken_nodes += other.taken_nodes;
        self.nodes += other.nodes;
        self.taken_compute += other.taken_compute;
        self.compute += other.compute;
        self.taken_operations += other.taken_operations;
        self.operations += other.operations;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, engine) in self.engines.iter().enumerate() {
            writeln!(f, "engine {index}: {engine}")?;
        }
        for group in &self.host {
            writeln!(f, "host: {group}")?;
        }
        write!(f, "coverage: {}", self.coverage)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", count(self.nodes, "node"), names(&self.operators, 6))?;
        write!(f, ", {}", quantity(self.cost.operations, "FLOP"))?;
        write!(f, ", {} on the host", quantity(self.cost.bytes, "B"))?;
        write!(f, ", {} across the border", quantity(self.border_bytes, "B"))?;
        for (word, values) in [("in", &self.inputs), ("out", &self.outputs)] {
            if !values.is_empty() {
                write!(f, ", {word} {}", cut(values, 4, " "))?;
            }
        }
        if self.gain_ns.abs() >= 50.0 {
            write!(f, ", about {:.1} us won per call", self.gain_ns / 1e3)?;
        }
        Ok(())
    }
}

impl fmt::Display for HostGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", count(self.nodes, "node"), self.reason)?;
        for operator in &self.operators {
            write!(f, "\n    {}", operator.name)?;
            if operator.count > 1 {
                write!(f, " x{}", operator.count)?;
            }
            if !operator.places.is_empty() {
                write!(f, " at {}", cut(&operator.places, 4, ", "))?;
            }
            if !operator.message.is_empty() {
                write!(f, ": {}", operator.message)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} nodes", self.taken_nodes, self.nodes)?;
        write!(f, ", {} of {} compute nodes", self.taken_compute, self.compute)?;
        if self.operations > 0.0 {
            write!(f, ", {:.1} % of {}", 100.0 * self.fraction(), quantity(self.operations, "FLOP"))?;
        }
        Ok(())
    }
}

fn cut(texts: &[String], most: usize, separator: &str) -> String {
    let shown = texts[..texts.len().min(most)].join(separator);
    if texts.len() > most { format!("{shown}{separator}and {} more", texts.len() - most) } else { shown }
}
