//! How long the optimiser takes as networks grow: residual networks of convolution, batch norm and relu.
//!
//! `cargo run --release -p trt-subgraph --example optimize`

use std::time::Instant;
use trt_subgraph::network::expr::{Binary, Node, Scalar};
use trt_subgraph::network::layer::Convolution;
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::pass::{Options, optimize};
use trt_subgraph::schedule::{Dense, plan};
use trt_subgraph::{DType, TensorType};

fn main() {
    println!("{:>8} {:>8} {:>8} {:>12} {:>12}", "blocks", "layers", "fused", "optimize ms", "plan ms");
    for blocks in [10, 50, 100, 200, 400] {
        let network = residual(blocks);
        let layers = network.layers.len();
        let start = Instant::now();
        let network = optimize(network, &Options::default());
        let optimized = start.elapsed();
        let run = network.split().run;
        let start = Instant::now();
        let plan = plan(&run, &Dense);
        assert!(plan.copies.is_empty());
        let fused = run.layers.iter().filter(|l| !matches!(l.kind, LayerKind::Prepared(_))).count();
        let ms = |t: std::time::Duration| t.as_secs_f64() * 1e3;
        println!("{blocks:>8} {layers:>8} {fused:>8} {:>12.2} {:>12.2}", ms(optimized), ms(start.elapsed()));
    }
}

/// Blocks of two convolutions with batch norms, a residual and relu.
fn residual(blocks: usize) -> Network {
    let mut b = Builder::new();
    let mut x = b.input(TensorType::new(DType::F32, [1, 16, 8, 8]));
    for _ in 0..blocks {
        let y = unit(&mut b, x);
        let y = relu(&mut b, y);
        let y = unit(&mut b, y);
        let y = add(&mut b, LayerKind::Pointwise(Expr::binary(Binary::Add)), &[y, x]);
        x = relu(&mut b, y);
    }
    b.finish(vec![x])
}

fn add(b: &mut Builder, kind: LayerKind, inputs: &[ValueId]) -> ValueId {
    b.add(kind, inputs).expect("well typed")
}

fn relu(b: &mut Builder, x: ValueId) -> ValueId {
    let zero = Node::Const(DType::F32, Scalar::Float(0.0));
    let nodes = vec![Node::Input(0), zero, Node::Binary(Binary::Max, 0, 1)];
    add(b, LayerKind::Pointwise(Expr { nodes }), &[x])
}

/// Convolution and batch norm.
fn unit(b: &mut Builder, x: ValueId) -> ValueId {
    let parameter = |b: &mut Builder, shape: &[usize]| {
        let name = format!("p{}", b.network().parameters.len());
        b.parameter(name, TensorType::new(DType::F32, shape))
    };
    let w = parameter(b, &[16, 16, 3, 3]);
    let [scale, mean, shift] = [(); 3].map(|_| {
        let v = parameter(b, &[16]);
        add(b, LayerKind::Reshape { shape: vec![16, 1, 1] }, &[v])
    });
    let kind = Convolution {
        stride: vec![1; 2],
        padding: vec![(1, 1); 2],
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    };
    let y = add(b, LayerKind::Convolution(kind), &[x, w]);
    let moved = add(b, LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[mean, scale]);
    let shift = add(b, LayerKind::Pointwise(Expr::binary(Binary::Sub)), &[shift, moved]);
    let y = add(b, LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[y, scale]);
    add(b, LayerKind::Pointwise(Expr::binary(Binary::Add)), &[y, shift])
}
