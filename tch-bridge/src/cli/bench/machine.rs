//! The machine as the operating system tells it.

use crate::engine::Built;
use crate::report::EngineReport;
use crate::variant::Stitched;
use serde::Serialize;

/// Memory of the engines and of the process, in bytes.
#[derive(Serialize)]
pub(crate) struct Memory {
    /// Prepared weights, shared by all callers.
    pub(crate) weight_bytes: usize,
    /// Working memory of one caller.
    pub(crate) arena_bytes: usize,
    /// The most that the process held at once, the model and libtorch included; none where the system does not tell.
    pub(crate) peak_resident_bytes: Option<u64>,
}

impl Memory {
    pub(crate) fn of(stitched: Option<&Stitched>) -> Memory {
        let mut memory = Memory { weight_bytes: 0, arena_bytes: 0, peak_resident_bytes: peak_resident() };
        for cluster in stitched.iter().flat_map(|s| &s.clusters) {
            for specialisation in cluster.specialisations().iter() {
                if let Built::Ready(ready) = &specialisation.outcome {
                    memory.weight_bytes += ready.pool.info().weight_bytes;
                    memory.arena_bytes += ready.pool.info().arena_bytes;
                }
            }
        }
        memory
    }

    /// Of engines that came with a file.
    pub(crate) fn of_saved(engines: &[EngineReport]) -> Memory {
        let shapes = || engines.iter().flat_map(|e| &e.shapes);
        Memory {
            weight_bytes: shapes().filter(|s| !s.shares_weights).map(|s| s.weight_bytes).sum(),
            arena_bytes: shapes().map(|s| s.arena_bytes).sum(),
            peak_resident_bytes: peak_resident(),
        }
    }
}

fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// How many programs wanted to run, on average over the last minute.
pub(crate) fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The processor's name and its number of threads.
pub(crate) fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}
