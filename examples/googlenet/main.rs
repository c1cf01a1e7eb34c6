//! GoogLeNet, the build phase: the network by hand with the weights of a host's, fused, built for several batches, compared with the
//! host, and saved. The deploy phase is another program, `googlenet_deploy`, which needs no libtorch.
//!
//! ```sh
//! cargo run --release --example googlenet                # plans into target/googlenet
//! cargo run --release -p googlenet_deploy                # runs them
//! ```
//!
//! `googlenet [--weights FILE] [--image FILE] [--folder FOLDER] [BATCH...]`: weights that `VarStore::save` wrote, random ones without; an
//! image to classify, noise without; where plans go; batches, 1, 2, 4, 8 and 16 without. The engine runs on a GPU where there is
//! one, the host on the CPU; `TRT_BACKEND=cpu` has both there. Ends with exit code 1 when an engine's answers are not the host's.

mod by_hand;
mod fusion;
mod host;
mod network;

use anyhow::{Context, Result, anyhow, bail, ensure};
use by_hand::ByHand;
use examples::difference::{Difference, TOLERANCE_ON_A_GPU};
use examples::picture;
use examples::times::{Times, note_if_busy};
use examples::weights::{Weights, literal, load};
use fusion::Fusion;
use host::Host;
use indicatif::{ProgressBar, ProgressStyle};
use network::{SIDE, lay};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tch::nn::VarStore;
use tch::vision::imagenet;
use tch::{Device, Kind, Tensor};
use trt_subgraph::DType;
use trt_subgraph::backend::{CompileOptions, choose};
use trt_subgraph::define::Definition;
use trt_subgraph::plan::Plan;
use trt_subgraph::session::Session;

/// The farthest that a probability may lie from the host's, which runs on the CPU, as a part of the largest.
const TOLERANCE: f64 = 1e-4;

/// Time for comparing host and engine at a batch; each is called three times at least.
const BUDGET: Duration = Duration::from_secs(4);

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let Arguments { weights, image, folder, batches } = Arguments::read()?;
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);

    // The host's network; its first pass makes the variables.
    let mut vs = VarStore::new(Device::Cpu);
    let noise = |batch: i64| Tensor::randn([batch, 3, SIDE, SIDE], (Kind::Float, Device::Cpu));
    drop(lay(&mut Host(vs.root()), &noise(1))?);
    if let Some(file) = weights {
        load(&mut vs, &file).with_context(|| format!("no weights of this network in {file}"))?;
    }
    let image = image.map(|file| classified(&file)).transpose()?;

    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let weights = Weights::of(&vs);
    println!("{}", Fusion::of(&define(&weights, batches[0])?.network()));
    println!(
        "{:>6}{:>14}{:>14}{:>10}{:>12}{:>16}{:>14}{:>12}",
        "batch", "host", "engine", "speed-up", "build", "plan, bytes", "same class", "difference"
    );
    let mut spreads = Vec::new();
    for batch in batches {
        let images = match &image {
            Some(image) => image.unsqueeze(0).repeat([batch, 1, 1, 1]),
            None => noise(batch),
        };
        let (row, spread) = measure(&vs, &weights, &images, &folder)?;
        println!("{row}");
        spreads.push(spread);
    }
    println!("host and engine: time of a batch; same class: images whose likeliest class is the host's;");
    println!("difference: the largest of the probabilities, as a part of their scale");
    note_if_busy(spreads);
    let folder = folder.display();
    println!("the plans are in {folder}; `cargo run --release -p googlenet_deploy -- {folder}` runs them");
    Ok(())
}

/// The image in a file, as the network wants it. libtorch's Rust bindings tell of a file that they cannot read without a word of why.
fn classified(file: &str) -> Result<Tensor> {
    std::fs::read(file).with_context(|| format!("no image in {file}"))?;
    let image = imagenet::load_image_and_resize224(file);
    image.map_err(|_| anyhow!("no image in {file}: wanted is a JPEG or a PNG"))
}

struct Arguments {
    weights: Option<String>,
    image: Option<String>,
    folder: PathBuf,
    batches: Vec<i64>,
}

impl Arguments {
    fn read() -> Result<Arguments> {
        let mut found =
            Arguments { weights: None, image: None, folder: picture("googlenet")?, batches: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "--weights" => found.weights = Some(value()?),
                "--image" => found.image = Some(value()?),
                "--folder" => found.folder = value()?.into(),
                number => match number.parse() {
                    Ok(batch) if batch > 0 => found.batches.push(batch),
                    _ => bail!("`{number}` is no batch; --weights, --image, --folder and numbers are known"),
                },
            }
        }
        if found.batches.is_empty() {
            found.batches = vec![1, 2, 4, 8, 16];
        }
        Ok(found)
    }
}

/// `image[batch, 3, 224, 224]` to `probability[batch, 1000]`, and the five likeliest as `class[batch, 5]`.
fn define(weights: &Weights, batch: i64) -> Result<Definition> {
    let mut layers = ByHand { network: Definition::new(), weights };
    let side = SIDE as usize;
    let image = layers.network.input("image", DType::F32, &[batch as usize, 3, side, side])?;
    let probability = lay(&mut layers, &image)?;
    let mut n = layers.network;
    let (_, class) = n.layer("likeliest").top_k(probability, 5, 1, true)?;
    n.output("probability", probability)?;
    n.output("class", class)?;
    Ok(n)
}

/// Builds, saves and compares the engine for a batch; gives a line of the table, and how far times of one path lie apart.
fn measure(vs: &VarStore, weights: &Weights, images: &Tensor, folder: &Path) -> Result<(String, f64)> {
    let batch = images.size()[0];
    let style = ProgressStyle::with_template("batch {msg}: {spinner} {pos} calls of each, {elapsed}")?;
    let bar = ProgressBar::new_spinner().with_style(style).with_message(batch.to_string());
    let start = Instant::now();
    let backend = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
    let backend = choose(backend.as_deref().unwrap_or("auto"))?;
    let options = CompileOptions { threads: tch::get_num_threads() as usize, ..Default::default() };
    let plan = define(weights, batch)?.build(backend, &options)?;
    let plan = Plan::from_bytes(plan.prepared(backend, &options, false)?)?;
    let mut session = Session::new(&plan, backend, &options)?;
    let build = start.elapsed();

    session.set("image", &literal(images)?)?;
    let mut host = Host(vs.root());
    let mut times = [Times::default(), Times::default()];
    let whole = Instant::now();
    let mut probability = lay(&mut host, images)?;
    session.run()?;
    while times[0].count() < 3 || whole.elapsed() < BUDGET {
        let start = Instant::now();
        probability = lay(&mut host, images)?;
        times[0].add(start.elapsed());
        let start = Instant::now();
        session.run()?;
        times[1].add(start.elapsed());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let found: Vec<f32> = session.get("probability")?.to_f64().into_iter().map(|v| v as f32).collect();
    let difference = Difference::between(&Tensor::from_slice(&found).view_as(&probability), &probability);
    let allowed = if backend.name() == "cuda" { TOLERANCE_ON_A_GPU } else { TOLERANCE };
    ensure!(
        difference.relative() < allowed,
        "batch {batch}: the engine differs from the host by {difference}"
    );

    let (class, likeliest) = (session.get("class")?, probability.argmax(1, false));
    let same = (0..batch).filter(|&at| class.i64_at(5 * at as usize) == likeliest.int64_value(&[at])).count();

    // For the deploy phase: the plan, an input, and what the host makes of it.
    let file = |kind: &str| folder.join(format!("batch-{batch}.{kind}"));
    plan.save(file("plan"))?;
    std::fs::write(file("image"), literal(images)?.bytes())?;
    std::fs::write(file("probability"), literal(&probability)?.bytes())?;
    let [host, engine] = times.each_ref().map(Times::median);
    let row = format!(
        "{batch:>6}{:>14}{:>14}{:>10}{:>12}{:>16}{:>14}{:>12}",
        format!("{host:.2?}"),
        format!("{engine:.2?}"),
        format!("{:.2} x", host.as_secs_f64() / engine.as_secs_f64()),
        format!("{build:.1?}"),
        plan.bytes().len(),
        format!("{same} of {batch}"),
        format!("{:.1e}", difference.relative())
    );
    Ok((row, times.iter().map(Times::spread).fold(0.0, f64::max)))
}
