//! Short texts for people: quantities with a unit prefix, counted nouns, lists of operators.

use crate::graph::{FlowGraph, NodeId};

/// `1234567.0, "FLOP"` as `1.23 MFLOP`.
pub fn quantity(value: f64, unit: &str) -> String {
    let prefixes = ["", "k", "M", "G", "T", "P"];
    let mut step = 0;
    let mut scaled = value;
    while scaled.abs() >= 999.5 && step + 1 < prefixes.len() {
        scaled /= 1000.0;
        step += 1;
    }
    let digits = match scaled.abs() {
        size if step == 0 || size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.digits$} {}{unit}", prefixes[step])
}

/// `1 node`, `2 nodes`, `3 entries`.
pub fn count(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(0);
    match noun.strip_suffix('y') {
        _ if n == 1 => format!("1 {noun}"),
        Some(stem) => format!("{n} {stem}ies"),
        None => format!("{n} {noun}s"),
    }
}

/// An operator without the framework's namespace: `aten::relu` as `relu`.
pub(crate) fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Operators and how often each occurs, the most frequent first, then by first occurrence.
pub(crate) fn tally_names(
    graph: &FlowGraph,
    nodes: impl IntoIterator<Item = NodeId>,
) -> Vec<(String, usize)> {
    let mut index = std::collections::HashMap::new();
    let mut counts: Vec<(String, usize)> = vec![];
    for id in nodes {
        let name = graph.node(id).name.as_str();
        let at = *index.entry(name).or_insert(counts.len());
        if at == counts.len() {
            counts.push((name.to_string(), 0));
        }
        counts[at].1 += 1;
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// `conv2d x5, relu x4, 3 others`; at most `most` operators are named.
pub(crate) fn names(counts: &[(String, usize)], most: usize) -> String {
    let one = |(name, count): &(String, usize)| match count {
        1 => short(name).to_string(),
        _ => format!("{} x{count}", short(name)),
    };
    let mut parts: Vec<String> = counts.iter().take(most).map(one).collect();
    let rest: usize = counts.iter().skip(most).map(|(_, count)| count).sum();
    if rest > 0 {
        parts.push(count(rest, "other"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_keep_three_digits() {
        assert_eq!(quantity(0.0, "FLOP"), "0 FLOP");
        assert_eq!(quantity(999.0, "B"), "999 B");
        assert_eq!(quantity(999.6, "B"), "1.00 kB");
        assert_eq!(quantity(1_234_567.0, "FLOP"), "1.23 MFLOP");
        assert_eq!(quantity(98_765_432_100.0, "FLOP"), "98.8 GFLOP");
        assert_eq!(quantity(-4500.0, "B"), "-4.50 kB");
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!(
            [count(0u32, "node"), count(1i32, "entry"), count(2usize, "entry")],
            ["0 nodes", "1 entry", "2 entries"]
        );
    }

    #[test]
    fn names_are_cut_after_the_most_frequent() {
        let counts = [("aten::conv2d", 5), ("aten::relu", 1), ("my::op", 2)].map(|(n, c)| (n.to_string(), c));
        assert_eq!(names(&counts, 3), "conv2d x5, relu, op x2");
        assert_eq!(names(&counts, 1), "conv2d x5, 3 others");
    }
}
