//! The network in a plan: its text form, with large constants apart as bytes.
//!
//! A constant that is large, or that text would not give back bit for bit, stands in the text as one more parameter.

use super::PlanError;
use crate::network::{LayerKind, Network, Parameter};
use crate::{Literal, TensorType};

/// Constants of more elements than this are stored as bytes.
const MOST_ELEMENTS: usize = 16;

/// A network as it is stored.
pub struct Portable {
    /// The text form. Its first parameters are the network's own, the rest are constants.
    pub text: String,
    /// The constants, in order.
    pub constants: Vec<Literal>,
}

impl Portable {
    /// The stored form of a verified network.
    pub fn of(network: &Network) -> Result<Portable, PlanError> {
        network.verify().map_err(|e| PlanError::Unfit(format!("the network breaks its rules: {e}")))?;
        let mut stored = network.clone();
        stored.renumber();
        let mut constants = Vec::new();
        for layer in &mut stored.layers {
            match &layer.kind {
                LayerKind::Prepared(_) => {
                    return Err(PlanError::Unfit("a half of a network is no network".to_string()));
                }
                LayerKind::Constant(literal) if !reads_back(literal) => {
                    let index = stored.parameters.len();
                    stored.parameters.push(Parameter { name: String::new(), ty: literal.ty().clone() });
                    constants.push(literal.clone());
                    layer.kind = LayerKind::Parameter(index as u32);
                }
                _ => {}
            }
        }
        // Names are stored apart: the text form does not give every string back.
        stored.parameters.iter_mut().for_each(|p| p.name.clear());
        let text = stored.to_string();
        match Network::parse(&text) {
            Ok(again) if again.to_string() == text => Ok(Portable { text, constants }),
            Ok(_) => Err(PlanError::Unfit("the network's text form gives another network".to_string())),
            Err(e) => Err(PlanError::Unfit(format!("the network's text form does not read back: {e}"))),
        }
    }
}

fn reads_back(literal: &Literal) -> bool {
    let count = literal.ty().elements();
    let plain = |i| !literal.f64_at(i).is_nan();
    count <= MOST_ELEMENTS && (0..count).all(plain)
}

/// The network of a stored text. `parameters` are the network's own; `constants` gives the bytes of the others.
pub fn network(
    text: &str,
    parameters: Vec<Parameter>,
    constants: &[(TensorType, &[u8])],
) -> Result<Network, PlanError> {
    let fault = |why: String| PlanError::damaged("network", why);
    let mut network = Network::parse_bounded(text, MOST_ELEMENTS).map_err(|e| fault(e.to_string()))?;
    let own = parameters.len();
    let declared = parameters.iter().map(|p| &p.ty).chain(constants.iter().map(|(ty, _)| ty));
    if !declared.eq(network.parameters.iter().map(|p| &p.ty)) {
        return Err(fault("its parameters are not those that are stored".to_string()));
    }
    for layer in &mut network.layers {
        match layer.kind {
            LayerKind::Prepared(_) => return Err(fault("it is half a network".to_string())),
            LayerKind::Parameter(i) if i as usize >= own => {
                let constant = constants.get(i as usize - own);
                let literal = constant.and_then(|(ty, bytes)| Literal::from_bytes(ty.clone(), bytes));
                layer.kind =
                    LayerKind::Constant(literal.ok_or_else(|| fault("a constant is missing".to_string()))?);
            }
            _ => {}
        }
    }
    network.parameters = parameters;
    network.verify().map_err(|e| fault(e.to_string()))?;
    Ok(network)
}
