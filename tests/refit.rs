//! What it costs to follow an optimiser step: ResNet-50 at full size, whose weights all changed, is prepared again.
//!
//! A machine that does other work is slower at everything that moves as many bytes, so the bound is in copies of the weights, timed by turns;
//! the best of some rounds counts.

use std::time::{Duration, Instant};
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor, vision::resnet::resnet50};
use tch_bridge::TrtModule;
use tch_bridge::jit::{Run, Watched};
use tests::{assert_close, engines_on, options, served};
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::backend::{Backend, CompileOptions, MemoryRun, Stream};

/// Rounds, and how many copies of the weights the best of them may take.
const ROUNDS: usize = 15;
const COPIES: u32 = 4;

#[test]
#[ignore = "measures a machine that does nothing else: cargo test --workspace --test refit -- --ignored --nocapture"]
fn resnet_50_follows_a_step_soon() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let vs = VarStore::new(Device::Cpu);
    let net = resnet50(&vs.root(), 1000);
    let image = Tensor::randn([1, 3, 224, 224], (Kind::Float, Device::Cpu));
    let sample = [image.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options());
    let module = module.expect("it is traced");
    module.compile(&[&image]).expect("it compiles");
    let call = || {
        let start = Instant::now();
        let found = module.forward_ts(&[&image]).expect("it runs");
        (found, start.elapsed())
    };
    drop(call());
    let weights: Vec<Tensor> = vs.variables().into_values().collect();
    let mut copies: Vec<Tensor> = weights.iter().map(Tensor::copy).collect();
    let mut sgd = nn::Sgd::default().build(&vs, 1e-4).expect("an optimiser");
    let [mut more, mut with_gradients, mut explicit, mut copied] = [const { Vec::new() }; 4];
    for round in 0..2 * ROUNDS {
        // First weights that torch counts the writes of, then such as have gradients and are written uncounted.
        let by_gradients = round >= ROUNDS;
        let more = if by_gradients { &mut with_gradients } else { &mut more };
        for mut variable in vs.trainable_variables() {
            if by_gradients {
                tch::with_grad(|| variable.square().sum(Kind::Float)).backward();
            } else {
                let _ = variable.g_mul_scalar_(0.999);
            }
        }
        if by_gradients {
            sgd.step();
        }
        let before = served(&module);
        let (_, after_the_step) = call();
        let plain = call().1.min(call().1);
        assert_eq!(served(&module) - before, 3, "{}", module.report());
        more.push(after_the_step.saturating_sub(plain));
        let start = Instant::now();
        module.refit();
        explicit.push(start.elapsed());
        // Takes the new weights, and leaves the memory of the old ones.
        drop(call());
        let start = Instant::now();
        copies.iter_mut().zip(&weights).for_each(|(to, from)| to.copy_(from));
        copied.push(start.elapsed());
    }
    assert_close(&call().0, &net.forward_t(&image, false));
    let [more, with_gradients, explicit, copied] =
        [more, with_gradients, explicit, copied].map(|mut times: Vec<Duration>| {
            times.sort_unstable();
            [times[0], times[ROUNDS / 2]]
        });
    println!(
        "best and median: a call after a step takes {more:.1?} more, after one whose gradients stay {with_gradients:.1?}, refit() \
         {explicit:.1?}, copying the weights {copied:.1?}"
    );
    assert!(with_gradients[0] < copied[0] * COPIES, "{with_gradients:?} {copied:?}");
    assert!(explicit[0] < copied[0] * COPIES, "{explicit:?} {copied:?}");
}

/// Makes a network's variables.
type Network = fn(&nn::Path);

fn lenet(vs: &nn::Path) {
    for (name, from, to) in [("a", 1, 6), ("b", 6, 16)] {
        let _layer = nn::conv2d(vs / name, from, to, 5, Default::default());
    }
    for (name, from, to) in [("c", 256, 120), ("d", 120, 84), ("e", 84, 10)] {
        let _layer = nn::linear(vs / name, from, to, Default::default());
    }
}

/// What each call pays to see that no weight has changed.
#[test]
#[ignore = "measures a machine that does nothing else: cargo test --workspace --test refit -- --ignored --nocapture"]
fn a_look_is_cheap_without_gradients() {
    let networks: [(&str, Network); 2] = [("LeNet-5", lenet), ("ResNet-50", |vs| drop(resnet50(vs, 1000)))];
    for (name, network) in networks {
        let vs = VarStore::new(Device::Cpu);
        network(&vs.root());
        let weights: Vec<Tensor> = vs.variables().into_values().collect();
        let sum = |runs: &[Run]| {
            let run = |run: &Run| MemoryRun { address: run.address as *const u8, bytes: run.bytes };
            let runs: Vec<MemoryRun> = runs.iter().map(run).collect();
            // SAFETY: memory of tensors that live meanwhile.
            unsafe { Cpu.checksums(&runs, &CompileOptions::default(), Stream::NONE) }
        };
        let watched = Watched::new(&weights, &sum).expect("they are watched");
        let look = || {
            let times = (0..40 * ROUNDS).map(|_| {
                let start = Instant::now();
                assert!(!watched.changed(&sum));
                start.elapsed()
            });
            let mut times: Vec<Duration> = times.collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        let without = look();
        let mut loss = Tensor::zeros([], (Kind::Float, Device::Cpu));
        vs.trainable_variables().iter().for_each(|v| loss += v.sum(Kind::Float));
        loss.backward();
        watched.settle(watched.state(&sum));
        let with = look();
        println!(
            "{name}, {} tensors: a look takes {without:.2?} without gradients, {with:.2?} with them",
            weights.len()
        );
        assert!(without < with);
    }
}
