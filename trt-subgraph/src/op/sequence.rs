//! Recurrent networks over short sequences, unrolled: several layers, both directions, projections.

use super::recurrent::{Cell, State, Weights};
use super::{Def, float_tensor};
use crate::network::{LayerKind, ValueId};
use crate::source::{Args, Item, Lower, Refusal};

/// Steps times layers times directions that are unrolled at most; longer sequences stay on the host.
const LONGEST: usize = 128;

/// The arguments that all kinds share.
struct Stack {
    kind: Cell,
    /// `[T, B, I]`.
    x: ValueId,
    layers: usize,
    directions: usize,
    /// One for each layer and direction.
    weights: Vec<Weights>,
}

impl Stack {
    fn read(lower: &mut Lower, args: &Args, kind: Cell, projected: bool) -> Result<Stack, Refusal> {
        let mut x = float_tensor(lower, args, "input")?;
        if lower.ty(x).rank() != 3 {
            let found = lower.ty(x).clone();
            return Err(Refusal::Shape { arg: "input", found, expected: "length, batch and size" });
        }
        if args.flag("batch_first")? {
            x = lower.permute(x, vec![1, 0, 2])?;
        }
        if args.flag("train")? && args.float("dropout")? != 0.0 {
            return Err(Refusal::Effect("dropout between layers draws random numbers"));
        }
        let layers = args.sizes(lower, "num_layers", 1, None)?[0];
        let directions = if args.flag("bidirectional")? { 2 } else { 1 };
        let length = lower.shape(x)[0];
        if length == 0 || layers == 0 {
            return Err(Refusal::Invalid("no steps or no layers".into()));
        }
        if length * layers * directions > LONGEST {
            let why = format!("{length} steps are too many to unroll");
            return Err(Refusal::Attribute { arg: "input".into(), why });
        }
        let (biased, params) = (args.flag("has_biases")?, args.tensors("params")?);
        let each = 2 + if biased { 2 } else { 0 } + usize::from(projected);
        if params.len() != each * layers * directions {
            return Err(Refusal::Invalid("'params' does not hold the weights of every layer".into()));
        }
        let weights = params.chunks(each).map(|p| Weights {
            input: p[0],
            hidden: p[1],
            biases: biased.then(|| (p[2], p[3])),
            projection: projected.then(|| p[each - 1]),
        });
        Ok(Stack { kind, x, layers, directions, weights: weights.collect() })
    }

    /// The hidden states of the last layer `[T, B, directions * P]`, and the last state of every layer and direction.
    fn lower(&self, lower: &mut Lower, first: &[State]) -> Result<(ValueId, Vec<State>), Refusal> {
        let (mut x, mut last) = (self.x, Vec::new());
        for layer in 0..self.layers {
            let mut sides = Vec::new();
            for direction in 0..self.directions {
                let at = layer * self.directions + direction;
                let (states, end) = self.sweep(lower, x, first[at], &self.weights[at], direction == 1)?;
                sides.push(states);
                last.push(end);
            }
            x = concat(lower, 2, &sides)?;
        }
        Ok((x, last))
    }

    /// One layer in one direction.
    fn sweep(
        &self,
        lower: &mut Lower,
        x: ValueId,
        first: State,
        weights: &Weights,
        backwards: bool,
    ) -> Result<(ValueId, State), Refusal> {
        let parts = self.kind.input_part(lower, x, weights)?;
        let &[length, batch, width] = lower.shape(parts) else {
            return Err(Refusal::Invalid("the weights do not fit the input".into()));
        };
        let (mut state, mut states) = (first, Vec::with_capacity(length));
        for step in 0..length {
            let step = if backwards { length - 1 - step } else { step };
            let part = lower.narrow(parts, 0, step, 1)?;
            let part = lower.reshape(part, [batch, width])?;
            state = self.kind.step(lower, part, state, weights)?;
            states.push(stacked(lower, state.hidden)?);
        }
        if backwards {
            states.reverse();
        }
        Ok((concat(lower, 0, &states)?, state))
    }
}

fn stacked(lower: &mut Lower, v: ValueId) -> Result<ValueId, Refusal> {
    let shape = [&[1], lower.shape(v)].concat();
    lower.reshape(v, shape)
}

fn concat(lower: &mut Lower, axis: usize, parts: &[ValueId]) -> Result<ValueId, Refusal> {
    if let [one] = parts { Ok(*one) } else { lower.add(LayerKind::Concat { axis }, parts) }
}

/// The rows of `v[layers * directions, B, size]`.
fn rows(lower: &mut Lower, v: ValueId, count: usize) -> Result<Vec<ValueId>, Refusal> {
    match *lower.shape(v) {
        [n, batch, size] if n == count => (0..count)
            .map(|at| {
                let row = lower.narrow(v, 0, at, 1)?;
                lower.reshape(row, [batch, size])
            })
            .collect(),
        _ => {
            let expected = "a state for each layer and direction";
            Err(Refusal::Shape { arg: "hx", found: lower.ty(v).clone(), expected })
        }
    }
}

fn run(lower: &mut Lower, args: &Args, kind: Cell) -> Result<Vec<Item>, Refusal> {
    let first: Vec<ValueId> = match kind {
        Cell::Lstm => args.tensors("hx")?,
        _ => vec![args.tensor("hx")?],
    };
    let projected = match first[..] {
        [hidden, cell] => lower.shape(hidden).last() != lower.shape(cell).last(),
        _ if kind == Cell::Lstm => return Err(Refusal::Invalid("'hx' holds two states".into())),
        _ => false,
    };
    let stack = Stack::read(lower, args, kind, projected)?;
    let mut states = first.into_iter().map(|v| rows(lower, v, stack.weights.len())).collect::<Result<Vec<_>, _>>()?;
    let cells = states.get(1).cloned();
    let hidden = states.swap_remove(0);
    let state = |(at, hidden)| State { hidden, cell: cells.as_ref().map(|c| c[at]) };
    let first: Vec<State> = hidden.into_iter().enumerate().map(state).collect();
    let (mut out, last) = stack.lower(lower, &first)?;
    if args.flag("batch_first")? {
        out = lower.permute(out, vec![1, 0, 2])?;
    }
    let mut results = vec![Item::Tensor(out)];
    let hidden: Vec<ValueId> = last.iter().map(|s| s.hidden).collect();
    let cells: Vec<ValueId> = last.iter().filter_map(|s| s.cell).collect();
    for ends in [hidden, cells].iter().filter(|ends| !ends.is_empty()) {
        let ends = ends.iter().map(|&v| stacked(lower, v)).collect::<Result<Vec<_>, _>>()?;
        results.push(Item::Tensor(concat(lower, 0, &ends)?));
    }
    Ok(results)
}

pub(super) const OPS: &[Def] = &[
    Def {
        schemas: &[
            "aten::lstm.input(Tensor input, Tensor[] hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor, Tensor)",
        ],
        lower: |l, a| run(l, a, Cell::Lstm),
    },
    Def {
        schemas: &[
            "aten::gru.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        ],
        lower: |l, a| run(l, a, Cell::Gru),
    },
    Def {
        schemas: &[
            "aten::rnn_tanh.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        ],
        lower: |l, a| run(l, a, Cell::Tanh),
    },
    Def {
        schemas: &[
            "aten::rnn_relu.input(Tensor input, Tensor hx, Tensor[] params, bool has_biases, int num_layers, float dropout, bool train, bool bidirectional, bool batch_first) -> (Tensor, Tensor)",
        ],
        lower: |l, a| run(l, a, Cell::Relu),
    },
];
