//! Expressions together with the values they read: what pointwise layers and epilogues have in common.

use crate::DType;
use crate::network::expr::Node;
use crate::network::{Draft, Expr, Layer, LayerKind, ValueId};

/// Stands for the layer's own result in the operand list of an epilogue.
pub(super) const RESULT: ValueId = ValueId(u32::MAX);

/// Operands that one expression may read.
const MOST_OPERANDS: usize = 8;
/// Nodes that one expression may have.
const MOST_NODES: usize = 64;

/// An expression over values; in an epilogue the first value is [`RESULT`].
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Formula {
    pub expr: Expr,
    pub values: Vec<ValueId>,
}

impl Formula {
    /// That of a pointwise layer.
    pub fn of_pointwise(layer: &Layer) -> Option<Formula> {
        match &layer.kind {
            LayerKind::Pointwise(expr) => Some(Formula { expr: expr.clone(), values: layer.inputs.clone() }),
            _ => None,
        }
    }

    /// The epilogue of a layer that takes one; the result itself where it has none.
    pub fn of_epilogue(layer: &Layer) -> Option<Formula> {
        let own = layer.kind.arity().filter(|_| layer.kind.takes_epilogue())?;
        let expr = layer.epilogue.clone().unwrap_or_else(Expr::identity);
        let values = std::iter::once(RESULT).chain(layer.inputs[own..].iter().copied()).collect();
        Some(Formula { expr, values })
    }

    /// The operands and the epilogue of a layer of whose own operands are `own`.
    pub fn into_epilogue(self, own: &[ValueId]) -> (Vec<ValueId>, Option<Expr>) {
        let inputs = own.iter().chain(&self.values[1..]).copied().collect();
        let plain = self.values.len() == 1 && self.expr == Expr::identity();
        (inputs, (!plain).then_some(self.expr))
    }

    /// Small enough for one layer?
    pub fn fits(&self) -> bool {
        self.values.len() <= MOST_OPERANDS && self.expr.nodes.len() <= MOST_NODES
    }

    /// With the operands for which `part` has a formula replaced by it. Equal operands share a place; [`RESULT`] comes first.
    pub fn inline(&self, part: impl Fn(ValueId) -> Option<Formula>) -> Formula {
        let parts: Vec<Formula> = (self.values.iter())
            .map(|&v| part(v).unwrap_or_else(|| Formula { expr: Expr::identity(), values: vec![v] }))
            .collect();
        let mut values: Vec<ValueId> = Vec::new();
        let all = || parts.iter().flat_map(|p| &p.values).copied();
        values.extend(all().find(|&v| v == RESULT));
        for v in all() {
            if !values.contains(&v) {
                values.push(v);
            }
        }
        let place = |v: &ValueId| values.iter().position(|o| o == v).expect("listed above") as u32;
        let places: Vec<Vec<u32>> = parts.iter().map(|p| p.values.iter().map(place).collect()).collect();
        let composed: Vec<(&Expr, &[u32])> =
            parts.iter().zip(&places).map(|(p, at)| (&p.expr, &at[..])).collect();
        Formula { expr: self.expr.compose(&composed), values }
    }

    /// Without the operands that the expression does not read; [`RESULT`] stays.
    pub fn pruned(&self) -> Formula {
        let read = |i: u32| self.expr.nodes.contains(&Node::Input(i));
        let kept: Vec<u32> =
            (0..self.values.len() as u32).filter(|&i| read(i) || self.values[i as usize] == RESULT).collect();
        let place = |i: u32| kept.iter().position(|&k| k == i).unwrap_or(0) as u32;
        let places: Vec<u32> = (0..self.values.len() as u32).map(place).collect();
        let values = kept.iter().map(|&i| self.values[i as usize]).collect();
        Formula { expr: self.expr.rename(&places), values }
    }

    /// The element types of the operands; `result` is that of [`RESULT`].
    pub fn dtypes(&self, draft: &Draft, result: DType) -> Vec<DType> {
        self.values.iter().map(|&v| if v == RESULT { result } else { draft.ty(v).dtype }).collect()
    }
}

/// The layer's origin and that of the layer fused into it, for people.
pub(super) fn joined(first: &str, second: &str) -> String {
    const LONGEST: usize = 160;
    match () {
        _ if first.is_empty() => second.to_string(),
        _ if first.contains(second) || first.len() + second.len() > LONGEST => first.to_string(),
        _ => format!("{first} + {second}"),
    }
}
