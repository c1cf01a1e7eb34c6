//! The network by hand: a recurrent layer whose weights are set gate by gate.

use crate::generate::{Generator, TEMPERATURE};
use crate::net::{HIDDEN, LAYERS};
use anyhow::Result;
use examples::weights::{Weights, literal};
use trt_subgraph::define::{Cell, Definition, Elementwise, Gate, GateWeights, Recurrent};
use trt_subgraph::session::Session;
use trt_subgraph::{DType, Literal};

/// The gates of an LSTM in the order in which torch has their rows in a weight.
const ROWS: [Gate; 4] = [Gate::Input, Gate::Forget, Gate::Cell, Gate::Output];

/// `character[1, 1]`, `noise[1, vocabulary]`, `hidden` and `cell[2, 1, 192]` to `scores[1, vocabulary]`, `next[1, 1]`, and the state
/// under the names that it goes in with.
pub fn define(weights: &Weights, vocabulary: usize) -> Result<Definition> {
    let (layers, width) = (LAYERS as usize, HIDDEN as usize);
    let mut n = Definition::new();
    let character = n.input("character", DType::I64, &[1, 1])?;
    let noise = n.input("noise", DType::F32, &[1, vocabulary])?;
    let hidden = n.input("hidden", DType::F32, &[layers, 1, width])?;
    let cell = n.input("cell", DType::F32, &[layers, 1, width])?;

    let table = weights.enter(&mut n, "embedding.weight")?;
    let x = n.layer("embedding").gather(table, character, 0)?;
    let mut lstm = Recurrent::new(Cell::Lstm, layers);
    for layer in 0..layers {
        for (at, gate) in ROWS.into_iter().enumerate() {
            let mut part = |kind: &str| -> Result<_> {
                let whole = weights.get(&format!("lstm.{kind}_l{layer}"))?;
                let rows = whole.narrow(0, at as i64 * HIDDEN, HIDDEN);
                Ok(n.weight(&format!("{kind}, layer {layer}, {gate:?}"), literal(&rows)?)?)
            };
            let input = part("weight_ih")?;
            let hidden = part("weight_hh")?;
            let biases = Some((part("bias_ih")?, part("bias_hh")?));
            lstm.set(layer, gate, GateWeights { input, hidden, biases });
        }
    }
    let out = n.layer("lstm").recurrent(x, &lstm, hidden, Some(cell))?;

    let last = n.reshape(out.states, &[1, width])?;
    let weight = weights.enter(&mut n, "scores.weight")?;
    let bias = weights.enter(&mut n, "scores.bias")?;
    let scores = n.layer("scores").fully_connected(last, weight, Some(bias))?;

    let temperature = n.constant(Literal::scalar(DType::F32, TEMPERATURE))?;
    let tempered = n.layer("next").elementwise(scores, temperature, Elementwise::Quotient)?;
    let noisy = n.elementwise(tempered, noise, Elementwise::Sum)?;
    let (_, next) = n.top_k(noisy, 1, 1, true)?;

    n.output("scores", scores)?;
    n.output("next", next)?;
    n.output("hidden", out.hidden)?;
    n.output("cell", out.cell.expect("an LSTM has one"))?;
    Ok(n)
}

/// Runs its engine, and carries the state over from outputs to inputs.
pub struct ByHand(pub Session);

impl Generator for ByHand {
    fn reset(&mut self) {
        for name in ["hidden", "cell"] {
            self.0.input_mut(name).expect("the definition has it").fill(0);
        }
    }

    fn step(&mut self, character: i64, noise: &[f32]) -> Result<i64> {
        self.0.input_mut("character")?.copy_from_slice(&character.to_ne_bytes());
        let bytes = self.0.input_mut("noise")?.chunks_exact_mut(4);
        bytes.zip(noise).for_each(|(to, v)| to.copy_from_slice(&v.to_ne_bytes()));
        self.0.run()?;
        for name in ["hidden", "cell"] {
            let state = self.0.output(name)?.to_vec();
            self.0.input_mut(name)?.copy_from_slice(&state);
        }
        Ok(self.0.get("next")?.i64_at(0))
    }

    fn scores(&mut self) -> Result<Vec<f32>> {
        Ok(self.0.get("scores")?.to_f64().into_iter().map(|v| v as f32).collect())
    }
}
