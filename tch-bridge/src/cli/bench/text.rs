//! A measurement as text.

use super::{Layers, Measurement, Timing};
use partitioner::{count, quantity};
use trt_tool::Document;
use trt_tool::terminal::{Style, cut, table, without_folders};

impl Document for Measurement {
    fn passed(&self) -> bool {
        self.fault.is_none()
    }

    fn text(&self, style: Style) -> String {
        let mut out = format!("{} {} ({})\n", style.bold(&self.model), self.method, self.inputs.join(", "));
        let (threads, callers) = (count(self.threads, "thread"), count(self.streams, "caller"));
        out += &format!("backend {}; {}; {threads} in a call, {callers}\n", self.backend, self.machine);
        out += &format!(
            "from the file to the first result of engines {:.0} ms; the first call {:.0} ms, of which building took {:.0} ms; building once more {:.0} ms\n",
            self.first_result_ms, self.first_call_ms, self.build_ms, self.rebuild_ms
        );
        let (weights, arena) = (self.memory.weight_bytes as f64, self.memory.arena_bytes as f64);
        out += &format!(
            "engines hold {} of weights and {} for each caller",
            quantity(weights, "B"),
            quantity(arena, "B")
        );
        if let Some(peak) = self.memory.peak_resident_bytes {
            out += &format!("; the process held {} at most", quantity(peak as f64, "B"));
        }
        out += "\n\n";
        let head =
            ["", "calls/s", "min us", "mean", "median", "p90", "p95", "p99", "engines ahead, by turns"];
        let mut rows = vec![head.map(String::from).to_vec()];
        rows.extend(self.contenders.iter().map(row));
        out += &table(&rows);
        let joules: Vec<String> = self
            .contenders
            .iter()
            .filter_map(|c| Some(format!("{} {:.2} mJ", c.name, c.joules? * 1e3)))
            .collect();
        if !joules.is_empty() {
            out += &format!("\nenergy of a call: {}\n", joules.join(", "));
        }
        let what = if self.on_gpu { "until it returns" } else { "outside of engines" };
        if let Some(cost) = self.host_cost_us {
            out += &format!("\nhost cost of a call: {cost:.1} us {what}\n");
        }
        if let Some(layers) = &self.layers {
            out += &layers_text(layers, style);
        }
        for note in &self.notes {
            out += &format!("{} {note}\n", style.yellow("note:"));
        }
        if let Some(fault) = &self.fault {
            out += &format!("{} {fault}\n", style.red("error:"));
        }
        out
    }
}

fn row(timing: &Timing) -> Vec<String> {
    let l = &timing.latency;
    let mut row = vec![timing.name.to_string(), format!("{:.1}", timing.throughput)];
    let times = [l.min_us, l.mean_us, l.median_us, l.p90_us, l.p95_us, l.p99_us];
    row.extend(times.iter().map(|us| format!("{us:.1}")));
    let noisy = if timing.noisy { ", noisy" } else { "" };
    row.extend(
        timing.engines_ahead.map(|[mid, low, high]| format!("x {mid:.2} ({low:.2} to {high:.2}){noisy}")),
    );
    row
}

fn layers_text(layers: &Layers, style: Style) -> String {
    let mut out =
        format!("\n{}\n", style.bold(&format!("where {} profiled calls spent their time", layers.calls)));
    let mut rows = vec![["us", "%", ""].map(String::from).to_vec()];
    let mut row = |us: f64, what: String| {
        rows.push(vec![format!("{us:.1}"), format!("{:.1}", 100.0 * us / layers.whole_us), what]);
    };
    for engine in &layers.engines {
        row(engine.whole_us, format!("engine {}", engine.engine));
        for step in &engine.steps {
            row(step.us, format!("  {}", cut(&without_folders(&step.step), 90)));
        }
        if !engine.steps.is_empty() {
            row(engine.whole_us - engine.sum_us, "  between the steps".into());
        }
    }
    row(layers.host_us, "host, outside of engines".into());
    row(layers.whole_us, "whole".into());
    out += &table(&rows);
    out
}
