//! The trained recommender through the network API, and the layer that is added to it.

use anyhow::Result;
use examples::weights::Weights;
use trt_subgraph::DType;
use trt_subgraph::define::{Activation, Definition};
use trt_subgraph::network::{LayerKind, ValueId};

/// Users in a batch.
pub const USERS: usize = 32;

/// Items that are scored for each of them.
pub const CANDIDATES: usize = 100;

/// Pairs of a user and an item in a batch.
pub const PAIRS: usize = USERS * CANDIDATES;

/// Items that are recommended to each user.
pub const BEST: usize = 5;

/// `user[3200]` and `item[3200]`, 100 pairs for each user of the batch, to
/// * `score[3200]`, the answers of the trained network, f32 in 0 to 1;
/// * `best[32, 5]`, the five best of each user, best first, and `recommended[32, 5]`, which items those are.
///
/// Computes in `precision`.
pub fn define(weights: &Weights, precision: DType) -> Result<Definition> {
    let mut n = Definition::in_precision(precision);
    let user = n.input("user", DType::I64, &[PAIRS])?;
    let item = n.input("item", DType::I64, &[PAIRS])?;
    let score = trained(&mut n, weights, user, item)?;

    // What the trained network does not have: the best of each user.
    let by_user = n.layer("by user").reshape(score, &[USERS, CANDIDATES])?;
    let (best, position) = n.layer("top-k").top_k(by_user, BEST, 1, true)?;
    let items = n.layer("recommended").reshape(item, &[USERS, CANDIDATES])?;
    let recommended = n.add(LayerKind::Gather { axis: 1, elements: true }, &[items, position])?[0];

    n.output("score", score)?;
    n.output("best", best)?;
    n.output("recommended", recommended)?;
    Ok(n)
}

/// The layers of [`crate::net::Recommender::scores`], with its weights.
fn trained(n: &mut Definition, weights: &Weights, user: ValueId, item: ValueId) -> Result<ValueId> {
    let [users, items] = [weights.enter(n, "users.weight")?, weights.enter(n, "items.weight")?];
    let user = n.layer("user").gather(users, user, 0)?;
    let item = n.layer("item").gather(items, item, 0)?;
    let mut x = n.layer("pair").concat(&[user, item], 1)?;
    for (name, activation) in
        [("hidden1", Activation::Relu), ("hidden2", Activation::Relu), ("score", Activation::Sigmoid)]
    {
        let weight = weights.enter(n, &format!("{name}.weight"))?;
        let bias = weights.enter(n, &format!("{name}.bias"))?;
        x = n.layer(name).fully_connected(x, weight, Some(bias))?;
        x = n.activation(x, activation)?;
    }
    Ok(n.reshape(x, &[PAIRS])?)
}
