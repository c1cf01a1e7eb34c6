//! Tensors that traced code uses and that are in no store of its own: a normaliser's mean, a backbone.

use std::convert::Infallible;
use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::TrtModule;
use tch_bridge::jit::Module;
use tests::{assert_close, engines_on, options, served};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

#[test]
fn what_is_written_to_a_tensor_from_elsewhere_is_seen() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    for elements in [1, 8, 64, 65, 256] {
        let vs = VarStore::new(Device::Cpu);
        let layer = nn::linear(vs.root(), elements, 32, Default::default());
        let mut mean = Tensor::zeros([elements], F32);
        // One by itself, and a view of one.
        let (used, wide) = (mean.shallow_clone(), Tensor::ones([2 * elements], F32));
        let scale = wide.slice(0, 0, elements, 1);
        let net = |x: &Tensor| ((x - &used) * &scale).apply(&layer).tanh();
        let x = Tensor::randn([4, elements], F32);
        let module = TrtModule::trace(&vs, &[x.shallow_clone()], |xs| net(&xs[0]), &options());
        let module = module.expect("the network is traced");
        let mut last = Tensor::zeros([4, 32], F32);
        let mut agree = |how: &str| {
            let got = module.forward_ts(&[&x]).expect("it answers");
            assert_close(&got, &net(&x));
            assert_ne!(got, last, "{elements}: {how}");
            last = got;
        };
        agree("first");
        let _more = mean.g_add_scalar_(1.0);
        agree("written in place");
        mean.set_data(&Tensor::full([elements], -2.0, F32));
        agree("other memory");
        let _halves = wide.shallow_clone().fill_(0.5);
        agree("written through what it is a view of");
        mean.copy_(&x.get(0));
        module.refit();
        agree("after refit");
        assert!(served(&module) >= 4, "{}", module.report());
    }
}

#[test]
fn a_saved_module_has_it_too() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let (vs, mean) = (VarStore::new(Device::Cpu), Tensor::ones([16], F32));
    let layer = nn::linear(vs.root(), 16, 32, Default::default());
    let x = Tensor::randn([4, 16], F32);
    let sample = [x.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| (&xs[0] - &mean).apply(&layer).tanh(), &options());
    let module = module.expect("the network is traced");
    module.compile(&[&x]).expect("it compiles");
    let path = std::env::temp_dir().join(format!("tch-trt-captured-{}.pt", std::process::id()));
    module.save(&path).expect("it is written");
    let loaded = TrtModule::load(&path, &options()).expect("it loads");
    std::fs::remove_file(&path).expect("it is there");
    assert_close(
        &loaded.forward_ts(&[&x]).expect("it answers"),
        &module.forward_ts(&[&x]).expect("it answers"),
    );
    assert!(loaded.report().to_string().contains("served 1 call"), "{}", loaded.report());
}

#[test]
fn a_constant_that_nobody_else_holds_stays_one() {
    let elsewhere = Tensor::ones([4], F32);
    let names = |held: bool| {
        let code = |xs: &[Tensor]| {
            let own = Tensor::ones([4], F32).set_requires_grad(false);
            let sum = (&xs[0] + own) * 0.5;
            Ok::<_, Infallible>(if held { sum + &elsewhere } else { sum })
        };
        let module = Module::trace("forward", &[Tensor::zeros([4], F32)], &[] as &[(&str, _)], code);
        let tensors = module.expect("it is traced").named_tensors().expect("they are read");
        tensors.into_iter().map(|t| t.name).collect::<Vec<String>>()
    };
    assert_eq!(names(false), [""; 0]);
    assert_eq!(names(true), ["captured_0"]);
}

/// A frozen backbone with a store of its own, and a head that is traced with it; then the backbone trains and the head does not.
#[test]
fn gradients_of_a_backbone_that_is_unfrozen_later_are_its_own() {
    let _on = engines_on();
    for (evaluations, width) in [(0, 6), (1, 6), (3, 6), (0, 32), (3, 32)] {
        let (mut heads, mut backbones) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
        let head = nn::linear(heads.root(), width, 16, Default::default());
        let backbone = nn::linear(backbones.root(), width, width, Default::default());
        backbones.freeze();
        let x = Tensor::randn([32, width], F32);
        let net = |x: &Tensor| x.apply(&backbone).relu().apply(&head);
        let module =
            tch::no_grad(|| TrtModule::trace(&heads, &[x.shallow_clone()], |xs| net(&xs[0]), &options()));
        let module = module.expect("the network is traced");
        for _ in 0..evaluations {
            drop(tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers"));
        }
        backbones.unfreeze();
        heads.freeze();
        let weights = backbones.trainable_variables();
        let gradients = |scores: Tensor| {
            assert!(scores.requires_grad());
            Tensor::run_backward(&[scores.square().sum(Kind::Float)], &weights, false, false)
        };
        let want = gradients(net(&x));
        for on in [false, true, true] {
            tch_bridge::set_enabled(on);
            assert_eq!(gradients(module.forward_ts(&[&x]).expect("the host answers")), want);
        }
        let mut sgd = nn::Sgd::default().build(&backbones, 0.1).expect("torch has it");
        for _ in 0..2 {
            net(&x).square().sum(Kind::Float).backward();
            sgd.step();
            sgd.zero_grad();
            let got = tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers");
            assert_close(&got, &tch::no_grad(|| net(&x)));
        }
        assert!(served(&module) > 0, "{}", module.report());
    }
}
