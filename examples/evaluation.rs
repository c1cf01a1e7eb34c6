//! How well and how fast a path answers a held-out set.

use crate::times::Times;
use anyhow::{Context, Result};
use indicatif::ProgressBar;
use std::time::{Duration, Instant};
use tch::vision::dataset::Dataset;
use tch::{Kind, Tensor};

/// One way to get class scores `[n, classes]` for a batch of images: the host, or the engines.
pub type Path<'a> = dyn FnMut(&Tensor) -> Result<Tensor> + 'a;

/// Passes that are timed: as many as fit into this time, but within [`PASSES`].
const BUDGET: Duration = Duration::from_secs(5);

/// The fewest and the most timed passes of a path.
const PASSES: (u32, u32) = (3, 51);

/// What one path made of a held-out set.
#[derive(Debug)]
pub struct Evaluation {
    /// Share of images whose highest score is that of their label, 0 to 1.
    pub accuracy: f64,
    /// Time of the path's calls over the whole set; where several passes were made, their median.
    pub time: Duration,
    /// How far the middle half of those passes lie apart, as a part of their median; 0 for one pass.
    pub spread: f64,
    /// The scores, `[images, classes]`.
    pub scores: Tensor,
}

/// One pass of `path` over the held-out part of `data` in batches of `batch`, the last as small as it falls.
/// Gradients are off.
pub fn evaluate(data: &Dataset, batch: i64, path: &mut Path) -> Result<Evaluation> {
    let _no_grad = tch::no_grad_guard();
    let mut scores = Vec::new();
    let mut time = Duration::ZERO;
    for (images, _) in data.test_iter(batch).return_smaller_last_batch() {
        let start = Instant::now();
        let answer = path(&images);
        time += start.elapsed();
        scores.push(answer.with_context(|| format!("a batch of shape {:?}", images.size()))?);
    }
    let scores = Tensor::f_cat(&scores, 0)?;
    let right = scores.f_argmax(-1, false)?.f_eq_tensor(&data.test_labels)?;
    let accuracy = right.to_kind(Kind::Float).mean(Kind::Double).double_value(&[]);
    Ok(Evaluation { accuracy, time, spread: 0.0, scores })
}

/// Evaluates two paths side by side: one pass of each to warm up, then timed passes by turns, so that both see the same
/// machine. `bar` shows the turns.
pub fn compare(
    data: &Dataset,
    batch: i64,
    first: &mut Path,
    second: &mut Path,
    bar: &ProgressBar,
) -> Result<[Evaluation; 2]> {
    let mut evaluations = [evaluate(data, batch, first)?, evaluate(data, batch, second)?];
    let turn = evaluations[0].time + evaluations[1].time;
    let turns = (BUDGET.as_secs_f64() / turn.as_secs_f64()) as u32;
    let turns = turns.clamp(PASSES.0, PASSES.1);
    bar.set_length(turns.into());
    let mut times = [Times::default(), Times::default()];
    for _ in 0..turns {
        times[0].add(evaluate(data, batch, first)?.time);
        times[1].add(evaluate(data, batch, second)?.time);
        bar.inc(1);
    }
    for (evaluation, times) in evaluations.iter_mut().zip(&times) {
        (evaluation.time, evaluation.spread) = (times.median(), times.spread());
    }
    Ok(evaluations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits;

    /// Scores that are right for labels below `known`, and class 0 otherwise.
    fn oracle(data: &Dataset, known: i64) -> impl FnMut(&Tensor) -> Result<Tensor> + use<> {
        let labels = &data.test_labels;
        let scores =
            labels.where_self(&labels.lt(known), &labels.zeros_like()).one_hot(10).to_kind(Kind::Float);
        let mut start = 0;
        move |images| {
            let n = images.size()[0];
            let answer = scores.narrow(0, start, n);
            start = (start + n) % scores.size()[0];
            Ok(answer)
        }
    }

    #[test]
    fn accuracy_counts_every_image_once() {
        let data = digits::shipped().unwrap();
        let all = evaluate(&data, 64, &mut oracle(&data, 10)).unwrap();
        assert_eq!((all.accuracy, all.scores.size()), (1., vec![359, 10]));
        let bar = ProgressBar::hidden();
        let [all, five] = compare(&data, 100, &mut oracle(&data, 10), &mut oracle(&data, 5), &bar).unwrap();
        let expected = data.test_labels.lt(5).to_kind(Kind::Float).mean(Kind::Double).double_value(&[]);
        assert_eq!((all.accuracy, five.accuracy), (1., expected));
        assert_eq!(Some(bar.position()), bar.length());
    }

    #[test]
    fn an_error_names_the_batch() {
        let data = digits::shipped().unwrap();
        let error = evaluate(&data, 64, &mut |_| anyhow::bail!("no")).unwrap_err();
        assert_eq!(format!("{error:#}"), "a batch of shape [64, 1, 28, 28]: no");
    }
}
