//! Random convolutions of few channels with a maximum pool after them, which are one kernel.

use crate::{call, gpu, number, rehearse};
use trt_subgraph::backend::cuda::Cuda;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::backend::{Backend, CompileOptions};
use trt_subgraph::network::expr::Unary;
use trt_subgraph::network::layer::{Convolution, Pool, PoolOp, Range};
use trt_subgraph::network::{Builder, Expr, LayerKind, Network};
use trt_subgraph::{DType, Literal, Random, TensorType, compare};

/// A network and values for its parameters and its input, which lies in rows of columns or of channels, whole or a part.
fn sample(seed: u64) -> (Network, Vec<Literal>, Vec<Literal>) {
    let (mut b, mut r, mut parameters) = (Builder::new(), Random::new(seed), vec![]);
    let dtype = *r.pick(&[DType::F16, DType::BF16]);
    let stride = [1 + r.below(3), *r.pick(&[1, 2, 2, 4])];
    let channels = 1 + r.below(8 / stride[1]);
    let taps = [1 + r.below(7), 1 + r.below(7)];
    let padding = taps.map(|n| (r.below(n), r.below(n)));
    let image = [0, 1].map(|i| taps[i] + r.below(if i == 0 { 60 } else { 120 }) + 4 * stride[i]);
    let shape = [1 + r.below(3), channels, image[0], image[1]];
    let (rows, beside) = (r.chance(0.7), r.chance(0.3));
    let whole = [shape[0], shape[1], shape[2], shape[3] + if beside { 1 + r.below(3) } else { 0 }];
    let given = if rows { whole } else { [whole[0], whole[2], whole[3], whole[1]] };
    let input = TensorType::new(dtype, given);
    let mut x = b.input(input.clone());
    if !rows {
        x = b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[x]).expect("well typed");
    }
    if whole != shape {
        let mut ranges: Vec<Range> = shape.iter().map(|&n| Range::full(n)).collect();
        ranges[3].start = whole[3] - shape[3];
        x = b.add(LayerKind::Slice { ranges }, &[x]).expect("well typed");
    }
    let outputs = 16 * (1 + r.below(8));
    let most = 2.0 / ((channels * taps[0] * taps[1]) as f64).sqrt();
    let mut parameter = |b: &mut Builder, ty: TensorType, most: f64| {
        parameters.push(r.literal_in(ty.clone(), -most, most));
        b.parameter(format!("p{}", parameters.len()), ty)
    };
    let w = parameter(&mut b, TensorType::new(dtype, [outputs, channels, taps[0], taps[1]]), most);
    let vector = |dtype| TensorType::new(dtype, [outputs, 1, 1]);
    let (scale, shift) =
        (parameter(&mut b, vector(DType::F32), 1.0), parameter(&mut b, vector(DType::F32), 1.0));
    let kind = LayerKind::Convolution(Convolution {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    });
    let scaled = format!("max({dtype}(f32(i0) * i1 + i2), 0:{dtype})");
    let scaled = Expr::parse(&scaled).expect("an expression");
    let made = match r.chance(0.7) {
        true => b.fused(kind, &[x, w, scale, shift], Some(scaled)).expect("well typed")[0],
        false => b.add(kind, &[x, w]).expect("well typed"),
    };
    let places = [b.ty(made).shape[2], b.ty(made).shape[3]];
    let window = places.map(|n| 1 + r.below(n.min(4)));
    let pool = LayerKind::Pool(Pool {
        op: PoolOp::Max,
        window: window.to_vec(),
        stride: window.map(|n| 1 + r.below(n)).to_vec(),
        padding: window.map(|n| (r.below(n / 2 + 1), r.below(n / 2 + 1))).to_vec(),
        dilation: vec![1; 2],
        overhang: vec![0; 2],
        indices: false,
    });
    let epilogue = r.chance(0.3).then(|| Expr::unary(Unary::Neg));
    let y = b.fused(pool, &[made], epilogue).expect("well typed")[0];
    let inputs = vec![r.literal_in(input, -1.0, 1.0)];
    (b.finish(vec![y]), parameters, inputs)
}

fn seeds() -> std::ops::Range<u64> {
    let first = number("RANDOM_SEED", 0);
    first..first + number("STEMS", 60)
}

#[test]
fn stems_compile_and_are_sound_without_a_device() {
    for capability in [80, 90, 120] {
        rehearse(capability, seeds().map(|seed| sample(seed).0));
    }
}

#[test]
fn stems_agree() {
    let Some(device) = gpu() else { return };
    let (mut failures, mut stems) = (Vec::new(), 0);
    for seed in seeds() {
        let (network, parameters, inputs) = sample(seed);
        let expected = evaluate(&network, &parameters, &inputs).expect("runs");
        let mut engine = Cuda.compile(&network, &parameters, &CompileOptions::default()).expect("compiles");
        stems += engine.describe().steps.iter().filter(|s| s.starts_with("stem")).count();
        for time in 0..3 {
            let found = call(&device, &mut *engine, &inputs).expect("runs");
            let tolerance = if expected[0].ty().dtype == DType::BF16 { 4e-2 } else { 6e-3 };
            if let Err(e) = compare(&found[0], &expected[0], tolerance) {
                failures.push(format!("seed {seed}, time {time}: {e}\n{network}"));
            }
        }
    }
    println!("{stems} stems");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(2 * stems > seeds().count(), "{stems} stems");
}
