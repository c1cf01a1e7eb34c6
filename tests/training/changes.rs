//! Weights that change behind a module's back, in every way that torch allows.

use super::{Traced, network};
use std::collections::HashMap;
use tch::nn::{self, ModuleT, OptimizerConfig, VarStore};
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::TrtModule;
use tch_bridge::jit::{Initial, Module};
use tests::{assert_close, engines_on, options, served};

/// Writes to a network's variables.
type Change = fn(&VarStore);

/// A variable that shares nothing but its memory with the one in the store.
fn variable(vs: &VarStore, name: &str) -> Tensor {
    vs.variables().remove(name).expect("the network has it")
}

/// Each changes one value, or all of a variable; none changes what one looks at by address or sample alone: element 1 is no sample.
const CHANGES: [(&str, Change); 22] = [
    ("in place", |vs| drop(variable(vs, "hidden.weight").g_add_scalar_(0.5))),
    ("copied into", |vs| {
        let mut weight = variable(vs, "conv.weight");
        weight.copy_(&weight.flip([0]));
    }),
    ("one element through a view", |vs| drop(variable(vs, "hidden.weight").get(0).get(1).fill_(9.0))),
    ("a view of a view", |vs| {
        drop(variable(vs, "hidden.weight").transpose(0, 1).narrow(0, 1, 1).view_([-1]).g_mul_scalar_(5.0))
    }),
    ("detached", |vs| drop(variable(vs, "hidden.weight").detach().get(0).get(1).fill_(-9.0))),
    ("by a mask", |vs| {
        let mut weight = variable(vs, "hidden.weight");
        let small = weight.lt(0.0);
        drop(weight.masked_fill_(&small, 0.0))
    }),
    ("by indices", |vs| {
        let row = Tensor::from_slice(&[3i64]);
        drop(variable(vs, "output.weight").index_fill_(0, &row, 1.5))
    }),
    ("put into", |vs| {
        let (at, value) = (Tensor::from_slice(&[1i64]), Tensor::from_slice(&[7f32]));
        drop(variable(vs, "hidden.weight").put_(&at, &value, false))
    }),
    ("zeroed", |vs| drop(variable(vs, "output.bias").g_add_scalar_(1.0).zero_())),
    ("filled at random", |vs| drop(variable(vs, "output.weight").uniform_(-1.0, 1.0))),
    ("other memory", |vs| {
        let mut weight = variable(vs, "hidden.weight");
        let other = weight.detach().copy();
        drop(other.get(0).get(1).fill_(4.0));
        weight.set_data(&other);
    }),
    ("memory of another variable", |vs| {
        let (mut weight, mut bias) = (variable(vs, "norm.weight"), variable(vs, "norm.bias"));
        drop(bias.g_add_scalar_(2.0));
        let (w, b) = (weight.detach(), bias.detach());
        weight.set_data(&b);
        bias.set_data(&w);
    }),
    ("memory of another tensor, by set_", |vs| {
        let mut weight = variable(vs, "hidden.weight");
        let other = weight.detach().copy();
        drop(other.get(0).get(1).fill_(6.0));
        drop(weight.set_source_tensor_(&other))
    }),
    ("resized and filled", |vs| {
        let bias = variable(vs, "output.bias").set_requires_grad(false);
        drop(bias.shallow_clone().resize_([4]).fill_(0.75));
        drop(bias.set_requires_grad(true))
    }),
    ("a row of what unbind gives", |vs| {
        drop(variable(vs, "hidden.weight").unbind(0).swap_remove(0).get(1).fill_(8.0))
    }),
    ("strides of one's own", |vs| {
        drop(variable(vs, "hidden.weight").as_strided([2, 2], [216, 1], Some(1)).fill_(2.5))
    }),
    // Past the counter: seen by the elements that are looked at.
    ("all of it through data()", |vs| drop(variable(vs, "hidden.weight").data().g_mul_scalar_(2.0))),
    ("all of it from outside of torch", |vs| {
        let weight = variable(vs, "hidden.weight");
        let first = weight.data_ptr().cast::<f32>();
        // SAFETY: the tensor is dense f32 on the CPU, and nobody else reads it meanwhile.
        (0..weight.numel()).for_each(|i| unsafe { *first.add(i) *= -1.0 })
    }),
    ("running mean", |vs| drop(variable(vs, "norm.running_mean").get(1).fill_(0.5))),
    ("running variance", |vs| drop(variable(vs, "norm.running_var").g_mul_scalar_(2.0))),
    ("while it does not require gradients", |vs| {
        let weight = variable(vs, "hidden.weight").set_requires_grad(false);
        drop(weight.get(0).get(1).fill_(3.0));
        drop(weight.set_requires_grad(true))
    }),
    ("copied from another store", |vs| {
        let mut own = vs.variables();
        let mut other = VarStore::new(Device::Cpu);
        let _shape = network(&other.root());
        other.variables().iter().for_each(|(name, v)| own.get_mut(name).expect("alike").copy_(v));
        other.freeze();
    }),
];

#[test]
fn a_weight_that_changed_in_any_way_is_seen() {
    let traced = Traced::new();
    let first: HashMap<String, Tensor> =
        traced.vs.variables().into_iter().map(|(name, v)| (name, v.detach().copy())).collect();
    let before = traced.agreed();
    for (how, change) in CHANGES {
        tch::no_grad(|| change(&traced.vs));
        assert_ne!(traced.agreed(), before, "{how}");
        for (name, v) in &mut traced.vs.variables() {
            tch::no_grad(|| v.copy_(&first[name]));
        }
        assert_eq!(traced.agreed(), before, "back after: {how}");
    }
}

#[test]
fn memory_that_comes_back_is_not_taken_for_the_old_one() {
    let traced = Traced::new();
    let mut weight = variable(&traced.vs, "hidden.weight");
    // Other tests take memory too: again, until it came back a few times.
    let mut reused = 0;
    for round in 0..400 {
        if reused == 4 {
            break;
        }
        let _ = traced.agreed();
        let before = weight.data_ptr();
        // What engines saw goes away, and the next memory of this size is the same again.
        for value in [100.0, 1.0 + f64::from(round)] {
            let other = tch::no_grad(|| weight.detach().copy());
            drop(tch::no_grad(|| other.get(0).get(1).fill_(value)));
            weight.set_data(&other);
        }
        reused += usize::from(weight.data_ptr() == before);
    }
    assert!(reused > 0, "the allocator gave other memory each time");
    let _ = traced.agreed();
}

#[test]
fn rows_of_an_embedding_that_a_step_reaches_are_seen() {
    let _on = engines_on();
    tch::manual_seed(7);
    let vs = VarStore::new(Device::Cpu);
    let net = nn::embedding(vs.root(), 64, 4, Default::default());
    let all = Tensor::arange(64, (Kind::Int64, Device::Cpu));
    let forward = |rows: &Tensor| net.forward_t(rows, false).relu() * 2.0;
    let sample = [all.shallow_clone()];
    let module = tch::no_grad(|| TrtModule::trace(&vs, &sample, |xs| forward(&xs[0]), &options()));
    let module = module.expect("the network is traced");
    tch::no_grad(|| module.compile(&[&all])).expect("the network compiles");
    let mut sgd = nn::Sgd::default().build(&vs, 1.0).expect("torch has it");
    for row in 0..64 {
        // One row alone has a gradient, which is made anew for each step.
        let rows = Tensor::from_slice(&[row]);
        sgd.backward_step(&net.forward_t(&rows, true).sum(Kind::Float));
        let got = tch::no_grad(|| module.forward_ts(&[&all])).expect("it answers");
        assert_close(&got, &tch::no_grad(|| forward(&all)));
    }
    assert!(served(&module) >= 64, "{}", module.report());
}

#[test]
fn an_attribute_that_a_method_replaces_is_seen() {
    let _on = engines_on();
    let source = "def replace(self, weight: Tensor, all: bool) -> Tensor:\n    if all:\n        self.weight = weight\n    else:\n        self.weight[0, 1] = 3.0\n    return self.weight\ndef forward(self, x: Tensor) -> Tensor:\n    return torch.relu(torch.matmul(x, self.weight) + 1.0)\n";
    let weight = || Tensor::randn([8, 8], (Kind::Float, Device::Cpu));
    let module = Module::from_source(source, &[("weight", Initial::Buffer(weight()))]).expect("it compiles");
    let engines = TrtModule::wrap(module.to_cmodule(), &options()).expect("the options can be met");
    let x = Tensor::randn([4, 8], (Kind::Float, Device::Cpu));
    let mut last = Tensor::zeros([4, 8], (Kind::Float, Device::Cpu));
    for round in 0..6 {
        let arguments = [IValue::Tensor(weight()), IValue::Bool(round % 2 == 0)];
        let replaced = engines.method_is("replace", &arguments).expect("the method runs");
        let IValue::Tensor(now) = replaced else { panic!("{replaced:?}") };
        let got = tch::no_grad(|| engines.forward_ts(&[&x])).expect("it answers");
        assert_close(&got, &(x.matmul(&now) + 1.0).relu());
        assert_ne!(got, last);
        last = got;
    }
    assert!(served(&engines) >= 3, "{}", engines.report());
}

/// A weight with gaps between its elements is looked at as any other.
#[test]
fn a_weight_that_is_not_dense_is_watched_too() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let vs = VarStore::new(Device::Cpu);
    let layer = nn::linear(vs.root() / "a", 32, 32, nn::LinearConfig::default());
    let wide = Tensor::randn([32, 64], (Kind::Float, Device::Cpu));
    let mut weight = variable(&vs, "a.weight");
    weight.set_data(&wide.slice(1, 0, 64, 2));
    let x = Tensor::randn([4, 32], (Kind::Float, Device::Cpu));
    let sample = [x.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| xs[0].apply(&layer).tanh(), &options()).expect("traced");
    for value in [0.01, 0.02] {
        assert_close(&module.forward_ts(&[&x]).expect("it answers"), &x.apply(&layer).tanh());
        let _filled = weight.data().fill_(value);
        assert_close(&module.forward_ts(&[&x]).expect("it answers"), &x.apply(&layer).tanh());
    }
    assert!(served(&module) > 0, "{}", module.report());
}

/// Other strides over the same memory are other weights, and so are other sizes.
#[test]
fn the_same_memory_laid_out_otherwise_is_seen() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let vs = VarStore::new(Device::Cpu);
    let mut layer = nn::linear(vs.root() / "a", 32, 32, nn::LinearConfig::default());
    let x = Tensor::randn([4, 32], (Kind::Float, Device::Cpu));
    let sample = [x.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| xs[0].apply(&layer).tanh(), &options()).expect("traced");
    for _ in 0..3 {
        assert_close(&module.forward_ts(&[&x]).expect("it answers"), &x.apply(&layer).tanh());
        layer.ws.set_data(&layer.ws.detach().tr());
    }
    assert!(served(&module) >= 2, "{}", module.report());

    let mut w = vs.root().var("w", &[60, 40], nn::Init::Randn { mean: 0.0, stdev: 1.0 });
    let x = Tensor::randn([8, 60], (Kind::Float, Device::Cpu));
    let sample = [x.shallow_clone()];
    let module = TrtModule::trace(&vs, &sample, |xs| xs[0].matmul(&w).tanh(), &options()).expect("traced");
    assert_close(&module.forward_ts(&[&x]).expect("it answers"), &x.matmul(&w).tanh());
    w.set_data(&w.detach().reshape([40, 60]));
    assert!(module.forward_ts(&[&x]).is_err(), "60 columns by 40 rows");
}

/// Of what torch does not count, each element of a short tensor and one in each part of a long one are seen.
#[test]
fn samples_are_spread() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let seen = |shape: &[i64]| {
        let vs = VarStore::new(Device::Cpu);
        let b = vs.root().var("b", shape, nn::Init::Randn { mean: 0.0, stdev: 1.0 });
        let x = Tensor::randn(shape, (Kind::Float, Device::Cpu));
        let sample = [x.shallow_clone()];
        let module = TrtModule::trace(&vs, &sample, |xs| (&xs[0] * &b).tanh() + &xs[0], &options());
        let module = module.expect("it is traced");
        let answer = || module.forward_ts(&[&x]).expect("it answers");
        // The host serves the first call.
        drop(answer());
        let flat = b.data().view(-1);
        let mut last = answer();
        let mut is_seen = |element: &i64| {
            let _written = flat.get(*element).fill_(9.0 + *element as f64);
            let now = answer();
            let differs = now != last;
            last = now;
            differs
        };
        let seen: Vec<i64> = (0..flat.numel() as i64).filter(|e| is_seen(e)).collect();
        assert!(served(&module) > 0, "{}", module.report());
        seen
    };
    for short in [1, 7, 8, 9, 10, 15, 16] {
        assert_eq!(seen(&[short]), (0..short).collect::<Vec<i64>>());
    }
    let of_rows = seen(&[8, 16]);
    assert_eq!(of_rows.len(), 8, "{of_rows:?}");
    for (what, of) in
        [("column", |at: &i64| at % 16), ("part", |at: &i64| at / 24)] as [(_, fn(&i64) -> i64); 2]
    {
        let mut different: Vec<i64> = of_rows.iter().map(of).collect();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() >= 5, "{what}: {of_rows:?}");
    }
}
