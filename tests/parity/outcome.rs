//! What is said of one model.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use tch_bridge::Report;
use tch_bridge::report::State;

/// Does the module with engines give the host's answers?
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It does, for all arguments.
    Agrees,
    /// It does not, and where.
    Differs(String),
    /// The host itself cannot run the model, so there is nothing to compare.
    HostFails(String),
    /// The host runs it and the module with engines does not.
    Fails(String),
    /// The process died.
    Crashed(String),
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        *self == Verdict::Agrees
    }
}

/// Operators that stayed on the host for one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stayed {
    pub operator: String,
    pub reason: String,
    pub count: usize,
}

/// What is said of one model. Distances are the greatest of any element, in units of the greatest element of its tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    pub model: String,
    pub verdict: Verdict,
    /// From the host's answer to the engines'.
    pub distance: Option<f64>,
    /// From the float64 run to the host's answer; `None` where the model does not run in float64.
    pub host_error: Option<f64>,
    /// From the float64 run to the engines' answer.
    pub engine_error: Option<f64>,
    /// The part of the operations that runs in engines, 0 to 1.
    pub share: f64,
    /// The operations of the model, as far as the host's operators are known.
    pub operations: f64,
    pub engines: usize,
    /// Calls that engines served.
    pub served: u64,
    /// Operators that compute, on the host and in all.
    pub host_compute: usize,
    pub compute: usize,
    /// Operators that compute and stay on the host, by name and reason, the most frequent first.
    pub stayed: Vec<Stayed>,
    /// The best of three calls, in milliseconds.
    pub host_ms: f64,
    pub engine_ms: f64,
    pub build_ms: f64,
}

impl Outcome {
    pub fn new(model: &Path, verdict: Verdict) -> Outcome {
        Outcome {
            model: model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            verdict,
            distance: None,
            host_error: None,
            engine_error: None,
            share: 0.0,
            operations: 0.0,
            engines: 0,
            served: 0,
            host_compute: 0,
            compute: 0,
            stayed: vec![],
            host_ms: 0.0,
            engine_ms: 0.0,
            build_ms: 0.0,
        }
    }

    /// Takes over what the module's report says.
    pub fn describe(&mut self, report: &Report) {
        let mut coverage = partitioner::Coverage::default();
        for method in &report.methods {
            let State::Divided { blocks, engines, .. } = &method.state else {
                self.note("", &format!("{:?}", method.state));
                continue;
            };
            self.served += engines.iter().map(|e| e.served).sum::<u64>();
            for refused in engines.iter().flat_map(|e| &e.shapes).filter_map(|s| s.refused.as_ref()) {
                self.note("an engine", refused);
            }
            for block in blocks {
                coverage += block.partition.coverage;
                for group in block.partition.host.iter().filter(|g| g.compute > 0) {
                    for operator in &group.operators {
                        let reason =
                            if operator.message.is_empty() { &group.reason } else { &operator.message };
                        (0..operator.count).for_each(|_| self.note(&operator.name, reason));
                    }
                }
            }
        }
        self.engines = report.engines();
        self.build_ms = report.build_time().as_secs_f64() * 1e3;
        self.share = coverage.fraction();
        self.operations = coverage.operations;
        self.compute = coverage.compute;
        self.host_compute = coverage.compute - coverage.taken_compute;
        self.stayed.sort_by_key(|s| std::cmp::Reverse(s.count));
    }

    fn note(&mut self, operator: &str, reason: &str) {
        match self.stayed.iter_mut().find(|s| s.operator == operator && s.reason == reason) {
            Some(known) => known.count += 1,
            None => self.stayed.push(Stayed { operator: operator.into(), reason: reason.into(), count: 1 }),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match &self.verdict {
            Verdict::Agrees => "agrees",
            Verdict::Differs(_) => "DIFFERS",
            Verdict::HostFails(_) => "no host",
            Verdict::Fails(_) => "FAILS",
            Verdict::Crashed(_) => "CRASHED",
        };
        let number = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.1e}"));
        write!(
            f,
            "{:<44} {word:<8} {:>6.2} % in {:>3} engines, {:>3} of {:>4} compute stay, off {:>7}, f64: host {:>7} engines {:>7}, {:>8.2} -> {:>8.2} ms",
            self.model,
            100.0 * self.share,
            self.engines,
            self.host_compute,
            self.compute,
            number(self.distance),
            number(self.host_error),
            number(self.engine_error),
            self.host_ms,
            self.engine_ms,
        )?;
        if let Verdict::Differs(why) | Verdict::HostFails(why) | Verdict::Fails(why) | Verdict::Crashed(why) =
            &self.verdict
        {
            write!(f, "\n    {why}")?;
        }
        for stayed in self.stayed.iter().take(8) {
            write!(f, "\n    {} x{}: {}", stayed.operator, stayed.count, stayed.reason)?;
        }
        Ok(())
    }
}
