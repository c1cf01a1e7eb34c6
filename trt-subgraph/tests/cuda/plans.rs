//! Engines of a GPU in plans: loaded, they give what they gave, compile and time nothing, and take new weights; what does not fit is
//! built from the network, and where there is no GPU that is a typed error.

use crate::{call, gpu, layers};
use std::path::{Path, PathBuf};
use std::process::Command;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::cuda::{Cuda, compiled};
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileError, CompileOptions, Level};
use trt_subgraph::network::Network;
use trt_subgraph::plan::{Plan, PlanError, Recipe};
use trt_subgraph::session::Session;
use trt_subgraph::{Literal, Random, compare};

/// A convolution with a residual, an attention's worth of products, and a softmax: several ways, several kernels.
const NETWORK: &str = "input %x: f32[4,16,14,14]\nparam \"w\": f32[16,16,3,3]\nparam \"v\": f32[16,8]\n\
    %w: f32[16,16,3,3] = parameter 0\n%v: f32[16,8] = parameter 1\n\
    %c = convolution(%x, %w, %x) padding=[(1,1),(1,1)] { max(i0 + i1, 0:f32) }\n\
    %s = reduce(%c) op=mean axes=[2,3] keep=false\n%m = matmul(%s, %v)\n%y = softmax(%m) axis=1\noutput %y, %c";

fn network() -> (Network, Vec<Literal>, Vec<Literal>) {
    let network = Network::parse(NETWORK).expect("it parses");
    let mut random = Random::new(7);
    let parameters = network.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    let inputs = network.inputs.iter().map(|&v| random.literal(network.ty(v).clone())).collect();
    (network, parameters, inputs)
}

fn exact() -> CompileOptions {
    CompileOptions {
        tf32: trt_subgraph::backend::Tf32 { convolution: false, product: false },
        ..CompileOptions::default()
    }
}

/// A plan of the network with its weights and, `with_weights` or without the portable ones, an engine of the GPU.
fn plan(network: &Network, parameters: &Vec<Literal>, options: &CompileOptions, with_weights: bool) -> Plan {
    let plain = Recipe::new(network, parameters).options(options.clone()).to_bytes().expect("a plan");
    let plain = Plan::from_bytes(plain).expect("a plan");
    let bytes = plain.prepared(&Cuda, options, with_weights).expect("it is built");
    Plan::from_bytes(bytes).expect("a plan")
}

#[test]
fn a_loaded_engine_is_the_saved_one() {
    let Some(device) = gpu() else { return };
    let mut failures = Vec::new();
    let samples = (0..20).map(layers::sample).chain([network()]);
    for (at, (network, parameters, inputs)) in samples.enumerate() {
        for level in [Level::Guess, Level::Usual] {
            let options = CompileOptions { level, ..exact() };
            let plan = plan(&network, &parameters, &options, false);
            assert!(plan.is_built_for(&Cuda, &options) && plan.holds_weights() == parameters.is_empty());
            let mut built = Cuda.compile(&network, &parameters, &options).expect("compiles");
            let mut loaded = match plan.engine(&Cuda, &options) {
                Ok(engine) => engine,
                Err(e) => {
                    failures.push(format!("sample {at}, {level:?}: {e}\n{network}"));
                    continue;
                }
            };
            assert_eq!(built.describe().steps, loaded.describe().steps, "sample {at}");
            let expected = call(&device, &mut *built, &inputs).expect("runs");
            let found = call(&device, &mut *loaded, &inputs).expect("runs");
            if found != expected {
                failures.push(format!("sample {at}, {level:?}: other results\n{network}"));
            }
            assert!(loaded.save() == built.save(), "sample {at}, {level:?}: saved again, it has other bytes");
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_loaded_engine_takes_new_weights_and_has_forks() {
    let Some(device) = gpu() else { return };
    let (network, parameters, inputs) = network();
    let loaded = plan(&network, &parameters, &exact(), false).engine(&Cuda, &exact()).expect("it loads");
    let mut random = Random::new(8);
    let others: Vec<Literal> = parameters.iter().map(|p| random.literal(p.ty().clone())).collect();
    loaded.refit(&others).expect("the same types");
    let expected = evaluate(&network, &others, &inputs).expect("runs");
    let found = call(&device, &mut *loaded.fork(), &inputs).expect("runs");
    for (found, expected) in found.iter().zip(&expected) {
        compare(found, expected, 1e-4).expect("the new weights' results");
    }
}

#[test]
fn what_does_not_fit_is_built_from_the_network() {
    let Some(device) = gpu() else { return };
    let (network, parameters, inputs) = network();
    let options = exact();
    let expected = evaluate(&network, &parameters, &inputs).expect("runs");
    let saved = Cuda.compile(&network, &parameters, &options).expect("compiles").save().expect("it saves");
    let here = Cuda.fingerprint(&options).expect("there is a GPU");

    for (what, fingerprint, bytes) in [
        ("another device", "another device".to_string(), &saved[..]),
        ("cut off", here.clone(), &saved[..saved.len() / 2]),
        ("nothing", here.clone(), &[]),
        ("no JSON", here, &[255; 100]),
    ] {
        let recipe = |r: Recipe<'_>| r.engine("cuda", fingerprint.clone(), bytes).to_bytes().expect("a plan");
        let whole = Plan::from_bytes(recipe(Recipe::new(&network, &parameters))).expect("a plan");
        let mut engine = whole.engine(&Cuda, &options).unwrap_or_else(|e| panic!("{what}: {e}"));
        let found = call(&device, &mut *engine, &inputs).expect("runs");
        for (found, expected) in found.iter().zip(&expected) {
            compare(found, expected, 1e-4).unwrap_or_else(|e| panic!("{what}: {e}"));
        }
        let bare = Plan::from_bytes(recipe(Recipe::without_weights(&network))).expect("a plan");
        let missing = bare.engine(&Cuda, &options).err().expect("it has no weights to build from");
        assert!(matches!(missing, PlanError::NeedsWeights { .. }), "{what}: {missing}");
    }
}

/// Another process: it has compiled nothing yet, and there is no cache that would help it.
#[test]
fn loading_compiles_nothing() {
    let Some(_) = gpu() else { return };
    let (network, parameters, _) = network();
    let file = File(std::env::temp_dir().join(format!("trt-cuda-{}.plan", std::process::id())));
    plan(&network, &parameters, &exact(), false).save(&file.0).expect("it is written");
    let child = Command::new(std::env::current_exe().expect("this program"))
        .args(["plans::in_another_process", "--exact", "--ignored", "--nocapture"])
        .env("TRT_CACHE_DIR", "off")
        .env(PLAN, &file.0)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("first result after"), "{said}");
    eprint!("{said}");
}

/// Names the plan for the child.
const PLAN: &str = "TRT_TEST_PLAN";

#[test]
#[ignore = "the child of `loading_compiles_nothing`"]
fn in_another_process() {
    let Some(file) = std::env::var_os(PLAN) else { return };
    let start = std::time::Instant::now();
    let plan = Plan::open(Path::new(&file)).expect("it opens");
    let mut session = Session::new(&plan, &Cuda, plan.options()).expect("it loads");
    let (network, parameters, inputs) = network();
    session.set("input0", &inputs[0]).expect("its type");
    session.run().expect("it runs");
    eprintln!("first result after {:.1?}", start.elapsed());
    assert_eq!(compiled(), 0, "modules were compiled");
    let expected = evaluate(&network, &parameters, &inputs).expect("runs");
    for (at, expected) in expected.iter().enumerate() {
        compare(&session.get(&format!("output{at}")).expect("there"), expected, 1e-4).expect("equal");
    }
}

/// What an engine computes or how it was chosen is part of its fingerprint; which GPU of a kind it is, and how it is launched, is not.
#[test]
fn options_that_change_an_engine_change_its_fingerprint() {
    let Some(_) = gpu() else { return };
    let mut seen = std::collections::BTreeSet::new();
    for (convolution, product) in [(false, false), (false, true), (true, false), (true, true)] {
        for level in [Level::Guess, Level::Usual, Level::Exhaustive] {
            let tf32 = trt_subgraph::backend::Tf32 { convolution, product };
            let options = CompileOptions { tf32, level, ..CompileOptions::default() };
            let here = Cuda.fingerprint(&options).expect("there is a GPU");
            let others = CompileOptions { graph: false, threads: 3, ..options };
            assert_eq!(Cuda.fingerprint(&others).as_ref(), Some(&here));
            assert!(seen.insert(here));
        }
    }
    let missing = CompileOptions { device: 999, ..CompileOptions::default() };
    assert_eq!(Cuda.fingerprint(&missing), None);
}

/// Where there is no GPU, a GPU's plan says so, and its network runs elsewhere.
#[test]
fn a_plan_of_a_gpu_is_a_typed_error_without_a_device() {
    if Cuda.probe().is_ok() {
        return eprintln!("not run: there is a GPU");
    }
    let (network, parameters, inputs) = network();
    let recipe = Recipe::new(&network, &parameters).backend("cuda").engine("cuda", "a GPU".into(), b"\0");
    let plan = Plan::from_bytes(recipe.to_bytes().expect("a plan")).expect("a plan");
    assert!(!plan.is_built_for(&Cuda, plan.options()));
    let error = plan.engine(&Cuda, plan.options()).err().expect("there is no GPU");
    assert!(matches!(error, PlanError::Compile(CompileError::Unavailable(_))), "{error}");
    if let Err(why) = Cpu.probe() {
        return eprintln!("not run: {why}");
    }
    let mut session = Session::new(&plan, &Cpu, plan.options()).expect("the CPU builds it");
    session.set("input0", &inputs[0]).expect("its type");
    session.run().expect("it runs");
    let expected = evaluate(&network, &parameters, &inputs).expect("runs");
    compare(&session.get("output0").expect("there"), &expected[0], 1e-4).expect("equal");
}

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
