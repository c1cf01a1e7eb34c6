//! The CUDA backend: on a GPU engines agree with the reference; without one see `rehearsal`.
//!
//! `CASES` selects operator cases by file name, `TRT_CASES` is their folder, `RANDOM_NETWORKS` how many random networks are taken (200) and
//! `RANDOM_SEED` the first seed (0). `TRT_CUDA_LIBRARIES` names folders with CUDA's libraries. Where those or a GPU are missing, the tests
//! say so and pass.

mod chains;
mod layers;
mod lost;
mod plans;
#[path = "../random/mod.rs"]
mod random;
mod rehearsal;
mod stems;
mod ways;

use random::sample;
use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;
use trt_subgraph::backend::cuda::{Buffer, Cuda, Device, OwnStream, Rehearsal};
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileOptions, Engine, Io, MemoryRun, RunError, Stream, Tf32};
use trt_subgraph::network::{Builder, Expr, LayerKind, Network};
use trt_subgraph::pass::{Options, optimize};
use trt_subgraph::source::case::{Lowered, load};
use trt_subgraph::{DType, Literal, TensorType, compare, tolerance};

/// A variable's number, or the usual one.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().map_or(usual, |v| v.parse().expect("a number"))
}

/// Every operator case that lowers, with its place.
fn cases() -> Vec<(String, Lowered)> {
    let usual = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/cases/op");
    let folder = std::env::var_os("TRT_CASES").map_or_else(usual, PathBuf::from);
    let filter = std::env::var("CASES").unwrap_or_default();
    let cases = load(&folder, &filter).unwrap_or_else(|e| panic!("{e}"));
    cases.into_iter().filter_map(|p| Some((p.place, p.case.lower().ok()?))).collect()
}

/// The GPU, or why there is none.
fn gpu() -> Option<Arc<Device>> {
    match Cuda.probe() {
        Ok(_) => Some(Device::open(0).expect("probed")),
        Err(e) => {
            eprintln!("not run: {e}");
            None
        }
    }
}

/// Networks are sound on GPUs of this kind, and every `KERNEL_STEP`-th of their kernels (15) compiles; neither needs a device.
fn rehearse(capability: u32, networks: impl IntoIterator<Item = Network>) {
    let mut rehearsal = match Rehearsal::new(capability) {
        Ok(r) => r,
        Err(e) => return eprintln!("not run: {e}"),
    };
    for (at, network) in networks.into_iter().enumerate() {
        rehearsal.add(&network).unwrap_or_else(|e| panic!("network {at}: {e}\n{network}"));
    }
    let step = number("KERNEL_STEP", 15) as usize;
    rehearsal.compile(0, step).unwrap_or_else(|e| panic!("sm_{capability}: {e}"));
}

#[test]
fn a_gpu_agrees_with_the_reference_on_operator_cases() {
    let Some(device) = gpu() else { return };
    let exact =
        CompileOptions { tf32: Tf32 { convolution: false, product: false }, ..CompileOptions::default() };
    let check = |lowered: &Lowered| -> Result<(), String> {
        let Lowered { network, parameters, inputs, .. } = lowered;
        let expected = evaluate(network, parameters, inputs).map_err(|e| e.to_string())?;
        let optimized = optimize(network.clone(), &Options::default());
        let weights = parameters.to_vec();
        for (who, engine) in [
            ("as it is", Cuda.compile(network, &weights, &exact)),
            ("optimised", Cuda.compile(&optimized, &weights, &exact)),
            ("by libraries", Cuda.by_libraries(network, &weights, &exact)),
            ("optimised, by libraries", Cuda.by_libraries(&optimized, &weights, &exact)),
        ] {
            let found = engine
                .map_err(|e| e.to_string())
                .and_then(|mut engine| call(&device, &mut *engine, inputs).map_err(|e| e.to_string()));
            let found = found.map_err(|e| format!("{who}: {e}"))?;
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                compare(found, expected, tolerance(expected.ty().dtype))
                    .map_err(|e| format!("{who}, result {at}: {e}"))?;
            }
        }
        Ok(())
    };
    let cases = cases();
    let failures: Vec<String> =
        cases.iter().filter_map(|(place, l)| check(l).err().map(|e| format!("{place}\n    {e}"))).collect();
    eprintln!("{} cases", cases.len());
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn a_gpu_agrees_with_the_reference_on_random_networks() {
    let Some(device) = gpu() else { return };
    let (first, count) = (number("RANDOM_SEED", 0), number("RANDOM_NETWORKS", 200));
    let mut failures = Vec::new();
    for seed in first..first + count {
        let s = sample(seed);
        let expected = evaluate(&s.network, &s.parameters, &s.inputs).expect("a sample runs");
        let optimized = optimize(s.network.clone(), &Options::default());
        let options = CompileOptions::default();
        let by_libraries = Cuda.by_libraries(&optimized, &s.parameters, &options);
        for (who, network, engine) in [
            ("as it is", &s.network, compiled(&s.network, &s.parameters)),
            ("optimised", &optimized, compiled(&optimized, &s.parameters)),
            ("by libraries", &optimized, by_libraries.map_err(|e| e.to_string())),
        ] {
            let result = engine
                .and_then(|mut engine| call(&device, &mut *engine, &s.inputs).map_err(|e| e.to_string()))
                .and_then(|found| random::close(&found, &expected, random::coarsest(&s.network)));
            if let Err(e) = result {
                failures.push(format!("RANDOM_SEED={seed}, {who}: {e}\n{network}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn an_index_out_of_range_is_reported_by_the_next_call() {
    let Some(device) = gpu() else { return };
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F32, [4]));
    let index = b.input(TensorType::new(DType::I64, [2]));
    let y = b.add(LayerKind::Gather { axis: 0, elements: false }, &[x, index]).expect("well typed");
    let network = b.finish(vec![y]);
    let mut engine = compiled(&network, &[]).expect("compiles");
    let x = Literal::from_f64(TensorType::new(DType::F32, [4]), [1.0, 2.0, 3.0, 4.0]).expect("four");
    let index = |a, b| Literal::from_i64(TensorType::new(DType::I64, [2]), [a, b]).expect("two");
    let bad = call(&device, &mut *engine, &[x.clone(), index(-4, 9)]).expect("nothing is known yet");
    assert_eq!(bad[0].to_f64(), [1.0, 0.0]);
    let report = call(&device, &mut *engine, &[x.clone(), index(0, 1)]).expect_err("the report");
    assert_eq!(report, RunError::Index { layer: String::new(), index: 9, size: 4 });
    let good = call(&device, &mut *engine, &[x, index(3, -1)]).expect("usable again");
    assert_eq!(good[0].to_f64(), [4.0, 4.0]);
}

/// Whoever adds it: an operand of an epilogue that is the caller's lies elsewhere in every call.
#[test]
fn a_callers_residual_is_read_where_it_lies_now() {
    let Some(device) = gpu() else { return };
    let ty = TensorType::new(DType::F16, [32, 64]);
    let mut b = Builder::new();
    let (x, residual) = (b.input(ty.clone()), b.input(ty.clone()));
    let w = b.parameter("w", TensorType::new(DType::F16, [64, 64]));
    let sum = Expr::binary(trt_subgraph::network::expr::Binary::Add);
    let product = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let y = b.fused(product, &[x, w, residual], Some(sum)).expect("well typed")[0];
    let network = b.finish(vec![y]);
    let mut random = trt_subgraph::Random::new(1);
    let w = random.literal(TensorType::new(DType::F16, [64, 64]));
    let ways = Cuda.every_way(&network, &vec![w.clone()], &CompileOptions::default());
    let mut held = Vec::new();
    for (name, mut engine) in ways.expect("compiles") {
        for _ in 0..3 {
            let inputs = [random.literal(ty.clone()), random.literal(ty.clone())];
            let expected = evaluate(&network, std::slice::from_ref(&w), &inputs).expect("the reference runs");
            let found = call(&device, &mut *engine, &inputs).expect("runs");
            compare(&found[0], &expected[0], 4e-3).unwrap_or_else(|e| panic!("{name}: {e}"));
            // The next call's tensors lie elsewhere.
            held.push(Buffer::holding(&device, &[0; 4096]).expect("there is room"));
        }
    }
}

#[test]
fn forks_share_weights_and_see_a_refit() {
    let Some(device) = gpu() else { return };
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F32, [3]));
    let w = b.parameter("w", TensorType::new(DType::F32, [3]));
    let product = Expr::binary(trt_subgraph::network::expr::Binary::Mul);
    let y = b.add(LayerKind::Pointwise(product), &[x, w]).expect("well typed");
    let network = b.finish(vec![y]);
    let three = |v: [f64; 3]| Literal::from_f64(TensorType::new(DType::F32, [3]), v).expect("three");
    let mut engine = compiled(&network, &[three([1.0, 2.0, 3.0])]).expect("compiles");
    let mut fork = engine.fork();
    let input = [three([1.0, 1.0, 2.0])];
    for engine in [&mut engine, &mut fork] {
        assert_eq!(call(&device, &mut **engine, &input).expect("runs")[0].to_f64(), [1.0, 2.0, 6.0]);
    }
    fork.refit(&vec![three([5.0, 5.0, 5.0])]).expect("the same types");
    for engine in [&mut engine, &mut fork] {
        assert_eq!(call(&device, &mut **engine, &input).expect("runs")[0].to_f64(), [5.0, 5.0, 10.0]);
    }
}

/// As on the emulated device, with as many parts as weights of a large network have.
#[test]
fn checksums_tell_which_memory_was_written() {
    let Some(device) = gpu() else { return };
    let mut bytes: Vec<u8> = (0..50_000_000u64).map(|i| (i * i / 7) as u8).collect();
    let buffer = Buffer::holding(&device, &bytes).expect("there is room");
    let cuts = [0, 16, 16, 4096, 4099, 1 << 20, (1 << 20) + 5, 30_000_000, bytes.len()];
    let sums = |buffer: &Buffer| {
        let run = |ends: &[usize]| MemoryRun {
            address: (buffer.address() + ends[0] as u64) as *const u8,
            bytes: ends[1] - ends[0],
        };
        let runs: Vec<MemoryRun> = cuts.windows(2).map(run).collect();
        // SAFETY: the buffer's memory.
        unsafe { Cuda.checksums(&runs, &CompileOptions::default(), Stream::NONE) }.expect("there are sums")
    };
    let before = sums(&buffer);
    assert_eq!(sums(&buffer), before);
    for at in [0, 15, 16, 4098, 5000, (1 << 20) + 1, 29_999_999, 30_000_000, bytes.len() - 1] {
        bytes[at] ^= 0x80;
        let changed = Buffer::holding(&device, &bytes).expect("there is room");
        bytes[at] ^= 0x80;
        for (ends, (after, before)) in cuts.windows(2).zip(sums(&changed).iter().zip(&before)) {
            assert_eq!((ends[0]..ends[1]).contains(&at), after != before, "byte {at}, run {ends:?}");
        }
    }
}

/// Four threads, each with a fork and two streams in turn, on inputs of their own.
#[test]
fn forks_run_side_by_side_on_any_stream() {
    let Some(device) = gpu() else { return };
    let (network, parameters, inputs) = layers::sample(3);
    let engine = compiled(&network, &parameters).expect("compiles");
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (mut fork, device, network, parameters, inputs) =
                (engine.fork(), &device, &network, &parameters, &inputs);
            scope.spawn(move || {
                let mut random = trt_subgraph::Random::new(thread);
                let streams = [0, 1].map(|_| OwnStream::new(device).expect("a stream"));
                for turn in 0..20 {
                    let inputs: Vec<Literal> =
                        inputs.iter().map(|l| random.literal_in(l.ty().clone(), -1.0, 1.0)).collect();
                    let expected = evaluate(network, parameters, &inputs).expect("runs");
                    let stream = &streams[turn % 2];
                    let found = call_on(device, &mut *fork, &inputs, stream).expect("runs");
                    let tolerance = tolerance(expected[0].ty().dtype).max(2e-3);
                    compare(&found[0], &expected[0], tolerance).unwrap_or_else(|e| panic!("{thread}: {e}"));
                }
            });
        }
    });
}

#[test]
fn tensors_may_start_anywhere() {
    let Some(device) = gpu() else { return };
    let mut b = Builder::new();
    let ty = TensorType::new(DType::F32, [64]);
    let x = b.input(ty.clone());
    let tanh = trt_subgraph::network::Expr::unary(trt_subgraph::network::expr::Unary::Neg);
    let y = b.add(LayerKind::Pointwise(tanh), &[x]).expect("well typed");
    let mut engine = compiled(&b.finish(vec![y]), &[]).expect("compiles");
    let values: Vec<f64> = (0..65).map(f64::from).collect();
    let source = Literal::from_f64(TensorType::new(DType::F32, [65]), values.clone()).expect("65");
    let (from, to) = (Buffer::holding(&device, source.bytes()), Buffer::holding(&device, source.bytes()));
    let (from, to) = (from.expect("memory"), to.expect("memory"));
    let io = Io { inputs: &[(from.address() + 4) as *const u8], outputs: &[(to.address() + 4) as *mut u8] };
    // SAFETY: both buffers have 64 elements from the second on.
    unsafe { engine.run(&io, Stream::NONE) }.expect("runs");
    device.synchronize().expect("completes");
    let mut found = Literal::zeros(TensorType::new(DType::F32, [65]));
    to.read(found.bytes_mut()).expect("reads");
    let expected: Vec<f64> = values.iter().map(|&v| if v == 0.0 { 0.0 } else { -v }).collect();
    assert_eq!(found.to_f64(), expected);
}

/// Every step of an engine has a time, and a profiled call gives what others give.
#[test]
fn a_profile_is_a_call_with_times() {
    let Some(device) = gpu() else { return };
    let (network, parameters, inputs) = layers::sample(3);
    let mut engine = compiled(&network, &parameters).expect("compiles");
    let expected = call(&device, &mut *engine, &inputs).expect("runs");
    let stream = OwnStream::new(&device).expect("a stream");
    let mut profile = None;
    let types = engine.signature().outputs.clone();
    let found = results(&device, types, &inputs, |io| {
        // SAFETY: the tensors have the signature's types.
        profile = Some(unsafe { engine.profile(io, stream.stream()) }?);
        stream.wait().map_err(RunError::Device)
    });
    assert_eq!(found.expect("runs"), expected);
    let profile = profile.expect("it ran");
    assert!(profile.steps.iter().map(|s| &s.step).eq(&engine.describe().steps), "{profile:?}");
    assert!(!profile.whole.is_zero() && profile.steps.iter().all(|s| !s.time.is_zero()), "{profile:?}");
}

fn compiled(network: &Network, parameters: &[Literal]) -> Result<Box<dyn Engine>, String> {
    Cuda.compile(network, &parameters.to_vec(), &CompileOptions::default()).map_err(|e| e.to_string())
}

/// The outputs of one call.
fn call(device: &Arc<Device>, engine: &mut dyn Engine, inputs: &[Literal]) -> Result<Vec<Literal>, RunError> {
    // It outlives every engine of its thread.
    thread_local!(static STREAM: OnceCell<OwnStream> = const { OnceCell::new() });
    STREAM.with(|cell| {
        let stream = cell.get_or_init(|| OwnStream::new(device).expect("a stream"));
        call_on(device, engine, inputs, stream)
    })
}

/// The outputs of one call on a stream.
fn call_on(
    device: &Arc<Device>,
    engine: &mut dyn Engine,
    inputs: &[Literal],
    stream: &OwnStream,
) -> Result<Vec<Literal>, RunError> {
    results(device, engine.signature().outputs.clone(), inputs, |io| {
        // SAFETY: the tensors have the signature's types and live until the device is done.
        unsafe { engine.run(io, stream.stream()) }?;
        stream.wait().map_err(RunError::Device)
    })
}

/// What `run` writes into tensors of these types on the device.
fn results(
    device: &Arc<Device>,
    types: Vec<TensorType>,
    inputs: &[Literal],
    run: impl FnOnce(&Io<'_>) -> Result<(), RunError>,
) -> Result<Vec<Literal>, RunError> {
    let holding = |l: &Literal| Buffer::holding(device, l.bytes()).map_err(RunError::Device);
    let inputs: Vec<Buffer> = inputs.iter().map(holding).collect::<Result<_, _>>()?;
    let mut results: Vec<Literal> = types.into_iter().map(Literal::zeros).collect();
    // What is not written shows as NaN or a large number.
    let garbage =
        |l: &Literal| Buffer::holding(device, &vec![0xff; l.bytes().len()]).map_err(RunError::Device);
    let outputs: Vec<Buffer> = results.iter().map(garbage).collect::<Result<_, _>>()?;
    let from: Vec<*const u8> = inputs.iter().map(|b| b.address() as *const u8).collect();
    let to: Vec<*mut u8> = outputs.iter().map(|b| b.address() as *mut u8).collect();
    run(&Io { inputs: &from, outputs: &to })?;
    for (buffer, result) in outputs.iter().zip(&mut results) {
        buffer.read(result.bytes_mut()).map_err(RunError::Device)?;
    }
    Ok(results)
}
