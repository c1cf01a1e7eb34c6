//! Products whose factors come by bulk copies, with every kind of operand that they take.

use super::super::tactic::{Choice, Way};
use super::super::target::Target;
use super::tests::{agrees_on, agrees_within, ty, windows};
use crate::DType;
use crate::network::expr::Binary;
use crate::network::{Builder, Expr, LayerKind, infer};
use std::sync::{Arc, Mutex};

/// Matrices and windows of every kind, sums longer and shorter than all stages, tiles beyond the ends, blocks of one cluster each.
#[test]
fn products_by_bulk_copies() {
    let c = windows;
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
    let c = |padding, dilation| windows([1; 2], padding, dilation);
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
    let of_windows = windows([1; 2], [(1, 1); 2], [1; 2]);
    let matmul = LayerKind::MatMul { transpose_a: false, transpose_b: true };
    let own = LayerKind::Pointwise(Expr::unary(crate::network::expr::Unary::Abs));
    let mut seen = std::collections::BTreeSet::new();
    for (kind, x, w, sent, every) in [
        (matmul.clone(), &[650, 40][..], &[200, 40][..], true, 2),
        (matmul.clone(), &[650, 72], &[200, 72], false, 2),
        (matmul.clone(), &[300, 600], &[72, 600], true, 2),
        (matmul, &[150, 72], &[200, 72], true, 3),
        (of_windows.clone(), &[3, 16, 25, 9], &[72, 16, 3, 3], true, 5),
        (of_windows, &[2, 72, 17, 13], &[40, 72, 3, 3], false, 5),
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
