//! Layers larger than operator cases and random networks have them, so that every branch of every kernel runs somewhere.

use super::super::kernel::product::Kernel;
use super::super::tactic::{Choice, Own};
use super::super::target::Target;
use crate::backend::reference;
use crate::network::expr::{Binary, Node, Scalar, Unary};
use crate::network::layer::{Convolution, Pool, PoolOp, ReduceOp, ScanOp};
use crate::network::{Builder, Expr, LayerKind, Network, ValueId};
use crate::{DType, Literal, Random, TensorType, compare, tolerance};
use std::sync::Arc;

/// Layers side by side in one network, for one translation of all of their kernels.
#[derive(Default)]
pub struct Batch {
    pub b: Builder,
    pub outputs: Vec<ValueId>,
}

impl Batch {
    /// A layer on operands of these types.
    fn check(&mut self, kind: LayerKind, operands: &[TensorType]) {
        let inputs: Vec<_> = operands.iter().map(|ty| self.b.input(ty.clone())).collect();
        self.outputs.extend(self.b.fused(kind, &inputs, None).expect("well typed"));
    }

    pub fn agrees(self) {
        agrees(&self.b.finish(self.outputs));
    }
}

/// The emulated device and the reference give the same on random operands in a narrow range.
pub fn agrees(network: &Network) {
    agrees_by(network, Choice::First);
}

pub fn agrees_by(network: &Network, choice: Choice) {
    agrees_within(network, choice, 0.0);
}

/// Within what the result's type rounds to, or within this.
pub fn agrees_within(network: &Network, choice: Choice, least: f64) {
    agrees_on(132, network, choice, least);
}

/// The same on a device of so many multiprocessors.
pub fn agrees_on(multiprocessors: usize, network: &Network, choice: Choice, least: f64) {
    let mut random = Random::new(1);
    let mut value = |ty: &TensorType| random.literal_in(ty.clone(), -2.0, 2.0);
    let parameters: Vec<Literal> = network.parameters.iter().map(|p| value(&p.ty)).collect();
    let inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(network.ty(v))).collect();
    let expected = reference::evaluate(network, &parameters, &inputs).expect("runs");
    let target = Target { capability: 90, multiprocessors };
    let (found, _) = super::evaluate_on(target, network, &parameters, &inputs, choice);
    for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
        compare(found, expected, tolerance(expected.ty().dtype).max(least))
            .unwrap_or_else(|e| panic!("output {at}: {e}\n{network}"));
    }
}

pub fn ty(dtype: DType, shape: &[usize]) -> TensorType {
    TensorType::new(dtype, shape)
}

/// A convolution of one group over two axes.
pub fn windows(stride: [usize; 2], padding: [(usize, usize); 2], dilation: [usize; 2]) -> LayerKind {
    LayerKind::Convolution(Convolution {
        stride: stride.to_vec(),
        padding: padding.to_vec(),
        dilation: dilation.to_vec(),
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    })
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

/// Not numbers, both zeros, infinities, equal values and extreme integers have their places.
#[test]
fn sorting_has_a_place_for_every_value() {
    const INFINITY: f64 = f64::INFINITY;
    let floats = [1.0, f64::NAN, -0.0, 0.0, INFINITY, -1.0, -INFINITY, 1.0, f64::NAN, -0.0, 1e-40, -1e-40];
    let ints = [0, i32::MIN as i64, i32::MAX as i64, -1, 1, 0, i32::MIN as i64, 7];
    let mut batch = Batch::default();
    let values = [
        Literal::from_f64(ty(DType::F32, &[1, floats.len()]), floats),
        Literal::from_f64(ty(DType::F64, &[1, floats.len()]), floats),
        Literal::from_i64(ty(DType::I32, &[1, ints.len()]), ints),
    ];
    for values in values {
        let k = values.as_ref().expect("as many").ty().shape[1];
        let values = batch.b.constant(values.expect("as many"));
        // An input beside it keeps the sorting out of what is prepared.
        let zero = batch.b.input(batch.b.ty(values).clone());
        let none = Expr::binary(Binary::Sub);
        let zero = batch.b.add(LayerKind::Pointwise(none), &[zero, zero]).expect("well typed");
        let same = Expr::binary(Binary::Sub);
        let x = batch.b.add(LayerKind::Pointwise(same), &[values, zero]).expect("well typed");
        for largest in [false, true] {
            let kind = LayerKind::TopK { axis: 1, k, largest };
            batch.outputs.extend(batch.b.fused(kind, &[x], None).expect("well typed"));
        }
    }
    batch.agrees();
}

/// What is stored in halves is as exact as they are, far from zero and near it.
#[test]
fn functions_for_halves() {
    let mut batch = Batch::default();
    for dtype in [DType::F16, DType::BF16] {
        for f in [Unary::Exp, Unary::Sigmoid, Unary::Erf] {
            for scale in [1e-3, 1.0, 8.0] {
                let x = batch.b.input(ty(dtype, &[300]));
                let mut e = Expr::default();
                let own = e.push(Node::Input(0));
                let wide = e.push(Node::Cast(DType::F32, own));
                let scale = e.push(Node::Const(DType::F32, Scalar::Float(scale)));
                let scaled = e.push(Node::Binary(Binary::Mul, wide, scale));
                let value = e.push(Node::Unary(f, scaled));
                e.push(Node::Cast(dtype, value));
                batch.outputs.push(batch.b.add(LayerKind::Pointwise(e), &[x]).expect("well typed"));
            }
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
