//! The bench on which operators lower a call: arguments in, layers out.

use super::{Device, Refusal};
use crate::backend::reference;
use crate::network::layer::{Layer, LayerKind, Range};
use crate::network::{Builder, Expr, TensorType, ValueId};
use crate::{DType, Literal};

/// A value while lowering: a tensor of the network, or something that is known now.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// A value of the network.
    Tensor(ValueId),
    /// `None`.
    None,
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A string or device.
    Str(String),
    /// A list or tuple.
    List(Vec<Item>),
}

/// Builds layers, with the few shorthands that nearly every operator uses.
#[derive(Debug)]
pub struct Lower {
    /// The network under construction.
    pub builder: Builder,
    /// Where its tensors live.
    pub device: Device,
}

impl Lower {
    /// An empty bench for tensors of one device.
    pub fn new(device: Device) -> Lower {
        Lower { builder: Builder::new(), device }
    }

    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.builder.ty(v)
    }

    /// The sizes of a value.
    pub fn shape(&self, v: ValueId) -> &[usize] {
        &self.builder.ty(v).shape
    }

    /// The element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.builder.ty(v).dtype
    }

    /// Appends a layer with one output.
    pub fn add(&mut self, kind: LayerKind, inputs: &[ValueId]) -> Result<ValueId, Refusal> {
        Ok(self.builder.add(kind, inputs)?)
    }

    /// Appends a pointwise layer.
    pub fn pointwise(&mut self, expr: Expr, inputs: &[ValueId]) -> Result<ValueId, Refusal> {
        self.add(LayerKind::Pointwise(expr), inputs)
    }

    /// `v` converted to `dtype`; `v` itself when it has it already.
    pub fn cast(&mut self, v: ValueId, dtype: DType) -> Result<ValueId, Refusal> {
        if self.dtype(v) == dtype { Ok(v) } else { self.pointwise(Expr::cast(dtype), &[v]) }
    }

    /// `v` under another shape; `v` itself when it has it already.
    pub fn reshape(&mut self, v: ValueId, shape: impl Into<Vec<usize>>) -> Result<ValueId, Refusal> {
        let shape = shape.into();
        if self.shape(v) == shape { Ok(v) } else { self.add(LayerKind::Reshape { shape }, &[v]) }
    }

    /// `v` with its axes permuted; `v` itself when that changes nothing.
    pub fn permute(&mut self, v: ValueId, axes: Vec<usize>) -> Result<ValueId, Refusal> {
        let identity = axes.iter().enumerate().all(|(i, &a)| i == a);
        if identity { Ok(v) } else { self.add(LayerKind::Permute { axes }, &[v]) }
    }

    /// `v` stretched to `shape`; `v` itself when it has it already.
    pub fn broadcast(&mut self, v: ValueId, shape: impl Into<Vec<usize>>) -> Result<ValueId, Refusal> {
        let shape = shape.into();
        if self.shape(v) == shape { Ok(v) } else { self.add(LayerKind::Broadcast { shape }, &[v]) }
    }

    /// `len` positions of `v` along `axis` from `start`; `v` itself when that is all of it.
    pub fn narrow(&mut self, v: ValueId, axis: usize, start: usize, len: usize) -> Result<ValueId, Refusal> {
        let mut ranges: Vec<Range> = self.shape(v).iter().map(|&n| Range::full(n)).collect();
        if (start, len) == (0, ranges[axis].len) {
            return Ok(v);
        }
        ranges[axis] = Range { start, step: 1, len };
        self.add(LayerKind::Slice { ranges }, &[v])
    }

    /// A 0-d constant.
    pub fn scalar(&mut self, dtype: DType, value: f64) -> ValueId {
        self.builder.constant(Literal::scalar(dtype, value))
    }

    /// The value's elements if they depend on constants alone (not on inputs, not on parameters); at most 4096 elements.
    pub fn known(&self, v: ValueId) -> Option<Literal> {
        const LARGEST: usize = 4096;
        let network = self.builder.network();
        if network.ty(v).elements() > LARGEST {
            return None;
        }
        let definition = network.definitions();
        let (mut needed, mut todo) = (Vec::new(), vec![v]);
        while let Some(v) = todo.pop() {
            let at = definition[v.index()]?;
            if matches!(network.layers[at].kind, LayerKind::Parameter(_)) {
                return None;
            }
            if !needed.contains(&at) {
                needed.push(at);
                todo.extend(&network.layers[at].inputs);
            }
        }
        needed.sort_unstable();
        let layers: Vec<&Layer> = needed.into_iter().map(|at| &network.layers[at]).collect();
        reference::evaluate_constants(&layers, v)
    }
}
