//! Products of f32 in parts of halves.

use super::super::kernel::attention::find;
use super::super::tactic::{Choice, Way};
use super::super::target::Target;
use super::tests::ty;
use crate::backend::reference;
use crate::network::expr::{Binary, Node, Scalar, Unary};
use crate::network::{Builder, Expr, LayerKind, Network, infer};
use crate::{DType, Literal, Random, compare};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// A product of what the engine has computed itself and a parameter, and something added.
fn product(x: &[usize], w: &[usize], transpose_b: bool, more: bool) -> Network {
    let kind = LayerKind::MatMul { transpose_a: false, transpose_b };
    let mut b = Builder::new();
    let (given, w) = (b.input(ty(DType::F32, x)), b.parameter("w", ty(DType::F32, w)));
    let x = b.add(LayerKind::Pointwise(Expr::unary(Unary::Neg)), &[given]).expect("well typed");
    let types = [b.ty(x).clone(), b.ty(w).clone()];
    let result = infer(&kind, None, &types.each_ref()).expect("well typed").remove(0);
    let y = match more {
        true => {
            let more = b.input(result);
            b.fused(kind, &[x, w, more], Some(Expr::binary(Binary::Add)))
        }
        false => b.fused(kind, &[x, w], None),
    };
    let y = y.expect("well typed");
    b.finish(y)
}

/// The ways in parts on a device of so many multiprocessors.
fn ways(network: &Network, multiprocessors: usize) -> Vec<Arc<dyn Way>> {
    let run = super::super::split(network).run;
    let (target, list) = (Target { capability: 90, multiprocessors }, Mutex::new(Vec::new()));
    super::Assembler::new(&run, target, Choice::Rehearsed(&list)).run().expect("assembles");
    let mut ways = list.into_inner().expect("nobody panicked");
    ways.retain(|way| way.name().contains("in parts") && way.name().contains("clusters of 1x1"));
    ways
}

/// As exact as f32: tiles beyond the ends, sums longer and shorter than all stages and of no whole steps, blocks that share sums.
#[test]
fn products_in_parts_are_as_exact_as_f32() {
    let mut seen = BTreeSet::new();
    for (at, (x, w, transpose_b)) in [
        (&[70, 780][..], &[136, 780][..], true),
        (&[2, 65, 72], &[72, 200], false),
        (&[33, 20], &[20, 40], false),
        (&[3, 2, 40, 260], &[96, 260], true),
        (&[130, 36], &[130, 36], true),
    ]
    .into_iter()
    .enumerate()
    {
        let network = product(x, w, transpose_b, at % 2 == 0);
        let mut random = Random::new(at as u64);
        let mut value = |v| random.literal_in(network.ty(v).clone(), -2.0, 2.0);
        let inputs: Vec<Literal> = network.inputs.iter().map(|&v| value(v)).collect();
        let parameters: Vec<Literal> =
            network.parameters.iter().map(|p| random.literal_in(p.ty.clone(), -2.0, 2.0)).collect();
        let expected = reference::evaluate(&network, &parameters, &inputs).expect("runs");
        let (one, many) = (ways(&network, 1), ways(&network, 132));
        let shared = many.iter().filter(|way| way.name().contains("shared"));
        let found: Vec<_> = one.iter().step_by(4).chain(shared.step_by(4)).collect();
        assert!(!found.is_empty());
        for way in found {
            seen.insert(way.name());
            let found = super::evaluate(&network, &parameters, &inputs, Choice::Settled(way.clone()));
            let name = way.name();
            compare(&found[0], &expected[0], 1e-6).unwrap_or_else(|e| panic!("{name}: {e}\n{network}"));
        }
    }
    for how in ["128x", "64x", "shared by 2", "shared by 3"] {
        assert!(seen.iter().any(|name| name.contains(how)), "{how}: {seen:?}");
    }
}

/// Infinities, what is not a number, numbers that no half is as large as, and zeros beside them.
#[test]
fn what_is_not_finite_is_as_it_is_defined() {
    let (network, most) = (product(&[70, 72], &[40, 72], true, false), f32::MAX as f64);
    let mut random = Random::new(1);
    let rare = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, most, -most, 0.0, 1e-30];
    let mut value = |count: usize, of: usize| -> Vec<f64> {
        let value =
            |i: usize| if i % of == 5 { rare[i / of % rare.len()] } else { (i % 7) as f64 / 4.0 - 0.75 };
        (0..count).map(|i| if random.chance(0.1) { 0.0 } else { value(i) }).collect()
    };
    let x = Literal::from_f64(ty(DType::F32, &[70, 72]), value(70 * 72, 149)).expect("as many");
    let w = Literal::from_f64(ty(DType::F32, &[40, 72]), value(40 * 72, 601)).expect("as many");
    let expected =
        reference::evaluate(&network, std::slice::from_ref(&w), std::slice::from_ref(&x)).expect("runs");
    let values = expected[0].to_f64();
    for (kind, some) in [
        ("infinite", values.iter().any(|v| v.is_infinite())),
        ("not a number", values.iter().any(|v| v.is_nan())),
        ("large", values.iter().any(|v| v.is_finite() && v.abs() > most / 2.0)),
        ("small", values.iter().any(|v| v.abs() < 1e3)),
    ] {
        assert!(some, "no result is {kind}");
    }
    for way in ways(&network, 1).iter().step_by(3).chain(ways(&network, 132).iter().step_by(9)) {
        let found = super::evaluate(
            &network,
            std::slice::from_ref(&w),
            std::slice::from_ref(&x),
            Choice::Settled(way.clone()),
        );
        let name = way.name();
        compare(&found[0], &expected[0], 1e-6).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// Attention of f32 over so many heads, queries, keys, and elements of each and of the values, with a mask that hides the first keys and
/// the third query, and maybe one query whose weights are made 0.
fn attention(
    [heads, queries, keys, depth, width]: [usize; 5],
    masked: bool,
    kept_when: Option<bool>,
) -> Network {
    let product = |transpose_b| LayerKind::MatMul { transpose_a: false, transpose_b };
    let mut b = Builder::new();
    let q = b.input(ty(DType::F32, &[2, queries, heads, depth]));
    let q = b.add(LayerKind::Permute { axes: vec![0, 2, 1, 3] }, &[q]).expect("well typed");
    let k = b.input(ty(DType::F32, &[2, heads, keys, depth]));
    let v = b.input(ty(DType::F32, &[2, heads, keys, width]));
    let mut e = Expr::default();
    let own = e.push(Node::Input(0));
    let scale = e.push(Node::Const(DType::F32, Scalar::Float(0.25)));
    let mut last = e.push(Node::Binary(Binary::Mul, own, scale));
    let mut operands = vec![q, k];
    if masked {
        let hidden = (0..queries * keys).map(|i| i % keys < 34 || i / keys == 2);
        let values = hidden.map(|h| if h { f64::NEG_INFINITY } else { 0.5 });
        operands
            .push(b.constant(Literal::from_f64(ty(DType::F32, &[queries, keys]), values).expect("as many")));
        let mask = e.push(Node::Input(1));
        last = e.push(Node::Binary(Binary::Add, last, mask));
    }
    let scores = b.fused(product(true), &operands, Some(e.finish(last))).expect("well typed")[0];
    let mut weights = b.add(LayerKind::Softmax { axis: 3, log: false }, &[scores]).expect("well typed");
    if let Some(when) = kept_when {
        let third = (0..queries).map(|i| ((i == 2) != when) as u8 as f64);
        let rows = b.constant(Literal::from_f64(ty(DType::Bool, &[queries, 1]), third).expect("as many"));
        let mut e = Expr::default();
        let (own, row) = (e.push(Node::Input(0)), e.push(Node::Input(1)));
        let zero = e.push(Node::Const(DType::F32, Scalar::Float(0.0)));
        let (yes, no) = if when { (own, zero) } else { (zero, own) };
        e.push(Node::Select(row, yes, no));
        weights = b.add(LayerKind::Pointwise(e), &[weights, rows]).expect("well typed");
    }
    let y = b.add(product(false), &[weights, v]).expect("well typed");
    assert_eq!(find(b.network(), true).len(), 1);
    b.finish(vec![y])
}

/// One block of queries and several, tiles of keys that are not full, teams that share the keys, masks that leave nothing.
#[test]
fn attention_of_f32_in_one_kernel() {
    for (sizes, masked, kept_when) in [
        ([2, 70, 130, 32, 32], false, None),
        ([1, 5, 40, 64, 16], true, Some(true)),
        ([1, 33, 65, 128, 128], true, None),
        ([2, 20, 300, 64, 64], false, Some(false)),
        ([40, 33, 20, 16, 16], true, None),
    ] {
        let network = attention(sizes, masked, kept_when);
        let mut random = Random::new(1);
        let mut inputs: Vec<Literal> =
            network.inputs.iter().map(|&v| random.literal_in(network.ty(v).clone(), -2.0, 2.0)).collect();
        let agree = |inputs: &[Literal]| {
            let expected = reference::evaluate(&network, &[], inputs).expect("runs");
            for multiprocessors in [132, 1] {
                let target = Target { capability: 90, multiprocessors };
                let (found, _) = super::evaluate_on(target, &network, &[], inputs, Choice::First);
                compare(&found[0], &expected[0], 4e-6).unwrap_or_else(|e| panic!("{sizes:?}: {e}"));
            }
        };
        agree(&inputs);
        // What is not finite changes what it reaches, and nothing else.
        for (input, value) in [(2, f64::INFINITY), (1, f64::NEG_INFINITY), (0, f64::NAN), (2, 3.4e38)] {
            let mut values = inputs[input].to_f64();
            let at = values.len() - 7;
            values[at] = value;
            let changed = Literal::from_f64(inputs[input].ty().clone(), values).expect("as many");
            let kept = std::mem::replace(&mut inputs[input], changed);
            agree(&inputs);
            inputs[input] = kept;
        }
    }
}
