use tch::nn::{self, Module as _, OptimizerConfig};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, JitError, Module};

use crate::assert_same;

fn parameters(vs: &nn::VarStore) -> Vec<(String, Initial)> {
    vs.variables().into_iter().map(|(name, tensor)| (name, Initial::Parameter(tensor))).collect()
}

#[test]
fn optimiser_steps_reach_the_traced_module() {
    let vs = nn::VarStore::new(Device::Cpu);
    let linear = nn::linear(vs.root() / "layer" / "one", 3, 2, Default::default());
    let x = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
    let module = Module::trace("forward", &[x.shallow_clone()], &parameters(&vs), |xs| {
        Ok::<_, JitError>(linear.forward(&xs[0]).relu())
    })
    .unwrap();
    let names: Vec<_> = module.named_tensors().unwrap().into_iter().map(|t| t.name).collect();
    assert!(names.contains(&"layer.one.weight".to_owned()), "{names:?}");
    let method = module.method("forward").unwrap();
    assert_same(&method.run_tensors(&[&x]).unwrap()[0], &linear.forward(&x).relu());
    let mut optimiser = nn::Sgd::default().build(&vs, 0.5).unwrap();
    let before = linear.ws.copy();
    optimiser.backward_step(&(linear.forward(&x) - 1.0).square().sum(Kind::Float));
    assert!(!linear.ws.equal(&before));
    assert_same(&method.run_tensors(&[&x]).unwrap()[0], &linear.forward(&x).relu());
    let text = module.prepare("forward").unwrap().text();
    assert!(text.contains("prim::GetAttr[name=\"weight\"]"), "{text}");
    let loaded = Module::load_bytes(&module.save_bytes().unwrap(), None).unwrap();
    assert_same(
        &loaded.method("forward").unwrap().run_tensors(&[&x]).unwrap()[0],
        &linear.forward(&x).relu(),
    );
}

#[test]
fn several_results_come_as_a_tuple() {
    let x = Tensor::from_slice(&[1.0f32, 2.0]);
    let module = Module::trace::<&str, _, _, JitError>("forward", &[x.shallow_clone()], &[], |xs| {
        Ok(IValue::Tuple(vec![IValue::Tensor(&xs[0] * 2.0), IValue::Tensor(&xs[0] + 1.0)]))
    })
    .unwrap();
    let results = module.method("forward").unwrap().run_tensors(&[&x]).unwrap();
    assert_same(&results[0], &(&x * 2.0));
    assert_same(&results[1], &(&x + 1.0));
}

#[test]
fn a_failing_closure_leaves_no_trace() {
    let x = Tensor::from_slice(&[1.0f32]);
    let failed =
        Module::trace::<&str, _, Tensor, _>("forward", &[x.shallow_clone()], &[], |_| Err("no luck"));
    let Err(JitError::Closure(error)) = failed else { panic!() };
    assert_eq!(error.to_string(), "no luck");
    let panicked = Module::trace::<&str, _, Tensor, JitError>("forward", &[x.shallow_clone()], &[], |xs| {
        Ok(xs[0].view([3, 3]))
    });
    let Err(JitError::Panicked(message)) = panicked else { panic!() };
    assert!(message.ends_with("shape '[3, 3]' is invalid for input of size 1"), "{message}");
    let good =
        Module::trace::<&str, _, _, JitError>("forward", &[x.shallow_clone()], &[], |xs| Ok(&xs[0] + 1.0));
    assert_same(&good.unwrap().method("forward").unwrap().run_tensors(&[&x]).unwrap()[0], &(&x + 1.0));
}
