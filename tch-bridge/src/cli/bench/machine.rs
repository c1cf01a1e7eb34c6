//! The machine as the operating system tells it.

use crate::engine::Built;
use crate::report::EngineReport;
use crate::variant::Stitched;
use serde::Serialize;
use std::time::{Duration, Instant};

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

/// Processor time since the machine's start.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    at: Instant,
    /// Of all programs and of this one, in the same ticks.
    all: u64,
    own: u64,
    /// Ticks of all processors: busy or not.
    whole: u64,
    processors: usize,
}

impl Usage {
    /// None where the system does not tell.
    pub(crate) fn now() -> Option<Usage> {
        let (stat, own) = (read("/proc/stat")?, read("/proc/self/stat")?);
        let (all, whole) = ticks(&stat)?;
        let processors = stat.lines().filter(|l| l.starts_with("cpu")).count().saturating_sub(1);
        Some(Usage { at: Instant::now(), all, own: own_ticks(&own)?, whole, processors })
    }

    /// How many processors other programs kept busy since then, on average, and how many there are.
    pub(crate) fn of_others(self, since: Usage) -> Option<(f64, usize)> {
        let whole = self.whole.checked_sub(since.whole).filter(|n| *n > 0)?;
        let others = (self.all - since.all).saturating_sub(self.own - since.own);
        // In some hundredths of a second ticks are too coarse to tell.
        let long = self.at - since.at > Duration::from_millis(300);
        long.then_some((others as f64 / whole as f64 * self.processors as f64, self.processors))
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Busy ticks and all ticks of `/proc/stat`: user, nice, system, idle, waiting for a disk, two kinds of interrupts, stolen by the host.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let of: Vec<u64> = line.split_whitespace().take(8).map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let whole: u64 = of.iter().sum();
    Some((whole - of.get(3)? - of.get(4)?, whole))
}

/// User and system ticks of `/proc/self/stat`, in which a name in brackets comes before numbers.
fn own_ticks(stat: &str) -> Option<u64> {
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut times = numbers.split_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

/// The processor's name and its number of threads.
pub(crate) fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_string();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {threads} threads")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_use_is_all_without_ours() {
        let stat = "cpu  100 1 20 900 30 2 3 4 0 0\ncpu0 1\ncpu1 2\nintr 5\n";
        assert_eq!(ticks(stat), Some((130, 1060)));
        assert_eq!(own_ticks("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0"), Some(42));
        let at = |seconds: u64, all: u64, own: u64| Usage {
            at: Instant::now() + Duration::from_secs(seconds),
            all,
            own,
            whole: seconds * 200,
            processors: 2,
        };
        let (others, of) = at(10, 1600, 1000).of_others(at(0, 100, 0)).expect("it is long enough");
        assert!((others - 0.5).abs() < 1e-9 && of == 2, "{others}");
        assert!(at(0, 1, 1).of_others(at(0, 0, 0)).is_none());
    }
}
