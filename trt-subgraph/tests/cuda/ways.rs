//! Every way of running a layer gives the layer's results.

use crate::{call, gpu, layers, number};
use trt_subgraph::backend::CompileOptions;
use trt_subgraph::backend::cuda::Cuda;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::{DType, compare, tolerance};

/// Convolutions and products as models have them, each by every way that the machine knows.
#[test]
fn every_way_to_run_a_layer_agrees() {
    let Some(device) = gpu() else { return };
    let mut failures = Vec::new();
    let mut names = std::collections::BTreeMap::new();
    for seed in 0..number("LAYERS", 60) {
        let (network, parameters, inputs) = layers::sample(seed);
        let expected = evaluate(&network, &parameters, &inputs).expect("a sample runs");
        let options = CompileOptions::default();
        let engines = match Cuda.every_way(&network, &parameters, &options) {
            Ok(engines) => engines,
            Err(e) => {
                failures.push(format!("seed {seed}: {e}\n{network}"));
                continue;
            }
        };
        for (name, mut engine) in engines {
            *names.entry(name.clone()).or_insert(0) += 1;
            let result = call(&device, &mut *engine, &inputs).map_err(|e| e.to_string()).and_then(|found| {
                // f32 convolutions round their factors to 10 bits of mantissa, as the host's do.
                let coarse = expected[0].ty().dtype == DType::F32
                    && !name.starts_with("own kernel")
                    && network.to_string().contains("convolution");
                let tolerance = if coarse { 2e-3 } else { tolerance(expected[0].ty().dtype) };
                compare(&found[0], &expected[0], tolerance).map_err(|e| e.to_string())
            });
            if let Err(e) = result {
                failures.push(format!("seed {seed}, {name}: {e}\n{network}"));
            }
        }
    }
    eprintln!("{names:?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Rounding to fewer bits may not shift results to one side: over many layers a shift adds up where rounding errors cancel.
#[test]
fn no_way_to_run_a_layer_shifts_its_results() {
    let Some(device) = gpu() else { return };
    let mut failures = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        for [batch, channels, outputs, side, window, stride] in [
            [1, 64, 64, 14, 3, 1],
            [16, 3, 64, 56, 7, 2],
            [16, 64, 64, 14, 3, 1],
            [16, 128, 128, 14, 3, 2],
            [16, 512, 128, 7, 3, 1],
            [16, 256, 64, 14, 1, 1],
            [16, 256, 512, 14, 1, 2],
            [16, 2048, 128, 7, 1, 1],
        ] {
            for residual in [false, true] {
                let (network, parameters, inputs) = layers::positive(
                    dtype,
                    [batch, channels, side, side],
                    [outputs, channels, window, window],
                    stride,
                    residual,
                );
                let expected = evaluate(&network, &parameters, &inputs).expect("a sample runs")[0].to_f64();
                let engines =
                    Cuda.every_way(&network, &parameters, &CompileOptions::default()).expect("compiles");
                for (name, mut engine) in engines {
                    let found = call(&device, &mut *engine, &inputs).expect("runs")[0].to_f64();
                    let shift: f64 = found.iter().zip(&expected).map(|(f, e)| (f - e) / e).sum();
                    let shift = shift / expected.len() as f64;
                    let line = format!(
                        "{dtype} {batch}x{channels}x{side}x{side} to {outputs} by {window}x{window} / {stride}, residual: {residual}, \
                         {name}: {shift:.1e}"
                    );
                    eprintln!("{line}");
                    if shift.abs() > 1e-4 {
                        failures.push(line);
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} shifts:\n{}", failures.len(), failures.join("\n"));
}

/// However f32 is multiplied, what is lost is what f32 loses: not a bit of a factor, and nothing to one side over long sums.
#[test]
fn every_way_to_multiply_f32_is_as_exact() {
    let Some(device) = gpu() else { return };
    let (mut failures, mut in_parts) = (Vec::new(), 0);
    for size in [[197, 768, 192], [130, 3072, 136], [1024, 1028, 64]] {
        let (network, parameters, inputs) = layers::positive_product(size);
        let expected = evaluate(&network, &parameters, &inputs).expect("a sample runs")[0].to_f64();
        let engines = Cuda.every_way(&network, &parameters, &CompileOptions::default()).expect("compiles");
        for (name, mut engine) in engines {
            let found = call(&device, &mut *engine, &inputs).expect("runs")[0].to_f64();
            let errors: Vec<f64> = found.iter().zip(&expected).map(|(f, e)| (f - e) / e).collect();
            let shift = errors.iter().sum::<f64>() / errors.len() as f64;
            let most = errors.iter().fold(0.0f64, |most, e| most.max(e.abs()));
            let line = format!("{size:?} {name}: shifted by {shift:.1e}, at most {most:.1e}");
            eprintln!("{line}");
            in_parts += usize::from(name.contains("in parts"));
            if shift.abs() > 1e-6 || most > 4e-6 {
                failures.push(line);
            }
        }
    }
    assert!(failures.is_empty(), "{} are less exact:\n{}", failures.len(), failures.join("\n"));
    assert!(in_parts > 0 || device.target.capability != 90, "nothing was multiplied in parts");
}
