//! The recommender as it is trained: with tch.

use crate::network::{BEST, CANDIDATES, USERS};
use crate::worker::{Answer, Batch};
use anyhow::Result;
use examples::ratings::{Rating, Ratings, STARS};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;
use tch::nn::{self, Module, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};

/// Numbers that stand for a user, and for an item.
const WIDTH: i64 = 32;

/// Units of the two hidden layers.
const HIDDEN: [i64; 2] = [64, 32];

/// Ratings in a training step.
const BATCH: i64 = 512;

/// How often training sees a rating, and its most steps.
const EPOCHS: usize = 12;
const STEPS: usize = 4_000;

/// A perceptron on what stands for a user and an item (He et al., Neural Collaborative Filtering, 2017).
pub struct Recommender {
    users: nn::Embedding,
    items: nn::Embedding,
    hidden: [nn::Linear; 2],
    score: nn::Linear,
}

impl Recommender {
    /// Makes the variables in `vs`.
    pub fn new(vs: &nn::Path, users: usize, items: usize) -> Recommender {
        let table = |name, n: usize| nn::embedding(vs / name, n as i64, WIDTH, Default::default());
        let layer = |name, inputs, outputs| nn::linear(vs / name, inputs, outputs, Default::default());
        Recommender {
            users: table("users", users),
            items: table("items", items),
            hidden: [layer("hidden1", 2 * WIDTH, HIDDEN[0]), layer("hidden2", HIDDEN[0], HIDDEN[1])],
            score: layer("score", HIDDEN[1], 1),
        }
    }

    fn logits(&self, user: &Tensor, item: &Tensor) -> Tensor {
        let mut x = Tensor::cat(&[self.users.forward(user), self.items.forward(item)], 1);
        for layer in &self.hidden {
            x = x.apply(layer).relu();
        }
        x.apply(&self.score).squeeze_dim(1)
    }

    /// How much each user likes the item beside: `user[n]` and `item[n]`, `i64`, to `[n]` in 0 to 1.
    pub fn scores(&self, user: &Tensor, item: &Tensor) -> Tensor {
        self.logits(user, item).sigmoid()
    }

    /// The scores of a batch, and the best items of each user.
    pub fn answer(&self, batch: &Batch) -> Result<(Vec<f32>, Answer)> {
        let start = Instant::now();
        let (user, item) = (Tensor::from_slice(&batch.user), Tensor::from_slice(&batch.item));
        let scores = self.scores(&user, &item);
        let by_user = [USERS as i64, CANDIDATES as i64];
        let (best, position) = scores.view(by_user).topk(BEST as i64, 1, true, true);
        let recommended = item.view(by_user).gather(1, &position, false);
        let recommended = Vec::try_from(recommended.flatten(0, -1))?;
        let best = Vec::try_from(best.flatten(0, -1))?;
        let time = start.elapsed();
        Ok((Vec::try_from(scores)?, Answer { recommended, best, time }))
    }

    /// Trains with Adam, behind a progress bar; the last third in smaller steps.
    pub fn train(&self, vs: &VarStore, ratings: &Ratings) -> Result<()> {
        let column =
            |of: fn(&Rating) -> i64| Tensor::from_slice(&ratings.training.iter().map(of).collect::<Vec<_>>());
        let (user, item) = (column(|r| r.user as i64), column(|r| r.item as i64));
        let scores: Vec<f32> = ratings.training.iter().map(|r| score(r.stars) as f32).collect();
        let scores = Tensor::from_slice(&scores);
        let n = ratings.training.len() as i64;
        let steps = (EPOCHS * (n as usize).div_ceil(BATCH as usize)).min(STEPS);
        let style = ProgressStyle::with_template("training {bar:40} {pos}/{len} steps, {elapsed}, {msg}")?;
        let bar = ProgressBar::new(steps as u64).with_style(style);
        let mut adam = nn::Adam::default().wd(1e-5).build(vs, 4e-3)?;
        for step in 0..steps {
            adam.set_lr(if step * 3 < steps * 2 { 4e-3 } else { 8e-4 });
            let some = Tensor::randint(n, [BATCH.min(n)], (Kind::Int64, Device::Cpu));
            let pick = |of: &Tensor| of.index_select(0, &some);
            let logits = self.logits(&pick(&user), &pick(&item));
            let loss = logits.binary_cross_entropy_with_logits::<Tensor>(
                &pick(&scores),
                None,
                None,
                tch::Reduction::Mean,
            );
            adam.backward_step(&loss);
            bar.inc(1);
            if step % 20 == 0 {
                bar.set_message(format!("loss {:.4}", loss.double_value(&[])));
            }
        }
        bar.finish();
        // Gradients that stay would have each evaluation compare all weights.
        adam.zero_grad();
        Ok(())
    }
}

/// Stars as a score in 0 to 1.
fn score(stars: f64) -> f64 {
    (stars - STARS.0) / (STARS.1 - STARS.0)
}

/// A score as stars.
pub fn stars(score: f64) -> f64 {
    STARS.0 + score * (STARS.1 - STARS.0)
}
