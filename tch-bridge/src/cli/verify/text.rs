//! A verification as text.

use super::super::spec::kind_name;
use super::{Comparison, Run, Verification};
use partitioner::count;
use std::collections::BTreeSet;
use trt_tool::Document;
use trt_tool::terminal::{Style, percent, table};

impl Document for Verification {
    fn passed(&self) -> bool {
        self.passed
    }

    fn text(&self, style: Style) -> String {
        let mut out = format!("{} {}, backend {}\n", style.bold(&self.model), self.method, self.backend);
        for run in &self.runs {
            out += &run_text(run, style);
        }
        out += &self.tolerances();
        for note in &self.notes {
            out += &format!("{} {note}\n", style.yellow("note:"));
        }
        if let Some(finding) = &self.bisection {
            out += &finding.text(style);
        }
        let sets = count(self.runs.len(), "set");
        let differing = self.runs.iter().filter(|r| !r.passed).count();
        out += &match (self.passed, differing) {
            (true, _) => {
                let (calls, engines) = (count(self.served, "call"), count(self.engines, "engine"));
                let mut served = format!("{engines} served {calls}");
                if let Some(part) = self.fraction {
                    served = format!("{engines}, with {} of the operations, served {calls}", percent(part));
                }
                if self.served != self.runs.len() as u64 {
                    served += " (a set calls the method once, and that calls each engine on its way)";
                }
                format!("{} {sets} of inputs agree; {served}\n", style.green("passed:"))
            }
            (false, 0) => format!("{} nothing was verified: no engine served a call\n", style.red("failed:")),
            (false, _) => {
                let red = style.red("failed:");
                format!(
                    "{red} outputs differ by more than the tolerance on {differing} of {sets} of inputs\n"
                )
            }
        };
        out
    }
}

impl Verification {
    /// What outputs of each element type were held to; nothing where elements have to be equal.
    fn tolerances(&self) -> String {
        let mut told = BTreeSet::new();
        for output in self.runs.iter().flat_map(|r| &r.outputs).filter(|c| c.rtol > 0.0 || c.atol > 0.0) {
            let kind = output.found.split('[').next().unwrap_or_default();
            let narrow = self.tolerance.narrow.filter(|_| self.tolerance.rtol.is_none() && kind == "f32");
            let narrow = narrow.map(|n| format!(" computed in {}", kind_name(n))).unwrap_or_default();
            let absolute = match self.tolerance.atol {
                Some(atol) => format!("{atol:e} absolute"),
                None => "a tenth of that times the largest magnitude".to_string(),
            };
            told.insert(format!("{kind}{narrow} {:e} relative, and {absolute}", output.rtol));
        }
        match told.is_empty() {
            true => String::new(),
            false => format!("tolerance: {}\n", told.into_iter().collect::<Vec<_>>().join("; ")),
        }
    }
}

fn run_text(run: &Run, style: Style) -> String {
    let seed = run.seed.map(|s| format!(", seed {s}")).unwrap_or_default();
    let mut out = format!("\n{} ({}){seed}\n", run.values, run.inputs.join(", "));
    let head = ["", "type", "max abs", "max rel", "mean abs", "cosine", "NaN", "Inf", "equal", "off", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (at, c) in run.outputs.iter().enumerate() {
        rows.push(row(&c.name, c, if c.passed { "ok" } else { "DIFFERS" }));
        if let Some(host) = run.host.as_ref().and_then(|h| h.get(at)) {
            rows.push(row(&format!("  {} on the host", host.name), host, ""));
        }
    }
    let coloured = table(&rows).replace("DIFFERS", &style.red("DIFFERS"));
    out += &coloured;
    out
}

fn row(name: &str, c: &Comparison, verdict: &str) -> Vec<String> {
    let pair = |[found, expected]: [i64; 2]| match (found, expected) {
        (0, 0) => "-".to_string(),
        _ => format!("{found}/{expected}"),
    };
    vec![
        name.to_string(),
        if c.found == c.expected { c.found.clone() } else { format!("{} for {}", c.found, c.expected) },
        format!("{:.2e}", c.max_abs),
        format!("{:.2e}", c.max_rel),
        format!("{:.2e}", c.mean_abs),
        format!("{:.9}", c.cosine),
        pair(c.nan),
        pair(c.inf),
        c.agreement.map_or_else(|| "-".into(), |part| format!("{:.4}", part)),
        if c.mismatches == 0 { "-".into() } else { c.mismatches.to_string() },
        verdict.to_string(),
    ]
}
