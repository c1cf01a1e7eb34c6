//! Layers larger than operator cases and random networks have them, so that every branch of every kernel runs somewhere.

use super::super::kernel::attention;
use super::super::kernel::product::Kernel;
use super::super::kernel::product::tensor;
use super::super::tactic::{Choice, OfPatches, OfRows, OnTensorCores, Own};
use super::super::target::Target;
use crate::backend::{Tf32, reference};
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::layer::{Convolution, Pool, PoolOp, ReduceOp, ScanOp};
use crate::network::{Builder, Expr, LayerKind, Network, ValueId};
use crate::{DType, Literal, Random, TensorType, compare, tolerance};
use std::sync::Arc;

/// Layers side by side in one network, for one translation of all of their kernels.
#[derive(Default)]
struct Batch {
    b: Builder,
    outputs: Vec<ValueId>,
}

impl Batch {
    /// A layer on operands of these types.
    fn check(&mut self, kind: LayerKind, operands: &[TensorType]) {
        let inputs: Vec<_> = operands.iter().map(|ty| self.b.input(ty.clone())).collect();
        self.outputs.extend(self.b.fused(kind, &inputs, None).expect("well typed"));
    }

    fn agrees(self) {
        agrees(&self.b.finish(self.outputs));
    }
}

/// The emulated device and the reference give the same on random operands in a narrow range.
pub fn agrees(network: &Network) {
    agrees_by(network, Choice::First);
}

fn agrees_by(network: &Network, choice: Choice) {
    agrees_within(network, choice, 0.0);
}

/// Within what the result's type rounds to, or within this.
fn agrees_within(network: &Network, choice: Choice, least: f64) {
    let mut random = Random::new(1);
    let mut value = |ty: &TensorType| random.literal_in(ty.clone(), -2.0, 2.0);
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| value(&p.ty)).collect();
    let inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(network.ty(v))).collect();
    let expected = reference::evaluate(network, &parameters, &inputs).expect("runs");
    let found = super::evaluate(network, &parameters, &inputs, choice);
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        compare(found, expected, tolerance(expected.ty().dtype).max(least))
            .unwrap_or_else(|e| panic!("output {at}: {e}\n{network}"));
    }
}

pub fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::new(dtype, shape)
}

#[test]
fn reductions_of_every_size_and_direction() {
    let mut batch = Batch::default();
    use ReduceOp::*;
    for (op, dtype, shape, axes) in [
        (Sum, DType::F32, &[3, 5000][..], &[1][..]),
        (Mean, DType::F16, &[2, 3, 700], &[0, 2]),
        (Max, DType::I32, &[300, 40], &[0]),
        (Min, DType::F64, &[7, 33, 5], &[1]),
        (Sum, DType::I64, &[1, 100_000], &[0, 1]),
        (Mean, DType::F32, &[1 << 17], &[0]),
        (Max, DType::F16, &[1 << 17], &[0]),
        (Sum, DType::U8, &[4, 1 << 15], &[0, 1]),
        (Prod, DType::U8, &[6, 64], &[1]),
        (ArgMax, DType::F32, &[5, 3000], &[1]),
        (ArgMin, DType::I64, &[200, 9], &[0]),
    ] {
        for keep in [false, true] {
            batch.check(LayerKind::Reduce { op, axes: axes.to_vec(), keep }, &[ty(dtype, shape)]);
        }
    }
    batch.agrees();
}

#[test]
fn rows_in_registers_and_not() {
    let mut batch = Batch::default();
    for (dtype, shape, axis) in [
        (DType::F32, &[3, 1000][..], 1),
        (DType::F16, &[2, 40_000], 1),
        (DType::F32, &[500, 6], 0),
        (DType::F64, &[2, 77, 3], 1),
    ] {
        for log in [false, true] {
            batch.check(LayerKind::Softmax { axis, log }, &[ty(dtype, shape)]);
        }
        for rms in [false, true] {
            batch.check(LayerKind::Normalize { axes: vec![axis], eps: 1e-5, rms }, &[ty(dtype, shape)]);
        }
    }
    batch.check(
        LayerKind::Normalize { axes: vec![1, 2], eps: 1e-5, rms: false },
        &[ty(DType::F32, &[3, 40, 50])],
    );
    // Halves with statistics in f32, once for rows alone and once for others too.
    for others in [false, true] {
        let b = &mut batch.b;
        let (x, scale) = (b.input(ty(DType::F16, &[5, 72])), b.input(ty(DType::F16, &[72])));
        let wide = b.add(LayerKind::Pointwise(Expr::cast(DType::F32)), &[x]).expect("well typed");
        let scaled = Expr {
            nodes: vec![
                Node::Input(0),
                Node::Input(1),
                Node::Cast(DType::F32, 1),
                Node::Binary(Binary::Mul, 0, 2),
                Node::Cast(DType::F16, 3),
            ],
        };
        let normalize = LayerKind::Normalize { axes: vec![1], eps: 1e-5, rms: false };
        let y = b.fused(normalize, &[wide, scale], Some(scaled)).expect("well typed");
        batch.outputs.extend(y);
        if others {
            let sum = LayerKind::Pointwise(Expr::binary(Binary::Add));
            let twice = batch.b.add(sum, &[wide, wide]).expect("well typed");
            batch.outputs.push(twice);
        }
    }
    batch.agrees();
}

#[test]
fn scans_by_threads_and_by_blocks() {
    let mut batch = Batch::default();
    for (dtype, shape, axis) in [
        (DType::I64, &[3, 1000][..], 1),
        (DType::F64, &[2, 600], 1),
        (DType::I32, &[50, 90], 0),
        (DType::U8, &[700], 0),
    ] {
        for op in [ScanOp::Sum, ScanOp::Prod] {
            batch.check(LayerKind::Scan { op, axis }, &[ty(dtype, shape)]);
        }
    }
    batch.agrees();
}

#[test]
fn sorting_by_selection_and_by_rank() {
    let mut batch = Batch::default();
    for (dtype, shape, axis, k) in [
        (DType::F32, &[2, 1000][..], 1, 5),
        (DType::I32, &[2, 1000], 1, 3),
        (DType::F16, &[3, 600], 1, 600),
        (DType::I64, &[300, 4], 0, 10),
        (DType::U8, &[2, 300], 1, 1),
        (DType::Bool, &[2, 40], 1, 40),
    ] {
        for largest in [false, true] {
            batch.check(LayerKind::TopK { axis, k, largest }, &[ty(dtype, shape)]);
        }
    }
    batch.agrees();
}

#[test]
fn products_of_every_shape() {
    let mut batch = Batch::default();
    for dtype in [DType::F32, DType::F16, DType::F64, DType::I32] {
        for (m, k, n, transpose_a, transpose_b) in [
            (1, 2000, 20, false, true),
            (5, 128, 70, false, false),
            (100, 50, 90, true, false),
            (70, 33, 5, false, true),
            (3, 3, 3, false, false),
        ] {
            let matrix = |r, c, t: bool| ty(dtype, &if t { [2, c, r] } else { [2, r, c] });
            let operands = [matrix(m, k, transpose_a), matrix(k, n, transpose_b)];
            batch.check(LayerKind::MatMul { transpose_a, transpose_b }, &operands);
        }
    }
    batch.agrees();
}

#[test]
fn convolutions_of_every_kind() {
    let mut batch = Batch::default();
    for (x, w, groups, transposed) in [
        (&[2, 20, 9, 9][..], &[40, 20, 3, 3][..], 1, false),
        (&[1, 16, 12, 12], &[16, 1, 3, 3], 16, false),
        (&[1, 3, 20, 20], &[8, 3, 5, 5], 1, false),
        (&[1, 12, 7, 7], &[12, 10, 3, 3], 2, true),
    ] {
        let c = Convolution {
            stride: vec![1, 2],
            padding: vec![(1, 0), (1, 2)],
            dilation: vec![1, 1],
            groups,
            transposed,
            output_padding: if transposed { vec![0, 1] } else { vec![0, 0] },
        };
        for dtype in [DType::F32, DType::BF16] {
            batch.check(LayerKind::Convolution(c.clone()), &[ty(dtype, x), ty(dtype, w)]);
        }
    }
    batch.agrees();
}

#[test]
fn pools_of_several_channels_a_thread() {
    let mut batch = Batch::default();
    for (op, indices) in [
        (PoolOp::Max, false),
        (PoolOp::Max, true),
        (PoolOp::Average { count_padding: false, divisor: None }, false),
        (PoolOp::Average { count_padding: true, divisor: None }, false),
    ] {
        let pool = Pool {
            op,
            window: vec![3, 2],
            stride: vec![2, 2],
            padding: vec![(1, 1), (1, 0)],
            dilation: vec![1, 1],
            overhang: vec![1, 0],
            indices,
        };
        for dtype in [DType::F16, DType::F32] {
            // Channels lie innermost in what a permutation gives.
            let x = batch.b.input(ty(dtype, &[2, 9, 10, 16]));
            let x = batch.b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[x]).expect("well typed");
            let outputs = batch.b.fused(LayerKind::Pool(pool.clone()), &[x], None).expect("well typed");
            batch.outputs.extend(outputs);
        }
    }
    batch.agrees();
}

#[test]
fn copies_across_the_grain() {
    let mut batch = Batch::default();
    for (dtype, shape, axes) in [
        (DType::F32, &[70, 90][..], &[1, 0][..]),
        (DType::F16, &[3, 40, 33], &[0, 2, 1]),
        (DType::U8, &[2, 33, 9, 20], &[0, 2, 3, 1]),
        (DType::F64, &[20, 3, 30], &[2, 0, 1]),
    ] {
        batch.check(LayerKind::Permute { axes: axes.to_vec() }, &[ty(dtype, shape)]);
    }
    batch.agrees();
}

/// Every product that tensor cores take, on them: convolutions of padded, strided, few and many channels, matrices of every form.
#[test]
fn products_on_tensor_cores() {
    let convolution = |stride: usize, padding: usize, dilation: usize| {
        LayerKind::Convolution(Convolution {
            stride: vec![stride; 2],
            padding: vec![(padding, padding); 2],
            dilation: vec![dilation; 2],
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        })
    };
    let product = |transpose_a, transpose_b| LayerKind::MatMul { transpose_a, transpose_b };
    // A scale of each column in f32, a sum, a relu.
    let epilogue = |dtype| Expr {
        nodes: vec![
            Node::Input(0),
            Node::Cast(DType::F32, 0),
            Node::Input(1),
            Node::Binary(Binary::Mul, 1, 2),
            Node::Cast(dtype, 3),
            Node::Input(2),
            Node::Binary(Binary::Add, 4, 5),
            Node::Const(dtype, Scalar::Float(0.0)),
            Node::Binary(Binary::Max, 6, 7),
        ],
    };
    let mut networks: Vec<Network> = Vec::new();
    for (dtype, kind, x, w, scale) in [
        (DType::F16, convolution(1, 1, 1), &[2, 16, 5, 7][..], &[16, 16, 3, 3][..], &[16, 1, 1][..]),
        (DType::BF16, convolution(2, 3, 1), &[1, 3, 11, 8], &[24, 3, 7, 7], &[24, 1, 1]),
        (DType::F16, convolution(1, 2, 2), &[1, 64, 4, 5], &[34, 64, 3, 3], &[34, 1, 1]),
        (DType::F32, convolution(2, 0, 1), &[2, 10, 9, 9], &[33, 10, 1, 1], &[33, 1, 1]),
        (DType::F16, product(false, true), &[37, 72], &[18, 72], &[18]),
        (DType::BF16, product(false, false), &[2, 5, 3, 64], &[64, 20], &[20]),
        (DType::F16, product(false, true), &[2, 33, 16], &[2, 40, 16], &[40]),
    ] {
        let mut b = Builder::new();
        let x = b.input(ty(dtype, x));
        let batched = matches!(kind, LayerKind::MatMul { .. }) && w.len() > 2;
        let w = if batched { b.input(ty(dtype, w)) } else { b.parameter("w", ty(dtype, w)) };
        let shape = {
            let y = b.add(kind.clone(), &[x, w]).expect("well typed");
            b.ty(y).shape.clone()
        };
        let (scale, more) = (b.parameter("scale", ty(DType::F32, scale)), b.input(ty(dtype, &shape)));
        let plain = b.fused(kind.clone(), &[x, w], None).expect("well typed");
        let whole = b.fused(kind, &[x, w, scale, more], Some(epilogue(dtype))).expect("well typed");
        networks.push(b.finish(vec![plain[0], whole[0]]));
    }
    let choice = Choice::TensorCores { tf32: Tf32::default(), clusters: false };
    for network in networks {
        let mut random = Random::new(7);
        let mut values = |ty: &TensorType| random.literal_in(ty.clone(), -1.0, 1.0);
        let parameters: Vec<Literal> = network.parameters.iter().map(|p| values(&p.ty)).collect();
        let inputs: Vec<Literal> = network.inputs.iter().map(|&v| values(network.ty(v))).collect();
        let expected = reference::evaluate(&network, &parameters, &inputs).expect("runs");
        let found = super::evaluate(&network, &parameters, &inputs, choice.clone());
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let rounded = if expected.ty().dtype == DType::F32 { 4e-3 } else { 0.0 };
            let tolerance = tolerance(expected.ty().dtype).max(rounded);
            compare(found, expected, tolerance).unwrap_or_else(|e| panic!("output {at}: {e}\n{network}"));
        }
    }
}

/// Warps and warpgroups, one of them in a block and several, more steps than stages and fewer.
#[test]
fn products_cut_in_every_manner() {
    let c = Convolution {
        stride: vec![1; 2],
        padding: vec![(1, 1); 2],
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    };
    let matmul = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let target = Target { capability: 90, multiprocessors: 132 };
    let mut kinds = 0;
    for (kind, x, w) in [
        (matmul.clone(), &[70, 1048][..], &[136, 1048][..]),
        (matmul, &[130, 72], &[260, 72]),
        (LayerKind::Convolution(c), &[1, 64, 7, 10], &[40, 64, 3, 3]),
    ] {
        let mut b = Builder::new();
        let mut image = b.input(ty(DType::F16, x));
        if x.len() > 2 {
            image = b.add(LayerKind::Permute { axes: vec![0, 2, 3, 1] }, &[image]).expect("well typed");
            image = b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[image]).expect("well typed");
        }
        let w = b.parameter("w", ty(DType::F16, w));
        let y = b.fused(kind, &[image, w], None).expect("well typed");
        let network = b.finish(y);
        let (m, n, k) = (70, 136, 2096);
        let form = tensor::Form { dtype: DType::F16, batch: 1, m, n, k };
        let cuts = tensor::cuts(form, &target, false, usize::MAX);
        for cut in cuts.iter().filter(|c| [(128, 128), (128, 256), (64, 32)].contains(&(c.rows, c.columns))) {
            kinds += 1;
            agrees_by(&network, Choice::Settled(Arc::new(OnTensorCores(*cut))));
        }
    }
    assert_eq!(kinds, 3 * 5, "two units, of which one has no cut of 128x256");
}

/// Strides, dilations, paddings of each side, channels that fill no unit, tiles that do not fill the image.
#[test]
fn convolutions_by_patches() {
    let c = |stride: [usize; 2], padding: [(usize, usize); 2], dilation: [usize; 2]| Convolution {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: dilation.to_vec(),
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    };
    let mut seen = Vec::new();
    for (dtype, c, x, w) in [
        (DType::F16, c([1; 2], [(1, 1); 2], [1; 2]), &[2, 16, 9, 7][..], &[24, 16, 3, 3][..]),
        (DType::BF16, c([2, 1], [(2, 0), (1, 3)], [1, 2]), &[1, 30, 11, 40], &[17, 30, 3, 2]),
        (DType::F32, c([1; 2], [(1, 1); 2], [1; 2]), &[1, 16, 5, 6], &[8, 16, 3, 3]),
    ] {
        let mut b = Builder::new();
        let image = b.input(ty(dtype, x));
        let w = b.parameter("w", ty(dtype, w));
        let y = b.fused(LayerKind::Convolution(c), &[image, w], None).expect("well typed");
        let more = b.input(ty(dtype, &b.ty(y[0]).shape.clone()));
        let y = b.add(LayerKind::Pointwise(Expr::binary(Binary::Add)), &[y[0], more]).expect("well typed");
        let network = b.finish(vec![y]);
        let split = network.split();
        let target = Target { capability: 90, multiprocessors: 132 };
        let assembler = super::Assembler::new(&split.run, target, Choice::First);
        let layer = split.run.layers.iter().find(|l| matches!(l.kind, LayerKind::Convolution(_)));
        let tf32 = Tf32 { convolution: true, product: true };
        let found = tensor::patches(&assembler, layer.expect("there is one"), tf32, false, 3);
        for patch in found {
            seen.push(patch.name());
            agrees_within(&network, Choice::Settled(Arc::new(OfPatches(patch))), 4e-3);
        }
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

/// Borders on each side, windows that do not reach the image's end, fewer channels than four.
#[test]
fn convolutions_of_rows_of_taps() {
    let c = |stride: [usize; 2], padding: [(usize, usize); 2], dilation: usize| Convolution {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: vec![dilation, 1],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    };
    let target = Target { capability: 90, multiprocessors: 132 };
    for (dtype, c, x, w) in [
        (DType::F16, c([2; 2], [(3, 3); 2], 1), &[2, 3, 20, 23][..], &[24, 3, 7, 7][..]),
        (DType::BF16, c([1, 4], [(2, 0), (1, 3)], 2), &[1, 1, 11, 40], &[17, 1, 3, 5]),
        (DType::F32, c([3, 1], [(0, 0); 2], 1), &[1, 4, 13, 9], &[8, 4, 2, 3]),
    ] {
        let mut b = Builder::new();
        let (image, w) = (b.input(ty(dtype, x)), b.parameter("w", ty(dtype, w)));
        let y = b.fused(LayerKind::Convolution(c), &[image, w], None).expect("well typed");
        let network = b.finish(y);
        let split = network.split();
        let assembler = super::Assembler::new(&split.run, target, Choice::First);
        let layer = split.run.layers.iter().find(|l| matches!(l.kind, LayerKind::Convolution(_)));
        let tf32 = Tf32 { convolution: true, product: true };
        let form = tensor::row_form(&assembler, layer.expect("there is one"), tf32).expect("few channels");
        let cut = tensor::cuts(form, &target, false, 1)[0];
        agrees_within(&network, Choice::Settled(Arc::new(OfRows(cut))), 4e-3);
    }
}

/// Halves through the fused kernel, one block of queries and several, tiles of keys that are not full, masks that leave nothing.
#[test]
fn attention_in_one_kernel() {
    let product = |transpose_b| LayerKind::MatMul { transpose_a: false, transpose_b };
    let mut batch = Batch::default();
    let mut kernels = 0;
    for (dtype, heads, queries, keys, depth, width, masked) in [
        (DType::F16, 2, 70, 130, 32, 32, false),
        (DType::BF16, 1, 5, 40, 64, 16, true),
        (DType::F16, 1, 33, 65, 128, 128, true),
        (DType::F16, 2, 20, 300, 64, 64, false),
    ] {
        let b = &mut batch.b;
        let q = b.input(ty(dtype, &[2, queries, heads, depth]));
        let q = b.add(LayerKind::Permute { axes: vec![0, 2, 1, 3] }, &[q]).expect("well typed");
        let k = b.input(ty(dtype, &[2, heads, keys, depth]));
        let v = b.input(ty(dtype, &[2, heads, keys, width]));
        let mut e = Expr::default();
        let own = e.push(Node::Input(0));
        let wide = e.push(Node::Cast(DType::F32, own));
        let scale = e.push(Node::Const(DType::F32, Scalar::Float(0.25)));
        let mut last = e.push(Node::Binary(Binary::Mul, wide, scale));
        let mut operands = vec![q, k];
        if masked {
            // Everything, for a first tile of keys and for the third query.
            let hidden = (0..queries * keys).map(|i| (i % keys < 34 || i / keys == 2) as u8 as f64);
            let values = hidden.map(|h| if h == 1.0 { f64::NEG_INFINITY } else { 0.5 });
            let mask = Literal::from_f64(ty(DType::F32, &[queries, keys]), values).expect("as many");
            operands.push(b.constant(mask));
            let mask = e.push(Node::Input(1));
            last = e.push(Node::Binary(Binary::Add, last, mask));
        }
        let scores = b.fused(product(true), &operands, Some(e.finish(last))).expect("well typed")[0];
        let weights = b.add(LayerKind::Softmax { axis: 3, log: false }, &[scores]).expect("well typed");
        let weights = b.add(LayerKind::Pointwise(Expr::cast(dtype)), &[weights]).expect("well typed");
        let y = b.add(product(false), &[weights, v]).expect("well typed");
        batch.outputs.push(y);
        kernels += 1;
    }
    assert_eq!(attention::find(batch.b.network()).len(), kernels);
    batch.agrees();
}

/// Sums that the lanes of a warp share, of factors in units along the channels and not.
#[test]
fn products_by_warps() {
    let c = Convolution {
        stride: vec![1, 2],
        padding: vec![(1, 0), (1, 2)],
        dilation: vec![1, 1],
        groups: 1,
        transposed: false,
        output_padding: vec![0, 0],
    };
    let grouped = Convolution { groups: 2, ..c.clone() };
    let matmul = |transpose_b| LayerKind::MatMul { transpose_a: false, transpose_b };
    let convolution = |c: &Convolution| LayerKind::Convolution(c.clone());
    for (dtype, kind, x, w, last) in [
        (DType::F32, convolution(&c), &[2, 9, 8, 20][..], &[10, 20, 3, 3][..], true),
        (DType::F16, convolution(&grouped), &[1, 7, 7, 24], &[9 * 2, 12, 5, 5], true),
        (DType::F32, convolution(&c), &[1, 6, 5, 7], &[3, 6, 3, 3], false),
        (DType::BF16, matmul(true), &[2, 20, 72], &[2, 6, 72], false),
        (DType::I32, matmul(false), &[3, 40], &[40, 7], false),
    ] {
        let mut b = Builder::new();
        let mut image = b.input(ty(dtype, x));
        if last {
            image = b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[image]).expect("well typed");
        }
        let w = b.parameter("w", ty(dtype, w));
        let y = b.fused(kind, &[image, w], None).expect("well typed");
        agrees_by(&b.finish(y), Choice::Settled(Arc::new(Own(Kernel::Split))));
    }
}
