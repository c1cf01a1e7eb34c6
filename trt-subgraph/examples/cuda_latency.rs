//! How long CUDA engines take: LeNet-5 and residual networks with random weights, launched step by step and as a graph.
//!
//! `cargo run --release -p trt-subgraph --example cuda_latency [name-part]`. Milliseconds a call, calls back to back, so small networks' weights
//! stay in the cache.

use std::sync::Arc;
use std::time::{Duration, Instant};
use trt_subgraph::backend::cuda::{Buffer, Cuda, Device};
use trt_subgraph::backend::{Backend, CompileOptions, Engine, Io, Stream};
use trt_subgraph::network::expr::{Binary, Node, Scalar};
use trt_subgraph::network::layer::{Convolution, Pool, PoolOp, ReduceOp};
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::pass::{Options, optimize};
use trt_subgraph::{DType, Literal, Random, TensorType};

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    match Cuda.probe() {
        Ok(found) => println!("{found}"),
        Err(e) => return println!("{e}"),
    }
    let device = Device::open(0).expect("probed");
    println!(
        "{:24} {:>7} {:>9} {:>10} {:>10} {:>10} {:>10}",
        "network", "steps", "build s", "again s", "steps ms", "graph ms", "host us"
    );
    for (name, build, batches) in [
        ("lenet5", lenet5 as fn(usize, DType) -> Network, &[1, 256][..]),
        ("resnet20", |b, d| cifar(b, d, 3), &[16]),
        ("resnet56", |b, d| cifar(b, d, 9), &[16]),
        ("resnet50", resnet50, &[1, 16]),
    ] {
        for (&batch, dtype) in batches.iter().flat_map(|b| [(b, DType::F32), (b, DType::F16)]) {
            let name = format!("{name} b{batch} {dtype}");
            if name.contains(&wanted) {
                measure(&device, &name, &build(batch, dtype));
            }
        }
    }
}

fn measure(device: &Arc<Device>, name: &str, network: &Network) {
    let network = optimize(network.clone(), &Options::default());
    let mut random = Random::new(1);
    let parameters: Vec<Literal> =
        network.parameters.iter().map(|p| random.literal_in(p.ty.clone(), -0.1, 0.1)).collect();
    let compile = |graph| {
        let start = Instant::now();
        let options = CompileOptions { graph, ..CompileOptions::default() };
        let engine = Cuda.compile(&network, &parameters, &options);
        (engine, start.elapsed().as_secs_f64())
    };
    let (plain, cold) = compile(false);
    let (graph, warm) = compile(true);
    let (mut plain, mut graph) = match (plain, graph) {
        (Ok(p), Ok(g)) => (p, g),
        (Err(e), _) | (_, Err(e)) => return println!("{name:24} {e}"),
    };
    let (by_steps, _) = time(device, &mut *plain);
    let (by_graph, host) = time(device, &mut *graph);
    let steps = graph.describe().steps;
    println!(
        "{name:24} {:>7} {cold:>9.2} {warm:>10.2} {:>10.4} {:>10.4} {:>10.2}",
        steps.len(),
        by_steps * 1e3,
        by_graph * 1e3,
        host * 1e6
    );
    if std::env::var_os("STEPS").is_some() {
        steps.iter().for_each(|s| println!("    {s}"));
    }
}

/// Seconds of a call on the device, and of the host's part of one.
fn time(device: &Arc<Device>, engine: &mut dyn Engine) -> (f64, f64) {
    let signature = engine.signature().clone();
    let buffer = |ty: &TensorType| Buffer::new(device, ty.bytes()).expect("memory");
    let (inputs, outputs): (Vec<Buffer>, Vec<Buffer>) =
        (signature.inputs.iter().map(buffer).collect(), signature.outputs.iter().map(buffer).collect());
    inputs.iter().for_each(|b| b.set(0x3c).expect("sets"));
    let from: Vec<*const u8> = inputs.iter().map(|b| b.address() as *const u8).collect();
    let to: Vec<*mut u8> = outputs.iter().map(|b| b.address() as *mut u8).collect();
    let mut run = |n: usize| {
        let start = Instant::now();
        for _ in 0..n {
            // SAFETY: the buffers have the signature's types and outlive the calls.
            unsafe { engine.run(&Io { inputs: &from, outputs: &to }, Stream::NONE) }.expect("runs");
        }
        let host = start.elapsed();
        device.synchronize().expect("completes");
        (start.elapsed(), host)
    };
    run(10);
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        let (whole, _) = run(100);
        // A few calls do not fill the queue, so that the host does not wait for the device.
        let (_, host) = run(10);
        best = (best.0.min(whole), best.1.min(host));
    }
    (best.0.as_secs_f64() / 100.0, best.1.as_secs_f64() / 10.0)
}

struct Net {
    b: Builder,
    dtype: DType,
}

impl Net {
    fn new(dtype: DType) -> Net {
        Net { b: Builder::new(), dtype }
    }

    fn parameter(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("p{}", self.b.network().parameters.len());
        self.b.parameter(name, TensorType::new(self.dtype, shape))
    }

    fn add(&mut self, kind: LayerKind, inputs: &[ValueId]) -> ValueId {
        self.b.add(kind, inputs).expect("well typed")
    }

    fn relu(&mut self, x: ValueId) -> ValueId {
        let zero = Node::Const(self.dtype, Scalar::Float(0.0));
        let nodes = vec![Node::Input(0), zero, Node::Binary(Binary::Max, 0, 1)];
        self.add(LayerKind::Pointwise(Expr { nodes }), &[x])
    }

    fn sum(&mut self, x: ValueId, y: ValueId) -> ValueId {
        self.add(LayerKind::Pointwise(Expr::binary(Binary::Add)), &[x, y])
    }

    /// Convolution and bias (a folded batch norm).
    fn convolution(
        &mut self,
        x: ValueId,
        outputs: usize,
        size: usize,
        stride: usize,
        padding: usize,
    ) -> ValueId {
        let channels = self.b.ty(x).shape[1];
        let w = self.parameter(&[outputs, channels, size, size]);
        let bias = self.parameter(&[outputs, 1, 1]);
        let kind = LayerKind::Convolution(Convolution {
            stride: vec![stride; 2],
            padding: vec![(padding, padding); 2],
            dilation: vec![1; 2],
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        });
        let y = self.add(kind, &[x, w]);
        self.sum(y, bias)
    }

    fn pool(&mut self, x: ValueId, window: usize, stride: usize, padding: usize) -> ValueId {
        let pool = Pool {
            op: PoolOp::Max,
            window: vec![window; 2],
            stride: vec![stride; 2],
            padding: vec![(padding, padding); 2],
            dilation: vec![1; 2],
            overhang: vec![0; 2],
            indices: false,
        };
        self.add(LayerKind::Pool(pool), &[x])
    }

    fn linear(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let inputs = self.b.ty(x).shape[1];
        let (w, bias) = (self.parameter(&[outputs, inputs]), self.parameter(&[outputs]));
        let y = self.add(LayerKind::MatMul { transpose_a: false, transpose_b: true }, &[x, w]);
        self.sum(y, bias)
    }

    fn average(&mut self, x: ValueId) -> ValueId {
        self.add(LayerKind::Reduce { op: ReduceOp::Mean, axes: vec![2, 3], keep: false }, &[x])
    }
}

fn lenet5(batch: usize, dtype: DType) -> Network {
    let mut n = Net::new(dtype);
    let mut x = n.b.input(TensorType::new(dtype, [batch, 1, 28, 28]));
    for (channels, padding) in [(6, 2), (16, 0)] {
        x = n.convolution(x, channels, 5, 1, padding);
        x = n.relu(x);
        x = n.pool(x, 2, 2, 0);
    }
    x = n.add(LayerKind::Reshape { shape: vec![batch, 400] }, &[x]);
    for outputs in [120, 84] {
        x = n.linear(x, outputs);
        x = n.relu(x);
    }
    x = n.linear(x, 10);
    n.b.finish(vec![x])
}

/// A residual network for 32 x 32 images with `blocks` blocks in each of three stages.
fn cifar(batch: usize, dtype: DType, blocks: usize) -> Network {
    let mut n = Net::new(dtype);
    let image = n.b.input(TensorType::new(dtype, [batch, 3, 32, 32]));
    let x = n.convolution(image, 16, 3, 1, 1);
    let mut x = n.relu(x);
    for (stage, channels) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = n.convolution(x, channels, 3, stride, 1);
            let y = n.relu(y);
            let y = n.convolution(y, channels, 3, 1, 1);
            let skip = if stride == 1 { x } else { n.convolution(x, channels, 1, 2, 0) };
            let sum = n.sum(y, skip);
            x = n.relu(sum);
        }
    }
    let x = n.average(x);
    let y = n.linear(x, 10);
    n.b.finish(vec![y])
}

fn resnet50(batch: usize, dtype: DType) -> Network {
    let mut n = Net::new(dtype);
    let image = n.b.input(TensorType::new(dtype, [batch, 3, 224, 224]));
    let x = n.convolution(image, 64, 7, 2, 3);
    let x = n.relu(x);
    let mut x = n.pool(x, 3, 2, 1);
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let y = n.convolution(x, width, 1, 1, 0);
            let y = n.relu(y);
            let y = n.convolution(y, width, 3, stride, 1);
            let y = n.relu(y);
            let y = n.convolution(y, 4 * width, 1, 1, 0);
            let skip = if block == 0 { n.convolution(x, 4 * width, 1, stride, 0) } else { x };
            let sum = n.sum(y, skip);
            x = n.relu(sum);
        }
    }
    let x = n.average(x);
    let y = n.linear(x, 1000);
    n.b.finish(vec![y])
}
