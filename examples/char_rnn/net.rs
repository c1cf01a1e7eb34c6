//! The network as it is trained and run on the host: with tch.

use crate::generate::{Generator, TEMPERATURE};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tch::nn::{self, Module, OptimizerConfig, RNN, RNNConfig, VarStore};
use tch::{Device, Kind, Tensor};

/// Layers of the LSTM, and units in each.
pub const LAYERS: i64 = 2;
pub const HIDDEN: i64 = 192;

/// Numbers that stand for a character.
const EMBEDDING: i64 = 64;

/// Texts in a training step, and characters of each.
const BATCH: i64 = 32;
const LENGTH: i64 = 50;

/// How often training sees a character, and its most steps.
const EPOCHS: usize = 3;
const STEPS: usize = 500;

/// A character's successor by all that went before.
pub struct CharRnn {
    embedding: nn::Embedding,
    lstm: nn::LSTM,
    scores: nn::Linear,
}

impl CharRnn {
    /// Makes the variables in `vs`.
    pub fn new(vs: &nn::Path, vocabulary: usize) -> CharRnn {
        let config = RNNConfig { num_layers: LAYERS, ..RNNConfig::default() };
        let vocabulary = vocabulary as i64;
        CharRnn {
            embedding: nn::embedding(vs / "embedding", vocabulary, EMBEDDING, Default::default()),
            lstm: nn::lstm(vs / "lstm", EMBEDDING, HIDDEN, config),
            scores: nn::linear(vs / "scores", HIDDEN, vocabulary, Default::default()),
        }
    }

    /// `characters[B, T]` and the state before them to scores `[B, T, vocabulary]` and the state after.
    fn forward(&self, characters: &Tensor, state: &nn::LSTMState) -> (Tensor, nn::LSTMState) {
        let (states, state) = self.lstm.seq_init(&self.embedding.forward(characters), state);
        (states.apply(&self.scores), state)
    }

    /// One character `[1, 1]`, noise `[1, vocabulary]`, and the state `[2, 1, 192]` twice, to the scores of its successors
    /// `[1, vocabulary]`, the chosen one `[1, 1]`, and the state twice.
    pub fn step(&self, inputs: &[Tensor]) -> Vec<Tensor> {
        let [character, noise, hidden, cell] = inputs else { panic!("a step has four inputs") };
        let state = nn::LSTMState((hidden.shallow_clone(), cell.shallow_clone()));
        let (scores, nn::LSTMState((hidden, cell))) = self.forward(character, &state);
        let scores = scores.squeeze_dim(1);
        let (_, next) = (&scores / TEMPERATURE + noise).topk(1, 1, true, true);
        vec![scores, next, hidden, cell]
    }

    /// Trains with Adam on random stretches of `text`, behind a progress bar; the last third in smaller steps.
    pub fn train(&self, vs: &VarStore, text: &[i64]) -> Result<()> {
        let text = Tensor::from_slice(text);
        let n = text.size()[0];
        let steps = (EPOCHS * n as usize / (BATCH * LENGTH) as usize).clamp(1, STEPS);
        let style = ProgressStyle::with_template("training {bar:40} {pos}/{len} steps, {elapsed}, {msg}")?;
        let bar = ProgressBar::new(steps as u64).with_style(style);
        let mut adam = nn::Adam::default().build(vs, 5e-3)?;
        let text = text.to_device(vs.device());
        let stretch = Tensor::arange(LENGTH + 1, (Kind::Int64, vs.device()));
        for step in 0..steps {
            adam.set_lr(if step * 3 < steps * 2 { 5e-3 } else { 1e-3 });
            let starts = Tensor::randint(n - LENGTH, [BATCH, 1], (Kind::Int64, Device::Cpu));
            let characters = text.take(&(starts.to_device(vs.device()) + &stretch));
            let (scores, _) = self.forward(&characters.narrow(1, 0, LENGTH), &self.lstm.zero_state(BATCH));
            let next = characters.narrow(1, 1, LENGTH).flatten(0, -1);
            let loss = scores.flatten(0, 1).cross_entropy_for_logits(&next);
            adam.backward_step_clip_norm(&loss, 1.0);
            bar.inc(1);
            let bits = loss.double_value(&[]) / std::f64::consts::LN_2;
            bar.set_message(format!("{bits:.2} bits a character"));
        }
        bar.finish();
        // Gradients that stay would have each evaluation compare all weights.
        adam.zero_grad();
        Ok(())
    }

    /// The shortest text that training takes.
    pub const SHORTEST: usize = LENGTH as usize + 2;
}

/// The state before any text, twice.
pub fn silence(device: Device) -> [Tensor; 2] {
    [(); 2].map(|()| Tensor::zeros([LAYERS, 1, HIDDEN], (Kind::Float, device)))
}

/// Runs steps of the network that take and give tensors, and carries the state over.
pub struct Stepwise<F> {
    device: Device,
    step: F,
    /// Scores, chosen character, state twice.
    latest: Vec<Tensor>,
}

impl<F: FnMut(&[Tensor]) -> Result<Vec<Tensor>>> Stepwise<F> {
    /// From silence, on the network's device.
    pub fn new(device: Device, step: F) -> Stepwise<F> {
        let mut new = Stepwise { device, step, latest: Vec::new() };
        new.reset();
        new
    }
}

impl<F: FnMut(&[Tensor]) -> Result<Vec<Tensor>>> Generator for Stepwise<F> {
    fn reset(&mut self) {
        let none = || Tensor::zeros([0], (Kind::Float, Device::Cpu));
        self.latest = [none(), none()].into_iter().chain(silence(self.device)).collect();
    }

    fn step(&mut self, character: i64, noise: &[f32]) -> Result<i64> {
        let character = Tensor::from_slice(&[character]).view([1, 1]).to_device(self.device);
        let noise = Tensor::from_slice(noise).view([1, -1]).to_device(self.device);
        let [_, _, hidden, cell] = &self.latest[..] else { panic!("a step has four outputs") };
        self.latest = (self.step)(&[character, noise, hidden.shallow_clone(), cell.shallow_clone()])?;
        Ok(self.latest[1].int64_value(&[0, 0]))
    }

    fn scores(&mut self) -> Result<Vec<f32>> {
        Ok(Vec::try_from(self.latest[0].flatten(0, -1))?)
    }
}
