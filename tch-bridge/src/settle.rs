//! Graphs without the branches and loops that the arguments of a call decide before it runs.

use crate::Error;
use crate::jit::{Graph, Seen, Sizes};
use std::borrow::Borrow;
use tch::IValue;

/// The most rounds of leaving out branches: what one leaves can decide others.
const SETTLING: usize = 4;

/// The graph without the branches that calls of this kind never take, and what its values hold; `None` where it has no such branches.
/// Each round takes another run, on copies where a run changes something or may not, `alone`.
pub(crate) fn by_kinds<V: Borrow<IValue>>(
    graph: &Graph,
    seen: &[Seen],
    inputs: &[V],
    alone: bool,
) -> Result<Option<(Graph, Vec<Seen>)>, Error> {
    let alone = alone || !graph.facts()?.repeatable;
    let mut settled: Option<(Graph, Vec<Seen>)> = None;
    for _ in 0..SETTLING {
        let (graph, seen) = settled.as_ref().map_or((graph, seen), |(graph, seen)| (graph, &seen[..]));
        let Some(next) = graph.assume(seen)? else { break };
        let seen = if alone { next.rehearse(inputs)? } else { next.observe(inputs)?.1 };
        settled = Some((next, seen));
    }
    Ok(settled)
}

/// The graph without the branches and loops that the sizes of these inputs decide, and what its values hold; `None` where it has no such
/// ones. It is run on copies where a run changes something or may not, `alone`.
pub(crate) fn by_sizes<V: Borrow<IValue>>(
    graph: &Graph,
    inputs: &[V],
    alone: bool,
) -> Result<Option<(Graph, Vec<Seen>)>, Error> {
    if Sizes::of_values(inputs).is_none() {
        return Ok(None);
    }
    let alone = alone || !graph.facts()?.repeatable;
    let Some(sized) = graph.settle_sizes(inputs, alone)? else { return Ok(None) };
    let seen = if alone { sized.rehearse(inputs)? } else { sized.observe(inputs)?.1 };
    Ok(Some((sized, seen)))
}
