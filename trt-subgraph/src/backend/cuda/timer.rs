//! Timing ways of running a layer on the device, each assembled alone on memory of its own.

use super::assemble::Assembler;
use super::compile::{Compiled, compile};
use super::device::Device;
use super::kernel::product::Kernel;
use super::library::{Address, Handles};
use super::load::Loaded;
use super::memory::Buffer;
use super::program::{Program, Source};
use super::queue::Queue;
use super::replay::Replay;
use super::tactic::{Choice, Own, Way, ways};
use crate::backend::Tf32;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// How often a way is repeated in one timed graph: single launches show their overhead rather than their time.
const REPEATS: usize = 10;
/// How often such a graph is timed; the least time counts.
const ROUNDS: usize = 3;

/// A device, its libraries' handles, and what has been found out on it.
pub struct Timer {
    pub device: Arc<Device>,
    /// For one thread at a time.
    pub handles: Mutex<Handles>,
    pub tf32: Tf32,
    /// The fastest way by problem; held while a problem is timed, so that timings do not disturb each other.
    chosen: Mutex<HashMap<String, Arc<dyn Way>>>,
}

impl Timer {
    /// Knows nothing yet.
    pub fn new(device: &Arc<Device>, tf32: Tf32) -> Result<Timer, String> {
        let handles = Mutex::new(Handles::new(device)?);
        Ok(Timer { device: device.clone(), handles, tf32, chosen: Mutex::default() })
    }

    /// The device's own, which lives as long as the process: what was timed once is known to every later engine.
    pub fn of(device: &Arc<Device>, tf32: Tf32) -> Result<Arc<Timer>, String> {
        type Known = Mutex<HashMap<(usize, Tf32), Arc<Timer>>>;
        static KNOWN: OnceLock<Known> = OnceLock::new();
        let mut known = KNOWN.get_or_init(Known::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timer) = known.get(&(device.ordinal, tf32)) {
            return Ok(timer.clone());
        }
        let timer = Arc::new(Timer::new(device, tf32)?);
        known.insert((device.ordinal, tf32), timer.clone());
        Ok(timer)
    }

    /// The fastest way to run the layer on operands where they lie now.
    pub fn choose(&self, a: &mut Assembler, layer: &Layer) -> Arc<dyn Way> {
        let key = key(a, layer);
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = chosen.get(&key) {
            return way.clone();
        }
        let candidates = ways(a, self, layer, self.tf32);
        let mut best: (f32, Arc<dyn Way>) = (f32::INFINITY, Arc::new(Own(Kernel::Suitable)));
        for (way, ready) in candidates.iter().zip(self.ready(a, layer, &candidates)) {
            match ready.and_then(|ready| self.time(ready)) {
                Ok(time) => {
                    log::debug!("{}: {} takes {:.2} us", a.origin(), way.name(), time * 1e3);
                    if time < best.0 {
                        best = (time, way.clone());
                    }
                }
                Err(why) => log::debug!("{}: {} does not run: {why}", a.origin(), way.name()),
            }
        }
        chosen.insert(key, best.1.clone());
        best.1
    }

    /// The layer alone in each of these ways, compiled side by side.
    fn ready(&self, a: &mut Assembler, layer: &Layer, ways: &[Arc<dyn Way>]) -> Vec<Result<Ready, String>> {
        let (network, views) = alone(a, layer);
        let target = a.target;
        let assembled = |way: &Arc<dyn Way>| {
            let mut assembler = Assembler::new(&network, target, Choice::Settled(way.clone()));
            for (value, view) in &views {
                let (low, high) = view.reach();
                let slot = assembler.slot(Source::Arena((high - low) as usize));
                assembler.define(*value, View { slot, offset: view.offset - low, ..view.clone() });
            }
            let (mut program, wanted) = assembler.run().map_err(|(_, why)| why)?;
            // All slots at once: nothing that the way reads may be overwritten between repeats.
            program.spread();
            let code = compile(&program, &target)?;
            Ok(Ready { program, code, weights: wanted.bytes })
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = ways.iter().map(|way| scope.spawn(|| assembled(way))).collect();
            let lost = |_| Err("its compilation panicked".to_string());
            running.into_iter().map(|thread| thread.join().unwrap_or_else(lost)).collect()
        })
    }

    /// Milliseconds of the layer, run this way.
    fn time(&self, ready: Ready) -> Result<f32, String> {
        let Ready { program, code, weights } = ready;
        let loaded = Loaded::new(&self.device, program, &code)?;
        let (weights, arena) =
            (Buffer::new(&self.device, weights)?, Buffer::new(&self.device, loaded.program.arena)?);
        // Small positive numbers in every floating-point type.
        weights.set(0x3c)?;
        arena.set(0x3c)?;
        let place = |(slot, offset): (&Source, &usize)| match slot {
            Source::Weights => weights.address(),
            Source::Arena(_) => arena.address() + *offset as Address,
            _ => 0,
        };
        let addresses: Vec<Address> =
            loaded.program.slots.iter().zip(&loaded.program.offsets).map(place).collect();
        let queue = Queue::new(&loaded, &addresses)?;
        let mut replay = Replay::new(&loaded, &queue, REPEATS)?.ok_or("no graph of it can be made")?;
        Ok(replay.time(&loaded, &queue, ROUNDS)? / REPEATS as f32)
    }
}

/// A layer alone in one way, with machine code.
struct Ready {
    program: Program,
    code: Vec<Compiled>,
    /// Bytes of prepared weights.
    weights: usize,
}

/// A network of this layer alone: static operands are prepared values, others inputs; and the views of those.
fn alone(a: &mut Assembler, layer: &Layer) -> (Network, Vec<(ValueId, View)>) {
    let mut network = Network { values: a.network.values.clone(), ..Network::default() };
    let mut views: Vec<(ValueId, View)> = Vec::new();
    let mut seen = Vec::new();
    for &v in &layer.inputs {
        if seen.contains(&v) {
            continue;
        }
        seen.push(v);
        if a.is_static(v) {
            let kind = LayerKind::Prepared(network.layers.len() as u32);
            network.layers.push(Layer {
                kind,
                inputs: vec![],
                epilogue: None,
                outputs: vec![v],
                origin: String::new(),
            });
        } else {
            views.push((v, a.view(v)));
        }
    }
    network.layers.push(layer.clone());
    (network, views)
}

/// Everything that decides how long a layer takes.
fn key(a: &mut Assembler, layer: &Layer) -> String {
    let mut out = format!("{:?} {:?}", layer.kind, layer.epilogue);
    let mut names = Vec::new();
    for &v in &layer.inputs {
        let at = names.iter().position(|n| *n == v).unwrap_or(names.len());
        names.push(v);
        let ty = a.network.ty(v).clone();
        if a.is_static(v) {
            out.push_str(&format!("; {at} {ty} static"));
        } else {
            let view = a.view(v);
            let aligned = view.offset.rem_euclid(256);
            out.push_str(&format!("; {at} {ty} {:?} {aligned} {}", view.strides, a.is_given(view.slot)));
        }
    }
    format!("{out}; {}", a.network.ty(layer.outputs[0]))
}
