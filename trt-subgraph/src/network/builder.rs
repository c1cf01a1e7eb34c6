//! Making a network layer by layer, typed at once.

use super::Expr;
use super::{Layer, LayerKind, Network, Parameter, TensorType, TypeError, ValueId, infer};
use crate::Literal;

/// Appends layers to a network; every method checks the typing rules.
#[derive(Debug, Default)]
pub struct Builder {
    network: Network,
    origin: String,
}

impl Builder {
    /// An empty network.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The origin that later layers carry.
    pub fn set_origin(&mut self, origin: impl Into<String>) {
        self.origin = origin.into();
    }

    /// Declares the next input.
    pub fn input(&mut self, ty: TensorType) -> ValueId {
        let v = self.value(ty);
        self.network.inputs.push(v);
        v
    }

    /// Declares a parameter and reads it.
    pub fn parameter(&mut self, name: impl Into<String>, ty: TensorType) -> ValueId {
        let index = self.network.parameters.len() as u32;
        self.network.parameters.push(Parameter { name: name.into(), ty: ty.clone() });
        let v = self.value(ty);
        self.push(LayerKind::Parameter(index), &[], None, vec![v]);
        v
    }

    /// A literal.
    pub fn constant(&mut self, literal: Literal) -> ValueId {
        let v = self.value(literal.ty().clone());
        self.push(LayerKind::Constant(literal), &[], None, vec![v]);
        v
    }

    /// Appends a layer and gives its outputs.
    pub fn layer(&mut self, kind: LayerKind, inputs: &[ValueId]) -> Result<Vec<ValueId>, TypeError> {
        self.fused(kind, inputs, None)
    }

    /// Appends a layer with one output.
    pub fn add(&mut self, kind: LayerKind, inputs: &[ValueId]) -> Result<ValueId, TypeError> {
        Ok(self.fused(kind, inputs, None)?[0])
    }

    /// Appends a layer with an epilogue over `inputs` beyond the kind's own.
    pub fn fused(
        &mut self,
        kind: LayerKind,
        inputs: &[ValueId],
        epilogue: Option<Expr>,
    ) -> Result<Vec<ValueId>, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.network.ty(v)).collect();
        let types = infer(&kind, epilogue.as_ref(), &types)?;
        let outputs: Vec<ValueId> = types.into_iter().map(|t| self.value(t)).collect();
        self.push(kind, inputs, epilogue, outputs.clone());
        Ok(outputs)
    }

    /// The type of a value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        self.network.ty(value)
    }

    /// The network so far.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The finished network.
    pub fn finish(mut self, outputs: Vec<ValueId>) -> Network {
        self.network.outputs = outputs;
        self.network
    }

    fn value(&mut self, ty: TensorType) -> ValueId {
        self.network.values.push(ty);
        ValueId(self.network.values.len() as u32 - 1)
    }

    fn push(&mut self, kind: LayerKind, inputs: &[ValueId], epilogue: Option<Expr>, outputs: Vec<ValueId>) {
        let origin = self.origin.clone();
        self.network.layers.push(Layer { kind, inputs: inputs.to_vec(), epilogue, outputs, origin });
    }
}
