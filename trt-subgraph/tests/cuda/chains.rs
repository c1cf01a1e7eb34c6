//! Random runs of convolutions over small images, which one kernel of clusters computes from Hopper on.

use crate::{call, gpu, number, rehearse};
use trt_subgraph::backend::cuda::Cuda;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileOptions};
use trt_subgraph::network::expr::{Binary, Node, Scalar};
use trt_subgraph::network::layer::Convolution;
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::{DType, Literal, Random, TensorType, compare};

/// A bias, sometimes an image of an earlier layer, and a relu.
fn epilogue(dtype: DType, with_image: bool) -> Expr {
    let mut nodes = vec![Node::Input(0), Node::Input(1), Node::Binary(Binary::Add, 0, 1)];
    if with_image {
        nodes.extend([Node::Input(2), Node::Binary(Binary::Add, 2, 3)]);
    }
    let sum = nodes.len() as u32 - 1;
    nodes.extend([Node::Const(dtype, Scalar::Float(0.0)), Node::Binary(Binary::Max, sum, sum + 1)]);
    Expr { nodes }
}

/// A run of convolutions and values for its parameters and its input.
fn sample(seed: u64) -> (Network, Vec<Literal>, Vec<Literal>) {
    let (mut b, mut r, mut parameters) = (Builder::new(), Random::new(seed), vec![]);
    let dtype = *r.pick(&[DType::F16, DType::F16, DType::BF16, DType::F32]);
    let (high, wide) = (4 + r.below(30), 4 + r.below(30));
    let images = 1 + r.below(2400 / (high * wide));
    let input = TensorType::new(dtype, [images, *r.pick(&[1, 3, 16, 32]), high, wide]);
    let mut values = vec![b.input(input.clone())];
    for _ in 0..4 + r.below(9) {
        let x = values[values.len() - 1 - r.below(2).min(values.len() - 1)];
        let shape = b.ty(x).shape.clone();
        let channels = *r.pick(&[16, 16, 32, 48, 64]);
        let (taps, stride) = (*r.pick(&[1, 3, 3]), if shape[2] > 8 { 1 + r.below(5) / 4 } else { 1 });
        let mut parameter = |b: &mut Builder, shape: &[usize], most: f64| {
            let ty = TensorType::new(dtype, shape);
            parameters.push(r.literal_in(ty.clone(), -most, most));
            b.parameter(format!("p{}", parameters.len()), ty)
        };
        let scale = 2.0 / ((shape[1] * taps * taps) as f64).sqrt();
        let w = parameter(&mut b, &[channels, shape[1], taps, taps], scale);
        let bias = parameter(&mut b, &[channels, 1, 1], 0.5);
        let kind = convolution(stride, taps);
        let places = |n: usize| (n + taps / 2 * 2 - taps) / stride + 1;
        let out = [images, channels, places(shape[2]), places(shape[3])];
        let alike: Vec<ValueId> = values[1..].iter().copied().filter(|&v| b.ty(v).shape == out).collect();
        let image = (!alike.is_empty() && r.chance(0.6)).then(|| *r.pick(&alike));
        let operands: Vec<ValueId> = [x, w, bias].into_iter().chain(image).collect();
        values.push(b.fused(kind, &operands, Some(epilogue(dtype, image.is_some()))).expect("well typed")[0]);
    }
    let mut outputs = vec![values[values.len() - 1]];
    if r.chance(0.3) {
        outputs.push(values[1 + r.below(values.len() - 1)]);
    }
    let inputs = vec![r.literal_in(input, -1.0, 1.0)];
    (b.finish(outputs), parameters, inputs)
}

/// Three stages of residual blocks over small images, as networks for CIFAR-10 have them.
fn residual(dtype: DType, images: usize, blocks: usize) -> (Network, Vec<Literal>, Vec<Literal>) {
    let (mut b, mut r, mut parameters) = (Builder::new(), Random::new(7), vec![]);
    let input = TensorType::new(dtype, [images, 3, 32, 32]);
    let inputs = vec![r.literal_in(input.clone(), -1.0, 1.0)];
    let mut x = b.input(input);
    let mut layer = |x: ValueId, channels: usize, taps: usize, stride: usize, image: Option<ValueId>| {
        let inner = b.ty(x).shape[1];
        let mut parameter = |b: &mut Builder, shape: &[usize], most: f64| {
            let ty = TensorType::new(dtype, shape);
            parameters.push(r.literal_in(ty.clone(), -most, most));
            b.parameter(format!("p{}", parameters.len()), ty)
        };
        let w =
            parameter(&mut b, &[channels, inner, taps, taps], 1.5 / ((inner * taps * taps) as f64).sqrt());
        let bias = parameter(&mut b, &[channels, 1, 1], 0.5);
        let kind = convolution(stride, taps);
        let operands: Vec<ValueId> = [x, w, bias].into_iter().chain(image).collect();
        b.fused(kind, &operands, Some(epilogue(dtype, image.is_some()))).expect("well typed")[0]
    };
    x = layer(x, 16, 3, 1, None);
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let inner = layer(x, channels, 3, stride, None);
            let image = if stride == 2 { layer(x, channels, 1, 2, None) } else { x };
            x = layer(inner, channels, 3, 1, Some(image));
        }
    }
    (b.finish(vec![x]), parameters, inputs)
}

fn convolution(stride: usize, taps: usize) -> LayerKind {
    LayerKind::Convolution(Convolution {
        stride: vec![stride; 2],
        padding: vec![(taps / 2, taps / 2); 2],
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    })
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("RANDOM_SEED", 0);
    first..first + number("CHAINS", 24)
}

#[test]
fn chains_compile_and_are_sound_without_a_device() {
    for capability in [90, 120] {
        let residual = [(DType::F16, 16), (DType::F32, 2)].map(|(dtype, images)| residual(dtype, images, 3));
        rehearse(capability, seeds().map(sample).chain(residual).map(|(network, ..)| network));
    }
}

#[test]
fn chains_agree() {
    let Some(device) = gpu() else { return };
    let (mut failures, mut chains) = (Vec::new(), 0);
    let residual = [(DType::F16, 2), (DType::BF16, 1)].map(|(dtype, images)| residual(dtype, images, 2));
    for (seed, (network, parameters, inputs)) in seeds().map(sample).chain(residual).enumerate() {
        let expected = evaluate(&network, &parameters, &inputs).expect("runs");
        let mut engine = Cuda.compile(&network, &parameters, &CompileOptions::default()).expect("compiles");
        chains += engine.describe().steps.iter().filter(|s| s.starts_with("chain")).count();
        for time in 0..3 {
            let found = call(&device, &mut *engine, &inputs).expect("runs");
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let tolerance = if expected.ty().dtype == DType::BF16 { 4e-2 } else { 6e-3 };
                if let Err(e) = compare(found, expected, tolerance) {
                    failures.push(format!("seed {seed}, time {time}, output {at}: {e}"));
                }
            }
        }
    }
    println!("{chains} chains");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    // Before Hopper blocks form no clusters.
    assert!(chains > 0 || device.target.capability < 90, "no chain");
}
