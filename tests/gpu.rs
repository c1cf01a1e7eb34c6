//! Modules on a GPU: the CUDA engine against the host's own kernels there. Where libtorch finds no GPU, each test says so and
//! ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Options, TrtModule};
use tests::{BEYOND, EnginesOn, engines_on, options, served};

const GPU: Device = Device::Cuda(0);

/// Engines on, where there is a GPU.
fn on_gpu() -> Option<EnginesOn> {
    if tch::Cuda::is_available() {
        return Some(engines_on());
    }
    println!("libtorch finds no GPU here: nothing is tested");
    None
}

fn floats(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, GPU))
}

fn script(source: &str, attributes: &[(&str, Initial)]) -> TrtModule {
    let module = Module::from_source(source, attributes).expect("the source compiles");
    TrtModule::wrap(module.to_cmodule(), &options()).expect("the options can be met")
}

/// Same device, type and shape, and within `tolerance` of the tensor's scale.
fn assert_near(got: &Tensor, want: &Tensor, tolerance: f64) {
    assert_eq!((got.device(), got.kind(), got.size()), (want.device(), want.kind(), want.size()));
    if want.numel() == 0 {
        return;
    }
    let (got, want) = (got.to_kind(Kind::Double), want.to_kind(Kind::Double));
    let off = (&got - &want).abs().max().double_value(&[]);
    let scale = want.abs().max().double_value(&[]).max(1e-30);
    assert!(off <= tolerance * scale, "off by {off:e} at a scale of {scale:e}");
}

/// The module's answers with engines and without; every call but the first of a shape is an engine's.
fn compare(module: &TrtModule, inputs: &[Tensor], tolerance: f64) {
    tch::no_grad(|| module.compile(inputs)).expect("the module compiles");
    let before = served(module);
    let got = tch::no_grad(|| module.forward_ts(inputs)).expect("the engines answer");
    assert_eq!(served(module), before + 1, "{}", module.report());
    tch_bridge::set_enabled(false);
    let want = tch::no_grad(|| module.forward_ts(inputs)).expect("the host answers");
    tch_bridge::set_enabled(true);
    assert_near(&got, &want, tolerance);
}

#[test]
fn the_cuda_backend_serves_tensors_on_a_gpu() {
    let Some(_on) = on_gpu() else { return };
    let module = script("def forward(self, x, y): return torch.tanh(x * 2.0 + y).softmax(-1).sum(0)", &[]);
    for shape in [vec![3, 7], vec![64, 1000], vec![1, 1], vec![5, 0]] {
        compare(&module, &[floats(&shape), floats(&shape)], 1e-5);
    }
    assert!(module.report().to_string().contains("backend cuda: NVIDIA"), "{}", module.report());
}

#[test]
fn floats_that_no_whole_number_holds_become_the_hosts() {
    let Some(_on) = on_gpu() else { return };
    for (code, name) in [(0, "u8"), (1, "i8"), (2, "i16"), (3, "i32"), (4, "i64")] {
        let module = script(&format!("def forward(self, x): return (x * 1.0).to({code}) + 0"), &[]);
        for kind in [Kind::Double, Kind::Float, Kind::Half, Kind::BFloat16] {
            let x = Tensor::from_slice(&BEYOND).to_kind(kind).to_device(GPU);
            println!("{kind:?} as {name}");
            compare(&module, &[x], 0.0);
        }
    }
}

#[test]
fn strides_are_the_hosts() {
    let Some(_on) = on_gpu() else { return };
    let module = script("def forward(self, x): return torch.relu(x * 2.0).cumsum(1) + 1.0", &[]);
    let base = floats(&[6, 8]);
    for x in [base.tr(), base.slice(0, 0, 6, 2).slice(1, 1, 8, 3), floats(&[1, 4]).expand([5, 4], false)] {
        compare(&module, &[x], 1e-5);
    }
}

fn network(vs: &nn::Path) -> nn::SequentialT {
    let padded = nn::ConvConfig { padding: 1, ..Default::default() };
    nn::seq_t()
        .add(nn::conv2d(vs / "conv", 3, 32, 3, padded))
        .add(nn::batch_norm2d(vs / "norm", 32, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2))
        .add(nn::conv2d(vs / "wide", 32, 64, 3, padded))
        .add_fn(|x| x.relu().adaptive_avg_pool2d([1, 1]).flatten(1, -1))
        .add(nn::linear(vs / "scores", 64, 10, Default::default()))
}

#[test]
fn optimiser_steps_are_seen() {
    let Some(_on) = on_gpu() else { return };
    tch::manual_seed(3);
    let vs = VarStore::new(GPU);
    let net = network(&vs.root());
    let images = floats(&[8, 3, 32, 32]);
    let labels = Tensor::arange(8, (Kind::Int64, GPU)).remainder(10);
    let sample = [images.shallow_clone()];
    let module =
        tch::no_grad(|| TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options()));
    let module = module.expect("the network is traced");
    for mut optimiser in [
        nn::Sgd { momentum: 0.9, ..Default::default() }.build(&vs, 0.05).expect("it is built"),
        nn::Adam::default().build(&vs, 1e-2).expect("it is built"),
    ] {
        for _ in 0..3 {
            optimiser.backward_step(&net.forward_t(&images, true).cross_entropy_for_logits(&labels));
            // Convolutions may round their factors to TF32, here as on the host.
            compare(&module, &[images.shallow_clone()], 3e-3);
        }
    }
}

#[test]
fn threads_share_a_module() {
    let Some(_on) = on_gpu() else { return };
    let w = floats(&[64, 64]);
    let attributes = [("w", Initial::Parameter(w.shallow_clone()))];
    let module =
        script("def forward(self, x): return torch.tanh(x.mm(self.w)) + x.exp().sum(1, True)", &attributes);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (module, w) = (&module, w.shallow_clone());
            scope.spawn(move || {
                for batch in 1..40 {
                    let x = floats(&[batch % 5 + 1, 64]);
                    let got = tch::no_grad(|| module.forward_ts(&[&x])).expect("the module answers");
                    assert_near(
                        &got,
                        &(x.mm(&w).tanh() + x.exp().sum_dim_intlist(1, true, Kind::Float)),
                        1e-5,
                    );
                }
            });
        }
    });
    assert!(served(&module) > 0, "{}", module.report());
}

/// While engines are built in the background, and timed, with cuDNN's and cuBLASLt's kernels among others.
#[test]
fn who_waits_for_the_device_is_not_disturbed_by_builds() {
    let Some(_on) = on_gpu() else { return };
    let vs = VarStore::new(GPU);
    let net = network(&vs.root());
    let module = tch::no_grad(|| {
        let sample = [floats(&[2, 3, 32, 32])];
        let options = Options { wait: false, ..options() };
        TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options)
            .expect("the network is traced")
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut waits = 0;
            while !over.load(Ordering::Relaxed) {
                tch::Cuda::synchronize(0);
                waits += 1;
            }
            waits
        });
        let patience = Instant::now();
        for batch in [3, 5, 7, 9] {
            let (images, before) = (floats(&[batch, 3, 32, 32]), served(&module));
            let want = tch::no_grad(|| net.forward_t(&images, false));
            while served(&module) == before {
                let got = tch::no_grad(|| module.forward_ts(&[&images])).expect("the module answers");
                assert_near(&got, &want, 3e-3);
                assert!(patience.elapsed().as_secs() < 300, "{}", module.report());
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(waiter.join().expect("every wait ended well") > 100);
    });
}

#[test]
fn tensors_of_two_devices_are_the_hosts() {
    let Some(_on) = on_gpu() else { return };
    let module = script("def forward(self, x, s): return torch.tanh(x * s) * 2.0 + torch.relu(x)", &[]);
    let arguments = [IValue::Tensor(floats(&[4, 4])), IValue::Tensor(Tensor::from(3.0f32))];
    let answer = |on| {
        tch_bridge::set_enabled(on);
        let IValue::Tensor(t) = tch::no_grad(|| module.forward_is(&arguments)).expect("it answers") else {
            panic!("a tensor")
        };
        t
    };
    let want = answer(false);
    assert_near(&answer(true), &want, 1e-6);
    assert_near(&answer(true), &want, 1e-6);
    let elsewhere = module.forward_ts(&[floats(&[4, 4]), Tensor::zeros([4, 4], (Kind::Float, Device::Cpu))]);
    let error = elsewhere.expect_err("two devices").to_string();
    assert!(error.contains("same device"), "{error}");
}

#[test]
fn a_module_follows_its_weights_from_device_to_device() {
    let Some(_on) = on_gpu() else { return };
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(4);
    let mut vs = VarStore::new(GPU);
    let net = network(&vs.root());
    let images = floats(&[4, 3, 16, 16]);
    let sample = [images.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options());
    let module = module.expect("the network is traced");
    let want = net.forward_t(&images, false).to_device(Device::Cpu);
    for device in [GPU, Device::Cpu, GPU, Device::Cpu] {
        vs.set_device(device);
        for _ in 0..2 {
            let got = module.forward_ts(&[images.to_device(device)]).expect("it answers");
            assert_eq!(got.device(), device);
            assert_near(&got.to_device(Device::Cpu), &want, 3e-3);
        }
    }
}

/// Each GPU has engines of its own; callers, streams and the current device do not mix them up.
#[test]
fn several_gpus_work_side_by_side() {
    let Some(_on) = on_gpu() else { return };
    if tch::Cuda::device_count() < 2 {
        println!("one GPU: several are left out");
        return;
    }
    tch::manual_seed(5);
    let image = Tensor::randn([4, 3, 16, 16], (Kind::Float, Device::Cpu));
    let _no_grad = tch::no_grad_guard();
    let made = |device| {
        let vs = VarStore::new(device);
        let net = network(&vs.root());
        let sample = [image.to_device(device)];
        let module = TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options());
        let module = module.expect("the network is traced");
        module.compile(&sample).expect("it compiles");
        let want = net.forward_t(&sample[0], false);
        (device, module, want)
    };
    let all = [made(Device::Cuda(0)), made(Device::Cuda(1))];
    std::thread::scope(|scope| {
        for (device, module, want) in all.iter().chain(&all) {
            let mine = image.to_device(*device);
            let want = want.shallow_clone();
            scope.spawn(move || {
                let _no_grad = tch::no_grad_guard();
                for _ in 0..50 {
                    assert_near(&module.forward_ts(&[&mine]).expect("it answers"), &want, 3e-3);
                }
            });
        }
    });
    for (device, module, want) in &all {
        assert_near(&module.forward_ts(&[image.to_device(*device)]).expect("it answers"), want, 3e-3);
        assert!(served(module) > 100, "{}", module.report());
    }
}

/// What following an optimiser step costs: the weights, all of which changed, are prepared again.
#[test]
#[ignore = "measures a GPU that does nothing else"]
fn resnet_50_follows_a_step_soon() {
    const ROUNDS: usize = 21;
    let Some(_on) = on_gpu() else { return };
    let _no_grad = tch::no_grad_guard();
    tch::manual_seed(1);
    let vs = VarStore::new(GPU);
    let net = tch::vision::resnet::resnet50(&vs.root(), 1000);
    let image = floats(&[1, 3, 224, 224]);
    let sample = [image.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options());
    let module = module.expect("it is traced");
    module.compile(&[&image]).expect("it compiles");
    let timed = |what: &dyn Fn()| {
        tch::Cuda::synchronize(0);
        let start = std::time::Instant::now();
        what();
        tch::Cuda::synchronize(0);
        start.elapsed()
    };
    let call = || drop(module.forward_ts(&[&image]).expect("it runs"));
    call();
    let [mut first, mut plain, mut explicit, mut with_gradients] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for mut variable in vs.trainable_variables() {
            let _ = variable.g_mul_scalar_(0.999);
        }
        first.push(timed(&call));
        plain.push(timed(&call));
        explicit.push(timed(&|| module.refit()));
    }
    compare(&module, &[image.shallow_clone()], 3e-3);
    let mut sgd = nn::Sgd::default().build(&vs, 1e-6).expect("an optimiser");
    let loss = tch::with_grad(|| net.forward_t(&image, false).sum(Kind::Float));
    sgd.backward_step(&loss);
    call();
    let before = served(&module);
    for _ in 0..ROUNDS {
        with_gradients.push(timed(&call));
    }
    assert_eq!(served(&module), before + ROUNDS as u64, "{}", module.report());
    compare(&module, &[image.shallow_clone()], 3e-3);
    for (what, times) in [
        ("the call after a step", &mut first),
        ("a call", &mut plain),
        ("refit()", &mut explicit),
        ("a call while weights have gradients", &mut with_gradients),
    ] {
        times.sort_unstable();
        println!("{what}: best {:.2?}, median {:.2?}", times[0], times[ROUNDS / 2]);
    }
    assert!(
        explicit[ROUNDS / 2] < first[ROUNDS / 2] + plain[ROUNDS / 2],
        "refit() is more than the next call needs"
    );
    assert!(
        with_gradients[ROUNDS / 2] < first[ROUNDS / 2],
        "weights that have gradients are prepared in every call"
    );
}
