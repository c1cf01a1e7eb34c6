//! A recommender by hand: defined, built, saved, opened and run. `docs/network-builder.md` walks through it.
//!
//! `cargo run --release -p trt-subgraph --example network_builder`

use trt_subgraph::backend::{CompileOptions, choose};
use trt_subgraph::define::{Activation, Definition};
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;
use trt_subgraph::{DType, Literal, Random, TensorType};

const USERS: usize = 100;
const ITEMS: usize = 200;
const WIDTH: usize = 16;
const BATCH: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut random = Random::new(1);
    let mut trained = |shape: &[usize]| random.literal_in(TensorType::new(DType::F32, shape), -0.5, 0.5);

    // Every item is scored for each user of the batch: an embedding each, two layers, a sigmoid.
    let mut n = Definition::new();
    let user = n.input("user", DType::I64, &[BATCH])?;
    let users = n.weight("users", trained(&[USERS, WIDTH]))?;
    let items = n.weight("items", trained(&[ITEMS, WIDTH]))?;
    let (w1, b1) =
        (n.weight("hidden.weight", trained(&[WIDTH, WIDTH]))?, n.weight("hidden.bias", trained(&[WIDTH]))?);
    let taste = n.layer("user embedding").gather(users, user, 0)?;
    let hidden = n.layer("hidden").fully_connected(taste, w1, Some(b1))?;
    let hidden = n.activation(hidden, Activation::Relu)?;
    let scores = n.layer("scores").fully_connected(hidden, items, None)?;
    let scores = n.activation(scores, Activation::Sigmoid)?;
    let (best, item) = n.layer("best items").top_k(scores, 3, 1, true)?;
    n.output("item", item)?;
    n.output("score", best)?;

    // Built for the fastest backend here, and saved; the file is all that the next part needs.
    let backend = choose("auto")?;
    n.workspace_limit(1 << 20);
    let built = n.build(backend, &CompileOptions::default())?;
    let path = std::env::temp_dir().join(format!("recommender-{}.plan", std::process::id()));
    built.save(&path)?;

    let plan = Plan::open(&path)?;
    let mut session = Session::new(&plan, backend, plan.options())?;
    let batch = Literal::from_i64(TensorType::new(DType::I64, [BATCH]), [0, 7, 42, 99])
        .expect("as many as the batch has");
    session.set("user", &batch)?;
    session.run()?;
    let (item, score) = (session.get("item")?, session.get("score")?);
    for (row, user) in [0, 7, 42, 99].into_iter().enumerate() {
        let best =
            (3 * row..3 * row + 3).map(|at| format!("{:>4} ({:.3})", item.i64_at(at), score.f64_at(at)));
        println!("user {user:>3}: items {}", best.collect::<Vec<_>>().join(" "));
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
