//! Ways to generate text, step by step, measured side by side.

use anyhow::Result;
use examples::times::Times;
use indicatif::{ProgressBar, ProgressStyle};
use std::f64::consts::LN_2;
use std::time::Instant;
use tch::Tensor;
use trt_subgraph::Random;

/// How much the scores weigh against the noise that is added to them; less is bolder. With noise of the Gumbel distribution the best
/// sum is a sample of the softmax of `scores / TEMPERATURE`; without noise it is the likeliest character.
pub const TEMPERATURE: f64 = 0.5;

/// How often each text is generated.
const ROUNDS: usize = 5;

/// A network that reads a character at a time, and what it remembers.
pub trait Generator {
    /// Forgets all that it has read.
    fn reset(&mut self);

    /// Reads a character and chooses the next one.
    fn step(&mut self, character: i64, noise: &[f32]) -> Result<i64>;

    /// The scores behind that choice, one for each character of the vocabulary.
    fn scores(&mut self) -> Result<Vec<f32>>;
}

/// What a generator made.
pub struct Measured {
    /// Bits that a held-out character costs.
    pub bits: f64,
    /// The scores on the held-out text.
    pub scores: Tensor,
    /// What it wrote after the seed.
    pub text: Vec<i64>,
    /// What each writing of the text took.
    pub times: Times,
}

/// What the generators are given.
pub struct Task<'a> {
    /// Text to judge by: every character is predicted from those before.
    pub held_out: &'a [i64],
    /// The beginning of the generated text.
    pub seed: &'a [i64],
    /// Noise for each step, [`noise`] of them.
    pub noise: Vec<Vec<f32>>,
}

/// Noise of the Gumbel distribution: a list for each character that is to be written.
pub fn noise(characters: usize, vocabulary: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(4);
    let mut gumbel = || -(-(1.0 - random.unit()).ln()).max(1e-30).ln() as f32;
    (0..characters).map(|_| (0..vocabulary).map(|_| gumbel()).collect()).collect()
}

impl Task<'_> {
    /// All generators: first on the held-out text, then writing by turns, behind a progress bar. Gradients are off.
    pub fn compare(&self, generators: &mut [&mut dyn Generator]) -> Result<Vec<Measured>> {
        let _no_grad = tch::no_grad_guard();
        let style = ProgressStyle::with_template("comparing {bar:40} {pos}/{len} texts, {elapsed}")?;
        let bar = ProgressBar::new((ROUNDS * generators.len()) as u64).with_style(style);
        let mut measured = Vec::new();
        for generator in generators.iter_mut() {
            let (bits, scores) = self.read(*generator)?;
            measured.push(Measured { bits, scores, text: Vec::new(), times: Times::default() });
        }
        for _ in 0..ROUNDS {
            for (generator, measured) in generators.iter_mut().zip(&mut measured) {
                let start = Instant::now();
                measured.text = self.write(*generator)?;
                measured.times.add(start.elapsed());
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        Ok(measured)
    }

    /// Bits that a held-out character costs, and the scores.
    fn read(&self, generator: &mut dyn Generator) -> Result<(f64, Tensor)> {
        generator.reset();
        let (mut bits, mut all) = (0.0, Vec::new());
        for pair in self.held_out.windows(2) {
            generator.step(pair[0], &self.noise[0])?;
            let scores = generator.scores()?;
            let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = scores.iter().map(|&s| f64::from(s - largest).exp()).sum();
            bits += (sum.ln() - f64::from(scores[pair[1] as usize] - largest)) / LN_2;
            all.extend(scores);
        }
        Ok((bits / (self.held_out.len() - 1) as f64, Tensor::from_slice(&all)))
    }

    /// The seed goes in one character at a time, then each chosen character, with the state of the step before.
    fn write(&self, generator: &mut dyn Generator) -> Result<Vec<i64>> {
        generator.reset();
        let (last, first) = self.seed.split_last().expect("a seed has a character");
        for &character in first {
            generator.step(character, &self.noise[0])?;
        }
        let mut text = vec![*last];
        for noise in &self.noise {
            text.push(generator.step(text[text.len() - 1], noise)?);
        }
        Ok(text.split_off(1))
    }
}
