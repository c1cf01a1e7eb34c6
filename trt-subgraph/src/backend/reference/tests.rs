//! Every layer kind on values small enough to check by hand.

use super::*;
use crate::backend::{Backend, CompileOptions, Engine, Io, Stream};
use crate::network::expr::{Binary, Unary};
use crate::network::layer::*;
use crate::network::{Builder, Expr};

fn floats(shape: &[usize], values: &[f64]) -> Literal {
    Literal::from_f64(TensorType::new(DType::F32, shape), values.iter().copied()).unwrap()
}

fn ints(shape: &[usize], values: &[i64]) -> Literal {
    Literal::from_i64(TensorType::new(DType::I64, shape), values.iter().copied()).unwrap()
}

fn count(shape: &[usize]) -> Literal {
    let n: usize = shape.iter().product();
    floats(shape, &(0..n).map(|i| i as f64).collect::<Vec<_>>())
}

fn try_layer(kind: LayerKind, epilogue: Option<Expr>, x: &[Literal]) -> Result<Vec<Literal>, RunError> {
    let mut b = Builder::new();
    b.set_origin("here");
    let inputs: Vec<ValueId> = x.iter().map(|l| b.input(l.ty().clone())).collect();
    let outputs = b.fused(kind, &inputs, epilogue).unwrap();
    evaluate(&b.finish(outputs), &[], x)
}

fn layer(kind: LayerKind, x: &[Literal]) -> Literal {
    try_layer(kind, None, x).unwrap().remove(0)
}

#[test]
fn pointwise_stretches_and_rounds() {
    let sum = layer(LayerKind::Pointwise(Expr::binary(Binary::Add)), &[count(&[2, 1]), count(&[3])]);
    assert_eq!(sum, floats(&[2, 3], &[0., 1., 2., 1., 2., 3.]));
    let cast = layer(LayerKind::Pointwise(Expr::cast(DType::I64)), &[floats(&[2], &[-1.7, 1.7])]);
    assert_eq!(cast, ints(&[2], &[-1, 1]));
    let third = layer(LayerKind::Pointwise(Expr::unary(Unary::Recip)), &[floats(&[1], &[3.0])]);
    assert_eq!(third.f64_at(0), (1.0f32 / 3.0) as f64);
}

#[test]
fn moves() {
    let x = count(&[2, 3]);
    assert_eq!(
        layer(LayerKind::Permute { axes: vec![1, 0] }, std::slice::from_ref(&x)).to_f64(),
        [0., 3., 1., 4., 2., 5.]
    );
    let ranges = vec![Range::full(2), Range { start: 2, step: -2, len: 2 }];
    assert_eq!(layer(LayerKind::Slice { ranges }, std::slice::from_ref(&x)).to_f64(), [2., 0., 5., 3.]);
    let both = layer(LayerKind::Concat { axis: 1 }, &[x.clone(), count(&[2, 1])]);
    assert_eq!(both, floats(&[2, 4], &[0., 1., 2., 0., 3., 4., 5., 1.]));
    let wide = layer(LayerKind::Broadcast { shape: vec![2, 2, 1] }, &[count(&[2, 1])]);
    assert_eq!(wide.to_f64(), [0., 1., 0., 1.]);
    assert_eq!(layer(LayerKind::Reshape { shape: vec![3, 2] }, &[x]), count(&[3, 2]));
}

#[test]
fn borders() {
    let pad = |mode, border| layer(LayerKind::Pad { border: vec![border], mode }, &[count(&[3])]).to_f64();
    assert_eq!(pad(PadMode::Constant(7.0), (1, 2)), [7., 0., 1., 2., 7., 7.]);
    assert_eq!(pad(PadMode::Reflect, (2, 2)), [2., 1., 0., 1., 2., 1., 0.]);
    assert_eq!(pad(PadMode::Replicate, (1, 2)), [0., 0., 1., 2., 2., 2.]);
    assert_eq!(pad(PadMode::Circular, (2, 1)), [1., 2., 0., 1., 2., 0.]);
}

#[test]
fn reductions() {
    let x = floats(&[2, 3], &[1., f64::NAN, 3., 5., 4., 5.]);
    let reduce = |op, axes: &[usize], keep| {
        layer(LayerKind::Reduce { op, axes: axes.to_vec(), keep }, std::slice::from_ref(&x))
    };
    assert!(reduce(ReduceOp::Max, &[1], false).f64_at(0).is_nan());
    assert_eq!(reduce(ReduceOp::Min, &[1], true).f64_at(1), 4.0);
    assert_eq!(reduce(ReduceOp::ArgMax, &[1], false), ints(&[2], &[1, 0]));
    assert_eq!(reduce(ReduceOp::ArgMin, &[1], true), ints(&[2, 1], &[1, 1]));
    assert_eq!(reduce(ReduceOp::Sum, &[0], false).f64_at(2), 8.0);
    assert_eq!(reduce(ReduceOp::Mean, &[0], false).f64_at(0), 3.0);
    assert_eq!(reduce(ReduceOp::Prod, &[0], true).ty().shape, [1, 3]);
    let none = layer(LayerKind::Reduce { op: ReduceOp::Mean, axes: vec![0], keep: false }, &[count(&[0, 2])]);
    assert!(none.ty().shape == [2] && none.f64_at(1).is_nan());
}

#[test]
fn scans_and_sorting() {
    let x = floats(&[1, 4], &[2., f64::NAN, 2., 1.]);
    assert_eq!(layer(LayerKind::Scan { op: ScanOp::Sum, axis: 0 }, &[count(&[3, 1])]).to_f64(), [0., 1., 3.]);
    assert_eq!(layer(LayerKind::Scan { op: ScanOp::Prod, axis: 0 }, &[ints(&[3], &[2, 3, 4])]).i64_at(2), 24);
    let top =
        try_layer(LayerKind::TopK { axis: 1, k: 3, largest: true }, None, std::slice::from_ref(&x)).unwrap();
    assert_eq!((top[0].f64_at(1), &top[1]), (2.0, &ints(&[1, 3], &[1, 0, 2])));
    let least = try_layer(LayerKind::TopK { axis: 1, k: 4, largest: false }, None, &[x]).unwrap();
    assert_eq!(least[1], ints(&[1, 4], &[3, 0, 2, 1]));
}

#[test]
fn products_batch_and_transpose() {
    let product = |ta, tb, a: &[usize], b: &[usize]| {
        layer(LayerKind::MatMul { transpose_a: ta, transpose_b: tb }, &[count(a), count(b)])
    };
    assert_eq!(product(false, false, &[2, 2], &[2, 2]).to_f64(), [2., 3., 6., 11.]);
    assert_eq!(product(true, true, &[2, 2], &[2, 2]).to_f64(), [2., 6., 3., 11.]);
    let batched = product(false, false, &[2, 1, 2], &[3, 1, 2, 1]);
    assert_eq!(batched.ty().shape, [3, 2, 1, 1]);
    assert_eq!(batched.to_f64(), [1., 3., 3., 13., 5., 23.]);
    assert_eq!(product(false, false, &[2, 0], &[0, 1]).to_f64(), [0., 0.]);
}

#[test]
fn rows_meet_the_matrix_of_their_run() {
    let (x, w) = (count(&[4, 1]), floats(&[3, 1, 2], &[1., 2., 10., 20., 100., 200.]));
    let product = |offsets: &[i64]| {
        layer(LayerKind::GroupedMatMul, &[x.clone(), w.clone(), ints(&[3], offsets)]).to_f64()
    };
    assert_eq!(product(&[1, 3, 4]), [0., 0., 10., 20., 20., 40., 300., 600.]);
    assert_eq!(product(&[2, 2, 3]), [0., 0., 1., 2., 200., 400., 0., 0.], "an empty run, and a row of none");
    assert_eq!(product(&[3, 1, 9]), [0., 0., 100., 200., 200., 400., 300., 600.], "the last of two runs");
    let none = layer(LayerKind::GroupedMatMul, &[x.clone(), floats(&[0, 1, 1], &[]), ints(&[0], &[])]);
    assert_eq!(none.to_f64(), [0.; 4]);
}

fn plain(spatial: usize) -> Convolution {
    Convolution {
        stride: vec![1; spatial],
        padding: vec![(0, 0); spatial],
        dilation: vec![1; spatial],
        groups: 1,
        transposed: false,
        output_padding: vec![0; spatial],
    }
}

#[test]
fn convolutions() {
    let c = Convolution { stride: vec![2], padding: vec![(1, 0)], dilation: vec![2], ..plain(1) };
    let y = layer(LayerKind::Convolution(c), &[count(&[1, 1, 4]), floats(&[1, 1, 2], &[1., 10.])]);
    // windows (pad, 1) and (1, 3)
    assert_eq!(y.to_f64(), [10., 31.]);
    let c = Convolution { groups: 2, ..plain(1) };
    let y = layer(LayerKind::Convolution(c), &[count(&[1, 2, 2]), floats(&[2, 1, 1], &[1., 10.])]);
    assert_eq!(y.to_f64(), [0., 1., 20., 30.]);
    let c = Convolution { stride: vec![2], transposed: true, padding: vec![(1, 0)], ..plain(1) };
    let y = layer(
        LayerKind::Convolution(c),
        &[floats(&[1, 1, 2], &[1., 2.]), floats(&[1, 1, 3], &[1., 10., 100.])],
    );
    // 1 10 102 20 200 without its first
    assert_eq!(y.to_f64(), [10., 102., 20., 200.]);
    let y = layer(LayerKind::Convolution(plain(3)), &[count(&[1, 1, 2, 2, 2]), count(&[1, 1, 2, 2, 2])]);
    assert_eq!(y.to_f64(), [140.]);
}

fn windows(op: PoolOp) -> Pool {
    let one = vec![1];
    Pool {
        op,
        window: vec![2],
        stride: vec![2],
        padding: vec![(1, 0)],
        dilation: one,
        overhang: vec![1],
        indices: op == PoolOp::Max,
    }
}

#[test]
fn pools() {
    let x = floats(&[1, 1, 4], &[-1., 5., f64::NAN, -3.]);
    let max = try_layer(LayerKind::Pool(windows(PoolOp::Max)), None, &[x]).unwrap();
    assert_eq!((max[0].f64_at(0), max[0].f64_at(2)), (-1.0, -3.0));
    assert!(max[0].f64_at(1).is_nan());
    assert_eq!(max[1], ints(&[1, 1, 3], &[0, 2, 3]));
    let average = |count_padding, divisor| {
        let p = windows(PoolOp::Average { count_padding, divisor });
        layer(LayerKind::Pool(p), &[floats(&[1, 1, 4], &[2., 4., 6., 8.])]).to_f64()
    };
    assert_eq!(average(true, None), [1., 5., 8.]);
    assert_eq!(average(false, None), [2., 5., 8.]);
    assert_eq!(average(false, Some(4)), [0.5, 2.5, 2.]);
}

#[test]
fn statistics() {
    let x = floats(&[2, 2], &[1., 3., 2., 2.]);
    let normal =
        |rms| layer(LayerKind::Normalize { axes: vec![1], eps: 0.0, rms }, std::slice::from_ref(&x)).to_f64();
    assert_eq!(normal(false)[..2], [-1., 1.]);
    assert_eq!(normal(true)[2..], [1., 1.]);
    let soft = layer(LayerKind::Softmax { axis: 0, log: false }, &[floats(&[2, 1], &[1000., 1000.])]);
    assert_eq!(soft.to_f64(), [0.5, 0.5]);
    let log = layer(LayerKind::Softmax { axis: 0, log: true }, &[floats(&[1], &[-1000.])]);
    assert_eq!(log.to_f64(), [0.0]);
}

#[test]
fn gathers() {
    let x = count(&[2, 3]);
    let rows = layer(LayerKind::Gather { axis: 0, elements: false }, &[x.clone(), ints(&[3], &[1, 0, -1])]);
    assert_eq!(rows, floats(&[3, 3], &[3., 4., 5., 0., 1., 2., 3., 4., 5.]));
    let scalar = layer(LayerKind::Gather { axis: 1, elements: false }, &[x.clone(), ints(&[], &[2])]);
    assert_eq!(scalar, floats(&[2], &[2., 5.]));
    let each = layer(LayerKind::Gather { axis: 1, elements: true }, &[x.clone(), ints(&[1, 2], &[2, 0])]);
    assert_eq!(each, floats(&[1, 2], &[2., 0.]));
    let kind = LayerKind::Gather { axis: 0, elements: false };
    let error = try_layer(kind, None, &[x, ints(&[1], &[2])]).unwrap_err();
    assert_eq!(error, RunError::Index { layer: "here".into(), index: 2, size: 2 });
}

#[test]
fn epilogues_see_the_result_and_more_operands() {
    let kind = LayerKind::MatMul { transpose_a: false, transpose_b: false };
    let epilogue = Expr::unary(Unary::Neg).compose(&[(&Expr::binary(Binary::Add), &[0, 1])]);
    let x = [count(&[2, 2]), count(&[2, 2]), floats(&[2], &[1., 2.])];
    let y = try_layer(kind, Some(epilogue), &x).unwrap();
    assert_eq!(y[0].to_f64(), [-3., -5., -7., -13.]);
}

#[test]
fn wrong_operands_are_errors() {
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F32, [2]));
    let network = b.finish(vec![x]);
    let error = evaluate(&network, &[], &[count(&[3])]).unwrap_err();
    assert!(matches!(error, RunError::Type { what: "input", at: 0, .. }));
    let error = evaluate(&network, &[], &[]).unwrap_err();
    assert_eq!(error, RunError::Count { what: "input", expected: 1, found: 0 });
}

fn call(engine: &mut dyn Engine, x: &Literal) -> Literal {
    let mut y = Literal::zeros(engine.signature().outputs[0].clone());
    let (inputs, outputs) = ([x.bytes().as_ptr()], [y.bytes_mut().as_mut_ptr()]);
    // SAFETY: one input and one output of the signature's types.
    unsafe { engine.run(&Io { inputs: &inputs, outputs: &outputs }, Stream::NONE) }.unwrap();
    y
}

#[test]
fn a_refit_is_seen_by_forks() {
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F32, [2]));
    let w = b.parameter("w", TensorType::new(DType::F32, [2]));
    let negated = b.add(LayerKind::Pointwise(Expr::unary(Unary::Neg)), &[w]).unwrap();
    let y = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[x, negated]).unwrap();
    let network = b.finish(vec![y]);
    let weights = vec![floats(&[2], &[1., 2.])];
    let mut engine = Reference.compile(&network, &weights, &CompileOptions::default()).unwrap();
    let mut fork = engine.fork();
    assert_eq!(call(&mut *engine, &floats(&[2], &[3., 4.])).to_f64(), [-3., -8.]);
    engine.refit(&vec![floats(&[2], &[10., 20.])]).unwrap();
    assert_eq!(call(&mut *fork, &floats(&[2], &[3., 4.])).to_f64(), [-30., -80.]);
    assert_eq!(fork.describe().weight_bytes, 8);
}
