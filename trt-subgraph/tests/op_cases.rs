//! Every operator case, without the framework: what lowers verifies and runs, and every way of running it agrees.

use std::path::Path;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::reference::{Reference, evaluate};
use trt_subgraph::backend::{Backend, CompileOptions, Io, Stream};
use trt_subgraph::network::Network;
use trt_subgraph::pass::{Options, optimize};
use trt_subgraph::source::case::{Case, Lowered, load};
use trt_subgraph::{Literal, compare, tolerance};

/// Cases of files whose name contains `CASES` (all by default).
#[test]
fn operators_agree_with_themselves() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/op");
    let filter = std::env::var("CASES").unwrap_or_default();
    let cases = load(&folder, &filter).unwrap_or_else(|e| panic!("{e}"));
    assert!(!cases.is_empty(), "no case file matches '{filter}'");
    let failures: Vec<String> =
        cases.iter().filter_map(|p| check(&p.case).err().map(|e| format!("{}\n    {e}", p.place))).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Case) -> Result<(), String> {
    let lowered = match (case.lower(), &case.refusal) {
        (Err(e), Some(code)) if e.code() == code => return Ok(()),
        (Err(e), _) => return Err(format!("refused as {}: {e}", e.code())),
        (Ok(_), Some(code)) => return Err(format!("taken, expected refusal {code}")),
        (Ok(lowered), None) => lowered,
    };
    let Lowered { network, parameters, inputs, .. } = &lowered;
    network.verify().map_err(|e| e.to_string())?;
    let expected = evaluate(network, parameters, inputs).map_err(|e| e.to_string())?;
    same("the reference engine", &engine(&Reference, network, &lowered)?, &expected)?;
    let optimized = optimize(network.clone(), &Options::default());
    optimized.verify().map_err(|e| format!("the optimised network does not verify: {e}"))?;
    let found = evaluate(&optimized, parameters, inputs).map_err(|e| e.to_string())?;
    same("the optimised network", &found, &expected)?;
    if Cpu.probe().is_ok() {
        same("the CPU engine", &engine(&Cpu, network, &lowered)?, &expected)?;
        same("the CPU engine of the optimised network", &engine(&Cpu, &optimized, &lowered)?, &expected)?;
    }
    Ok(())
}

/// The outputs of the network compiled by a backend.
fn engine(backend: &dyn Backend, network: &Network, lowered: &Lowered) -> Result<Vec<Literal>, String> {
    let options = CompileOptions::default();
    let mut engine = backend.compile(network, &lowered.parameters, &options).map_err(|e| e.to_string())?;
    let mut outputs: Vec<Literal> = engine.signature().outputs.iter().cloned().map(Literal::zeros).collect();
    let from: Vec<*const u8> = lowered.inputs.iter().map(|l| l.bytes().as_ptr()).collect();
    let to: Vec<*mut u8> = outputs.iter_mut().map(|l| l.bytes_mut().as_mut_ptr()).collect();
    // SAFETY: the inputs have the network's types, the outputs were made of the signature.
    unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.map_err(|e| e.to_string())?;
    Ok(outputs)
}

fn same(who: &str, found: &[Literal], expected: &[Literal]) -> Result<(), String> {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        compare(found, expected, tolerance(expected.ty().dtype))
            .map_err(|e| format!("{who} differs in result {at}: {e}"))?;
    }
    Ok(())
}
