//! Networks in fewer bits, where that was asked for.
//!
//! [`narrow`] gives a network that keeps the types of its inputs, parameters and outputs and computes between them in f16 or bf16: what
//! tensor cores take (convolutions, matrix products) and what only moves or scales their results. Sums accumulate in f32 as always; scalar
//! expressions compute in f32 and round once, where they are stored. What may leave the range of the type (`magnitude` tells) is stored in f32, as
//! are sums and products along an axis and running ones.
//!
//! [`Guard`] holds the result against the network in f32 on sample inputs, and keeps in f32 what differs too much.
//!
//! It is meant for a network that has been optimised: a batch norm that was folded in f32 is rounded once with the weights.

mod guard;
mod magnitude;

pub use guard::{Differing, Guard, GuardError, Guarded};

use crate::DType;
use crate::network::expr::Node;
use crate::network::layer::ReduceOp;
use crate::network::{Expr, Layer, LayerKind, Network, TensorType, TypeError, ValueId, infer};
use magnitude::magnitude;
use std::collections::{BTreeSet, HashMap};

/// What an activation is taken to stay below.
const ACTIVATION: f64 = 128.0;
/// What a value that depends on weights alone is taken to stay below.
const STATIC: f64 = 16.0;

/// The network with its f32 arithmetic in `dtype`, which is f16 or bf16. Other types are left as they are. Fails where the network is not
/// well typed.
pub fn narrow(network: &Network, dtype: DType) -> Result<Network, TypeError> {
    Ok(narrow_but(network, dtype, &BTreeSet::new())?.network)
}

/// A network in fewer bits, and what has become of the values.
struct Narrowed {
    network: Network,
    /// With layers that no output needs.
    all: Network,
    /// By value of the network in f32: the value of `all`.
    forms: Vec<Option<ValueId>>,
}

/// The same but for these layers, by position, which compute and store in f32.
fn narrow_but(network: &Network, dtype: DType, wide: &BTreeSet<usize>) -> Result<Narrowed, TypeError> {
    let n = network.values.len();
    let mut readers: Vec<Vec<usize>> = vec![vec![]; n];
    for (at, layer) in network.layers.iter().enumerate() {
        for v in &layer.inputs {
            readers[v.index()].push(at);
        }
    }
    let mut work = Narrowing {
        old: network,
        dtype,
        statics: network.statics(),
        new: Network { parameters: network.parameters.clone(), ..Network::default() },
        forms: vec![None; n],
        casts: HashMap::new(),
    };
    for &v in &network.inputs {
        let new = work.value(network.ty(v).clone());
        work.new.inputs.push(new);
        work.forms[v.index()] = Some(new);
    }
    for (at, layer) in network.layers.iter().enumerate() {
        let unread = |v: &ValueId| readers[v.index()].is_empty();
        work.layer(layer, layer.outputs.iter().all(unread), wide.contains(&at))?;
    }
    for &v in &network.outputs {
        let new = work.form(v, network.ty(v).dtype)?;
        work.new.outputs.push(new);
    }
    let all = work.new.clone();
    work.new.sort_and_drop_dead();
    Ok(Narrowed { network: work.new, all, forms: work.forms })
}

/// A network and what has become of its values.
struct Narrowing<'a> {
    old: &'a Network,
    dtype: DType,
    statics: Vec<bool>,
    new: Network,
    /// By old value: the new one, in f32 or in the narrow type.
    forms: Vec<Option<ValueId>>,
    /// New values in another type.
    casts: HashMap<(ValueId, DType), ValueId>,
}

impl Narrowing<'_> {
    fn value(&mut self, ty: TensorType) -> ValueId {
        self.new.values.push(ty);
        ValueId(self.new.values.len() as u32 - 1)
    }

    fn push(
        &mut self,
        kind: LayerKind,
        inputs: Vec<ValueId>,
        epilogue: Option<Expr>,
        origin: &str,
    ) -> Result<Vec<ValueId>, TypeError> {
        let types: Vec<&TensorType> = inputs.iter().map(|&v| self.new.ty(v)).collect();
        let types = infer(&kind, epilogue.as_ref(), &types)?;
        let outputs: Vec<ValueId> = types.into_iter().map(|ty| self.value(ty)).collect();
        let origin = origin.to_string();
        self.new.layers.push(Layer { kind, inputs, epilogue, outputs: outputs.clone(), origin });
        Ok(outputs)
    }

    /// The new value of an old one, as it is.
    fn as_it_is(&self, v: ValueId) -> ValueId {
        self.forms[v.index()].expect("a verified network defines before it uses")
    }

    /// The new value of an old one, in this type if it is a float of fewer or more bits.
    fn form(&mut self, v: ValueId, dtype: DType) -> Result<ValueId, TypeError> {
        let new = self.as_it_is(v);
        let own = self.new.ty(new).dtype;
        if self.old.ty(v).dtype != DType::F32 || own == dtype {
            return Ok(new);
        }
        if let Some(&cast) = self.casts.get(&(new, dtype)) {
            return Ok(cast);
        }
        let cast = self.push(LayerKind::Pointwise(Expr::cast(dtype)), vec![new], None, "precision")?[0];
        self.casts.insert((new, dtype), cast);
        Ok(cast)
    }

    fn is_narrow(&self, v: ValueId) -> bool {
        self.old.ty(v).dtype == DType::F32 && self.new.ty(self.as_it_is(v)).dtype == self.dtype
    }

    /// Appends what the layer becomes. `last`: nobody but the caller reads it, so that its results stay in f32. `wide`: it computes in f32, too.
    fn layer(&mut self, layer: &Layer, last: bool, wide: bool) -> Result<(), TypeError> {
        if layer.outputs.iter().all(|v| self.statics[v.index()]) {
            return self.kept(layer, DType::F32);
        }
        let own = layer.kind.arity().unwrap_or(layer.inputs.len());
        let f32_operands = layer.inputs[..own].iter().any(|&v| self.old.ty(v).dtype == DType::F32);
        if !f32_operands {
            return self.kept(layer, DType::F32);
        }
        let some_narrow = layer.inputs[..own].iter().any(|&v| self.is_narrow(v));
        match &layer.kind {
            LayerKind::Pointwise(expr) if wide => self.pointwise(layer, expr, false),
            _ if wide => self.computed(layer, DType::F32, false),
            LayerKind::Convolution(_) | LayerKind::MatMul { .. } | LayerKind::GroupedMatMul => {
                self.computed(layer, self.dtype, !last)
            }
            LayerKind::Pointwise(expr) => self.pointwise(layer, expr, some_narrow && !last),
            LayerKind::Reduce { op: ReduceOp::Sum | ReduceOp::Prod, .. } | LayerKind::Scan { .. } => {
                self.computed(layer, DType::F32, false)
            }
            _ if some_narrow => self.computed(layer, self.dtype, !last),
            _ => self.computed(layer, DType::F32, false),
        }
    }

    /// The layer as it was, on f32.
    fn kept(&mut self, layer: &Layer, dtype: DType) -> Result<(), TypeError> {
        let inputs = layer.inputs.iter().map(|&v| self.form(v, dtype)).collect::<Result<Vec<_>, _>>()?;
        let outputs = match &layer.kind {
            // Declared, not inferred.
            LayerKind::Parameter(_) | LayerKind::Prepared(_) => {
                let outputs = vec![self.value(self.old.ty(layer.outputs[0]).clone())];
                let (epilogue, origin) = (None, layer.origin.clone());
                let new =
                    Layer { kind: layer.kind.clone(), inputs, epilogue, outputs: outputs.clone(), origin };
                self.new.layers.push(new);
                outputs
            }
            kind => self.push(kind.clone(), inputs, layer.epilogue.clone(), &layer.origin)?,
        };
        self.define(layer, outputs);
        Ok(())
    }

    /// The layer with its own operands in `dtype`, its epilogue in f32, and its result rounded to the narrow type if `narrow` and it fits there.
    fn computed(&mut self, layer: &Layer, dtype: DType, narrow: bool) -> Result<(), TypeError> {
        let own = layer.kind.arity().unwrap_or(layer.inputs.len());
        let mut inputs = Vec::with_capacity(layer.inputs.len());
        for &v in &layer.inputs[..own] {
            inputs.push(self.form(v, dtype)?);
        }
        inputs.extend(layer.inputs[own..].iter().map(|&v| self.as_it_is(v)));
        let is_f32 = self.old.ty(layer.outputs[0]).dtype == DType::F32;
        if !layer.kind.takes_epilogue() || !is_f32 && layer.epilogue.is_none() {
            let outputs = self.push(layer.kind.clone(), inputs, None, &layer.origin)?;
            self.define(layer, outputs);
            return Ok(());
        }
        let identity = Expr::identity();
        let expr = layer.epilogue.as_ref().unwrap_or(&identity);
        // Input 0 is the kind's own result, of the type of its operands.
        let mut types = vec![dtype];
        types.extend(inputs[own..].iter().map(|&v| self.new.ty(v).dtype));
        let bounds: Vec<f64> =
            std::iter::once(ACTIVATION).chain(layer.inputs[own..].iter().map(|&v| self.bound(v))).collect();
        let narrow = narrow && self.fits(expr, &bounds);
        let old_types: Vec<DType> = std::iter::once(DType::F32)
            .chain(layer.inputs[own..].iter().map(|&v| self.old.ty(v).dtype))
            .collect();
        let epilogue = widened(expr, &types, &old_types, (narrow && is_f32).then_some(self.dtype));
        let epilogue = Some(epilogue).filter(|e| *e != identity);
        let outputs = self.push(layer.kind.clone(), inputs, epilogue, &layer.origin)?;
        self.define(layer, outputs);
        Ok(())
    }

    fn pointwise(&mut self, layer: &Layer, expr: &Expr, narrow: bool) -> Result<(), TypeError> {
        let inputs: Vec<ValueId> = layer.inputs.iter().map(|&v| self.as_it_is(v)).collect();
        let types: Vec<DType> = inputs.iter().map(|&v| self.new.ty(v).dtype).collect();
        let old_types: Vec<DType> = layer.inputs.iter().map(|&v| self.old.ty(v).dtype).collect();
        let bounds: Vec<f64> = layer.inputs.iter().map(|&v| self.bound(v)).collect();
        let is_f32 = self.old.ty(layer.outputs[0]).dtype == DType::F32;
        let to = (narrow && is_f32 && self.fits(expr, &bounds)).then_some(self.dtype);
        let expr = widened(expr, &types, &old_types, to);
        let outputs = self.push(LayerKind::Pointwise(expr), inputs, None, &layer.origin)?;
        self.define(layer, outputs);
        Ok(())
    }

    fn define(&mut self, layer: &Layer, outputs: Vec<ValueId>) {
        for (old, new) in layer.outputs.iter().zip(outputs) {
            self.forms[old.index()] = Some(new);
        }
    }

    fn bound(&self, v: ValueId) -> f64 {
        if self.statics[v.index()] { STATIC } else { ACTIVATION }
    }

    /// Does the result stay in the range of the narrow type, as far as bounds of the operands tell?
    fn fits(&self, expr: &Expr, bounds: &[f64]) -> bool {
        // bf16 has the range of f32.
        self.dtype == DType::BF16 || magnitude(expr, bounds) <= 65504.0
    }
}

/// The expression on operands of new types, computed in the old ones; its result converted if it is to be.
fn widened(expr: &Expr, types: &[DType], old_types: &[DType], to: Option<DType>) -> Expr {
    if let Some(&Node::Input(i)) = expr.nodes.last()
        && to == Some(types[i as usize])
    {
        return Expr { nodes: vec![Node::Input(i)] };
    }
    let mut out = Expr::default();
    let mut at = Vec::with_capacity(expr.nodes.len());
    for node in &expr.nodes {
        let new = match *node {
            Node::Input(i) => {
                let input = out.push(Node::Input(i));
                let (new, old) = (types[i as usize], old_types[i as usize]);
                if new == old { input } else { out.push(Node::Cast(old, input)) }
            }
            other => out.push(other.map(|r| at[r as usize])),
        };
        at.push(new);
    }
    let mut root = *at.last().expect("an expression has at least one node");
    if let Some(dtype) = to {
        root = out.push(Node::Cast(dtype, root));
    }
    out.finish(root)
}

#[cfg(test)]
mod tests;
