//! A module that was traced once follows its network: after every step, load and swap its engines answer as the network does.

mod captured;
mod changes;
mod gradients;
mod modes;
mod names;
mod uncounted;

use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::{Options, TrtModule};
use tests::{EnginesOn, assert_close, engines_on, logged, options, served};

/// A small convolutional network with batch norm, its traced form, and a batch of images.
struct Traced {
    vs: VarStore,
    net: nn::SequentialT,
    module: TrtModule,
    images: Tensor,
    _on: EnginesOn,
}

fn network(vs: &nn::Path) -> nn::SequentialT {
    let convolution = nn::ConvConfig { padding: 1, ..Default::default() };
    nn::seq_t()
        .add(nn::conv2d(vs / "conv", 1, 6, 3, convolution))
        .add(nn::batch_norm2d(vs / "norm", 6, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2).flatten(1, -1))
        .add(nn::linear(vs / "hidden", 6 * 6 * 6, 16, Default::default()))
        .add_fn_t(|x, train| x.tanh().dropout(0.25, train))
        .add(nn::linear(vs / "output", 16, 4, Default::default()))
}

impl Traced {
    fn new() -> Traced {
        Traced::with(&options())
    }

    fn with(options: &Options) -> Traced {
        let on = engines_on();
        tch::manual_seed(7);
        let vs = VarStore::new(Device::Cpu);
        let net = network(&vs.root());
        let images = Tensor::randn([8, 1, 12, 12], (Kind::Float, Device::Cpu));
        let sample = [images.shallow_clone()];
        let module =
            tch::no_grad(|| TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), options));
        let module = module.expect("the network is traced");
        tch::no_grad(|| module.compile(&[&images])).expect("the network compiles");
        Traced { vs, net, module, images, _on: on }
    }

    fn loss(&self) -> Tensor {
        let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu)).remainder(4);
        self.net.forward_t(&self.images, true).cross_entropy_for_logits(&labels)
    }

    /// The network's answer in evaluation mode, after asserting that one call in engines gives the same.
    fn agreed(&self) -> Tensor {
        let before = served(&self.module);
        let got = tch::no_grad(|| self.module.forward_ts(&[&self.images])).expect("the module answers");
        assert_eq!(served(&self.module), before + 1, "{}", self.module.report());
        let want = tch::no_grad(|| self.net.forward_t(&self.images, false));
        assert_close(&got, &want);
        want
    }
}

fn optimisers(vs: &VarStore) -> [nn::Optimizer; 3] {
    let sgd = nn::Sgd { momentum: 0.9, wd: 1e-3, ..Default::default() };
    [
        sgd.build(vs, 0.05).expect("torch has it"),
        nn::Adam::default().build(vs, 1e-2).expect("torch has it"),
        nn::RmsProp::default().build(vs, 1e-3).expect("torch has it"),
    ]
}

#[test]
fn each_step_of_each_optimiser_is_seen() {
    let traced = Traced::new();
    let mut last = traced.agreed();
    for mut optimiser in optimisers(&traced.vs) {
        for _ in 0..3 {
            optimiser.backward_step(&traced.loss());
            let now = traced.agreed();
            assert_ne!(now, last, "the step changed the network");
            last = now;
        }
    }
}

#[test]
fn running_statistics_are_seen() {
    let traced = Traced::new();
    let mut last = traced.agreed();
    for _ in 0..3 {
        drop(tch::no_grad(|| traced.loss()));
        let now = traced.agreed();
        assert_ne!(now, last, "a pass in training mode moved the batch norm's statistics");
        last = now;
    }
}

#[test]
fn training_goes_through_the_module_itself() {
    let traced = Traced::new();
    let before = served(&traced.module);
    let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu)).remainder(4);
    let mut sgd = nn::Sgd::default().build(&traced.vs, 0.1).expect("torch has it");
    let mut losses = Vec::new();
    for _ in 0..10 {
        let scores = traced.module.forward_ts(&[&traced.images]).expect("the host answers");
        let loss = scores.cross_entropy_for_logits(&labels);
        sgd.backward_step(&loss);
        losses.push(loss.double_value(&[]));
    }
    assert_eq!(served(&traced.module), before, "gradients are recorded, so the host serves");
    assert!(losses[9] < 0.5 * losses[0], "{losses:?}");
    let _ = traced.agreed();
}

#[test]
fn a_loaded_checkpoint_is_seen() {
    let mut traced = Traced::new();
    let path = std::env::temp_dir().join(format!("tch-trt-checkpoint-{}.safetensors", std::process::id()));
    traced.vs.save(&path).expect("it can be written");
    let saved = traced.agreed();
    let mut sgd = nn::Sgd::default().build(&traced.vs, 0.5).expect("torch has it");
    sgd.backward_step(&traced.loss());
    assert_ne!(traced.agreed(), saved);
    traced.vs.load(&path).expect("it can be read");
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(traced.agreed(), saved);
}

#[test]
fn an_average_of_the_weights_can_be_swapped_in_and_out() {
    let traced = Traced::new();
    let variables = traced.vs.variables();
    let mut average: Vec<(Tensor, Tensor)> =
        variables.into_values().map(|v| (v.detach().copy(), v)).collect();
    let mut sgd = nn::Sgd::default().build(&traced.vs, 0.2).expect("torch has it");
    for _ in 0..3 {
        sgd.backward_step(&traced.loss());
        for (mean, now) in &mut average {
            let _ = tch::no_grad(|| mean.lerp_(now, 0.1));
        }
    }
    let trained = traced.agreed();
    // By memory: the variable is given other memory.
    let own: Vec<Tensor> = average.iter().map(|(_, v)| v.detach().copy()).collect();
    average.iter_mut().for_each(|(mean, v)| v.set_data(mean));
    let averaged = traced.agreed();
    assert_ne!(averaged, trained);
    average.iter_mut().zip(&own).for_each(|((_, v), own)| v.set_data(own));
    assert_eq!(traced.agreed(), trained);
    // By value: the variable's memory is written.
    for (mean, v) in &mut average {
        tch::no_grad(|| v.copy_(mean));
    }
    assert_eq!(traced.agreed(), averaged);
}

#[test]
fn a_frozen_network_is_served_without_no_grad() {
    let mut traced = Traced::new();
    let before = served(&traced.module);
    let recorded = traced.module.forward_ts(&[&traced.images]).expect("the host answers");
    assert!(recorded.requires_grad() && served(&traced.module) == before);
    traced.vs.freeze();
    let answer = traced.module.forward_ts(&[&traced.images]).expect("the engine answers");
    assert!(!answer.requires_grad() && served(&traced.module) == before + 1);
    assert_close(&answer, &recorded.detach());
}

#[test]
fn another_element_type_of_the_weights_is_followed() {
    let mut traced = Traced::new();
    let _ = traced.agreed();
    traced.vs.double();
    traced.images = traced.images.to_kind(Kind::Double);
    for _ in 0..2 {
        let got = tch::no_grad(|| traced.module.forward_ts(&[&traced.images])).expect("it answers");
        assert_close(&got, &tch::no_grad(|| traced.net.forward_t(&traced.images, false)));
    }
}

#[test]
fn a_trace_in_training_mode_is_told() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let net = network(&vs.root());
    let sample = [Tensor::randn([2, 1, 12, 12], (Kind::Float, Device::Cpu))];
    drop(logged());
    for train in [false, true] {
        let module = TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], train), &options());
        drop(module.expect("the network is traced"));
        let told =
            logged().contains("traced in training mode, in which aten::batch_norm, aten::dropout will stay");
        assert_eq!(told, train);
    }
}

/// What the process holds in memory, in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    pages.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("it has this form") * 4096
}

#[test]
fn a_thousand_steps_hold_no_more_memory() {
    let traced = Traced::new();
    let mut sgd = nn::Sgd::default().build(&traced.vs, 1e-3).expect("torch has it");
    let mut step = || {
        sgd.backward_step(&traced.loss());
        drop(tch::no_grad(|| traced.module.forward_ts(&[&traced.images])));
    };
    (0..200).for_each(|_| step());
    let (before, served_before) = (resident(), served(&traced.module));
    (0..1000).for_each(|_| step());
    let grown = resident().saturating_sub(before);
    assert_eq!(served(&traced.module) - served_before, 1000);
    // One leaked copy of the weights a step would be 16 MB.
    assert!(grown < 4 << 20, "{grown} bytes more");
    let _ = traced.agreed();
}

#[test]
fn another_shape_of_a_parameter_is_followed() {
    let traced = Traced::new();
    let mut output: Vec<_> =
        traced.vs.variables().into_iter().filter(|(n, _)| n.starts_with("output")).collect();
    output.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, variable) in &mut output {
        let mut shape = variable.size();
        shape[0] = 7;
        variable.set_data(&Tensor::randn(shape, (Kind::Float, Device::Cpu)));
    }
    drop(logged());
    for _ in 0..2 {
        let got = tch::no_grad(|| traced.module.forward_ts(&[&traced.images])).expect("it answers");
        assert_eq!(got.size(), [8, 7]);
        assert_close(&got, &tch::no_grad(|| traced.net.forward_t(&traced.images, false)));
    }
    let log = logged();
    assert!(log.contains("parameters have other shapes, element types or devices than before"), "{log}");
}

#[test]
fn an_early_stop_goes_back_to_the_best_weights() {
    let mut traced = Traced::new();
    let mut best = VarStore::new(Device::Cpu);
    let _shape = network(&best.root());
    best.copy(&traced.vs).expect("they are alike");
    let kept = traced.agreed();
    let mut sgd = nn::Sgd::default().build(&traced.vs, 0.5).expect("torch has it");
    for _ in 0..3 {
        sgd.backward_step(&traced.loss());
    }
    assert_ne!(traced.agreed(), kept);
    traced.vs.copy(&best).expect("they are alike");
    assert_eq!(traced.agreed(), kept);
}

#[test]
fn frozen_engines_keep_their_weights_until_they_are_refitted() {
    let traced = Traced::new();
    let _ = traced.agreed();
    let answer = || tch::no_grad(|| traced.module.forward_ts(&[&traced.images])).expect("it answers");
    let first = answer();
    traced.module.freeze();
    let mut sgd = nn::Sgd::default().build(&traced.vs, 0.5).expect("torch has it");
    sgd.backward_step(&traced.loss());
    assert_eq!(answer(), first, "nobody looked");
    traced.module.refit();
    let second = traced.agreed();
    assert_ne!(second, first);
    sgd.backward_step(&traced.loss());
    traced.module.unfreeze();
    assert_ne!(traced.agreed(), second);
}

#[test]
fn halves_are_followed() {
    for kind in [Kind::Half, Kind::BFloat16] {
        let mut traced = Traced::new();
        let _ = traced.agreed();
        match kind {
            Kind::Half => traced.vs.half(),
            _ => traced.vs.bfloat16(),
        }
        traced.images = traced.images.to_kind(kind);
        for _ in 0..2 {
            let got = tch::no_grad(|| traced.module.forward_ts(&[&traced.images])).expect("it answers");
            let want = tch::no_grad(|| traced.net.forward_t(&traced.images, false));
            assert_eq!(got.kind(), kind);
            let off = (got.to_kind(Kind::Double) - want.to_kind(Kind::Double)).abs().max();
            let scale = want.to_kind(Kind::Double).abs().max().double_value(&[]);
            assert!(off.double_value(&[]) <= 0.02 * scale, "{kind:?}: {off}");
        }
        // And back.
        traced.vs.float();
        traced.images = traced.images.to_kind(Kind::Float);
        let _ = traced.agreed();
        assert!(served(&traced.module) > 0);
    }
}

#[test]
fn a_write_that_nobody_counts_is_refitted() {
    let traced = Traced::new();
    let before = traced.agreed();
    let weight = &traced.vs.variables()["hidden.weight"];
    // Element 1 of 3,456 is none of the eight that are looked at.
    // SAFETY: the tensor is dense f32 on the CPU and has more than two elements.
    unsafe { *weight.data_ptr().cast::<f32>().add(1) += 100.0 };
    traced.module.refit();
    assert_ne!(traced.agreed(), before);
}
