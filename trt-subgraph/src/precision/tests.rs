use super::*;
use crate::backend::reference::evaluate;
use crate::network::Builder;
use crate::network::expr::{Binary, Scalar, Unary};
use crate::network::layer::Convolution;
use crate::pass::{Options, optimize};
use crate::{Literal, Random};

fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// Convolution, bias and relu, global sum, product, softmax; and the square of the product as a second output.
fn classifier() -> Network {
    let mut b = Builder::new();
    let x = b.input(f32s(&[2, 3, 6, 6]));
    let (w, bias) = (b.parameter("w", f32s(&[4, 3, 3, 3])), b.parameter("b", f32s(&[4, 1, 1])));
    let c = Convolution {
        stride: vec![1, 1],
        padding: vec![(1, 1); 2],
        dilation: vec![1, 1],
        groups: 1,
        transposed: false,
        output_padding: vec![0, 0],
    };
    let y = b.add(LayerKind::Convolution(c), &[x, w]).unwrap();
    let y = b.add(LayerKind::Pointwise(Expr::binary(Binary::Add)), &[y, bias]).unwrap();
    let zero = b.constant(Literal::from_f64(f32s(&[]), [0.0]).unwrap());
    let y = b.add(LayerKind::Pointwise(Expr::binary(Binary::Max)), &[y, zero]).unwrap();
    let y = b.add(LayerKind::Reduce { op: ReduceOp::Sum, axes: vec![2, 3], keep: false }, &[y]).unwrap();
    let w = b.parameter("head", f32s(&[4, 5]));
    let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[y, w]).unwrap();
    let mut square = Expr::default();
    let v = square.push(Node::Input(0));
    let v = square.push(Node::Binary(Binary::Mul, v, v));
    let square = b.add(LayerKind::Pointwise(square.finish(v)), &[y]).unwrap();
    let y = b.add(LayerKind::Softmax { axis: 1, log: false }, &[y]).unwrap();
    b.finish(vec![y, square])
}

fn dtypes(network: &Network, name: &str) -> Vec<DType> {
    let layers = network.layers.iter().filter(|l| l.kind.name() == name);
    layers.map(|l| network.ty(l.inputs[0]).dtype).collect()
}

#[test]
fn factors_become_narrow_and_borders_stay() {
    for dtype in [DType::F16, DType::BF16] {
        let wide = optimize(classifier(), &Options::default());
        let network = narrow(&wide, dtype).unwrap();
        network.verify().unwrap();
        let after = optimize(network.clone(), &Options::default());
        after.verify().unwrap();
        for network in [&network, &after] {
            assert_eq!(dtypes(network, "convolution"), [dtype], "{network}");
            assert_eq!(dtypes(network, "matmul"), [dtype], "{network}");
            assert_eq!(dtypes(network, "reduce"), [DType::F32], "{network}");
            let types = |n: &Network| n.outputs.iter().map(|&v| n.ty(v).clone()).collect::<Vec<_>>();
            assert_eq!(types(network), types(&wide));
            assert_eq!(network.parameters, wide.parameters);
            assert_eq!(network.ty(network.inputs[0]).dtype, DType::F32);
        }
        let mut random = Random::new(5);
        let parameters: Vec<Literal> =
            wide.parameters.iter().map(|p| random.literal_in(p.ty.clone(), -0.5, 0.5)).collect();
        let inputs = [random.literal_in(f32s(&[2, 3, 6, 6]), -1.0, 1.0)];
        let expected = evaluate(&wide, &parameters, &inputs).unwrap();
        let found = evaluate(&after, &parameters, &inputs).unwrap();
        let tolerance = if dtype == DType::F16 { 4e-3 } else { 4e-2 };
        for (found, expected) in found.iter().zip(&expected) {
            crate::compare(found, expected, tolerance).unwrap();
        }
        assert_ne!(found[1].to_f64(), expected[1].to_f64(), "nothing was rounded");
    }
}

#[test]
fn what_may_overflow_is_stored_in_f32() {
    let mut b = Builder::new();
    let (x, y) = (b.input(f32s(&[4, 4])), b.input(f32s(&[4, 4])));
    let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, y]).unwrap();
    let mut results = Vec::new();
    for f in [Unary::Exp, Unary::Tanh] {
        let v = b.add(LayerKind::Pointwise(Expr::unary(f)), &[y]).unwrap();
        results.push(b.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[v, v]).unwrap());
    }
    let network = narrow(&b.finish(results), DType::F16).unwrap();
    network.verify().unwrap();
    let of = |f: Unary| {
        let holds = |l: &&Layer| match &l.kind {
            LayerKind::Pointwise(e) => e.nodes.iter().any(|n| matches!(n, Node::Unary(g, _) if *g == f)),
            _ => false,
        };
        network.ty(network.layers.iter().find(holds).unwrap().outputs[0]).dtype
    };
    assert_eq!((of(Unary::Exp), of(Unary::Tanh)), (DType::F32, DType::F16));
}

#[test]
fn other_types_are_left_alone() {
    let mut b = Builder::new();
    let x = b.input(TensorType::new(DType::F64, [3, 3]));
    let n = b.input(TensorType::new(DType::I64, [3, 3]));
    let y = b.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[x, x]).unwrap();
    let two = b.constant(Literal::from_i64(TensorType::new(DType::I64, []), [2]).unwrap());
    let m = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[n, two]).unwrap();
    let mut over = Expr::default();
    let v = over.push(Node::Input(0));
    let one = over.push(Node::Const(DType::I64, Scalar::Int(1)));
    let v = over.push(Node::Binary(Binary::Gt, v, one));
    let over = b.add(LayerKind::Pointwise(over.finish(v)), &[m]).unwrap();
    let network = b.finish(vec![y, m, over]);
    let mut same = narrow(&network, DType::F16).unwrap();
    let mut network = network;
    network.sort_and_drop_dead();
    for n in [&mut network, &mut same] {
        n.layers.iter_mut().for_each(|l| l.origin.clear());
        n.renumber();
    }
    assert_eq!(same.to_string(), network.to_string());
}
