//! One program on the host and with engines: results, what the calls leave behind, and who shares memory with whom.

use crate::compare::{Leaf, Mismatch, Strides, as_exact, leaves, mismatch, overlaps, size};
use crate::inputs::{Form, attributes, device, inputs};
use crate::program::{Layout, Program};
use std::cell::OnceCell;
use tch::{Device, IValue};
use tch_bridge::TrtModule;
use tch_bridge::jit::{Module, ValueId, ValueType};

/// Runs that tell where rounding decides whether there is a number.
const NUDGES: u64 = 12;

/// Larger numbers on the way excuse no more than this one.
const MOST: f64 = 1e6;

/// How a program fared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// In all calls; whether engines served some.
    Agrees(bool),
    /// Up to a call where both raise.
    Raises(String),
    /// torch does not compile it.
    Rejected(String),
    /// Call, place, and in what they differ.
    Differs(String),
}

/// Everything that can be seen after a call.
struct Seen {
    result: Result<Vec<Leaf>, String>,
    /// Arguments, the memory behind them, attributes.
    state: Vec<Leaf>,
    ints: IValue,
}

/// Runs the program in both ways and compares after each call.
pub fn check(program: &Program) -> Outcome {
    tch::no_grad(|| compared(program))
}

fn compared(program: &Program) -> Outcome {
    let source = program.compiled(false);
    let compile = || Module::from_source(&source, &attributes(program, Form::Own));
    let (host, shared) = match (compile(), compile()) {
        (Ok(host), Ok(shared)) => (host, shared),
        (Err(e), _) | (_, Err(e)) => return Outcome::Rejected(e.to_string()),
    };
    let module = match TrtModule::wrap(shared.to_cmodule(), &tests::options()) {
        Ok(module) => module,
        Err(e) => return Outcome::Differs(format!("the module cannot be wrapped: {e}")),
    };
    let run_host = |arguments: &[IValue]| {
        host.method("forward").and_then(|m| m.run(arguments)).map_err(|e| e.to_string())
    };
    let run_engines = |arguments: &[IValue]| module.forward_is(arguments).map_err(|e| e.to_string());
    for call in 0..program.calls.len() {
        let want = seen(program, call, &host, run_host, Form::Own);
        let got = seen(program, call, &shared, run_engines, Form::Own);
        let differs = |why: String| Outcome::Differs(format!("call {call}: {why}\n{}", module.report()));
        match (&got.result, &want.result) {
            (Err(_), Err(why)) => return Outcome::Raises(why.clone()),
            // libtorch's fuser makes kernels for a GPU that do not compile; without it the host has an answer.
            (Ok(_), Err(why)) => match plain(program, call) {
                Some(plain) if device() != Device::Cpu => {
                    if let Err(why) = same(program, call, &got, &plain) {
                        return differs(why);
                    }
                    continue;
                }
                _ => return differs(format!("an answer where the host raises {why}")),
            },
            // libtorch's optimiser may leave out what nobody uses, after some calls, and with it what it raises.
            (Err(why), Ok(_)) => match plain(program, call) {
                None => return Outcome::Raises(why.clone()),
                Some(_) => return differs(format!("it raises {why}")),
            },
            (Ok(_), Ok(_)) => {}
        }
        if let Err(why) = same(program, call, &got, &want) {
            // libtorch's optimiser folds reads of constants that are written later: it is wrong then, engines are not.
            let plain = plain(program, call);
            if plain.is_none_or(|plain| same(program, call, &got, &plain).is_err()) {
                return differs(why);
            }
        }
    }
    Outcome::Agrees(tests::served(&module) > 0)
}

fn seen(
    program: &Program,
    call: usize,
    module: &Module,
    run: impl Fn(&[IValue]) -> Result<IValue, String>,
    form: Form,
) -> Seen {
    let inputs = inputs(program, call, form);
    let arguments: Vec<IValue> = inputs.arguments.iter().map(|t| IValue::Tensor(t.shallow_clone())).collect();
    tch::manual_seed(program.seed as i64);
    let result = run(&arguments).map(|value| {
        let mut out = Vec::new();
        leaves("result", &value, &mut out);
        out
    });
    let mut state = Vec::new();
    for (at, (argument, memory)) in inputs.arguments.into_iter().zip(inputs.memory).enumerate() {
        state.push(Leaf::tensor(format!("x{at} afterwards"), argument));
        state.push(Leaf::tensor(format!("the memory of x{at} afterwards"), memory));
    }
    let named = module.named_tensors().expect("its tensors can be listed");
    state.extend(named.into_iter().map(|t| Leaf::tensor(format!("self.{} afterwards", t.name), t.tensor)));
    let ints = module.method("ints").and_then(|m| m.run::<IValue>(&[])).expect("ints are returned");
    Seen { result, state, ints }
}

fn same(program: &Program, call: usize, got: &Seen, want: &Seen) -> Result<(), String> {
    let all = |s: &Seen| -> Vec<Leaf> {
        let result = s.result.as_ref().expect("both have results");
        result.iter().chain(&s.state).map(Leaf::share).collect()
    };
    let (got_all, want_all) = (all(got), all(want));
    if got_all.len() != want_all.len() {
        return Err("the results have another structure".into());
    }
    let layout = follows_layout(program);
    let mut doubtful = Vec::new();
    for (at, (g, w)) in got_all.iter().zip(&want_all).enumerate() {
        match mismatch(g, w, program.coarsest, layout) {
            None => {}
            Some(Mismatch::Certain(why)) => return Err(format!("{}: {why}", w.place)),
            Some(Mismatch::Rounding(why)) => doubtful.push((at, why)),
        }
    }
    if !doubtful.is_empty() {
        let (wide, size) = (exact(program, call, Form::Wide), sizes_on_the_way(program, call));
        let nudged_runs =
            || (1..=NUDGES).filter_map(|seed| exact(program, call, Form::Nudged(seed))).collect();
        let nudged: OnceCell<Vec<Vec<Leaf>>> = OnceCell::new();
        for (at, why) in doubtful {
            let other = wide.as_ref().and_then(|e| e.get(at));
            let others = || nudged.get_or_init(nudged_runs).iter().filter_map(|run| run.get(at)).collect();
            if !as_exact(&got_all[at], &want_all[at], other, others, program.coarsest, size) {
                let exact = other.map_or("there is no float64 run".into(), |e| format!("in float64 {e:?}"));
                let place = &want_all[at].place;
                return Err(format!(
                    "{place}: {why}:\n{:?}\non the host {:?}\n{exact}",
                    got_all[at], want_all[at]
                ));
            }
        }
    }
    if got.ints != want.ints {
        return Err(format!("the module's ints are {:?} instead of {:?}", got.ints, want.ints));
    }
    let results = want.result.as_ref().map_or(0, Vec::len);
    let constants = makes_constants(program) || program.source().contains("torch.tensor(");
    overlaps(&got_all, &want_all, results, constants)
}

/// What the calls up to this one leave where libtorch runs the program as it is written, without its optimiser.
fn plain(program: &Program, call: usize) -> Option<Seen> {
    let module = Module::from_source(&program.compiled(false), &attributes(program, Form::Own)).ok()?;
    let method = module.method("forward").ok()?;
    let run = |arguments: &[IValue]| method.run(arguments).map_err(|e| e.to_string());
    tch::jit::set_graph_executor_optimize(false);
    let mut last = None;
    for call in 0..=call {
        last = Some(seen(program, call, &module, run, Form::Own));
    }
    tch::jit::set_graph_executor_optimize(true);
    last.filter(|seen| seen.result.is_ok())
}

/// How results lie in memory as on the host: not at all where an attribute may be replaced, and where torch may take one constant for
/// another of the same elements; not for axes of one element where a tensor repeats elements.
fn follows_layout(program: &Program) -> Strides {
    let expanded = program.arguments.iter().any(|a| matches!(a.layout, Layout::Expanded(_)))
        || program.source().contains("expand(")
        || program.source().contains(".unfold(");
    match program.source().contains("self.b") || makes_constants(program) {
        true => Strides::Any,
        false if expanded => Strides::Significant,
        false => Strides::Same,
    }
}

/// Does it make tensors that do not depend on its arguments?
fn makes_constants(program: &Program) -> bool {
    let source = program.source();
    ["zeros(", "ones(", "full(", "arange(", "eye("].iter().any(|text| source.contains(text))
}

/// The largest number that a call computes on its way: what cancels out leaves the rounding of that.
fn sizes_on_the_way(program: &Program, call: usize) -> f64 {
    let given = |call| -> Vec<IValue> {
        inputs(program, call, Form::Wide).arguments.into_iter().map(IValue::Tensor).collect()
    };
    let sizes = || {
        let module = Module::from_source(&program.compiled(true), &attributes(program, Form::Wide)).ok()?;
        // What earlier calls leave in attributes may be large.
        let method = module.method("forward").ok()?;
        for before in 0..call {
            method.run::<IValue>(&given(before)).ok()?;
        }
        let graph = module.prepare("forward").ok()?;
        let tensors = graph.facts().ok()?.values.into_iter().enumerate();
        let tensors = tensors.filter(|(_, v)| v.ty == ValueType::Tensor).map(|(at, _)| ValueId(at as u32));
        let kept = graph.keep(&given(call), &tensors.collect::<Vec<_>>()).ok()?.1;
        Some(kept.iter().flatten().map(size).fold(0.0, f64::max))
    };
    sizes().unwrap_or(0.0).min(MOST)
}

/// What the calls up to this one give in float64, in this form.
fn exact(program: &Program, call: usize, form: Form) -> Option<Vec<Leaf>> {
    let source = program.compiled(true);
    let module = Module::from_source(&source, &attributes(program, form)).ok()?;
    let method = module.method("forward").ok()?;
    let run = |arguments: &[IValue]| method.run(arguments).map_err(|e| e.to_string());
    let mut last = None;
    for call in 0..=call {
        last = Some(seen(program, call, &module, run, form));
    }
    let Seen { result, state, .. } = last?;
    Some(result.ok()?.into_iter().chain(state).collect())
}
