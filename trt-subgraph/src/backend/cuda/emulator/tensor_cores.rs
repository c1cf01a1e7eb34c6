//! Kernels on tensor cores, with every kind of operand that they take and every cut.

use super::super::kernel::attention;
use super::super::kernel::product::tensor;
use super::super::tactic::{Choice, OfPatches, OfRows, OnTensorCores};
use super::super::target::Target;
use super::tests::{Batch, agrees_by, agrees_on, agrees_within, ty, windows};
use crate::backend::Tf32;
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::layer::Convolution;
use crate::network::{Builder, Expr, LayerKind, Network};
use crate::{DType, Literal};
use std::sync::Arc;

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
    let mut networks: Vec<(DType, Network)> = Vec::new();
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
        networks.push((dtype, b.finish(vec![plain[0], whole[0]])));
    }
    let choice = Choice::TensorCores { tf32: Tf32::default(), clusters: false };
    for (dtype, network) in networks {
        let rounded = if dtype == DType::F32 { 4e-3 } else { 0.0 };
        agrees_within(&network, choice.clone(), rounded);
    }
}

/// Warps and warpgroups, one of them in a block and several, more steps than stages and fewer.
#[test]
fn products_cut_in_every_manner() {
    let c = windows([1; 2], [(1, 1); 2], [1; 2]);
    let matmul = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let target = Target { capability: 90, multiprocessors: 132 };
    let mut kinds = 0;
    for (kind, x, w, tile) in [
        (matmul.clone(), &[70, 1048][..], &[136, 1048][..], (128, 128)),
        (matmul, &[130, 72], &[260, 72], (128, 256)),
        (c, &[1, 64, 7, 10], &[40, 64, 3, 3], (64, 32)),
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
        for cut in cuts.iter().filter(|c| (c.rows, c.columns) == tile) {
            kinds += 1;
            agrees_by(&network, Choice::Settled(Arc::new(OnTensorCores(*cut))));
        }
    }
    assert_eq!(kinds, 5, "two units, of which one has no cut of 128x256");
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
    for (dtype, heads, queries, keys, depth, width, masked, kept_when) in [
        (DType::F16, 2, 70, 130, 32, 32, false, None),
        (DType::BF16, 1, 5, 40, 64, 16, true, Some(true)),
        (DType::F16, 1, 33, 65, 128, 128, true, None),
        (DType::F16, 2, 20, 300, 64, 64, false, Some(false)),
        (DType::F16, 40, 33, 20, 16, 16, true, None),
        (DType::BF16, 1, 18, 128, 16, 32, false, None),
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
        let weights = match kept_when {
            None => b.add(LayerKind::Pointwise(Expr::cast(dtype)), &[weights]).expect("well typed"),
            Some(when) => {
                // The third query's weights are made 0.
                let third = (0..queries).map(|i| ((i == 2) != when) as u8 as f64);
                let rows = Literal::from_f64(ty(DType::Bool, &[queries, 1]), third).expect("as many");
                let mut e = Expr::default();
                let (own, row) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
                let zero = e.push(Node::Const(DType::F32, Scalar::Float(0.0)));
                let (yes, no) = if when { (own, zero) } else { (zero, own) };
                let kept = e.push(Node::Select(row, yes, no));
                e.push(Node::Cast(dtype, kept));
                let rows = b.constant(rows);
                b.add(LayerKind::Pointwise(e), &[weights, rows]).expect("well typed")
            }
        };
        let y = b.add(product(false), &[weights, v]).expect("well typed");
        batch.outputs.push(y);
        kernels += 1;
    }
    assert_eq!(attention::find(batch.b.network(), true).len(), kernels);
    let network = batch.b.finish(batch.outputs);
    // Teams share the keys where there are few blocks, and else one goes through all tiles, the last one whole or not.
    for multiprocessors in [132, 1] {
        agrees_on(multiprocessors, &network, Choice::First, 0.0);
    }
}
