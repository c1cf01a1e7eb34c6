//! One model: the host in its own precision and in float64, then engines, for each set of arguments.

use crate::outcome::{Outcome, Verdict};
use std::path::Path;
use std::time::Instant;
use tch::{IValue, Kind};
use tch_bridge::jit::Module;
use tch_bridge::{Options, TrtModule};
use tests::measure::{copied, distance, widened};

/// Engines and host may be as far apart as this in float32, where there is no float64 run to say which is right.
const TOLERANCE: f64 = 1e-4;
/// Parameters beyond which a float64 copy is not made.
const MOST_PARAMETERS: usize = 400_000_000;
const CALLS: usize = 3;

type Answer = Result<IValue, String>;

/// Runs the model in every way and compares.
pub fn examine(path: &Path) -> Outcome {
    tch::no_grad(|| compare(path)).unwrap_or_else(|verdict| Outcome::new(path, verdict))
}

fn compare(path: &Path) -> Result<Outcome, Verdict> {
    let host_fails = |e: String| Verdict::HostFails(e);
    let sets = argument_sets(&path.with_extension("inputs.pt")).map_err(host_fails)?;
    let host = Module::load(path, None).map_err(|e| host_fails(e.to_string()))?;
    let mut out = Outcome::new(path, Verdict::Agrees);
    let wanted: Vec<Answer> = sets.iter().map(|set| run_host(&host, set)).collect();
    if let Err(why) = &wanted[0] {
        return Err(Verdict::HostFails(why.clone()));
    }
    out.host_ms = best_ms(|| drop(run_host(&host, &sets[0])));
    let exact: Vec<Answer> = match widen(&host) {
        true => {
            sets.iter().map(|set| run_host(&host, &set.iter().map(widened).collect::<Vec<_>>())).collect()
        }
        false => sets.iter().map(|_| Err("not tried".to_string())).collect(),
    };
    drop(host);
    let fails = |e: tch_bridge::Error| Verdict::Fails(e.to_string());
    let module = TrtModule::load(path, &Options::waiting()).map_err(fails)?;
    tch_bridge::set_enabled(true);
    for (at, set) in sets.iter().enumerate() {
        for call in 0..2 {
            if let Err(verdict) = one_call(&module, set, &wanted[at], &exact[at], &mut out) {
                let what = if at == 0 { "" } else { "other sizes, " };
                out.verdict = match verdict {
                    Verdict::Differs(why) => Verdict::Differs(format!("{what}call {call}: {why}")),
                    other => other,
                };
                out.describe(&module.report());
                return Ok(out);
            }
        }
    }
    out.engine_ms = best_ms(|| drop(run_engines(&module, &sets[0])));
    out.describe(&module.report());
    Ok(out)
}

/// One call with engines, held against the host's answer.
fn one_call(
    module: &TrtModule,
    set: &[IValue],
    wanted: &Answer,
    exact: &Answer,
    out: &mut Outcome,
) -> Result<(), Verdict> {
    let arguments: Vec<IValue> = set.iter().map(copied).collect();
    let got = run_engines(module, &arguments);
    let (got, want) = match (got, wanted) {
        (Ok(got), Ok(want)) => (got, want),
        (Err(_), Err(_)) => return Ok(()),
        (Err(why), Ok(_)) => return Err(Verdict::Fails(why)),
        (Ok(_), Err(why)) => return Err(Verdict::Differs(format!("an answer where the host says: {why}"))),
    };
    let off = distance(&got, want, false).map_err(Verdict::Differs)?;
    let most = |old: &mut Option<f64>, new: f64| *old = Some(old.unwrap_or(0.0).max(new));
    most(&mut out.distance, off);
    let mut allowed = TOLERANCE;
    if let Ok(exact) = exact
        && let (Ok(host), Ok(engine)) = (distance(want, exact, true), distance(&got, exact, true))
    {
        most(&mut out.host_error, host);
        most(&mut out.engine_error, engine);
        allowed = 4.0 * host + 1e-5;
        if engine <= allowed {
            return Ok(());
        }
    }
    if off <= allowed { Ok(()) } else { Err(Verdict::Differs(format!("off by {off:.1e} of the scale"))) }
}

fn run_host(host: &Module, set: &[IValue]) -> Answer {
    tch::manual_seed(0);
    let arguments: Vec<IValue> = set.iter().map(copied).collect();
    host.method("forward").and_then(|m| m.run(&arguments)).map_err(|e| first_line(&e.to_string()))
}

fn run_engines(module: &TrtModule, set: &[IValue]) -> Answer {
    tch::manual_seed(0);
    module.forward_is(set).map_err(|e| first_line(&e.to_string()))
}

/// The last line of torch's errors says what is wrong.
fn first_line(text: &str) -> String {
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_string()
}

fn argument_sets(path: &Path) -> Result<Vec<Vec<IValue>>, String> {
    let module = Module::load(path, None).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut sets = Vec::new();
    for name in ["forward", "others"].iter().filter(|n| module.method_names().iter().any(|m| m == **n)) {
        match module.method(name).and_then(|m| m.run::<IValue>(&[])).map_err(|e| e.to_string())? {
            IValue::Tuple(values) => sets.push(values),
            other => return Err(format!("{name} gives {other:?}, not a tuple")),
        }
    }
    Ok(sets)
}

/// Turns the parameters and buffers of a module into float64; not where they are too many.
fn widen(module: &Module) -> bool {
    let Ok(tensors) = module.named_tensors() else { return false };
    if tensors.iter().map(|t| t.tensor.numel()).sum::<usize>() > MOST_PARAMETERS {
        return false;
    }
    for mut named in tensors.into_iter().filter(|t| t.tensor.is_floating_point()) {
        let wide = named.tensor.to_kind(Kind::Double);
        named.tensor.set_data(&wide);
    }
    true
}

/// Complete calls: what is ordered on a GPU is waited for.
fn best_ms(mut call: impl FnMut()) -> f64 {
    let wait = || {
        if tch::Cuda::is_available() {
            tch::Cuda::synchronize(0);
        }
    };
    let once = |_| {
        wait();
        let start = Instant::now();
        call();
        wait();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..CALLS).map(once).fold(f64::INFINITY, f64::min)
}
