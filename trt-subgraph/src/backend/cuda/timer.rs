//! Timing ways of running a layer on the device, each assembled alone on memory of its own.

use super::alone::{Alone, Ready, key};
use super::assemble::Assembler;
use super::compile::side_by_side;
use super::device::Device;
use super::kernel::product::{Kernel, tensor};
use super::library::{Address, Handles};
use super::load::Loaded;
use super::memory::Buffer;
use super::program::{Action, Source};
use super::queue::Queue;
use super::replay::Replay;
use super::tactic::{Asked, Own, Way};
use crate::backend::ending;
use crate::backend::{Level, Tf32};
use crate::cache::Cache;
use crate::network::Layer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// The kind of entries of the cache on disk that say which way is fastest.
const CACHED: &str = "ways";
/// How often a way is repeated in one timed graph: single launches show their overhead rather than their time.
const REPEATS: usize = 10;
/// How often such a graph is timed; the least time counts.
const ROUNDS: usize = 3;
/// Milliseconds that a library's step costs its neighbours in a network: ours begin before the one ahead of them is done, and libraries' do
/// not. On an H200 24 such steps of ViT-B/16 cost 12 us, which nothing shows that is timed alone.
const ABRUPT: f32 = 0.5e-3;

/// A device, its libraries' handles, and what has been found out on it.
pub struct Timer {
    pub device: Arc<Device>,
    /// For one thread at a time.
    pub handles: Mutex<Handles>,
    /// The device and the versions of all that takes part.
    machine: String,
    pub tf32: Tf32,
    pub level: Level,
    /// The fastest way by problem; held while a problem is timed, so that timings do not disturb each other.
    chosen: Mutex<HashMap<String, Arc<dyn Way>>>,
    /// Compiled ahead of their timing, by problem.
    foreseen: Mutex<HashMap<String, Vec<Candidate>>>,
}

impl Timer {
    /// Knows nothing yet.
    pub fn new(device: &Arc<Device>, tf32: Tf32, level: Level) -> Result<Timer, String> {
        let handles = Mutex::new(Handles::new(device)?);
        Ok(Timer {
            device: device.clone(),
            handles,
            machine: device.circumstances(),
            tf32,
            level,
            chosen: Mutex::default(),
            foreseen: Mutex::default(),
        })
    }

    /// The device's own, which lives as long as the process: what was timed once is known to every later engine.
    pub fn of(device: &Arc<Device>, tf32: Tf32, level: Level) -> Result<Arc<Timer>, String> {
        type Known = Mutex<HashMap<(usize, Tf32, Level), Arc<Timer>>>;
        static KNOWN: OnceLock<Known> = OnceLock::new();
        let mut known = KNOWN.get_or_init(Known::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = known.get(&(device.ordinal, tf32, level)) {
            return Ok(timer.clone());
        }
        let timer = Arc::new(Timer::new(device, tf32, level)?);
        known.insert((device.ordinal, tf32, level), timer.clone());
        Ok(timer)
    }

    /// The fastest way to run the layer on operands where they lie now.
    pub fn choose(&self, a: &mut Assembler, layer: &Layer) -> Arc<dyn Way> {
        let key = key(a, layer);
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = chosen.get(&key) {
            return way.clone();
        }
        let foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let candidates = match foreseen {
            Some(candidates) => candidates,
            None => {
                let alone = Alone::of(a, layer, key.clone());
                if let Some(way) = self.remembered(&alone) {
                    chosen.insert(key, way.clone());
                    return way;
                }
                log::debug!("{}: not foreseen", a.origin());
                self.candidates(&alone)
            }
        };
        let mut best: (f32, Arc<dyn Way>) = (f32::INFINITY, Arc::new(Own(Kernel::Suitable)));
        // As one product, for whoever reads the log.
        let size = tensor::form(a, layer, Tf32 { convolution: true, product: true });
        let size =
            size.map_or(String::new(), |f| format!(" {}x{}x{}x{}", f.batch, f.m, f.n, f.k / f.dtype.size()));
        for Candidate { way, ready } in candidates {
            match ready.and_then(|ready| self.time(ready)) {
                Ok(time) => {
                    log::debug!("{}{size}: {} takes {:.2} us", a.origin(), way.name(), time * 1e3);
                    if time < best.0 {
                        best = (time, way);
                    }
                }
                Err(why) => log::debug!("{}: {} does not run: {why}", a.origin(), way.name()),
            }
        }
        if best.0.is_finite()
            && let Some(cache) = Cache::of_process()
        {
            cache.put(CACHED, self.circumstances(&key).as_bytes(), best.1.name().as_bytes());
        }
        chosen.insert(key, best.1.clone());
        best.1
    }

    /// The first of the ways asked for that runs, else our own kernel.
    pub fn untimed(&self, a: &mut Assembler, layer: &Layer, asked: Asked) -> Arc<dyn Way> {
        let key = key(a, layer);
        let alone = Alone::of(a, layer, key);
        let runs = |way: &Arc<dyn Way>| alone.ready(way, self.device.target).is_ok();
        alone.ways(self, asked).into_iter().find(runs).unwrap_or_else(|| Arc::new(Own(Kernel::Suitable)))
    }

    /// The layer alone, unless its fastest way is known.
    pub fn unknown(&self, a: &mut Assembler, layer: &Layer) -> Option<Alone> {
        let key = key(a, layer);
        let chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        (!chosen.contains_key(&key)).then(|| Alone::of(a, layer, key))
    }

    /// Finds the ways that earlier processes took, and compiles those of the other layers side by side, for [`Timer::choose`] to find:
    /// compiling takes much longer than timing.
    pub fn foresee(&self, mut layers: Vec<Alone>) {
        layers.sort_by(|a, b| a.key.cmp(&b.key));
        layers.dedup_by(|a, b| a.key == b.key);
        let start = Instant::now();
        let kept = side_by_side(&layers, |alone| self.remembered(alone));
        let mut unknown = Vec::new();
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        for (alone, way) in layers.into_iter().zip(kept) {
            match way {
                Some(way) => drop(chosen.insert(alone.key, way)),
                None => unknown.push(alone),
            }
        }
        drop(chosen);
        let layers = unknown;
        let own: Vec<Vec<Arc<dyn Way>>> = side_by_side(&layers, |alone| alone.ways(self, Asked::Own));
        let listed = start.elapsed();
        // Libraries wait for each other: their turns come between those of the compiler.
        let own: Vec<(usize, Option<Arc<dyn Way>>)> = own
            .into_iter()
            .enumerate()
            .flat_map(|(at, ways)| ways.into_iter().map(move |way| (at, Some(way))))
            .collect();
        let tasks = spread(own, (0..layers.len()).map(|at| (at, None)).collect());
        let made = side_by_side(&tasks, |(at, way)| match way {
            Some(way) => vec![self.candidate(&layers[*at], way)],
            None => {
                let ways = layers[*at].ways(self, Asked::Libraries);
                ways.iter().map(|way| self.candidate(&layers[*at], way)).collect()
            }
        });
        let count: usize = made.iter().map(Vec::len).sum();
        let mut compiled: Vec<Vec<Candidate>> = layers.iter().map(|_| vec![]).collect();
        for ((at, _), candidates) in tasks.into_iter().zip(made) {
            compiled[at].extend(candidates);
        }
        // Another thread may have foreseen the same: one of both is enough.
        let mut foreseen = self.foreseen.lock().unwrap_or_else(PoisonError::into_inner);
        foreseen.extend(layers.iter().map(|alone| alone.key.clone()).zip(compiled));
        drop(foreseen);
        log::debug!(
            "{} layers, {count} ways: listed in {listed:.1?}, compiled in {:.1?}",
            layers.len(),
            start.elapsed() - listed
        );
    }

    /// The way that an earlier process found fastest under the very same circumstances.
    fn remembered(&self, alone: &Alone) -> Option<Arc<dyn Way>> {
        let name = Cache::of_process()?.get(CACHED, self.circumstances(&alone.key).as_bytes())?;
        alone.ways(self, Asked::Named(std::str::from_utf8(&name).ok()?)).pop()
    }

    /// Everything that decides which way is fastest.
    fn circumstances(&self, key: &str) -> String {
        format!("{}, {}, level {}\n{key}", self.machine, self.tf32, u8::from(self.level))
    }

    /// Forgets what was foreseen and not asked for.
    pub fn forget(&self) {
        self.foreseen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The ways of a layer, compiled.
    fn candidates(&self, alone: &Alone) -> Vec<Candidate> {
        let ways = alone.ways(self, Asked::All);
        side_by_side(&ways, |way| self.candidate(alone, way))
    }

    fn candidate(&self, alone: &Alone, way: &Arc<dyn Way>) -> Candidate {
        Candidate { way: way.clone(), ready: alone.ready(way, self.device.target) }
    }

    /// Milliseconds of the layer in its network, run this way.
    fn time(&self, ready: Ready) -> Result<f32, String> {
        ending::check()?;
        let Ready { program, code, weights, given } = ready;
        let loaded = Loaded::new(&self.device, program, &code)?;
        let memory = |bytes| {
            let memory = Buffer::new(&self.device, bytes)?;
            // Small positive numbers in every floating-point type.
            memory.set(0x3c).map(|()| memory)
        };
        let (weights, arena) = (memory(weights)?, memory(loaded.program.arena)?);
        let given = given.into_iter().map(memory).collect::<Result<Vec<_>, String>>()?;
        let place = |(slot, offset): (&Source, &usize)| match slot {
            Source::Weights => weights.address(),
            Source::Arena(_) => arena.address() + *offset as Address,
            Source::Input(i) => given[*i].address(),
            _ => 0,
        };
        let addresses: Vec<Address> =
            loaded.program.slots.iter().zip(&loaded.program.offsets).map(place).collect();
        let queue = Queue::new(&loaded, &addresses)?;
        let steps = loaded.program.steps.len();
        let calls = loaded.program.steps.iter().filter(|s| matches!(s.action, Action::Call(_))).count();
        let abrupt = if self.device.target.capability >= 90 { ABRUPT * calls as f32 } else { 0.0 };
        let replay = Replay::of(&loaded, &queue, (0..REPEATS).flat_map(|_| 0..steps))?;
        // SAFETY: the memory is the buffers' above.
        Ok(unsafe { replay.time(ROUNDS) }? / REPEATS as f32 + abrupt)
    }
}

/// `few` among `many`, as evenly as can be, both in their order.
fn spread<T>(many: Vec<T>, few: Vec<T>) -> Vec<T> {
    let mut out: Vec<T> = Vec::with_capacity(many.len() + few.len());
    let (all, count) = (many.len(), few.len());
    let mut few = few.into_iter().enumerate().peekable();
    for (at, item) in many.into_iter().enumerate() {
        while let Some((_, early)) = few.next_if(|(i, _)| i * all <= at * count) {
            out.push(early);
        }
        out.push(item);
    }
    out.extend(few.map(|(_, late)| late));
    out
}

/// A way to run a layer, ready to be timed, or why it is not.
struct Candidate {
    way: Arc<dyn Way>,
    ready: Result<Ready, String>,
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn few_lie_evenly_among_many() {
        assert_eq!(spread(vec![1, 2, 3, 4, 5, 6], vec![10, 20, 30]), [10, 1, 2, 20, 3, 4, 30, 5, 6]);
        assert_eq!(spread(vec![1], vec![10, 20, 30]), [10, 1, 20, 30]);
        assert_eq!(spread(vec![], vec![10, 20]), [10, 20]);
        assert_eq!(spread(vec![1, 2], vec![]), [1, 2]);
    }
}
