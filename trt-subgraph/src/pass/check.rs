//! Checks for the tests of passes: what a rewritten network computes is compared with the original on the reference backend.

use super::{Options, by_name};
use crate::backend::reference;
use crate::network::expr::{Binary, Unary};
use crate::network::{Builder, Expr, LayerKind, Network, ValueId, infer};
use crate::{DType, Literal, TensorType};

/// A type of f32.
pub fn f32s(shape: &[usize]) -> TensorType {
    TensorType::new(DType::F32, shape)
}

/// Appends `f(x)`.
pub fn unary(b: &mut Builder, f: Unary, x: ValueId) -> ValueId {
    b.add(LayerKind::Pointwise(Expr::unary(f)), &[x]).expect("well typed")
}

/// Appends `f(x, y)`.
pub fn binary(b: &mut Builder, f: Binary, x: ValueId, y: ValueId) -> ValueId {
    b.add(LayerKind::Pointwise(Expr::binary(f)), &[x, y]).expect("well typed")
}

/// Runs one pass and checks that the result is well-formed and computes the same, to the bit when `exact`.
pub fn pass(name: &str, network: Network, exact: bool) -> Network {
    let pass = by_name(name).expect("a pass");
    let out = pass.run(network.clone(), &Options::default(), &mut usize::MAX.clone());
    same(&network, &out, exact);
    out
}

/// Runs all passes likewise.
pub fn optimize(network: Network) -> Network {
    let out = super::optimize(network.clone(), &Options::default());
    same(&network, &out, false);
    out
}

/// The names of a network's layers that are neither constants nor parameters, in order; `+` marks an epilogue.
pub fn kinds(network: &Network) -> String {
    let source = |k: &LayerKind| matches!(k, LayerKind::Constant(_) | LayerKind::Parameter(_));
    let shown = network.layers.iter().filter(|l| !source(&l.kind));
    let name = |l: &crate::network::Layer| {
        format!("{}{}", l.kind.name(), if l.epilogue.is_some() { "+" } else { "" })
    };
    shown.map(name).collect::<Vec<_>>().join(" ")
}

/// Like [`kinds`], of the part that runs once a call.
pub fn run_kinds(network: &Network) -> String {
    let run = network.split().run;
    kinds(&run).replace("prepared ", "")
}

fn same(before: &Network, after: &Network, exact: bool) {
    well_formed(after);
    let mut seed = 1;
    let mut fill = |types: Vec<&TensorType>| -> Vec<Literal> {
        types.into_iter().map(|ty| random(ty, &mut seed)).collect()
    };
    let parameters = fill(before.parameters.iter().map(|p| &p.ty).collect());
    let inputs = fill(before.inputs.iter().map(|&v| before.ty(v)).collect());
    let run = |n: &Network| reference::evaluate(n, &parameters, &inputs).expect("a network that runs");
    for (want, got) in run(before).iter().zip(&run(after)) {
        assert_eq!(want.ty(), got.ty());
        let (want, got) = (want.to_f64(), got.to_f64());
        let scale = want.iter().filter(|v| v.is_finite()).fold(1e-3, |m: f64, v| m.max(v.abs()));
        for (w, g) in want.iter().zip(&got) {
            let bits = w.to_bits() == g.to_bits() || (w.is_nan() && g.is_nan());
            let close = !exact && (w - g).abs() <= 1e-5 * scale;
            assert!(bits || close, "{w} became {g}\n{before:#?}\n{after:#?}");
        }
    }
}

fn well_formed(network: &Network) {
    let mut defined: Vec<bool> = vec![false; network.values.len()];
    network.inputs.iter().for_each(|v| defined[v.index()] = true);
    for layer in &network.layers {
        assert!(layer.inputs.iter().all(|v| defined[v.index()]), "definition before use: {layer:?}");
        layer.outputs.iter().for_each(|v| defined[v.index()] = true);
        if !matches!(layer.kind, LayerKind::Parameter(_)) {
            let types = infer(&layer.kind, layer.epilogue.as_ref(), &network.input_types(layer));
            let found: Vec<TensorType> = layer.outputs.iter().map(|&v| network.ty(v).clone()).collect();
            assert_eq!(types.as_ref(), Ok(&found), "{layer:?}");
        }
    }
}

/// Values in [-2, 2), integers in [-9, 9]; every eighth float of a vector is special: a zero of either sign, an infinity or NaN.
fn random(ty: &TensorType, seed: &mut u64) -> Literal {
    let mut next = || {
        *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (*seed >> 33) as f64 / (1u64 << 31) as f64
    };
    const SPECIAL: [f64; 4] = [0.0, -0.0, f64::INFINITY, f64::NAN];
    let values: Vec<f64> = (0..ty.elements())
        .map(|i| match ty.dtype {
            DType::Bool => (next() * 2.0).floor(),
            DType::U8 => (next() * 10.0).floor(),
            d if d.is_int() => (next() * 19.0).floor() - 9.0,
            _ if i % 8 == 7 && ty.rank() == 1 => SPECIAL[(next() * 4.0) as usize],
            _ => next() * 4.0 - 2.0,
        })
        .collect();
    Literal::from_f64(ty.clone(), values).expect("one value an element")
}
