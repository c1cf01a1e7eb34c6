//! Engines in fewer bits, where that was asked for: near the model in f32, in its types, with its weights.

use tch::nn::{self, ModuleT, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::report::{Kept, State};
use tch_bridge::{Options, ParityGuard, Precision, TrtModule};
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

/// The small difference of large numbers: fewer bits cannot hold it between two layers.
const CANCELS: &str = "
def forward(self, x):
    large = torch.matmul(x, self.a) + 100.0
    kept = torch.max_pool2d(large.view(1, 1, 8, 16), [2, 1], [2, 1]).view(4, 16)
    return torch.matmul(kept - 100.0, self.b)
";

#[test]
fn a_guard_names_what_differs_and_keeps_it_in_f32() {
    let _on = engines_on();
    let _guard = tch::no_grad_guard();
    tch::manual_seed(5);
    let random = |shape: &[i64]| Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.2;
    let attributes = [("a", random(&[16, 16])), ("b", random(&[16, 4]))];
    let attributes = attributes.map(|(name, t)| (name.to_string(), Initial::Parameter(t)));
    let x = random(&[8, 16]);
    let script = Module::from_source(CANCELS, &attributes).expect("the script is right").to_cmodule();
    let host = script.forward_ts(&[&x]).expect("it runs");
    let run = |guard: Option<ParityGuard>| {
        let options = Options { precision: Some(Precision::BF16), guard, take_all: true, ..options() };
        let script = Module::from_source(CANCELS, &attributes).expect("the script is right").to_cmodule();
        let module = TrtModule::wrap(script, &options).expect("it is wrapped");
        module.compile(&[&x]).expect("it compiles");
        let found = module.forward_ts(&[&x]).expect("it runs");
        assert!(served(&module) > 0, "{}", module.report());
        let report = module.report();
        let state = &report.methods[0].state;
        let State::Divided { engines, .. } = state else { panic!("{report}") };
        (off(&found, &host), engines[0].shapes[0].parity.clone(), report.to_string())
    };
    let (bare, none, _) = run(None);
    assert!(none.is_none() && bare > 0.1, "off by {bare}");
    let (told, parity, report) = run(Some(ParityGuard { tolerance: 0.02, keep: false }));
    let parity = parity.expect("there was a guard");
    assert!(told > 0.1 && parity.kept == Kept::Nothing && parity.before > Some(0.1), "{parity:?}");
    // The subtraction has become a part of the pool.
    assert!(parity.differing[0].layer.contains("max_pool2d"), "{parity:?}");
    assert!(report.contains("first differs"), "{report}");
    let (kept, parity, report) = run(Some(ParityGuard { tolerance: 0.02, keep: true }));
    let parity = parity.expect("there was a guard");
    assert!(kept < 0.02 && parity.kept == Kept::Layers && parity.after < Some(0.02), "{kept} {parity:?}");
    assert!(kept > 1e-6, "nothing is in fewer bits any more: {report}");
    let (loose, parity, _) = run(Some(ParityGuard { tolerance: 10.0, keep: true }));
    let parity = parity.expect("there was a guard");
    assert!(loose > 0.1 && parity.differing.is_empty() && parity.kept == Kept::Nothing, "{parity:?}");
}
