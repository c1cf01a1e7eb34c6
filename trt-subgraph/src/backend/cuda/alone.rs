//! A layer of a network alone, as it is timed.

use super::assemble::Assembler;
use super::compile::{Compiled, compile};
use super::program::{Program, Source};
use super::tactic::{Asked, Choice, Way};
use super::target::Target;
use super::timer::Timer;
use crate::backend::ending;
use crate::backend::view::View;
use crate::network::{Layer, LayerKind, Network, ValueId};
use std::sync::{Arc, Mutex, PoisonError};

/// No way tells addresses apart that are the same in this many bytes.
const PERIOD: isize = 256;

/// A layer alone in one way, with machine code.
pub struct Ready {
    pub program: Program,
    pub code: Vec<Compiled>,
    /// Bytes of prepared weights.
    pub weights: usize,
    /// Bytes of each of the caller's tensors.
    pub given: Vec<usize>,
}

/// A layer alone, with its operands as they lie in the network that it comes from: what a way makes of them here is right there.
pub struct Alone {
    /// What decides how long it takes.
    pub key: String,
    /// Static operands are prepared values.
    network: Network,
    /// Those that are not static.
    operands: Vec<Operand>,
}

struct Operand {
    value: ValueId,
    /// As near to the start of its memory as the alignment of its elements allows; the slot is that of the other network.
    view: View,
    /// Of its memory.
    bytes: usize,
    /// Is it the caller's?
    given: bool,
}

impl Operand {
    fn of(a: &mut Assembler, value: ValueId) -> Operand {
        let view = a.view(value);
        let ((low, high), given) = (view.reach(), a.is_given(view.slot));
        let start = low - low.rem_euclid(PERIOD);
        let view = View { offset: view.offset - start, ..view };
        Operand { value, view, bytes: (high - start) as usize, given }
    }
}

impl Alone {
    /// The layer as `a` has come to it, which tells it by this [`key`].
    pub fn of(a: &mut Assembler, layer: &Layer, key: String) -> Alone {
        let mut network = Network { values: a.network.values.clone(), ..Network::default() };
        let mut operands = Vec::new();
        let mut seen = Vec::new();
        for &v in &layer.inputs {
            if seen.contains(&v) {
                continue;
            }
            seen.push(v);
            if a.is_static(v) {
                let kind = LayerKind::Prepared(network.layers.len() as u32);
                network.layers.push(Layer {
                    kind,
                    inputs: vec![],
                    epilogue: None,
                    outputs: vec![v],
                    origin: String::new(),
                });
            } else {
                operands.push(Operand::of(a, v));
            }
        }
        network.layers.push(layer.clone());
        Alone { key, network, operands }
    }

    fn assembler<'a>(&'a self, target: Target, choice: Choice<'a>) -> Assembler<'a> {
        let mut assembler = Assembler::new(&self.network, target, choice);
        let mut given = 0..;
        for operand in &self.operands {
            let source = match operand.given {
                true => Source::Input(given.next().expect("endless")),
                false => Source::Arena(operand.bytes),
            };
            let slot = assembler.slot(source);
            assembler.define(operand.value, View { slot, ..operand.view.clone() });
        }
        assembler
    }

    /// Bytes of each of the caller's tensors.
    fn given(&self) -> Vec<usize> {
        self.operands.iter().filter(|o| o.given).map(|o| o.bytes).collect()
    }

    /// The ways to run it that are asked for.
    pub fn ways(&self, timer: &Timer, asked: Asked) -> Vec<Arc<dyn Way>> {
        // In whatever thread this is.
        let Ok(_relaxed) = timer.device.enter_relaxed() else { return vec![] };
        let list = Mutex::new(Vec::new());
        if let Err((_, why)) = self.assembler(timer.device.target, Choice::Listed(timer, asked, &list)).run()
        {
            log::debug!("a layer alone: {why}");
        }
        list.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assembled and compiled in one way.
    pub fn ready(&self, way: &Arc<dyn Way>, target: Target) -> Result<Ready, String> {
        ending::check()?;
        let assembler = self.assembler(target, Choice::Settled(way.clone()));
        let (mut program, wanted) = assembler.run().map_err(|(_, why)| why)?;
        // All slots at once: nothing that the way reads may be overwritten between repeats.
        program.spread();
        let code = compile(&program, &target)?;
        Ok(Ready { program, code, weights: wanted.bytes, given: self.given() })
    }
}

/// Everything that decides how long a layer takes.
pub fn key(a: &mut Assembler, layer: &Layer) -> String {
    let mut out = format!("{:?} {:?}", layer.kind, layer.epilogue);
    let mut names = Vec::new();
    for &v in &layer.inputs {
        let at = names.iter().position(|n| *n == v).unwrap_or(names.len());
        names.push(v);
        let ty = a.network.ty(v).clone();
        if a.is_static(v) {
            out.push_str(&format!("; {at} {ty} static"));
        } else {
            let view = a.view(v);
            let aligned = view.offset.rem_euclid(PERIOD);
            out.push_str(&format!("; {at} {ty} {:?} {aligned} {}", view.strides, a.is_given(view.slot)));
        }
    }
    format!("{out}; {}", a.network.ty(layer.outputs[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Builder;
    use crate::{DType, TensorType};

    /// What is chosen for a layer alone is run in its network: nothing that ways look at may differ.
    #[test]
    fn alone_a_layer_finds_its_operands_as_in_its_network() {
        let mut b = Builder::new();
        let (x, w) = (TensorType::new(DType::F32, [2, 4]), TensorType::new(DType::F32, [16, 4]));
        let (x, w) = (b.input(x), b.input(w));
        let kind = LayerKind::MatMul { transpose_a: false, transpose_b: true };
        let y = b.add(kind, &[x, w]).expect("well typed");
        let network = b.finish(vec![y]);
        let target = Target { capability: 90, multiprocessors: 132 };
        let layer = &network.layers[0];
        // A part of a wider tensor, at places that are aligned as much and less; turned around; the caller's, or not.
        for (offset, strides) in [(0, [4, 1]), (528, [8, 1]), (20, [8, 1]), (1000, [1, 2]), (12, [-4, 1])] {
            for source in [Source::Input(0), Source::Arena(4096), Source::Output(0)] {
                let mut a = Assembler::new(&network, target, Choice::First);
                let slot = a.slot(source.clone());
                let view = View { slot, offset, strides: strides.to_vec(), ..a.view(x) };
                a.define(x, view);
                let told = key(&mut a, layer);
                let alone = Alone::of(&mut a, layer, told.clone());
                let mut there = alone.assembler(target, Choice::First);
                assert_eq!(key(&mut there, layer), told, "{offset} {strides:?} {source:?}");
                let bytes = &alone.operands[0].bytes;
                let (low, high) = there.view(x).reach();
                assert!((0..PERIOD).contains(&low) && high <= *bytes as isize, "{low}..{high} of {bytes}");
            }
        }
    }
}
