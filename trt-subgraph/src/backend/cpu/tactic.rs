//! Which way a convolution is run, where that is found out by timing: by tiles, by minimal filtering, by oneDNN.
//!
//! Otherwise sizes decide ([`Way::Suitable`]). A layer is timed alone, on row-major inputs and on the machine's own threads; the name of the
//! fastest way is kept for the process, and in the cache on disk, under all that decides it.

use super::engine::CpuEngine;
use super::machine::Machine;
use super::team::Team;
use crate::backend::{CompileError, Engine, Io, Level, Stream};
use crate::cache::Cache;
use crate::network::{Layer, LayerKind, Network, Parameter, ValueId};
use crate::{DType, Literal};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The kind of entries of the cache on disk.
const CACHED: &str = "ways";
/// A way is run at least so often, the least time counts,
const FEWEST: usize = 5;
/// and until so much time has passed,
const ENOUGH: Duration = Duration::from_millis(20);
/// or so often.
const MOST: usize = 200;

/// A way of running a convolution. One that cannot run a layer leaves it to the suitable one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What its sizes suggest.
    Suitable,
    /// Tiles over all taps.
    Tiles,
    /// Fewer products, more sums.
    Winograd,
    /// The library's.
    OneDnn,
}

impl Way {
    /// Every way.
    pub const ALL: [Way; 4] = [Way::Suitable, Way::Tiles, Way::Winograd, Way::OneDnn];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Who says which way a convolution is run.
#[derive(Clone)]
pub enum Choice {
    /// Its sizes.
    Sizes,
    /// It is settled.
    Settled(Way),
    /// A timing, on these threads.
    Timed(Team),
}

impl Choice {
    /// That of a level.
    pub fn of(level: Level, team: &Team) -> Choice {
        if level == Level::Exhaustive { Choice::Timed(team.clone()) } else { Choice::Sizes }
    }

    /// The way to run a layer of this network.
    pub fn way(
        &self,
        machine: &Machine,
        network: &Network,
        layer: &Layer,
        is_static: &dyn Fn(ValueId) -> bool,
    ) -> Way {
        match self {
            Choice::Sizes => Way::Suitable,
            Choice::Settled(way) => *way,
            Choice::Timed(team) => fastest(machine, team, &alone(network, layer, is_static)),
        }
    }
}

/// The layer as a network of its own.
fn alone(network: &Network, layer: &Layer, is_static: &dyn Fn(ValueId) -> bool) -> Network {
    let mut own = Network { values: network.values.clone(), ..Network::default() };
    let mut seen = Vec::new();
    for &v in &layer.inputs {
        if seen.contains(&v) {
            continue;
        }
        seen.push(v);
        if is_static(v) {
            let kind = LayerKind::Parameter(own.parameters.len() as u32);
            own.parameters.push(Parameter { name: String::new(), ty: network.ty(v).clone() });
            let (inputs, origin) = (vec![], String::new());
            own.layers.push(Layer { kind, inputs, epilogue: None, outputs: vec![v], origin });
        } else {
            own.inputs.push(v);
        }
    }
    own.layers.push(Layer { origin: String::new(), ..layer.clone() });
    own.outputs = layer.outputs.clone();
    own.renumber();
    own
}

fn fastest(machine: &Machine, team: &Team, network: &Network) -> Way {
    static KNOWN: OnceLock<Mutex<HashMap<String, Way>>> = OnceLock::new();
    let key = key(machine, network);
    // Held while a layer is timed, so that timings do not disturb each other.
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(way) = known.get(&key) {
        return *way;
    }
    let cache = Cache::of_process();
    let kept = cache.and_then(|cache| cache.get(CACHED, key.as_bytes()));
    let kept = kept.and_then(|name| Way::ALL.into_iter().find(|way| way.name().as_bytes() == &name[..]));
    let way = kept.unwrap_or_else(|| {
        let way = timed(machine, team, network);
        if let Some(cache) = cache {
            cache.put(CACHED, key.as_bytes(), way.name().as_bytes());
        }
        way
    });
    known.insert(key, way);
    way
}

/// Everything that decides which way is fastest.
fn key(machine: &Machine, network: &Network) -> String {
    let library = machine.library.as_ref().map(|l| l.version);
    let (isa, threads, cache) = (machine.isa.name(), machine.threads, machine.cache);
    let (level, sources) = (u8::from(Level::Exhaustive), env!("TRT_SUBGRAPH_SOURCES"));
    let processor = super::processor::name();
    format!(
        "cpu {processor} {isa} {threads} cache {cache} oneDNN {library:?} kernels {sources} level {level}\n{network}"
    )
}

fn timed(machine: &Machine, team: &Team, network: &Network) -> Way {
    let mut best = (Duration::MAX, Way::Suitable);
    for way in Way::ALL {
        match time(machine, team, network, way) {
            Ok(time) => {
                log::debug!(
                    "{}: {} takes {time:.1?}",
                    network.layers.last().map_or("", |l| l.kind.name()),
                    way.name()
                );
                if time < best.0 {
                    best = (time, way);
                }
            }
            Err(e) => log::debug!("{} does not run: {e}", way.name()),
        }
    }
    best.1
}

fn time(machine: &Machine, team: &Team, network: &Network, way: Way) -> Result<Duration, CompileError> {
    let machine = Machine { choice: Choice::Settled(way), least_part: f64::INFINITY, ..machine.clone() };
    let literal = |ty: &crate::TensorType| match ty.dtype {
        dtype if dtype.is_float() && dtype != DType::F64 => {
            Literal::from_f64(ty.clone(), (0..ty.elements()).map(|i| (i % 7) as f64 / 8.0))
                .unwrap_or_else(|| Literal::zeros(ty.clone()))
        }
        _ => Literal::zeros(ty.clone()),
    };
    let weights: Vec<Literal> = network.parameters.iter().map(|p| literal(&p.ty)).collect();
    let mut engine = CpuEngine::compile(network, machine, team.clone(), &weights, &[])?;
    let inputs: Vec<Literal> = network.inputs.iter().map(|&v| literal(network.ty(v))).collect();
    let mut outputs: Vec<Literal> =
        network.outputs.iter().map(|&v| Literal::zeros(network.ty(v).clone())).collect();
    let from: Vec<*const u8> = inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    let io = Io { inputs: &from, outputs: &to };
    let (start, mut least) = (Instant::now(), Duration::MAX);
    for round in 0..MOST {
        if round >= FEWEST && start.elapsed() >= ENOUGH {
            break;
        }
        let call = Instant::now();
        // SAFETY: inputs and outputs are of the network's types.
        unsafe { engine.run(&io, Stream::NONE) }.map_err(CompileError::Prepare)?;
        least = least.min(call.elapsed());
    }
    Ok(least)
}
