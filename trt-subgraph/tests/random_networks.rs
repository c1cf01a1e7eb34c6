//! Random networks: the text form reads back, and every pass and every backend computes what the reference does.
//!
//! `RANDOM_NETWORKS` is how many (200), `RANDOM_SEED` the first seed (0).

mod random;

use random::{Sample, close, coarsest, sample};
use std::collections::BTreeSet;
use trt_subgraph::Literal;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileOptions, Engine, Io, Stream};
use trt_subgraph::network::Network;
use trt_subgraph::pass::{Options, PASSES, optimize};
use trt_subgraph::plan::{Plan, Recipe};

#[test]
fn every_way_of_running_a_network_agrees() {
    let variable =
        |name, usual| std::env::var(name).ok().map_or(usual, |v: String| v.parse().expect("a number"));
    let (first, count) = (variable("RANDOM_SEED", 0), variable("RANDOM_NETWORKS", 200));
    for seed in first..first + count {
        let sample = sample(seed);
        if let Err(e) = check(&sample) {
            panic!("RANDOM_SEED={seed} RANDOM_NETWORKS=1: {e}\n{}", sample.network);
        }
    }
}

#[test]
fn samples_cover_every_kind_of_layer() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let network = sample(seed).network;
        seen.extend(network.layers.iter().map(|l| l.kind.name()));
        seen.extend(network.layers.iter().filter(|l| l.epilogue.is_some()).map(|_| "epilogue"));
    }
    let kinds =
        "broadcast concat constant convolution epilogue gather grouped_matmul matmul normalize pad parameter permute \
                     pointwise pool reduce reshape scan slice softmax topk"
            .split_whitespace();
    assert!(seen.iter().copied().eq(kinds), "{seen:?}");
}

fn check(sample: &Sample) -> Result<(), String> {
    let network = &sample.network;
    network.verify().map_err(|e| e.to_string())?;
    reads_back(network)?;
    let expected = run(network, sample)?;
    for pass in PASSES {
        let after = pass.run(network.clone(), &Options::default(), &mut usize::MAX.clone());
        agrees(&after, sample, &expected).map_err(|e| format!("pass {}: {e}\n{after}", pass.name))?;
    }
    let limited = |n| optimize(network.clone(), &Options { step_limit: Some(n), ..Options::default() });
    if agrees(&limited(usize::MAX), sample, &expected).is_err() {
        let wrong = |n: &usize| agrees(&limited(*n), sample, &expected).is_err();
        let step = (0..).find(wrong).expect("the unlimited run is wrong");
        let e = agrees(&limited(step), sample, &expected).expect_err("the step is wrong");
        return Err(format!(
            "optimiser step {step}: {e}\nbefore it:\n{}after it:\n{}",
            limited(step - 1),
            limited(step)
        ));
    }
    if Cpu.probe().is_ok() {
        let optimized = limited(usize::MAX);
        for (what, network) in [("CPU engine", network), ("CPU engine, optimised", &optimized)] {
            let options = CompileOptions::default();
            let mut engine = Cpu.compile(network, &sample.parameters, &options).map_err(|e| e.to_string())?;
            let found = outputs(&mut *engine, sample)?;
            close(&found, &expected, coarsest(&sample.network))
                .map_err(|e| format!("{what}: {e}\n{network}"))?;
            saved(&*engine, network, sample, &found).map_err(|e| format!("{what}, saved: {e}\n{network}"))?;
        }
    }
    Ok(())
}

/// A plan with the weights, and one with what the engine saved, give the engine's bits.
fn saved(engine: &dyn Engine, network: &Network, sample: &Sample, found: &[Literal]) -> Result<(), String> {
    let options = CompileOptions::default();
    let fingerprint = Cpu.fingerprint(&options).ok_or("no fingerprint")?;
    let prepared = engine.save().ok_or("nothing saved")?;
    let plain = Recipe::new(network, &sample.parameters);
    let packed = Recipe::without_weights(network).engine("cpu", fingerprint, &prepared);
    for recipe in [plain, packed] {
        let bytes = recipe.to_bytes().map_err(|e| e.to_string())?;
        let plan = Plan::from_bytes(bytes).map_err(|e| e.to_string())?;
        let mut again = plan.engine(&Cpu, &options).map_err(|e| e.to_string())?;
        if outputs(&mut *again, sample)? != found {
            return Err("other bits".to_string());
        }
    }
    Ok(())
}

/// The outputs of an engine.
fn outputs(engine: &mut dyn Engine, sample: &Sample) -> Result<Vec<Literal>, String> {
    let mut outputs: Vec<Literal> = engine.signature().outputs.iter().cloned().map(Literal::zeros).collect();
    let from: Vec<*const u8> = sample.inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: the inputs have the network's types, the outputs were made of the signature.
    unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.map_err(|e| e.to_string())?;
    Ok(outputs)
}

fn reads_back(network: &Network) -> Result<(), String> {
    let mut numbered = network.clone();
    numbered.renumber();
    let read = Network::parse(&numbered.to_string()).map_err(|e| e.to_string())?;
    if read.to_string() == numbered.to_string() { Ok(()) } else { Err(format!("reads back as\n{read}")) }
}

fn run(network: &Network, sample: &Sample) -> Result<Vec<Literal>, String> {
    evaluate(network, &sample.parameters, &sample.inputs).map_err(|e| e.to_string())
}

fn agrees(network: &Network, sample: &Sample, expected: &[Literal]) -> Result<(), String> {
    network.verify().map_err(|e| e.to_string())?;
    close(&run(network, sample)?, expected, coarsest(&sample.network))
}
