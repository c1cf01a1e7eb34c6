//! The invariants of a network. [`Network::verify`] checks all of them and reports every violation, each with its place:
//!
//! 1. Every value that an input, a layer or an output names exists.
//! 2. Every value has at most one definition: one input, or one output of one layer.
//! 3. A layer reads only inputs and outputs of earlier layers; the network's outputs are defined.
//! 4. Operands and epilogue obey the typing rules of [`infer()`]; the outputs are as many, and of the types, as inferred.
//! 5. A `Constant`, `Parameter` or `Prepared` layer has no operands, no epilogue and one output.
//! 6. A `Parameter` layer names a declared parameter and has its type.
//! 7. `Prepared` and `Parameter` layers do not meet in one network: the first exist only after [`Network::split`], in `run`.
//!
//! Whoever built or rewrote the network is to blame for a violation; no user input can cause one.

use super::{Layer, LayerKind, Network, TensorType, TypeError, ValueId, infer};
use std::fmt;

/// One violated invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub fault: Fault,
}

/// A part of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Input at this position.
    Input(usize),
    /// Layer at this position, of this kind and origin.
    Layer {
        /// Position in [`Network::layers`].
        at: usize,
        /// Name of its kind.
        kind: &'static str,
        /// [`Layer::origin`].
        origin: String,
    },
    /// Output at this position.
    Output(usize),
}

/// What is wrong; the numbers in brackets are those of the module's list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The value does not exist (1).
    NoSuchValue(ValueId),
    /// The value has a definition already (2).
    DefinedTwice(ValueId),
    /// The value is read before it is defined (3).
    NotDefined(ValueId),
    /// The operands break a typing rule (4).
    Type(TypeError),
    /// The outputs are not as many as inferred (4).
    Outputs {
        /// The number that the layer has.
        found: usize,
        /// The number that it should have.
        expected: usize,
    },
    /// A value's declared type is not its definition's (4, 6).
    Declared {
        /// The value.
        value: ValueId,
        /// Its declared type.
        found: TensorType,
        /// Its definition's type.
        expected: TensorType,
    },
    /// A layer that stands for a given tensor has operands or an epilogue (5).
    Source,
    /// The parameter is not declared (6).
    NoSuchParameter(u32),
    /// A network reads both parameters and prepared values (7).
    Stages,
}

/// Every violation that was found; at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violations(pub Vec<Violation>);

impl Network {
    /// Checks every invariant in the text of [`verify`](self).
    pub fn verify(&self) -> Result<(), Violations> {
        let mut check = Check { network: self, defined: vec![false; self.values.len()], found: Vec::new() };
        for (at, &v) in self.inputs.iter().enumerate() {
            check.define(&Place::Input(at), v);
        }
        for (at, layer) in self.layers.iter().enumerate() {
            check.layer(&Place::Layer { at, kind: layer.kind.name(), origin: layer.origin.clone() }, layer);
        }
        for (at, &v) in self.outputs.iter().enumerate() {
            check.read(&Place::Output(at), v);
        }
        if check.found.is_empty() { Ok(()) } else { Err(Violations(check.found)) }
    }
}

struct Check<'a> {
    network: &'a Network,
    defined: Vec<bool>,
    found: Vec<Violation>,
}

impl Check<'_> {
    fn fail(&mut self, place: &Place, fault: Fault) {
        self.found.push(Violation { place: place.clone(), fault });
    }

    fn define(&mut self, place: &Place, v: ValueId) {
        match self.defined.get_mut(v.index()) {
            None => self.fail(place, Fault::NoSuchValue(v)),
            Some(true) => self.fail(place, Fault::DefinedTwice(v)),
            Some(defined) => *defined = true,
        }
    }

    fn read(&mut self, place: &Place, v: ValueId) {
        match self.defined.get(v.index()) {
            None => self.fail(place, Fault::NoSuchValue(v)),
            Some(false) => self.fail(place, Fault::NotDefined(v)),
            Some(true) => {}
        }
    }

    fn layer(&mut self, place: &Place, layer: &Layer) {
        for &v in &layer.inputs {
            self.read(place, v);
        }
        if let Some(types) = self.types(place, layer) {
            if types.len() != layer.outputs.len() {
                let (found, expected) = (layer.outputs.len(), types.len());
                self.fail(place, Fault::Outputs { found, expected });
            }
            for (&value, expected) in layer.outputs.iter().zip(types) {
                match self.network.values.get(value.index()) {
                    Some(found) if *found != expected => {
                        let found = found.clone();
                        self.fail(place, Fault::Declared { value, found, expected });
                    }
                    _ => {}
                }
            }
        }
        for &v in &layer.outputs {
            self.define(place, v);
        }
    }

    /// The types that the outputs should have, where that can be said.
    fn types(&mut self, place: &Place, layer: &Layer) -> Option<Vec<TensorType>> {
        let source = layer.kind.arity() == Some(0);
        if source && !(layer.inputs.is_empty() && layer.epilogue.is_none()) {
            self.fail(place, Fault::Source);
            return None;
        }
        match &layer.kind {
            LayerKind::Parameter(i) => {
                let parameter = self.network.parameters.get(*i as usize);
                if parameter.is_none() {
                    self.fail(place, Fault::NoSuchParameter(*i));
                }
                Some(vec![parameter?.ty.clone()])
            }
            LayerKind::Prepared(_) => {
                if self.network.layers.iter().any(|l| matches!(l.kind, LayerKind::Parameter(_))) {
                    self.fail(place, Fault::Stages);
                }
                let declared = layer.outputs.first().and_then(|v| self.network.values.get(v.index()));
                Some(vec![declared?.clone()])
            }
            kind => {
                let operands: Option<Vec<&TensorType>> =
                    layer.inputs.iter().map(|v| self.network.values.get(v.index())).collect();
                match infer(kind, layer.epilogue.as_ref(), &operands?) {
                    Ok(types) => Some(types),
                    Err(e) => {
                        self.fail(place, Fault::Type(e));
                        None
                    }
                }
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Input(at) => write!(f, "input {at}"),
            Place::Layer { at, kind, origin } if origin.is_empty() => write!(f, "layer {at} ({kind})"),
            Place::Layer { at, kind, origin } => write!(f, "layer {at} ({kind}, from {origin})"),
            Place::Output(at) => write!(f, "output {at}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoSuchValue(v) => write!(f, "{v} does not exist"),
            Fault::DefinedTwice(v) => write!(f, "{v} is defined twice"),
            Fault::NotDefined(v) => write!(f, "{v} is read before it is defined"),
            Fault::Type(e) => e.fmt(f),
            Fault::Outputs { found, expected } => write!(f, "has {found} outputs instead of {expected}"),
            Fault::Declared { value, found, expected } => {
                write!(f, "{value} is declared as {found} but defined as {expected}")
            }
            Fault::Source => f.write_str("takes no operands and no epilogue"),
            Fault::NoSuchParameter(i) => write!(f, "parameter {i} is not declared"),
            Fault::Stages => f.write_str("prepared values do not meet parameters in one network"),
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, v) in self.0.iter().enumerate() {
            write!(f, "{}{}: {}", if n == 0 { "" } else { "; " }, v.place, v.fault)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::expr::{Binary, Unary};
    use crate::network::{Builder, Expr};
    use crate::{DType, Literal};

    /// `neg(x * w)`: input %0, parameter %1, product %2, result %3.
    fn network() -> Network {
        let mut b = Builder::new();
        let x = b.input(TensorType::new(DType::F32, [2]));
        let w = b.parameter("w", TensorType::new(DType::F32, [2]));
        let product = b.add(LayerKind::Pointwise(Expr::binary(Binary::Mul)), &[x, w]).unwrap();
        let out = b.add(LayerKind::Pointwise(Expr::unary(Unary::Neg)), &[product]).unwrap();
        b.finish(vec![out])
    }

    /// The faults after an edit, without their places.
    fn faults(edit: impl FnOnce(&mut Network)) -> Vec<Fault> {
        let mut n = network();
        edit(&mut n);
        n.verify().unwrap_err().0.into_iter().map(|v| v.fault).collect()
    }

    #[test]
    fn a_built_network_and_both_its_stages_hold() {
        network().verify().unwrap();
        let split = network().split();
        split.prepare.verify().unwrap();
        split.run.verify().unwrap();
    }

    #[test]
    fn values_exist() {
        let stranger = ValueId(9);
        assert_eq!(faults(|n| n.inputs.push(stranger)), [Fault::NoSuchValue(stranger)]);
        assert_eq!(faults(|n| n.layers[1].inputs[0] = stranger), [Fault::NoSuchValue(stranger)]);
        assert_eq!(faults(|n| n.outputs[0] = stranger), [Fault::NoSuchValue(stranger)]);
        let lost = faults(|n| n.layers[2].outputs[0] = stranger);
        assert_eq!(lost, [Fault::NoSuchValue(stranger), Fault::NotDefined(ValueId(3))]);
    }

    #[test]
    fn values_are_defined_once() {
        assert_eq!(faults(|n| n.inputs.push(ValueId(0))), [Fault::DefinedTwice(ValueId(0))]);
        assert_eq!(faults(|n| n.layers.push(n.layers[2].clone())), [Fault::DefinedTwice(ValueId(3))]);
    }

    #[test]
    fn definitions_come_first() {
        assert_eq!(faults(|n| n.layers.swap(1, 2)), [Fault::NotDefined(ValueId(2))]);
        assert_eq!(faults(|n| n.inputs.clear()), [Fault::NotDefined(ValueId(0))]);
        assert_eq!(faults(|n| drop(n.layers.pop())), [Fault::NotDefined(ValueId(3))]);
    }

    #[test]
    fn types_are_the_inferred_ones() {
        let kind = LayerKind::Softmax { axis: 3, log: false };
        assert!(matches!(faults(|n| n.layers[2].kind = kind)[..], [Fault::Type(_)]));
        let epilogue = Some(Expr::identity());
        assert!(matches!(faults(|n| n.layers[2].epilogue = epilogue)[..], [Fault::Type(_)]));
        let declared = faults(|n| n.values[3].dtype = DType::F64);
        assert!(matches!(&declared[..], [Fault::Declared { value: ValueId(3), .. }]));
        assert_eq!(faults(|n| n.layers[2].outputs.clear())[0], Fault::Outputs { found: 0, expected: 1 });
    }

    #[test]
    fn sources_stand_alone() {
        assert_eq!(faults(|n| n.layers[0].inputs.push(ValueId(0))), [Fault::Source]);
        assert_eq!(faults(|n| n.layers[0].epilogue = Some(Expr::identity())), [Fault::Source]);
        let literal = Literal::scalar(DType::F32, 1.0);
        let constant = faults(|n| n.layers[0].kind = LayerKind::Constant(literal));
        assert!(matches!(&constant[..], [Fault::Declared { value: ValueId(1), .. }]));
    }

    #[test]
    fn parameters_are_declared() {
        assert_eq!(faults(|n| n.parameters.clear()), [Fault::NoSuchParameter(0)]);
        let other = faults(|n| n.parameters[0].ty.shape = vec![1]);
        assert!(matches!(&other[..], [Fault::Declared { value: ValueId(1), .. }]));
    }

    #[test]
    fn stages_do_not_mix() {
        let mixed = faults(|n| {
            n.values.push(TensorType::new(DType::F32, [2]));
            let kind = LayerKind::Prepared(0);
            n.layers.push(Layer { kind, outputs: vec![ValueId(4)], ..n.layers[0].clone() });
        });
        assert_eq!(mixed, [Fault::Stages]);
    }

    #[test]
    fn every_violation_is_reported_with_its_place() {
        let mut n = network();
        n.layers[1].inputs[0] = ValueId(9);
        n.outputs.push(ValueId(7));
        let text = n.verify().unwrap_err().to_string();
        assert_eq!(text, "layer 1 (pointwise): %9 does not exist; output 1: %7 does not exist");
    }
}
