//! Random small networks, valid by construction, and values to run them on.
//!
//! Two sound ways of running a network agree on its outputs as long as rounding errors stay small. So every float stays below
//! [`LARGEST`], functions are smooth, and what jumps (comparisons, rounding, sorting, positions of maxima) reads only *exact*
//! values: integers, and floats that were moved and selected but never computed.

mod expression;
mod shapes;

use shapes::Proposal;
use std::collections::HashMap;
use trt_subgraph::backend::reference::evaluate;
use trt_subgraph::network::{Builder, Expr, LayerKind, Network, ValueId};
use trt_subgraph::{DType, Literal, Random, TensorType};

/// No float of a random network exceeds this.
const LARGEST: f64 = 64.0;

/// No tensor of a random network has more elements.
const MOST: usize = 2048;

/// A network and what to run it on.
pub struct Sample {
    pub network: Network,
    pub parameters: Vec<Literal>,
    pub inputs: Vec<Literal>,
}

/// A network under construction, with the value of every tensor so far.
pub struct Generator {
    builder: Builder,
    random: Random,
    /// May it use f16 and bf16, which loosen the comparison?
    narrow: bool,
    values: Vec<ValueId>,
    known: HashMap<ValueId, Literal>,
    exact: HashMap<ValueId, bool>,
    parameters: Vec<Literal>,
    inputs: Vec<Literal>,
}

/// The network of a seed.
pub fn sample(seed: u64) -> Sample {
    let mut g = Generator {
        builder: Builder::new(),
        random: Random::new(seed),
        narrow: seed % 5 == 4,
        values: Vec::new(),
        known: HashMap::new(),
        exact: HashMap::new(),
        parameters: Vec::new(),
        inputs: Vec::new(),
    };
    for _ in 0..1 + g.random.below(3) {
        let ty = g.any_type();
        g.source(ty, Some(true));
    }
    let layers = 1 + g.random.below(14);
    let mut left = 20 * layers;
    while left > 0 && g.builder.network().layers.len() < layers {
        left -= 1;
        let proposal = if g.random.chance(0.4) { g.pointwise() } else { g.structural() };
        if let Some(proposal) = proposal {
            g.accept(proposal);
        }
    }
    g.finish()
}

impl Generator {
    fn any_type(&mut self) -> TensorType {
        use DType::*;
        let narrow = if self.narrow { [F16, BF16] } else { [F32, F32] };
        let dtypes = [F32, F32, F32, F32, F32, narrow[0], narrow[1], F64, I64, I32, U8, Bool];
        let dtype = *self.random.pick(&dtypes);
        let rank = *self.random.pick(&[0, 1, 2, 3, 4, 4, 4]);
        let size = |r: &mut Random| if r.chance(0.02) { 0 } else { 1 + r.below(6) };
        let shape: Vec<usize> = (0..rank).map(|_| size(&mut self.random)).collect();
        TensorType::new(dtype, shape)
    }

    /// A new tensor from outside: an input, a parameter or a constant.
    fn source(&mut self, ty: TensorType, input: Option<bool>) -> ValueId {
        let literal = self.random.literal(ty);
        self.place(literal, input)
    }

    fn place(&mut self, literal: Literal, input: Option<bool>) -> ValueId {
        let ty = literal.ty().clone();
        let input = input.unwrap_or_else(|| self.random.chance(0.2));
        let v = if input {
            self.inputs.push(literal.clone());
            self.builder.input(ty)
        } else if self.random.chance(0.7) {
            self.parameters.push(literal.clone());
            self.builder.parameter(format!("p{}", self.parameters.len() - 1), ty)
        } else {
            self.builder.constant(literal.clone())
        };
        self.know(v, literal, true);
        v
    }

    fn know(&mut self, v: ValueId, literal: Literal, exact: bool) {
        self.values.push(v);
        self.exact.insert(v, exact);
        self.known.insert(v, literal);
    }

    fn ty(&self, v: ValueId) -> TensorType {
        self.builder.ty(v).clone()
    }

    /// Any tensor so far, preferring late ones.
    fn any(&mut self) -> ValueId {
        let n = self.values.len();
        let back = self.random.below(n).min(self.random.below(n));
        self.values[n - 1 - back]
    }

    /// Any float so far.
    fn any_float(&mut self) -> Option<ValueId> {
        (0..8).find_map(|_| Some(self.any()).filter(|&v| self.builder.ty(v).dtype.is_float()))
    }

    fn all_exact(&self, values: &[ValueId]) -> bool {
        values.iter().all(|v| self.exact[v])
    }

    /// Appends the layer if its result is tame.
    fn accept(&mut self, Proposal { kind, inputs, keeps_exact }: Proposal) {
        let mut inputs = inputs;
        let Some(plain) = self.attempt(&kind, &inputs, None) else { return };
        let mut epilogue: Option<Expr> = None;
        let mut results = plain;
        if kind.takes_epilogue() && self.random.chance(0.4) {
            let (expr, more) = self.epilogue(results[0].ty());
            let fused = [&inputs[..], &more].concat();
            if let Some(with) = self.attempt(&kind, &fused, Some(&expr)) {
                (inputs, epilogue, results) = (fused, Some(expr), with);
            }
        }
        let exact = keeps_exact && epilogue.is_none() && self.all_exact(&inputs);
        let Ok(outputs) = self.builder.fused(kind, &inputs, epilogue) else { return };
        for (v, literal) in outputs.into_iter().zip(results) {
            let exact = exact || !literal.ty().dtype.is_float();
            self.know(v, literal, exact);
        }
    }

    /// The results of a layer, where it is well typed, small and tame.
    fn attempt(&self, kind: &LayerKind, inputs: &[ValueId], epilogue: Option<&Expr>) -> Option<Vec<Literal>> {
        let mut b = Builder::new();
        let types: Vec<ValueId> = inputs.iter().map(|&v| b.input(self.ty(v))).collect();
        let outputs = b.fused(kind.clone(), &types, epilogue.cloned()).ok()?;
        if outputs.iter().any(|&v| b.ty(v).elements() > MOST) {
            return None;
        }
        let given: Vec<Literal> = inputs.iter().map(|v| self.known[v].clone()).collect();
        let results = evaluate(&b.finish(outputs), &[], &given).ok()?;
        let tame = |l: &Literal| !l.ty().dtype.is_float() || l.to_f64().iter().all(|v| v.abs() <= LARGEST);
        results.iter().all(tame).then_some(results)
    }

    fn finish(mut self) -> Sample {
        let mut outputs = vec![*self.values.last().expect("there is an input")];
        for _ in 0..self.random.below(3) {
            let v = self.any();
            outputs.push(v);
        }
        Sample { network: self.builder.finish(outputs), parameters: self.parameters, inputs: self.inputs }
    }
}

/// The least precise floating-point type in a network.
pub fn coarsest(network: &Network) -> DType {
    let order = [DType::BF16, DType::F16, DType::F32];
    order.into_iter().find(|d| network.values.iter().any(|t| t.dtype == *d)).unwrap_or(DType::F64)
}

/// Rounding errors were at most a few units in the last place of numbers up to 64, and no step enlarged them much.
pub fn close(found: &[Literal], expected: &[Literal], coarsest: DType) -> Result<(), String> {
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        if found.ty() != expected.ty() {
            return Err(format!("output {at} is {}, expected {}", found.ty(), expected.ty()));
        }
        let tolerance = match coarsest {
            _ if !expected.ty().dtype.is_float() => 0.0,
            DType::F16 => 0.5,
            DType::BF16 => 4.0,
            DType::F32 => 2e-3,
            _ => 1e-9,
        };
        for (i, (f, e)) in found.to_f64().iter().zip(expected.to_f64()).enumerate() {
            if (f - e).abs() > tolerance {
                return Err(format!("output {at}, element {i} is {f}, expected {e}"));
            }
        }
    }
    Ok(())
}
