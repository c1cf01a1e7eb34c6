//! A report as text.

use super::{
    BlockReport, EngineReport, Kept, LoadedReport, MethodReport, Parity, Report, SWITCHED_OFF, ShapeReport,
    State,
};
use partitioner::{count, quantity};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backend {}", self.backend)?;
        if !self.enabled {
            writeln!(f, "{SWITCHED_OFF}")?;
        }
        if self.recorded > 0 {
            let calls = count(self.recorded, "call");
            writeln!(
                f,
                "the host served {calls} that recorded gradients or tangents; for inference use no_grad"
            )?;
        }
        if !self.bounds.is_empty() {
            let bounds: Vec<String> = self.bounds.iter().map(ToString::to_string).collect();
            let outside = count(self.outside, "call");
            writeln!(f, "engines are for {}; the host served {outside} outside", bounds.join(", or "))?;
        }
        if self.methods.is_empty() && self.loaded.is_empty() {
            writeln!(
                f,
                "nothing is compiled yet: the first call with engines enabled does it (USE_TRT=1 or set_enabled)"
            )?;
        }
        self.methods.iter().try_for_each(|m| m.fmt(f))?;
        self.loaded.iter().try_for_each(|l| l.fmt(f))
    }
}

impl fmt::Display for MethodReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Building => writeln!(f, "{}: engines are being built, the host serves", self.method),
            State::Failed(why) => writeln!(f, "{}: the host serves every call: {why}", self.method),
            State::Divided { blocks, engines, build, .. } => {
                writeln!(f, "{}: {}, built in {build:.1?}", self.method, count(engines.len(), "engine"))?;
                for (at, block) in blocks.iter().enumerate() {
                    let Some(alike) = alike(blocks, at) else { continue };
                    match &alike[..] {
                        [] => {}
                        [only] => writeln!(f, "nested block {only}:")?,
                        several => writeln!(f, "nested blocks {}, all alike:", ranges(several))?,
                    }
                    writeln!(f, "{}", block.partition)?;
                }
                for (at, engine) in engines.iter().enumerate() {
                    write!(f, "engine {at} {engine}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for LoadedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.engine {
            Some(engine) => write!(f, "{} (loaded) {engine}", engine.name),
            None => writeln!(f, "{}: could not be remade, the host serves", self.attribute),
        }
    }
}

impl fmt::Display for EngineReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "served {}", count(self.served, "call"))?;
        self.shapes.iter().try_for_each(|s| s.fmt(f))
    }
}

impl fmt::Display for ShapeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.inputs.join(", ");
        if let Some(why) = &self.refused {
            return writeln!(f, "  {inputs}: on the host: {why}");
        }
        let (before, after) = self.layers;
        let bytes = |n: usize| quantity(n as f64, "B");
        let (weights, arena) = (bytes(self.weight_bytes), bytes(self.arena_bytes));
        let plan = self.plan.as_ref().map(|plan| format!("; plan in the file: {plan}")).unwrap_or_default();
        let shared = if self.shares_weights { ", shared" } else { "" };
        writeln!(
            f,
            "  {inputs}: {} as written, {after} as run, {weights} weights{shared}, {arena} arena, built in {:.1?}{plan}",
            count(before, "layer"),
            self.build
        )?;
        self.parity.iter().try_for_each(|parity| writeln!(f, "  {parity}"))
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.unknown {
            return write!(f, "parity: all in f32: {why}");
        }
        let off = |v: Option<f64>| v.map_or("without bounds".to_string(), |v| format!("by {v:.1e}"));
        write!(f, "parity: off {}, allowed {:.1e}", off(self.before), self.tolerance)?;
        if let Some(first) = self.differing.first() {
            write!(f, "; first differs {}, {}", first.layer, off(first.difference))?;
        }
        match self.kept {
            Kept::Nothing => Ok(()),
            Kept::Layers => write!(f, "; {} kept in f32, now off {}", self.differing.len(), off(self.after)),
            Kept::All => write!(f, "; all kept in f32"),
        }
    }
}

/// The nested blocks that are told in one with block `at`: itself, and later ones of which the same is to say, as of the rounds of a loop that
/// was unrolled. None for the method's body; `None` where an earlier block tells of this one. A block with engines is told by itself.
fn alike(blocks: &[BlockReport], at: usize) -> Option<Vec<usize>> {
    if at == 0 {
        return Some(Vec::new());
    }
    let own = &blocks[at].partition;
    if !own.engines.is_empty() {
        return Some(vec![at]);
    }
    let all: Vec<usize> = (1..blocks.len()).filter(|&other| blocks[other].partition == *own).collect();
    (all[0] == at).then_some(all)
}

/// Rising numbers, those in a row as `3 to 7`.
fn ranges(numbers: &[usize]) -> String {
    let rows = numbers.chunk_by(|a, b| a + 1 == *b).map(|row| match row {
        [first, .., last] if row.len() > 2 => format!("{first} to {last}"),
        few => few.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    });
    rows.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn numbers_in_a_row_are_told_by_their_ends() {
        assert_eq!(ranges(&[1, 3, 4, 5, 6, 9, 10]), "1, 3 to 6, 9, 10");
    }
}
