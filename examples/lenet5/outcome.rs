//! What came out, side by side, and whether it may stand.

use anyhow::{Result, ensure};
use examples::difference::{Difference, accuracy_tolerance, tolerance};
use examples::evaluation::Evaluation;
use std::fmt;
use std::time::Duration;
use tch::Device;
use tch_bridge::TrtModule;
use tch_bridge::report::State;

/// How much farther from the float64 run the engines may lie than the host.
const FARTHER: f64 = 4.0;

/// Both paths at one batch size.
pub struct Outcome {
    /// Images in a call.
    pub batch: i64,
    /// libtorch alone.
    pub host: Evaluation,
    /// With engines.
    pub engines: Evaluation,
    /// Time to build the engines.
    pub build: Duration,
    /// Of the engines from the host.
    pub difference: Difference,
    /// Of the host, and of the engines, from a float64 run.
    pub errors: [Difference; 2],
}

/// One column for each batch size.
pub struct Outcomes(pub Vec<Outcome>);

impl Outcomes {
    /// Are the engines' answers the host's, which ran on a device? The error is a sentence.
    pub fn check(&self, device: Device) -> Result<()> {
        for Outcome { batch, host, engines, difference, errors: [of_host, of_engines], .. } in &self.0 {
            let (a, b) = (host.accuracy, engines.accuracy);
            ensure!(
                (a - b).abs() <= accuracy_tolerance(device),
                "at batch {batch} the accuracy is {a} on the host and {b} in engines"
            );
            ensure!(
                difference.is_small(device),
                "at batch {batch} the engines differ from the host by {difference}; {:e} is allowed",
                tolerance(device)
            );
            ensure!(
                of_engines.absolute <= FARTHER * of_host.absolute,
                "at batch {batch} the engines are off by {of_engines}, more than {FARTHER} times the host's {of_host}"
            );
        }
        Ok(())
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, cell: impl Fn(&Outcome) -> String) -> fmt::Result {
        write!(f, "{name:34}")?;
        self.0.iter().try_for_each(|o| write!(f, "{:>16}", cell(o)))?;
        writeln!(f)
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: f64| format!("{:.2} %", 100. * part);
        let an_image = |e: &Evaluation| format!("{:.1?}", e.time / e.scores.size()[0] as u32);
        self.row(f, "", |o| format!("batch {}", o.batch))?;
        self.row(f, "host: accuracy", |o| percent(o.host.accuracy))?;
        self.row(f, "host: time of an image", |o| an_image(&o.host))?;
        self.row(f, "engines: accuracy", |o| percent(o.engines.accuracy))?;
        self.row(f, "engines: time of an image", |o| an_image(&o.engines))?;
        let speed_up = |o: &Outcome| o.host.time.as_secs_f64() / o.engines.time.as_secs_f64();
        self.row(f, "speed-up without build time", |o| format!("{:.2} x", speed_up(o)))?;
        self.row(f, "build time", |o| format!("{:.1?}", o.build))?;
        self.row(f, "difference of accuracy", |o| percent((o.engines.accuracy - o.host.accuracy).abs()))?;
        self.row(f, "largest difference of outputs", |o| format!("{:.1e}", o.difference.absolute))?;
        self.row(f, "    as a part of their scale", |o| format!("{:.1e}", o.difference.relative()))?;
        self.row(f, "error against float64: host", |o| format!("{:.1e}", o.errors[0].absolute))?;
        self.row(f, "error against float64: engines", |o| format!("{:.1e}", o.errors[1].absolute))
    }
}

/// How many calls every engine of the module has served.
pub fn served(module: &TrtModule) -> u64 {
    let report = module.report();
    let engines = report.methods.iter().filter_map(|m| match &m.state {
        State::Divided { engines, .. } => Some(engines),
        _ => None,
    });
    engines.flatten().map(|e| e.served).min().unwrap_or(0)
}
