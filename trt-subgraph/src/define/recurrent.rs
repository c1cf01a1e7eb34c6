//! A recurrent layer: several cells above each other, their weights set gate by gate.

use super::{DefineError, Definition};
use crate::network::ValueId;
use crate::source::Item;
use std::collections::BTreeMap;

/// The kinds of cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cell {
    /// Long short-term memory, with gates [`Gate::Input`], [`Gate::Forget`], [`Gate::Cell`] and [`Gate::Output`].
    Lstm,
    /// Gated recurrent unit, with gates [`Gate::Reset`], [`Gate::Update`] and [`Gate::New`]; the reset gate acts on the product, as
    /// torch and cuDNN have it.
    Gru,
    /// `tanh` of the sum; one gate, [`Gate::Input`].
    Tanh,
    /// `relu` of the sum; one gate, [`Gate::Input`].
    Relu,
}

/// A part of a cell with weights of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Gate {
    /// What enters; the only one of a plain cell.
    Input,
    /// What stays.
    Forget,
    /// The candidate.
    Cell,
    /// What leaves.
    Output,
    /// How much of the past the candidate sees.
    Reset,
    /// How much of the past stays.
    Update,
    /// The candidate of a GRU.
    New,
}

impl Cell {
    /// Its gates, in the order in which their weights are put together.
    pub fn gates(self) -> &'static [Gate] {
        match self {
            Cell::Lstm => &[Gate::Input, Gate::Forget, Gate::Cell, Gate::Output],
            Cell::Gru => &[Gate::Reset, Gate::Update, Gate::New],
            Cell::Tanh | Cell::Relu => &[Gate::Input],
        }
    }

    fn op(self) -> &'static str {
        match self {
            Cell::Lstm => "aten::lstm.input",
            Cell::Gru => "aten::gru.input",
            Cell::Tanh => "aten::rnn_tanh.input",
            Cell::Relu => "aten::rnn_relu.input",
        }
    }
}

/// The weights of one gate: `input[H, I]`, `hidden[H, H]` and a bias `[H]` for each product. `I` is the input's size in the
/// first layer and `H` above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GateWeights {
    /// Of the layer's input.
    pub input: ValueId,
    /// Of the state.
    pub hidden: ValueId,
    /// Added to the two products; all gates have them or none.
    pub biases: Option<(ValueId, ValueId)>,
}

/// Cells above each other.
#[derive(Clone, Debug)]
pub struct Recurrent {
    cell: Cell,
    layers: usize,
    gates: BTreeMap<(usize, Gate), GateWeights>,
}

impl Recurrent {
    /// `layers` cells, without weights yet.
    pub fn new(cell: Cell, layers: usize) -> Recurrent {
        Recurrent { cell, layers, gates: BTreeMap::new() }
    }

    /// Sets the weights of a gate of a layer, which count from 0.
    pub fn set(&mut self, layer: usize, gate: Gate, weights: GateWeights) {
        self.gates.insert((layer, gate), weights);
    }
}

/// What a recurrent layer gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecurrentOutputs {
    /// The last layer's states at every step, `[T, B, H]`.
    pub states: ValueId,
    /// Every layer's last state, `[layers, B, H]`.
    pub hidden: ValueId,
    /// Every layer's last cell state, of an LSTM.
    pub cell: Option<ValueId>,
}

impl Definition {
    /// Runs cells over `x[T, B, I]`. `hidden`, and for an LSTM `cell`, are the first states, `[layers, B, H]`. The steps are unrolled:
    /// `T` times the number of layers is at most 128.
    pub fn recurrent(
        &mut self,
        x: ValueId,
        cells: &Recurrent,
        hidden: ValueId,
        cell: Option<ValueId>,
    ) -> Result<RecurrentOutputs, DefineError> {
        let gates = cells.cell.gates();
        let known = |&(layer, gate): &(usize, Gate)| layer < cells.layers && gates.contains(&gate);
        if !cells.gates.keys().all(known) || cells.gates.len() != cells.layers * gates.len() {
            let why = format!("every layer has weights for {gates:?} and nothing else");
            return Err(self.invalid(&why));
        }
        if cell.is_some() != (cells.cell == Cell::Lstm) {
            return Err(self.invalid("an LSTM, and it alone, has a cell state"));
        }
        let biased = cells.gates.values().all(|w| w.biases.is_some());
        if !biased && cells.gates.values().any(|w| w.biases.is_some()) {
            return Err(self.invalid("all gates have biases or none"));
        }
        let mut parameters = Vec::new();
        for layer in 0..cells.layers {
            let of: Vec<GateWeights> = gates.iter().map(|&gate| cells.gates[&(layer, gate)]).collect();
            let mut lists: Vec<Vec<ValueId>> =
                vec![of.iter().map(|w| w.input).collect(), of.iter().map(|w| w.hidden).collect()];
            if biased {
                let (input, hidden) = of.iter().filter_map(|w| w.biases).unzip();
                lists.extend([input, hidden]);
            }
            for list in lists {
                let whole = if let [one] = list[..] { one } else { self.concat(&list, 0)? };
                parameters.push(Item::Tensor(whole));
            }
        }
        let first = match cell {
            Some(cell) => Item::List(vec![Item::Tensor(hidden), Item::Tensor(cell)]),
            None => Item::Tensor(hidden),
        };
        let (off, layers) = (Item::Bool(false), Item::Int(cells.layers as i64));
        let arguments = vec![
            Item::Tensor(x),
            first,
            Item::List(parameters),
            Item::Bool(biased),
            layers,
            Item::Float(0.0),
            off.clone(),
            off.clone(),
            off,
        ];
        let out = self.call(cells.cell.op(), arguments)?;
        Ok(RecurrentOutputs { states: out[0], hidden: out[1], cell: out.get(2).copied() })
    }
}
