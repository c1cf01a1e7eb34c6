//! A character model from training to text, written by the host and by engines: a two-layer LSTM trained with tch; its weights exported,
//! and the network built by hand from them, gate by gate; and the same network as a TorchScript file. Each writes on from a seed, one
//! character a step, with the state carried over.
//!
//! `cargo run --release --example char_rnn [TEXT]`: `TEXT` is any text file; without it, the project's own sources are read. It runs on a
//! GPU where there is one; `TRT_BACKEND=cpu` keeps it from there. Ends with exit code 1 when an engine writes another text than the host.

mod by_hand;
mod generate;
mod net;

use anyhow::{Context, Result, ensure};
use by_hand::ByHand;
use examples::difference::Difference;
use examples::text::{self, Vocabulary};
use examples::times::note_if_busy;
use examples::weights::Weights;
use generate::{Measured, Task};
use net::{CharRnn, Stepwise};
use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, Instant};
use tch::nn::VarStore;
use tch::{CModule, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Options, TrtModule};
use trt_subgraph::backend::{CompileOptions, choose};
use trt_subgraph::session::Session;

/// Characters of the seed, of the generated text, and of the held-out text that is read.
const SEED: usize = 40;
const WRITTEN: usize = 400;
const HELD_OUT: usize = 1_000;

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let file = std::env::args_os().nth(1);
    let text = match &file {
        Some(file) => text::read(Path::new(file))?,
        None => text::sources()?,
    };
    let name = file.map_or("the project's sources".into(), |file| file.display().to_string());
    let vocabulary = Vocabulary::of(&text).with_context(|| name.clone())?;
    let text = vocabulary.encode(&text);
    let (training, held_out) = text.split_at(text.len() / 10 * 9);
    let device = examples::device();
    println!(
        "On {device:?}: {} characters to train with, {} different ones",
        training.len(),
        vocabulary.size()
    );
    ensure!(
        held_out.len() >= CharRnn::SHORTEST,
        "{name}: the text is too short: 1,000 characters are enough"
    );

    // Training, on the host.
    tch::manual_seed(1);
    let mut vs = VarStore::new(device);
    let net = CharRnn::new(&vs.root(), vocabulary.size());
    net.train(&vs, training)?;
    vs.freeze();

    // What other programs would take: the weights in a file, and the network as TorchScript.
    let folder = examples::picture("char-rnn")?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (weights, script) = (folder.join("weights.ot"), folder.join("model.pt"));
    vs.save(&weights)?;
    let [hidden, cell] = net::silence(device);
    let character = Tensor::zeros([1, 1], (Kind::Int64, device));
    let silent = Tensor::zeros([1, vocabulary.size() as i64], (Kind::Float, device));
    let sample = [character, silent, hidden, cell];
    record(&net, &vs, &sample)?.save(&script)?;

    // The engine by hand.
    let start = Instant::now();
    let backend = std::env::var("TRT_BACKEND").ok().filter(|name| !name.is_empty());
    let backend = choose(backend.as_deref().unwrap_or("auto"))?;
    let options = CompileOptions { threads: tch::get_num_threads() as usize, ..Default::default() };
    let plan = by_hand::define(&Weights::load(&weights)?, vocabulary.size())?.build(backend, &options)?;
    let mut by_hand = ByHand(Session::new(&plan, backend, &options)?);
    let build_by_hand = start.elapsed();

    // The engine from TorchScript.
    let module = TrtModule::load(&script, &Options::waiting())?;
    let start = Instant::now();
    module.compile(&sample)?;
    let build_script = start.elapsed();
    ensure!(module.report().engines() > 0, "no engine was built\n{}", module.report());
    tch_bridge::set_enabled(true);
    let mut scripted = Stepwise::new(device, |inputs: &[Tensor]| tensors(&module, inputs));

    let mut host = Stepwise::new(device, |inputs: &[Tensor]| Ok(net.step(inputs)));
    let noise = generate::noise(WRITTEN, vocabulary.size());
    let task = Task { held_out: &held_out[..HELD_OUT.min(held_out.len())], seed: &held_out[..SEED], noise };
    let measured = task.compare(&mut [&mut host, &mut by_hand, &mut scripted])?;

    println!("\n{}[{}]\n", vocabulary.decode(task.seed), vocabulary.decode(&measured[0].text));
    print(&measured, [None, Some(build_by_hand), Some(build_script)]);
    for (name, engine) in ["by hand", "from TorchScript"].into_iter().zip(&measured[1..]) {
        let difference = Difference::between(&engine.scores, &measured[0].scores);
        println!("largest difference of the scores {name} from the host's: {difference}");
        ensure!(difference.relative() < 1e-4, "the scores {name} are not the host's");
        ensure!(
            engine.text == measured[0].text,
            "the engine {name} writes: {}",
            vocabulary.decode(&engine.text)
        );
    }
    println!("all three wrote the same text");
    println!("the weights and the TorchScript file are in {}", folder.display());
    Ok(())
}

/// The network in TorchScript, with its weights.
fn record(net: &CharRnn, vs: &VarStore, sample: &[Tensor]) -> Result<CModule> {
    let weights: Vec<(String, Initial)> =
        vs.variables().into_iter().map(|(name, tensor)| (name, Initial::Parameter(tensor))).collect();
    let step = |inputs: &[Tensor]| {
        Ok::<_, Infallible>(IValue::Tuple(net.step(inputs).into_iter().map(IValue::Tensor).collect()))
    };
    Ok(Module::trace("forward", sample, &weights, step)?.to_cmodule())
}

/// A call of a module that gives several tensors.
fn tensors(module: &TrtModule, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let inputs: Vec<IValue> = inputs.iter().map(|t| IValue::Tensor(t.shallow_clone())).collect();
    let IValue::Tuple(outputs) = module.forward_is(&inputs)? else { anyhow::bail!("a tuple was expected") };
    outputs.into_iter().map(|v| Ok(Tensor::try_from(v)?)).collect()
}

fn print(measured: &[Measured], builds: [Option<Duration>; 3]) {
    println!("{:36}{:>8}{:>18}{:>10}{:>12}", "", "bits", "characters a s", "speed-up", "build");
    let names = ["host", "engine, built by hand", "engine, from TorchScript"];
    let seconds = |m: &Measured| m.times.median().as_secs_f64();
    for ((name, m), build) in names.into_iter().zip(measured).zip(builds) {
        let rate = (SEED + WRITTEN - 1) as f64 / seconds(m);
        let speed_up = seconds(&measured[0]) / seconds(m);
        let build = build.map_or(String::new(), |time| format!("{time:.1?}"));
        println!("{name:36}{:>8.3}{rate:>18.0}{:>10}{build:>12}", m.bits, format!("{speed_up:.2} x"));
    }
    println!("bits: what a held-out character costs");
    note_if_busy(measured.iter().map(|m| m.times.spread()));
}
