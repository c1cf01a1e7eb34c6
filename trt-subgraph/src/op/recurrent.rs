//! Recurrent cells: one step of an LSTM, a GRU or a plain recurrent network.

use super::formula::pointwise;
use super::linear::linear_of;
use super::{Def, float_tensor, one};
use crate::network::expr::Binary;
use crate::network::{Expr, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// The kinds of cell. `B` is the batch, `H` the size of the hidden state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cell {
    /// Gates input, forget, cell, output (<https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html>).
    Lstm,
    /// Gates reset, update, new (<https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html>).
    Gru,
    /// `tanh` of the sum.
    Tanh,
    /// `relu` of the sum.
    Relu,
}

/// The weights of one cell.
#[derive(Clone, Copy)]
pub(super) struct Weights {
    /// `[gates * H, I]`.
    pub input: ValueId,
    /// `[gates * H, P]`, where `P` is the projected size, `H` without a projection.
    pub hidden: ValueId,
    /// Of the two products, `[gates * H]` each.
    pub biases: Option<(ValueId, ValueId)>,
    /// `[P, H]`.
    pub projection: Option<ValueId>,
}

/// The state between steps: hidden `[B, P]` and, for an LSTM, cell `[B, H]`.
#[derive(Clone, Copy)]
pub(super) struct State {
    pub hidden: ValueId,
    pub cell: Option<ValueId>,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Tanh | Cell::Relu => 1,
        }
    }

    /// The part of the gates that does not depend on the state, `[..., gates * H]`, for all steps at once.
    pub(super) fn input_part(
        self,
        lower: &mut Lower,
        x: ValueId,
        weights: &Weights,
    ) -> Result<ValueId, Refusal> {
        let bias = match weights.biases {
            Some((input, _)) if self == Cell::Gru => Some(input),
            Some((input, hidden)) => Some(lower.pointwise(Expr::binary(Binary::Add), &[input, hidden])?),
            None => None,
        };
        linear_of(lower, x, weights.input, bias)
    }

    /// The next state, from the part that [`Cell::input_part`] gives, `[B, gates * H]`.
    pub(super) fn step(
        self,
        lower: &mut Lower,
        x: ValueId,
        state: State,
        weights: &Weights,
    ) -> Result<State, Refusal> {
        let bias = weights.biases.filter(|_| self == Cell::Gru).map(|(_, hidden)| hidden);
        let h = linear_of(lower, state.hidden, weights.hidden, bias)?;
        let dtype = lower.dtype(x);
        let width = lower.shape(x).last().copied().unwrap_or(0);
        if lower.shape(h) != lower.shape(x) || !width.is_multiple_of(self.gates()) {
            return Err(Refusal::Invalid("the weights do not fit the state".into()));
        }
        let size = width / self.gates();
        let gate = |lower: &mut Lower, v, at: usize| lower.narrow(v, 1, at * size, size);
        match self {
            Cell::Tanh => {
                let hidden = pointwise(lower, [x, h], dtype, |[x, h]| (x + h).tanh())?;
                Ok(State { hidden, cell: None })
            }
            Cell::Relu => {
                let hidden = pointwise(lower, [x, h], dtype, |[x, h]| (x + h).max(0.0))?;
                Ok(State { hidden, cell: None })
            }
            Cell::Gru => {
                let [xr, xz, xn] = [gate(lower, x, 0)?, gate(lower, x, 1)?, gate(lower, x, 2)?];
                let [hr, hz, hn] = [gate(lower, h, 0)?, gate(lower, h, 1)?, gate(lower, h, 2)?];
                let operands = [xr, xz, xn, hr, hz, hn, state.hidden];
                let hidden = pointwise(lower, operands, dtype, |[xr, xz, xn, hr, hz, hn, last]| {
                    let (reset, update) = ((xr + hr).sigmoid(), (xz + hz).sigmoid());
                    let new = (xn + reset * hn).tanh();
                    new + update * (last - new)
                })?;
                Ok(State { hidden, cell: None })
            }
            Cell::Lstm => {
                let last = state.cell.ok_or_else(|| Refusal::Invalid("an LSTM has a cell state".into()))?;
                let sum = lower.pointwise(Expr::binary(Binary::Add), &[h, x])?;
                let [i, f] = [gate(lower, sum, 0)?, gate(lower, sum, 1)?];
                let [g, o] = [gate(lower, sum, 2)?, gate(lower, sum, 3)?];
                let cell = pointwise(lower, [i, f, g, last], dtype, |[i, f, g, c]| {
                    f.sigmoid() * c + i.sigmoid() * g.tanh()
                })?;
                let mut hidden = pointwise(lower, [o, cell], dtype, |[o, c]| o.sigmoid() * c.tanh())?;
                if let Some(projection) = weights.projection {
                    hidden = linear_of(lower, hidden, projection, None)?;
                }
                Ok(State { hidden, cell: Some(cell) })
            }
        }
    }
}

/// One step on `input[B, I]`, as the `*_cell` operators take it.
fn cell(lower: &mut Lower, args: &Args, kind: Cell) -> Result<State, Refusal> {
    let x = float_tensor(lower, args, "input")?;
    if lower.ty(x).rank() != 2 {
        return Err(Refusal::Shape { arg: "input", found: lower.ty(x).clone(), expected: "a batch of vectors" });
    }
    let state = match (kind, args.get("hx")) {
        (Cell::Lstm, _) => match args.tensors("hx")?[..] {
            [hidden, cell] => State { hidden, cell: Some(cell) },
            _ => return Err(Refusal::Invalid("'hx' holds a hidden and a cell state".into())),
        },
        _ => State { hidden: args.tensor("hx")?, cell: None },
    };
    let biases = args.opt_tensor("b_ih")?.zip(args.opt_tensor("b_hh")?);
    let weights =
        Weights { input: args.tensor("w_ih")?, hidden: args.tensor("w_hh")?, biases, projection: None };
    let part = kind.input_part(lower, x, &weights)?;
    kind.step(lower, part, state, &weights)
}

fn lstm_cell(lower: &mut Lower, args: &Args) -> Result<Vec<Item>, Refusal> {
    let state = cell(lower, args, Cell::Lstm)?;
    Ok([Some(state.hidden), state.cell].into_iter().flatten().map(Item::Tensor).collect())
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::lstm_cell(Tensor input, Tensor[] hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> (Tensor, Tensor)",
        ],
        lower: lstm_cell,
    },
    Def {
        schemas: &[
            "aten::gru_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
        ],
        lower: |l, a| one(cell(l, a, Cell::Gru)?.hidden),
    },
    Def {
        schemas: &[
            "aten::rnn_tanh_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
        ],
        lower: |l, a| one(cell(l, a, Cell::Tanh)?.hidden),
    },
    Def {
        schemas: &[
            "aten::rnn_relu_cell(Tensor input, Tensor hx, Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None) -> Tensor",
        ],
        lower: |l, a| one(cell(l, a, Cell::Relu)?.hidden),
    },
];
