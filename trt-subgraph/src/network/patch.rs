//! Edits: a pass proposes one as a [`Patch`], [`Draft::apply`](super::Draft::apply) is the one place that carries it out.

use super::{Draft, Expr, Layer, LayerKind, TensorType, TypeError, ValueId, infer};

/// An edit in the making: new layers over the values of a draft, and which old values they replace.
#[derive(Debug)]
pub struct Patch<'a> {
    draft: &'a Draft,
    origin: String,
    edit: Edit,
}

/// A finished edit of the draft that it was made for.
#[derive(Debug, Default)]
pub struct Edit {
    pub(super) values: Vec<TensorType>,
    pub(super) layers: Vec<Layer>,
    pub(super) replaced: Vec<(ValueId, ValueId)>,
    pub(super) dropped: Vec<usize>,
}

impl Edit {
    /// Drops a layer that nothing reads.
    pub fn drop(at: usize) -> Edit {
        Edit { dropped: vec![at], ..Edit::default() }
    }
}

impl<'a> Patch<'a> {
    /// An edit that changes nothing yet; its layers will carry `origin`.
    pub fn new(draft: &'a Draft, origin: impl Into<String>) -> Patch<'a> {
        Patch { draft, origin: origin.into(), edit: Edit::default() }
    }

    /// The type of an old or new value.
    pub fn ty(&self, value: ValueId) -> &TensorType {
        let old = self.draft.values();
        if value.index() < old { self.draft.ty(value) } else { &self.edit.values[value.index() - old] }
    }

    /// A new layer over old and new values.
    pub fn fused(
        &mut self,
        kind: LayerKind,
        inputs: &[ValueId],
        epilogue: Option<Expr>,
    ) -> Result<Vec<ValueId>, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let types = infer(&kind, epilogue.as_ref(), &types)?;
        let first = self.draft.values() + self.edit.values.len();
        let outputs: Vec<ValueId> = (0..types.len()).map(|i| ValueId((first + i) as u32)).collect();
        self.edit.values.extend(types);
        let (inputs, origin) = (inputs.to_vec(), self.origin.clone());
        self.edit.layers.push(Layer { kind, inputs, epilogue, outputs: outputs.clone(), origin });
        Ok(outputs)
    }

    /// A new layer with one output and no epilogue.
    pub fn add(&mut self, kind: LayerKind, inputs: &[ValueId]) -> Result<ValueId, TypeError> {
        Ok(self.fused(kind, inputs, None)?[0])
    }

    /// A new pointwise layer; the operand itself where `expr` gives operand 0 back unchanged.
    pub fn pointwise(&mut self, expr: Expr, inputs: &[ValueId]) -> Result<ValueId, TypeError> {
        if expr == Expr::identity() && inputs.len() == 1 {
            return Ok(inputs[0]);
        }
        self.add(LayerKind::Pointwise(expr), inputs)
    }

    /// `v` under another shape of as many elements; `v` itself when it has it.
    pub fn reshape(&mut self, v: ValueId, shape: impl Into<Vec<usize>>) -> Result<ValueId, TypeError> {
        let shape = shape.into();
        if self.ty(v).shape == shape { Ok(v) } else { self.add(LayerKind::Reshape { shape }, &[v]) }
    }

    /// Every present use of `old` reads `new` from now on; the patch's own layers keep what they were given. `new` reads
    /// nothing that depends on `old`. `None` when the two differ in type: such a rewrite is no rewrite.
    pub fn replace(&mut self, old: ValueId, new: ValueId) -> Option<()> {
        (self.ty(old) == self.ty(new)).then(|| self.edit.replaced.push((old, new)))
    }

    /// The edit.
    pub fn done(self) -> Option<Edit> {
        Some(self.edit)
    }

    /// `old` read as `new` and nothing else.
    pub fn only(mut self, old: ValueId, new: ValueId) -> Option<Edit> {
        self.replace(old, new)?;
        self.done()
    }
}
