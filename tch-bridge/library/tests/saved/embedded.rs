//! Engines in the file, which serve the weights that they were made from.

use crate::{Folder, SWITCH, first, run, saved_with, with_states};
use tch::{IValue, Tensor};
use tch_bridge::jit::Module;
use tch_bridge::{Options, SavedWeights, TrtModule};

/// What became of the plans of `forward`'s engines.
fn plans(module: &TrtModule) -> Vec<String> {
    let report = module.report();
    let forward = report.loaded.iter().filter(|l| l.attribute.starts_with("trt_forward"));
    let shapes = forward.flat_map(|l| l.engine.iter().flat_map(|e| &e.shapes));
    shapes.map(|s| s.plan.clone().unwrap_or_default()).collect()
}

fn forward(module: &TrtModule, on: bool, x: &Tensor) -> Tensor {
    tch_bridge::set_enabled(on);
    first(tch::no_grad(|| module.forward_is(&[IValue::Tensor(x.shallow_clone())])).expect("it answers"))
}

/// The parameter, which all handles of the module share.
fn parameter(module: &TrtModule) -> Tensor {
    let parameters = Module::share(&module.host()).named_tensors().expect("it has some");
    parameters.into_iter().find(|t| t.name == "w").expect("this one").tensor
}

#[test]
fn engines_in_the_file_serve_its_weights_only() {
    let _alone = SWITCH.lock();
    let folder = Folder::new("embedded");
    let path = saved_with(&folder, SavedWeights::Embed);
    let x = Tensor::randn([4, 8], tch::kind::FLOAT_CPU);
    // The first call, without waiting for anything.
    let module = TrtModule::load(&path, &Options::default()).expect("it loads");
    let want = forward(&module, false, &x);
    let got = forward(&module, true, &x);
    assert!(got.allclose(&want, 1e-4, 1e-5, false), "{got}\n{want}");
    let report = module.report();
    assert!(plans(&module).len() >= 2 && plans(&module).iter().all(|p| p == "used"), "{report}");
    assert!(report.to_string().contains("plan in the file: used"), "{report}");
    // Weights that change later are seen, as everywhere.
    drop(tch::no_grad(|| parameter(&module).g_add_scalar_(0.5)));
    let changed = forward(&module, false, &x);
    assert!(!changed.allclose(&want, 1e-4, 1e-5, false));
    let got = forward(&module, true, &x);
    assert!(got.allclose(&changed, 1e-4, 1e-5, false), "{got}\n{changed}");
    // So are those that changed before the first call.
    let module = TrtModule::load(&path, &Options::waiting()).expect("it loads");
    drop(tch::no_grad(|| parameter(&module).g_add_scalar_(0.5)));
    let got = forward(&module, true, &x);
    assert!(got.allclose(&changed, 1e-4, 1e-5, false), "{got}\n{changed}");
    let (told, report) = (plans(&module), module.report());
    assert!(told.iter().any(|p| p.contains("the weights are others")), "{report}");
    // Saved again, the file has the engines of these weights.
    let again = folder.path("again.pt");
    module.save(&again).expect("it is saved");
    let module = TrtModule::load(&again, &Options::default()).expect("it loads");
    let got = forward(&module, true, &x);
    assert!(got.allclose(&changed, 1e-4, 1e-5, false), "{got}\n{changed}");
    assert!(plans(&module).iter().all(|p| p == "used"), "{}", module.report());
}

#[test]
fn a_damaged_plan_is_told_and_its_engine_built_anew() {
    let _alone = SWITCH.lock();
    let folder = Folder::new("damaged-plan");
    let path = saved_with(&folder, SavedWeights::Embed);
    let x = Tensor::randn([4, 8], tch::kind::FLOAT_CPU);
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 2] = [
        ("flipped", |bytes| *bytes.last_mut().expect("it is not empty") ^= 1),
        ("cut", |bytes| bytes.truncate(bytes.len() - 100)),
    ];
    for (name, change) in changes {
        let to = folder.path(name);
        assert!(with_states(&path, &to, change) >= 3);
        let module = TrtModule::load(&to, &Options::waiting()).expect("it loads");
        let want = forward(&module, false, &x);
        let got = forward(&module, true, &x);
        assert!(got.allclose(&want, 1e-4, 1e-5, false), "{got}\n{want}");
        let told = plans(&module);
        assert!(
            told.len() >= 2 && told.iter().all(|p| p.starts_with("built anew: its plan is not used")),
            "{told:?}"
        );
    }
}

#[test]
fn python_starts_from_engines_in_the_file() {
    let folder = Folder::new("embedded-python");
    let saved = saved_with(&folder, SavedWeights::Embed);
    run("embedded.py", &[&saved], &[]);
    run("freed.py", &[&saved], &[]);
}
