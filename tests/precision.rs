//! Engines in fewer bits, where that was asked for: near the model in f32, in its types, with its weights.

use tch::nn::{self, ModuleT, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::{Options, Precision, TrtModule};
use tests::{engines_on, options, served};

fn network(vs: &nn::Path) -> nn::SequentialT {
    let convolution = nn::ConvConfig { padding: 1, ..Default::default() };
    nn::seq_t()
        .add(nn::conv2d(vs / "conv", 3, 8, 3, convolution))
        .add(nn::batch_norm2d(vs / "norm", 8, Default::default()))
        .add_fn(|x| x.relu().max_pool2d_default(2).flatten(1, -1))
        .add(nn::linear(vs / "hidden", 8 * 6 * 6, 32, Default::default()))
        .add_fn(|x| x.gelu("none"))
        .add(nn::linear(vs / "output", 32, 4, Default::default()))
}

/// The largest difference, over the largest magnitude.
fn off(got: &Tensor, want: &Tensor) -> f64 {
    ((got - want).abs().max() / want.abs().max()).double_value(&[])
}

#[test]
fn engines_round_and_keep_types_and_follow_weights() {
    let _on = engines_on();
    let _guard = tch::no_grad_guard();
    tch::manual_seed(3);
    for (precision, tolerance) in [(Precision::F16, 1e-2), (Precision::BF16, 8e-2)] {
        let vs = VarStore::new(Device::Cpu);
        let net = network(&vs.root());
        let images = Tensor::randn([8, 3, 12, 12], (Kind::Float, Device::Cpu));
        let options = Options { precision: Some(precision), ..options() };
        let trace = |options: &Options| {
            TrtModule::trace(&vs, &[images.shallow_clone()], |xs| net.forward_t(&xs[0], false), options)
        };
        let module = trace(&options).expect("the network is traced");
        module.compile(&[&images]).expect("the network compiles");
        let check = |module: &TrtModule| {
            let before = served(module);
            let got = module.forward_ts(&[&images]).expect("the module answers");
            assert!(served(module) > before, "{}", module.report());
            let want = net.forward_t(&images, false);
            assert_eq!((got.kind(), got.size()), (Kind::Float, want.size()));
            let off = off(&got, &want);
            assert!(off < tolerance, "{precision:?}: off by {off}");
            assert!(off > 1e-6, "{precision:?}: nothing was rounded");
        };
        check(&module);

        for (_, mut variable) in vs.variables() {
            variable.set_data(&(&variable * 0.5));
        }
        check(&module);

        let path = std::env::temp_dir().join(format!("tch-trt-precision-{}.pt", std::process::id()));
        module.save(&path).expect("it is written");
        let loaded = TrtModule::load(&path, &Options::waiting()).expect("it reads");
        std::fs::remove_file(&path).expect("it is there");
        drop(loaded.forward_ts(&[&images]).expect("engines are built"));
        let got = loaded.forward_ts(&[&images]).expect("the module answers");
        let off = off(&got, &net.forward_t(&images, false));
        assert!(off > 1e-6 && off < tolerance, "{precision:?} after loading: off by {off}");
    }
}

#[test]
fn the_model_keeps_its_own_types_unless_asked() {
    let _on = engines_on();
    let _guard = tch::no_grad_guard();
    let vs = VarStore::new(Device::Cpu);
    let net = network(&vs.root());
    let images = Tensor::randn([2, 3, 12, 12], (Kind::Float, Device::Cpu));
    let sample = [images.shallow_clone()];
    let module =
        TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options()).expect("traced");
    module.compile(&[&images]).expect("it compiles");
    let got = module.forward_ts(&[&images]).expect("the module answers");
    assert!(off(&got, &net.forward_t(&images, false)) < 1e-5);
}
