//! Checks for the tests of passes: what a rewritten network computes is compared with the original on the reference backend.

use super::{Options, by_name};
use crate::backend::reference;
use crate::network::expr::{Binary, Unary};
use crate::network::{Builder, Expr, LayerKind, Network, ValueId};
use crate::{DType, Literal, Random, TensorType, compare, tolerance};

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
    pass_with(name, network, &Options::default(), exact)
}

/// [`pass`] with options.
pub fn pass_with(name: &str, network: Network, options: &Options, exact: bool) -> Network {
    let pass = by_name(name).expect("a pass");
    let out = pass.run(network.clone(), options, &mut usize::MAX.clone());
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
    after.verify().expect("a rewritten network is well-formed");
    let mut random = Random::new(1);
    let mut fill =
        |types: Vec<&TensorType>| types.into_iter().map(|ty| literal(&mut random, ty)).collect::<Vec<_>>();
    let parameters = fill(before.parameters.iter().map(|p| &p.ty).collect());
    let inputs = fill(before.inputs.iter().map(|&v| before.ty(v)).collect());
    let run = |n: &Network| reference::evaluate(n, &parameters, &inputs).expect("a network that runs");
    for (want, got) in run(before).iter().zip(&run(after)) {
        let close = compare(got, want, if exact { 0.0 } else { tolerance(want.ty().dtype) });
        close.unwrap_or_else(|e| panic!("{e}\n{before:#?}\n{after:#?}"));
        let negative = |v: &f64| !v.is_nan() && v.is_sign_negative();
        let signs = |l: &Literal| l.to_f64().iter().map(negative).collect::<Vec<_>>();
        assert!(!exact || signs(want) == signs(got));
    }
}

/// Random elements; every eighth float of a vector is special: a zero of either sign, an infinity or NaN.
fn literal(random: &mut Random, ty: &TensorType) -> Literal {
    const SPECIAL: [f64; 4] = [0.0, -0.0, f64::INFINITY, f64::NAN];
    let mut values = random.literal(ty.clone()).to_f64();
    if ty.rank() == 1 && ty.dtype.is_float() {
        values.iter_mut().skip(7).step_by(8).for_each(|v| *v = *random.pick(&SPECIAL));
    }
    Literal::from_f64(ty.clone(), values).expect("one value an element")
}
