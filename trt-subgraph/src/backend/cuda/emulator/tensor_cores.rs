//! Kernels on tensor cores, with every kind of operand that they take and every cut.

use super::super::kernel::attention;
use super::super::kernel::product::tensor;
use super::super::tactic::{Choice, OfPatches, OfRows, OnTensorCores, Way};
use super::super::target::Target;
use super::tests::{Batch, agrees_by, agrees_on, agrees_within, ty};
use crate::backend::Tf32;
use crate::network::expr::{Binary, Node, Scalar};
use crate::network::layer::Convolution;
use crate::network::{Builder, Expr, LayerKind, Network, infer};
use crate::{DType, Literal};
use std::sync::{Arc, Mutex};

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
    for (kind, x, w, tile) in [
        (matmul.clone(), &[70, 1048][..], &[136, 1048][..], (128, 128)),
        (matmul, &[130, 72], &[260, 72], (128, 256)),
        (LayerKind::Convolution(c), &[1, 64, 7, 10], &[40, 64, 3, 3], (64, 32)),
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

/// Matrices and windows of every kind, sums longer and shorter than all stages, tiles beyond the ends, blocks of one cluster each.
#[test]
fn products_by_bulk_copies() {
    let c = |stride: [usize; 2], padding: [(usize, usize); 2], dilation: [usize; 2]| {
        LayerKind::Convolution(Convolution {
            stride: stride.to_vec(),
            padding: padding.to_vec(),
            dilation: dilation.to_vec(),
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        })
    };
    let matmul = |transpose_b| LayerKind::MatMul { transpose_a: false, transpose_b };
    let mut tiles = std::collections::BTreeSet::new();
    let cases = [
        (DType::F16, matmul(true), &[70, 1048][..], &[136, 1048][..], 9),
        (DType::BF16, matmul(false), &[2, 65, 72], &[72, 260], 5),
        (DType::F16, c([1; 2], [(1, 1); 2], [1; 2]), &[2, 64, 9, 7], &[40, 64, 3, 3], 7),
        (DType::BF16, c([2, 1], [(2, 0), (1, 3)], [1, 2]), &[3, 30, 11, 13], &[17, 30, 3, 2], 7),
        (DType::F16, c([2; 2], [(0, 0); 2], [1; 2]), &[3, 72, 6, 5], &[72, 72, 1, 1], 5),
        (DType::F16, c([2; 2], [(3, 3); 2], [1; 2]), &[2, 3, 19, 16], &[24, 3, 7, 7], 7),
        (DType::BF16, c([2; 2], [(0, 1), (1, 0)], [1; 2]), &[2, 1, 10, 13], &[8, 1, 3, 5], 7),
        (DType::BF16, c([1; 2], [(0, 2), (2, 0)], [2, 1]), &[2, 5, 9, 11], &[40, 5, 2, 3], 7),
        (DType::F16, c([3, 4], [(1, 0), (0, 3)], [1; 2]), &[1, 2, 17, 13], &[64, 2, 3, 5], 7),
    ];
    for (at, (dtype, kind, x, w, every)) in cases.into_iter().enumerate() {
        let mut b = Builder::new();
        let (given, w) = (b.input(ty(dtype, x)), b.parameter("w", ty(dtype, w)));
        // What the engine has computed itself.
        let x = b.add(LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs)), &[given]);
        let x = x.expect("well typed");
        // So is what is added to every other product.
        let types = [b.ty(x).clone(), b.ty(w).clone()];
        let result = infer(&kind, None, &types.each_ref()).expect("well typed").remove(0);
        let mut more = b.input(result);
        if at % 2 == 0 {
            more = b
                .add(LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs)), &[more])
                .expect("well typed");
        }
        let mut y = b.fused(kind, &[x, w, more], Some(Expr::binary(Binary::Add))).expect("well typed");
        // Results that are not the caller's may leave by bulk copies too.
        if at % 3 != 1 {
            let kind = LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs));
            y = vec![b.add(kind, &y).expect("well typed")];
        }
        let network = b.finish(y);
        let run = super::super::split(&network).run;
        // On a device of one multiprocessor, blocks take turns; on a large one, several share sums.
        let on = |multiprocessors| {
            let (target, list) = (Target { capability: 90, multiprocessors }, Mutex::new(Vec::new()));
            super::Assembler::new(&run, target, Choice::Rehearsed(&list)).run().expect("assembles");
            let mut ways = list.into_inner().expect("nobody panicked");
            // These have tests of their own.
            ways.retain(|way| !["of areas", "brought ahead"].iter().any(|how| way.name().contains(how)));
            ways
        };
        let alone = |way: &Arc<dyn Way>| {
            let name = way.name();
            (name.contains("clusters of 1x1") || name.contains("turns")) && !name.contains("shared")
        };
        let mut found: Vec<_> = on(1).into_iter().filter(alone).collect();
        assert!(found.len() >= 10, "{}", found.len());
        found.extend(on(132).into_iter().filter(|way| way.name().contains("shared")).step_by(4));
        for way in found.iter().step_by(every) {
            tiles.insert(way.name());
            agrees_within(&network, Choice::Settled(way.clone()), 4e-3);
        }
    }
    assert!(tiles.len() >= 8, "{tiles:?}");
    for how in [
        "shared by 2",
        "shared by 3",
        "of a folded image",
        "operand brought, results sent",
        "beside, results sent",
    ] {
        assert!(tiles.iter().any(|name| name.ends_with(how)), "{how}: {tiles:?}");
    }
}

/// Taps that read what came once: tiles of eight places and of whole lines, of several images, paddings of each side, channels that fill no
/// unit, teams that take turns, sums that blocks share.
#[test]
fn convolutions_by_areas() {
    let c = |padding: [(usize, usize); 2], dilation: [usize; 2]| {
        LayerKind::Convolution(Convolution {
            stride: vec![1; 2],
            padding: padding.to_vec(),
            dilation: dilation.to_vec(),
            groups: 1,
            transposed: false,
            output_padding: vec![0; 2],
        })
    };
    let mut seen = std::collections::BTreeSet::new();
    let cases = [
        (DType::F16, c([(1, 1); 2], [1; 2]), &[2, 16, 9, 7][..], &[40, 16, 3, 3][..], 9),
        (DType::BF16, c([(1, 1); 2], [1; 2]), &[3, 72, 7, 8], &[32, 72, 3, 2], 12),
        (DType::F16, c([(2, 0), (1, 3)], [1, 2]), &[1, 130, 4, 5], &[17, 130, 3, 2], 12),
        (DType::BF16, c([(1, 1); 2], [1; 2]), &[1, 8, 6, 28], &[64, 8, 2, 3], 9),
        (DType::F16, c([(0, 4), (3, 1)], [1; 2]), &[5, 8, 4, 6], &[96, 8, 1, 4], 9),
    ];
    for (at, (dtype, kind, x, w, every)) in cases.into_iter().enumerate() {
        let mut b = Builder::new();
        let (given, w) = (b.input(ty(dtype, x)), b.parameter("w", ty(dtype, w)));
        let own = LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs));
        let x = b.add(own.clone(), &[given]).expect("well typed");
        let types = [b.ty(x).clone(), b.ty(w).clone()];
        let result = infer(&kind, None, &types.each_ref()).expect("well typed").remove(0);
        let more = if at % 2 == 1 {
            // What may come by bulk copies as well.
            let shape = [0, 2, 3, 1].map(|axis| result.shape[axis]);
            let rows = b.input(ty(dtype, &shape));
            let image = b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[rows]).expect("well typed");
            b.add(own.clone(), &[image]).expect("well typed")
        } else {
            b.input(result)
        };
        let mut y = b.fused(kind, &[x, w, more], Some(Expr::binary(Binary::Add))).expect("well typed");
        if at % 3 != 2 {
            y = vec![b.add(own, &y).expect("well typed")];
        }
        let network = b.finish(y);
        let run = super::super::split(&network).run;
        let on = |multiprocessors| {
            let (target, list) = (Target { capability: 90, multiprocessors }, Mutex::new(Vec::new()));
            super::Assembler::new(&run, target, Choice::Rehearsed(&list)).run().expect("assembles");
            let ways = list.into_inner().expect("nobody panicked");
            ways.into_iter().filter(|way| way.name().contains("of areas")).collect::<Vec<_>>()
        };
        let alone = |way: &Arc<dyn Way>| !way.name().contains("clusters of 2x1");
        let several = |way: &Arc<dyn Way>| way.name().contains("shared");
        let found = on(1).into_iter().filter(|way| alone(way) && !several(way)).step_by(every);
        for way in found.chain(on(132).into_iter().filter(several).step_by(every)) {
            seen.insert(way.name());
            agrees_within(&network, Choice::Settled(way.clone()), 4e-3);
        }
    }
    for how in ["by turns", "areas of 1x8x8", "areas of 2x8x8", "shared by 2", "brought", "sent"] {
        assert!(seen.iter().any(|name| name.contains(how)), "{how}: {seen:?}");
    }
}

/// Operands that come while a team is still at the tile before: sums shorter and longer than all stages, tiles that each room has several
/// times or not once, results that are sent and that are not, areas.
#[test]
fn operands_brought_ahead() {
    let windows = LayerKind::Convolution(Convolution {
        stride: vec![1; 2],
        padding: vec![(1, 1); 2],
        dilation: vec![1; 2],
        groups: 1,
        transposed: false,
        output_padding: vec![0; 2],
    });
    let matmul = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let own = LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs));
    let mut seen = std::collections::BTreeSet::new();
    for (kind, x, w, sent, every) in [
        (matmul.clone(), &[650, 40][..], &[200, 40][..], true, 2),
        (matmul.clone(), &[650, 72], &[200, 72], false, 2),
        (matmul.clone(), &[300, 600], &[72, 600], true, 2),
        (matmul, &[150, 72], &[200, 72], true, 3),
        (windows.clone(), &[3, 16, 25, 9], &[72, 16, 3, 3], true, 5),
        (windows, &[2, 72, 17, 13], &[40, 72, 3, 3], false, 5),
    ] {
        let mut b = Builder::new();
        let (x, w) = (b.input(ty(DType::F16, x)), b.parameter("w", ty(DType::F16, w)));
        let types = [b.ty(x).clone(), b.ty(w).clone()];
        let result = infer(&kind, None, &types.each_ref()).expect("well typed").remove(0);
        // An image has its channels last.
        let more = match result.shape[..] {
            [n, c, high, wide] => {
                let rows = b.input(ty(DType::F16, &[n, high, wide, c]));
                b.add(LayerKind::Permute { axes: vec![0, 3, 1, 2] }, &[rows]).expect("well typed")
            }
            _ => b.input(result),
        };
        let [x, more] = [x, more].map(|v| b.add(own.clone(), &[v]).expect("well typed"));
        let mut y = b.fused(kind, &[x, w, more], Some(Expr::binary(Binary::Add))).expect("well typed");
        if sent {
            y = vec![b.add(own.clone(), &y).expect("well typed")];
        }
        let network = b.finish(y);
        let run = super::super::split(&network).run;
        let (target, list) = (Target { capability: 90, multiprocessors: 1 }, Mutex::new(Vec::new()));
        super::Assembler::new(&run, target, Choice::Rehearsed(&list)).run().expect("assembles");
        let ways = list.into_inner().expect("nobody panicked");
        let ahead: Vec<_> = ways.into_iter().filter(|way| way.name().contains("brought ahead")).collect();
        assert!(!ahead.is_empty(), "{network}");
        for way in ahead.into_iter().step_by(every) {
            seen.insert(format!("{}, {sent}", way.name()));
            agrees_on(1, &network, Choice::Settled(way), 4e-3);
        }
    }
    for how in ["64x128, by turns", "128x64, by turns", "128x128, by turns", "areas", "true", "false"] {
        assert!(seen.iter().any(|name| name.contains(how)), "{how}: {seen:?}");
    }
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
