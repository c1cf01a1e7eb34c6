//! Wraps an existing TorchScript model and holds the engines against libtorch: who runs what, time, difference.
//!
//! `cargo run --release --example wrap_model [MODEL.pt SIZES...]`, where `SIZES` is the shape of one f32 input, for instance
//! `1,3,224,224`; a model of several inputs takes several. Without arguments, a small network of our own is
//! wrapped. Ends with exit code 1 when the answer is not the host's. For inputs of other kinds there is `tch-trt verify`.

use anyhow::{Context, Result, bail, ensure};
use examples::times::{Times, note_if_busy};
use examples::{difference::Difference, picture};
use std::time::{Duration, Instant};
use tch::nn::{self, Module, VarStore};
use tch::{CModule, Device, IValue, Kind, Tensor};
use tch_bridge::{Options, TrtModule};

/// Time for the calls of both paths; there are three of each at least.
const BUDGET: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    examples::help!();
    env_logger::init();
    let mut arguments = std::env::args().skip(1);
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let (module, shapes) = match arguments.next() {
        Some(path) => {
            let module = TrtModule::load(path, &Options::waiting())?;
            let shapes: Vec<Vec<i64>> = arguments.map(|text| shape(&text)).collect::<Result<_>>()?;
            ensure_all(&module, shapes.len())?;
            (module, shapes)
        }
        // What a program needs that has a `CModule` already: one line. Its calls stay as they are.
        None => (TrtModule::wrap(small_model()?, &Options::waiting())?, vec![vec![8, 3, 32, 32]]),
    };
    let inputs: Vec<IValue> = shapes
        .iter()
        .map(|sizes| Ok(IValue::Tensor(Tensor::f_randn(sizes, (Kind::Float, Device::Cpu))?)))
        .collect::<Result<_>>()?;
    module.compile_method("forward", &inputs)?;

    let ([host, engines], times) = compare(&module, &inputs)?;
    println!("{}", module.report());
    let picture = picture("wrap-model.svg")?;
    module.report().write(&picture)?;
    println!("A picture of this partition is in {}", picture.display());
    let [of_host, of_engines] = times.each_ref().map(Times::median);
    let speed_up = of_host.as_secs_f64() / of_engines.as_secs_f64();
    println!(
        "host {of_host:.1?} a call, engines {of_engines:.1?}: {speed_up:.2} x (medians of {} calls)",
        times[0].count()
    );
    note_if_busy(times.iter().map(Times::spread));
    ensure!(
        host.len() == engines.len(),
        "the engines answer with {} tensors, the host with {}",
        engines.len(),
        host.len()
    );
    for (at, (got, want)) in engines.iter().zip(&host).enumerate() {
        ensure!(
            got.size() == want.size(),
            "result {at}: {:?} from the engines, {:?} from the host",
            got.size(),
            want.size()
        );
        let difference = Difference::between(got, want);
        println!("result {at}: largest difference of the engines' answer from the host's: {difference}");
        ensure!(difference.is_small(Device::Cpu), "the engines' answer is not the host's");
    }
    Ok(())
}

/// Is there a shape for each argument without a default?
fn ensure_all(module: &TrtModule, shapes: usize) -> Result<()> {
    let arguments = module.arguments("forward")?;
    let wanted = arguments.iter().filter(|a| !a.has_default).count();
    if shapes < wanted || shapes > arguments.len() {
        let names: Vec<&str> = arguments.iter().map(|a| a.name.as_str()).collect();
        bail!(
            "the model takes {}: give the sizes of each, like 1,3,224,224; {shapes} were given",
            names.join(", ")
        );
    }
    Ok(())
}

/// The answers of the host and of the engines, and the times of calls taken by turns.
fn compare(module: &TrtModule, inputs: &[IValue]) -> Result<([Vec<Tensor>; 2], [Times; 2])> {
    let call = |enabled: bool| {
        tch_bridge::set_enabled(enabled);
        let start = Instant::now();
        let answer = module.forward_is(inputs)?;
        Ok::<_, anyhow::Error>((answer, start.elapsed()))
    };
    let answers = [tensors(call(false)?.0), tensors(call(true)?.0)];
    let mut times = [Times::default(), Times::default()];
    let start = Instant::now();
    while times[0].count() < 3 || start.elapsed() < BUDGET {
        times[0].add(call(false)?.1);
        times[1].add(call(true)?.1);
    }
    Ok((answers, times))
}

/// The tensors in a result, in order.
fn tensors(value: IValue) -> Vec<Tensor> {
    match value {
        IValue::Tensor(tensor) => vec![tensor],
        IValue::TensorList(tensors) => tensors,
        IValue::Tuple(values) | IValue::GenericList(values) => values.into_iter().flat_map(tensors).collect(),
        IValue::GenericDict(pairs) => pairs.into_iter().flat_map(|(_, value)| tensors(value)).collect(),
        _ => Vec::new(),
    }
}

/// `1,3,224,224` as sizes.
fn shape(text: &str) -> Result<Vec<i64>> {
    let size = |s: &str| {
        s.trim().parse().with_context(|| format!("`{text}` is no shape; one looks like 1,3,224,224"))
    };
    text.split(',').map(size).collect()
}

/// A small convolutional network for images `[n, 3, 32, 32]`.
fn small_model() -> Result<CModule> {
    let mut vs = VarStore::new(Device::Cpu);
    let padded = nn::ConvConfig { padding: 1, ..Default::default() };
    let net = nn::seq()
        .add(nn::conv2d(vs.root() / "first", 3, 32, 3, padded))
        .add_fn(|x| x.relu())
        .add(nn::conv2d(vs.root() / "second", 32, 64, 3, padded))
        .add_fn(|x| x.relu().adaptive_avg_pool2d([1, 1]).flatten(1, -1))
        .add(nn::linear(vs.root() / "scores", 64, 10, Default::default()));
    vs.freeze();
    let sample = Tensor::zeros([8, 3, 32, 32], (Kind::Float, Device::Cpu));
    let mut forward = |xs: &[Tensor]| vec![net.forward(&xs[0])];
    Ok(CModule::create_by_tracing("SmallNet", "forward", &[sample], &mut forward)?)
}
