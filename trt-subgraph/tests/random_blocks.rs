//! Random networks made of the structures that passes look for: siblings, batch norms, residuals, movement that cancels.
//! The optimised network computes the same, and every pass has something to do somewhere.
//!
//! `RANDOM_NETWORKS` is how many (300), `RANDOM_SEED` the first seed (0).

use std::collections::BTreeSet;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::network::expr::{Binary, Node, Scalar, Unary};
use trt_subgraph::network::layer::{Convolution, PadMode, Pool, PoolOp, Range, ReduceOp};
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::pass::{Options, PASSES, optimize};
use trt_subgraph::{DType, Literal, Random, TensorType, compare};

/// Folding a scale into a weight changes the last bits of sums that may cancel.
const TOLERANCE: f64 = 1e-4;

#[test]
fn blocks_keep_their_meaning() {
    let variable =
        |name, usual| std::env::var(name).ok().map_or(usual, |v: String| v.parse().expect("a number"));
    let (first, count) = (variable("RANDOM_SEED", 0), variable("RANDOM_NETWORKS", 300));
    for seed in first..first + count {
        let network = Blocks::sample(seed);
        network.verify().unwrap_or_else(|e| panic!("RANDOM_SEED={seed}: {e}"));
        let after = optimize(network.clone(), &Options::default());
        if let Err(e) = same(&network, &after, seed) {
            panic!("RANDOM_SEED={seed} RANDOM_NETWORKS=1: {e}\n{network}{after}");
        }
    }
}

#[test]
fn every_pass_has_work_and_comes_to_rest() {
    let mut busy = BTreeSet::new();
    for seed in 0..200 {
        let mut network = Blocks::sample(seed);
        for _ in 0..2 {
            for pass in PASSES {
                let mut left = usize::MAX;
                network = pass.run(network, &Options::default(), &mut left);
                if left < usize::MAX {
                    busy.insert(pass.name);
                }
            }
        }
        let mut network = optimize(network, &Options::default());
        for pass in PASSES {
            let mut left = usize::MAX;
            network = pass.run(network, &Options::default(), &mut left);
            assert_eq!(left, usize::MAX, "{} has more to do for seed {seed}\n{network}", pass.name);
        }
    }
    let idle: Vec<&str> = PASSES.iter().map(|p| p.name).filter(|n| !busy.contains(n)).collect();
    assert!(idle.is_empty(), "idle: {idle:?}");
}

fn same(before: &Network, after: &Network, seed: u64) -> Result<(), String> {
    after.verify().map_err(|e| e.to_string())?;
    let mut random = Random::new(seed);
    let parameters: Vec<Literal> = before.parameters.iter().map(|p| random.literal(p.ty.clone())).collect();
    let inputs: Vec<Literal> = before.inputs.iter().map(|&v| random.literal(before.ty(v).clone())).collect();
    let run = |n: &Network| evaluate(n, &parameters, &inputs).map_err(|e| e.to_string());
    for (want, got) in run(before)?.iter().zip(&run(after)?) {
        compare(got, want, TOLERANCE).map_err(|e| e.to_string())?;
    }
    Ok(())
}

struct Blocks {
    b: Builder,
    random: Random,
    /// Values of rank 4, `[n, channels, height, width]`.
    images: Vec<ValueId>,
}

impl Blocks {
    fn sample(seed: u64) -> Network {
        let mut random = Random::new(seed);
        let mut b = Builder::new();
        let shape = [1 + random.below(2), 1 + random.below(4), 3 + random.below(3), 3 + random.below(3)];
        let x = b.input(TensorType::new(DType::F32, shape));
        let mut blocks = Blocks { b, random, images: vec![x] };
        for _ in 0..2 + blocks.random.below(8) {
            let x = blocks.pick();
            blocks.block(x);
        }
        let outputs = (0..1 + blocks.random.below(2)).map(|_| blocks.pick()).collect();
        blocks.b.finish(outputs)
    }

    /// One of the latest images, mostly.
    fn pick(&mut self) -> ValueId {
        let back = self.random.below(3).min(self.images.len() - 1);
        self.images[self.images.len() - 1 - back]
    }

    fn shape(&self, v: ValueId) -> Vec<usize> {
        self.b.ty(v).shape.clone()
    }

    fn add(&mut self, kind: LayerKind, inputs: &[ValueId]) -> ValueId {
        self.b.add(kind, inputs).expect("well typed")
    }

    fn parameter(&mut self, shape: &[usize]) -> ValueId {
        let name = format!("p{}", self.b.network().parameters.len());
        self.b.parameter(name, TensorType::new(DType::F32, shape))
    }

    fn binary(&mut self, f: Binary, x: ValueId, y: ValueId) -> ValueId {
        self.add(LayerKind::Pointwise(Expr::binary(f)), &[x, y])
    }

    fn keep(&mut self, v: ValueId) {
        self.images.push(v);
    }

    fn block(&mut self, x: ValueId) {
        let s = self.shape(x);
        match self.random.below(16) {
            0 => {
                let (norms, mut sum) = (self.random.chance(0.5), None);
                for _ in 0..2 + self.random.below(2) {
                    let y = self.convolution(x, s[1]);
                    let y = if norms { self.norm(y) } else { y };
                    sum = Some(sum.map_or(y, |z| self.binary(Binary::Sub, z, y)));
                    self.keep(y);
                }
                self.images.extend(sum);
            }
            1 => {
                let y = self.norm(x);
                self.keep(y);
            }
            2 => {
                let f = *self.random.pick(&[Unary::Tanh, Unary::Neg, Unary::Abs, Unary::Sigmoid]);
                let y = self.add(LayerKind::Pointwise(Expr::unary(f)), &[x]);
                self.keep(y);
            }
            3 => {
                let alike: Vec<ValueId> =
                    self.images.iter().copied().filter(|&v| self.shape(v) == s).collect();
                let other = *self.random.pick(&alike);
                let f = *self.random.pick(&[Binary::Add, Binary::Mul, Binary::Max]);
                let y = self.binary(f, x, other);
                self.keep(y);
            }
            4 => {
                let fits = |t: &[usize]| t[0] == s[0] && t[2..] == s[2..];
                let alike: Vec<ValueId> =
                    self.images.iter().copied().filter(|&v| fits(&self.shape(v))).collect();
                let n = 1 + self.random.below(3);
                let parts: Vec<ValueId> = (0..n).map(|_| *self.random.pick(&alike)).collect();
                let y = self.add(LayerKind::Concat { axis: 1 }, &parts);
                if self.shape(y)[1] <= 12 {
                    self.keep(y);
                }
            }
            5 => {
                let middle = self.random.below(s[1] + 1);
                let parts = [(0, middle), (middle, s[1] - middle)].map(|(start, len)| {
                    let mut ranges: Vec<Range> = s.iter().map(|&n| Range::full(n)).collect();
                    ranges[1] = Range { start, step: 1, len };
                    self.add(LayerKind::Slice { ranges }, &[x])
                });
                let y = self.add(LayerKind::Concat { axis: 1 }, &parts);
                self.keep(y);
                let full = parts.into_iter().filter(|&p| self.b.ty(p).shape[1] > 0);
                self.images.extend(full);
            }
            6 => self.move_around(x),
            7 => {
                let border = vec![(0, 0), (0, 0), (self.random.below(2), 1), (0, self.random.below(2))];
                let mode = PadMode::Constant(*self.random.pick(&[0.0, f64::NEG_INFINITY, 1.0]));
                let y = self.add(LayerKind::Pad { border, mode }, &[x]);
                let y = if mode == PadMode::Constant(0.0) { self.convolution(y, 2) } else { self.pool(y, 1) };
                self.keep(y);
            }
            8 => {
                let f = *self.random.pick(&[Unary::Tanh, Unary::Sigmoid, Unary::Cos]);
                let x = if self.random.chance(0.5) {
                    self.add(LayerKind::Pointwise(Expr::unary(f)), &[x])
                } else {
                    x
                };
                let stride = self.random.below(2) + 1;
                let y = self.pool(x, stride);
                self.keep(y);
            }
            9 => {
                let y = self.picked_rows(x);
                self.keep(y);
            }
            10 => {
                // One window, the whole image.
                let (c, window) = (s[1], [s[2], s[3]]);
                let f = self.parameter(&[c, c, s[2], s[3]]);
                let kind = LayerKind::Convolution(Convolution {
                    stride: window.to_vec(),
                    padding: vec![(0, 0); 2],
                    dilation: vec![1; 2],
                    groups: 1,
                    transposed: false,
                    output_padding: vec![0; 2],
                });
                let y = self.add(kind, &[x, f]);
                let y = self.add(LayerKind::Broadcast { shape: s }, &[y]);
                let y = self.binary(Binary::Sub, x, y);
                self.keep(y);
            }
            11 => {
                let y = self.add(LayerKind::Permute { axes: vec![2, 0, 1, 3] }, &[x]);
                let w = self.parameter(&[s[3], s[3]]);
                let product = LayerKind::MatMul { transpose_a: false, transpose_b: self.random.chance(0.5) };
                let y = self.add(product, &[y, w]);
                let y = self.add(LayerKind::Permute { axes: vec![1, 2, 0, 3] }, &[y]);
                self.keep(y);
            }
            12 => {
                let y = self.add(LayerKind::Permute { axes: vec![1, 0, 2, 3] }, &[x]);
                let y = self.add(LayerKind::Reshape { shape: vec![s[1], s[0], s[2] * s[3]] }, &[y]);
                let kind = LayerKind::Normalize { axes: vec![0], eps: 1e-3, rms: true };
                let y = self.add(kind, &[y]);
                let y = self.add(LayerKind::Reshape { shape: vec![s[1], s[0], s[2], s[3]] }, &[y]);
                let y = self.add(LayerKind::Permute { axes: vec![1, 0, 2, 3] }, &[y]);
                self.keep(y);
            }
            13 => {
                let kind = LayerKind::Reduce { op: ReduceOp::Mean, axes: vec![2, 3], keep: true };
                let y = self.add(kind, &[x]);
                let y = self.add(LayerKind::Broadcast { shape: s }, &[y]);
                let y = self.binary(Binary::Sub, x, y);
                self.keep(y);
            }
            14 => {
                // Each of a few layers reads the results of all before it.
                let mut joined = vec![x];
                for _ in 0..2 + self.random.below(2) {
                    let y = self.add(LayerKind::Concat { axis: 1 }, &joined);
                    let y = if self.random.chance(0.5) { self.norm(y) } else { y };
                    joined.push(self.convolution(y, 2));
                }
                self.images.extend(joined);
            }
            _ => {
                let c = *self.random.pick(&[1.0, -0.0, 2.0]);
                let c = self.b.constant(Literal::scalar(DType::F32, c));
                let c = self.add(LayerKind::Reshape { shape: vec![1, 1] }, &[c]);
                let f = *self.random.pick(&[Binary::Mul, Binary::Add, Binary::Div]);
                let y = self.binary(f, x, c);
                self.keep(y);
            }
        }
    }

    fn convolution(&mut self, x: ValueId, outputs: usize) -> ValueId {
        let (channels, k) = (self.shape(x)[1], *self.random.pick(&[1, 3]));
        let transposed = self.random.chance(0.2);
        let weight = if transposed { [channels, outputs, k, k] } else { [outputs, channels, k, k] };
        let w = self.parameter(&weight);
        let kind = Convolution {
            stride: vec![1; 2],
            padding: vec![(k / 2, k / 2); 2],
            dilation: vec![1; 2],
            groups: 1,
            transposed,
            output_padding: vec![0; 2],
        };
        self.add(LayerKind::Convolution(kind), &[x, w])
    }

    /// `x * scale + shift` by channel, clamped so that values stay moderate.
    fn norm(&mut self, x: ValueId) -> ValueId {
        let channels = [self.shape(x)[1], 1, 1];
        let (scale, shift) = (self.parameter(&channels), self.parameter(&channels));
        let y = self.binary(Binary::Mul, x, scale);
        let f = *self.random.pick(&[Binary::Add, Binary::Sub]);
        let y = self.binary(f, y, shift);
        let literal = |v| Node::Const(DType::F32, Scalar::Float(v));
        let clamp = vec![
            Node::Input(0),
            literal(-4.0),
            Node::Binary(Binary::Max, 0, 1),
            literal(4.0),
            Node::Binary(Binary::Min, 2, 3),
        ];
        self.add(LayerKind::Pointwise(Expr { nodes: clamp }), &[y])
    }

    fn pool(&mut self, x: ValueId, stride: usize) -> ValueId {
        let average = PoolOp::Average { count_padding: self.random.chance(0.5), divisor: None };
        let op = *self.random.pick(&[PoolOp::Max, average]);
        let two = |v| vec![v; 2];
        let (window, stride, dilation) = (two(2), two(stride), two(1));
        let pool =
            Pool { op, window, stride, padding: vec![(1, 0); 2], dilation, overhang: two(0), indices: false };
        self.add(LayerKind::Pool(pool), &[x])
    }

    /// A row of a table for each pixel, by the sign of its first channel, times a weight.
    fn picked_rows(&mut self, x: ValueId) -> ValueId {
        let s = self.shape(x);
        let mut ranges: Vec<Range> = s.iter().map(|&n| Range::full(n)).collect();
        ranges[1].len = 1;
        let first = self.add(LayerKind::Slice { ranges }, &[x]);
        let pixels = self.add(LayerKind::Reshape { shape: vec![s[0], s[2], s[3]] }, &[first]);
        let zero = Node::Const(DType::F32, Scalar::Float(0.0));
        let sign = vec![Node::Input(0), zero, Node::Binary(Binary::Gt, 0, 1), Node::Cast(DType::I64, 2)];
        let index = self.add(LayerKind::Pointwise(Expr { nodes: sign }), &[pixels]);
        let width = 1 + self.random.below(4);
        let (table, w) = (self.parameter(&[2, width]), self.parameter(&[width, s[1]]));
        let rows = self.add(LayerKind::Gather { axis: 0, elements: false }, &[table, index]);
        let y = self.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[rows, w]);
        self.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[y])
    }

    /// Channels last or flat, elementwise or matrix work there, and back.
    fn move_around(&mut self, x: ValueId) {
        let s = self.shape(x);
        let last = self.add(LayerKind::Permute { axes: vec![0, 2, 3, 1] }, &[x]);
        let y = match self.random.below(3) {
            0 => {
                let bias = self.parameter(&[s[1]]);
                self.binary(Binary::Add, last, bias)
            }
            1 => {
                let w = self.parameter(&[s[1], s[1]]);
                let w = self.add(LayerKind::Permute { axes: vec![1, 0] }, &[w]);
                let flat = self.add(LayerKind::Reshape { shape: vec![s[0] * s[2] * s[3], s[1]] }, &[last]);
                let y = self.add(LayerKind::MatMul { transpose_a: false, transpose_b: false }, &[flat, w]);
                let y = self.add(LayerKind::Reshape { shape: vec![s[0], s[2], s[3], s[1]] }, &[y]);
                self.add(LayerKind::Pointwise(Expr::unary(Unary::Tanh)), &[y])
            }
            _ => self.add(LayerKind::Pointwise(Expr::unary(Unary::Sigmoid)), &[last]),
        };
        let y = self.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[y]);
        self.keep(y);
    }
}
