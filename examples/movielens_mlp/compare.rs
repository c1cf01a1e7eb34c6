//! Ways to answer batches of users, measured side by side.

use crate::net;
use crate::network::{BEST, CANDIDATES, PAIRS, USERS};
use crate::worker::{Answer, Batch, answer, numbers};
use anyhow::Result;
use examples::ratings::{Rating, Ratings, root_mean_square};
use examples::times::Times;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use trt_subgraph::Random;
use trt_subgraph::session::Session;

/// One way: the scores of all pairs of a batch, and what is recommended.
pub type Path<'a> = dyn FnMut(&Batch) -> Result<(Vec<f32>, Answer)> + 'a;

/// What a path made of all batches.
pub struct Measured {
    /// Root mean square error of held-out ratings, in stars.
    pub error: f64,
    /// Scores of all pairs of all batches.
    pub scores: Vec<f32>,
    /// In the order of the batches.
    pub answers: Vec<Answer>,
    /// What each batch took.
    pub times: Times,
}

/// The path through an engine.
pub fn through(session: &mut Session, batch: &Batch) -> Result<(Vec<f32>, Answer)> {
    let answer = answer(session, batch)?;
    Ok((numbers(session.output("score")?, f32::from_ne_bytes), answer))
}

/// Random users, each with candidates that it has not rated in training, as far as there are enough.
pub fn batches(ratings: &Ratings, n: usize) -> Vec<Batch> {
    let mut rated = vec![HashSet::new(); ratings.users];
    for Rating { user, item, .. } in &ratings.training {
        rated[*user].insert(*item);
    }
    let mut random = Random::new(2);
    let mut candidates = |user: usize| -> Vec<i64> {
        let first = random.below(ratings.items);
        let all = (0..ratings.items).map(|at| (first + at) % ratings.items);
        let (known, new): (Vec<usize>, Vec<usize>) = all.partition(|item| rated[user].contains(item));
        new.into_iter().chain(known).take(CANDIDATES).map(|item| item as i64).collect()
    };
    let mut some = Random::new(3);
    let mut batch = || {
        let users: Vec<usize> = (0..USERS).map(|_| some.below(ratings.users)).collect();
        Batch {
            user: users.iter().flat_map(|&user| [user as i64; CANDIDATES]).collect(),
            item: users.iter().flat_map(|&user| candidates(user)).collect(),
        }
    };
    (0..n).map(|_| batch()).collect()
}

/// All paths: first on the held-out ratings, then by turns on every batch, behind a progress bar. Gradients are off.
pub fn compare<const N: usize>(
    mut paths: [&mut Path; N],
    batches: &[Batch],
    ratings: &Ratings,
) -> Result<[Measured; N]> {
    let _no_grad = tch::no_grad_guard();
    let mut errors = [0.0; N];
    for (error, path) in errors.iter_mut().zip(&mut paths) {
        *error = error_of(path, &ratings.held_out)?;
    }
    let style = ProgressStyle::with_template("comparing {bar:40} {pos}/{len} batches, {elapsed}")?;
    let bar = ProgressBar::new(batches.len() as u64).with_style(style);
    let mut found = [(); N].map(|()| (Vec::new(), Vec::new()));
    for batch in batches {
        for ((scores, answers), path) in found.iter_mut().zip(&mut paths) {
            let (of_batch, answer) = path(batch)?;
            scores.extend(of_batch);
            answers.push(answer);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let mut errors = errors.into_iter();
    Ok(found.map(|(scores, answers): (Vec<f32>, Vec<Answer>)| Measured {
        error: errors.next().expect("as many as paths"),
        scores,
        times: answers.iter().map(|a| a.time).collect(),
        answers,
    }))
}

/// Held-out ratings as pairs, in batches that are filled up with the first user and item.
fn error_of(path: &mut Path, held_out: &[Rating]) -> Result<f64> {
    let mut errors = Vec::with_capacity(held_out.len());
    for some in held_out.chunks(PAIRS) {
        let ids = |of: fn(&Rating) -> usize| {
            let mut ids: Vec<i64> = some.iter().map(|r| of(r) as i64).collect();
            ids.resize(PAIRS, 0);
            ids
        };
        let (scores, _) = path(&Batch { user: ids(|r| r.user), item: ids(|r| r.item) })?;
        errors.extend(some.iter().zip(scores).map(|(r, score)| net::stars(score.into()) - r.stars));
    }
    Ok(root_mean_square(&errors))
}

/// The error of a guess that is always the mean.
pub fn error_of_the_mean(ratings: &Ratings) -> f64 {
    let mean = ratings.mean();
    root_mean_square(&ratings.held_out.iter().map(|r| mean - r.stars).collect::<Vec<_>>())
}

/// At how many places an answer recommends another item than the host does for batch `at`, and by how much the host likes that
/// one less, at most; infinite for an item that was no candidate.
pub fn stray(answer: &Answer, host: &Measured, at: usize, batch: &Batch) -> (usize, f64) {
    let expected = &host.answers[at];
    let scores = &host.scores[at * PAIRS..][..PAIRS];
    let pairs = answer.recommended.iter().zip(&expected.recommended).zip(&expected.best);
    let strays = pairs.enumerate().filter(|(_, ((found, wanted), _))| found != wanted);
    strays.fold((0, 0.0), |(places, worst), (place, ((found, _), &best))| {
        let first = place / BEST * CANDIDATES;
        let candidate = batch.item[first..first + CANDIDATES].iter().position(|item| item == found);
        let loss = candidate.map_or(f64::INFINITY, |c| f64::from(best - scores[first + c]));
        (places + 1, loss.max(worst))
    })
}
