//! Steps of torch's C++ SGD, which writes weights past torch's count of writes, in every order and beside evaluations.

use super::network;
use std::sync::atomic::{AtomicBool, Ordering};
use tch::nn::{self, Module as _, ModuleT, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use tch_bridge::TrtModule;
use tests::{assert_close, engines_on, options, served};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Lets a thread have what torch guards, or leaves to its callers.
struct Shared<T>(T);

// SAFETY: torch runs a module beside the training of its parameters as it runs any two threads that read and write a tensor.
unsafe impl<T> Sync for Shared<T> {}

/// A factor of each of 1000 users and items, of which a step touches three; none of these rows is sampled.
struct Factors {
    vs: VarStore,
    users: nn::Embedding,
    items: nn::Embedding,
    ids: [Tensor; 2],
}

impl Factors {
    fn new() -> Factors {
        tch::manual_seed(3);
        let vs = VarStore::new(Device::Cpu);
        let users = nn::embedding(vs.root() / "users", 1000, 16, Default::default());
        let items = nn::embedding(vs.root() / "items", 1000, 16, Default::default());
        Factors { vs, users, items, ids: [[5i64, 77, 301], [3, 8, 401]].map(|ids| Tensor::from_slice(&ids)) }
    }

    fn forward(&self, ids: &[Tensor]) -> Tensor {
        let products = self.users.forward(&ids[0]) * self.items.forward(&ids[1]);
        products.sum_dim_intlist(-1, false, Kind::Float).sigmoid()
    }

    fn loss(&self) -> Tensor {
        (self.forward(&self.ids) - 1.0).square().mean(Kind::Float)
    }
}

/// The calls of a step; the last argument evaluates.
type Order = fn(&mut nn::Optimizer, &dyn Fn() -> Tensor, &dyn Fn());

const ORDERS: [(&str, Order); 6] = [
    ("backward_step, evaluate", |sgd, loss, evaluate| {
        sgd.backward_step(&loss());
        evaluate();
    }),
    ("backward, step, zero_grad, evaluate", |sgd, loss, evaluate| {
        loss().backward();
        sgd.step();
        sgd.zero_grad();
        evaluate();
    }),
    ("zero_grad, backward, evaluate, step, evaluate", |sgd, loss, evaluate| {
        sgd.zero_grad();
        loss().backward();
        evaluate();
        sgd.step();
        evaluate();
    }),
    ("two steps for one gradient", |sgd, loss, evaluate| {
        loss().backward();
        for _ in 0..2 {
            sgd.step();
            evaluate();
        }
        sgd.zero_grad();
        evaluate();
    }),
    ("a step between evaluations, zero_grad after the next one", |sgd, loss, evaluate| {
        loss().backward();
        evaluate();
        evaluate();
        sgd.step();
        evaluate();
        sgd.zero_grad();
        evaluate();
        evaluate();
    }),
    ("gradients of two losses together", |sgd, loss, evaluate| {
        loss().backward();
        loss().backward();
        sgd.step();
        sgd.zero_grad();
        evaluate();
    }),
];

#[test]
fn a_step_is_seen_in_whatever_order_its_calls_come() {
    let _on = engines_on();
    for (name, order) in ORDERS {
        let factors = Factors::new();
        let module = tch::no_grad(|| {
            TrtModule::trace(&factors.vs, &factors.ids, |ids| factors.forward(ids), &options())
        });
        let module = module.expect("the network is traced");
        let evaluate = || {
            let got = tch::no_grad(|| module.forward_ts(&factors.ids)).expect("it answers");
            let want = tch::no_grad(|| factors.forward(&factors.ids));
            let off = (&got - &want).abs().max().double_value(&[]);
            assert!(off < 1e-6, "{name}: off by {off:e}");
        };
        evaluate();
        let first = tch::no_grad(|| factors.loss()).double_value(&[]);
        let mut sgd = nn::Sgd::default().build(&factors.vs, 0.5).expect("torch has it");
        (0..5).for_each(|_| order(&mut sgd, &|| factors.loss(), &evaluate));
        assert!(tch::no_grad(|| factors.loss()).double_value(&[]) < first, "{name}: it learns");
        assert!(served(&module) >= 5, "{}", module.report());
    }
}

#[test]
fn steps_of_variables_that_were_frozen_when_engines_were_made_are_seen() {
    let _on = engines_on();
    let mut factors = Factors::new();
    factors.vs.freeze();
    let module = TrtModule::trace(&factors.vs, &factors.ids, |ids| factors.forward(ids), &options());
    let module = module.expect("the network is traced");
    tch::no_grad(|| module.compile(&factors.ids)).expect("it compiles");
    factors.vs.unfreeze();
    let mut sgd = nn::Sgd::default().build(&factors.vs, 0.5).expect("torch has it");
    for _ in 0..3 {
        factors.loss().backward();
        sgd.step();
        sgd.zero_grad();
        let got = tch::no_grad(|| module.forward_ts(&factors.ids)).expect("it answers");
        assert_close(&got, &tch::no_grad(|| factors.forward(&factors.ids)));
    }
    // And the other way round: the gradient stays while the variable is frozen.
    factors.loss().backward();
    factors.vs.freeze();
    assert_close(&module.forward_ts(&factors.ids).expect("it answers"), &factors.forward(&factors.ids));
    sgd.step();
    assert_close(&module.forward_ts(&factors.ids).expect("it answers"), &factors.forward(&factors.ids));
    assert!(served(&module) >= 5, "{}", module.report());
}

#[test]
fn two_modules_of_the_same_variables_both_see_a_step() {
    let _on = engines_on();
    let factors = Factors::new();
    let trace = || {
        tch::no_grad(|| TrtModule::trace(&factors.vs, &factors.ids, |ids| factors.forward(ids), &options()))
    };
    let first = trace().expect("the network is traced");
    let answer = |module: &TrtModule| tch::no_grad(|| module.forward_ts(&factors.ids)).expect("it answers");
    drop(answer(&first));
    let mut sgd = nn::Sgd::default().build(&factors.vs, 0.5).expect("torch has it");
    let mut step = || {
        factors.loss().backward();
        sgd.step();
        sgd.zero_grad();
        tch::no_grad(|| factors.forward(&factors.ids))
    };
    {
        let second = trace().expect("the network is traced");
        drop(answer(&second));
        for _ in 0..3 {
            let want = step();
            assert_close(&answer(&first), &want);
            assert_close(&answer(&second), &want);
        }
    }
    // One of them is gone.
    let want = step();
    assert_close(&answer(&first), &want);
}

#[test]
fn a_variable_of_another_shape_trains_on() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let mut layer = nn::linear(vs.root(), 8, 8, nn::LinearConfig { bias: false, ..Default::default() });
    let x = Tensor::randn([4, 8], F32);
    let module = tch::no_grad(|| {
        TrtModule::trace(&vs, &[x.shallow_clone()], |xs| xs[0].apply(&layer).tanh(), &options())
    });
    let module = module.expect("the layer is traced");
    drop(tch::no_grad(|| module.forward_ts(&[&x])));
    let mut sgd = nn::Sgd::default().build(&vs, 0.5).expect("torch has it");
    sgd.backward_step(&x.apply(&layer).square().sum(Kind::Float));
    sgd.zero_grad();
    layer.ws.set_data(&Tensor::randn([3, 8], F32));
    sgd.backward_step(&x.apply(&layer).square().sum(Kind::Float));
    assert_eq!(layer.ws.grad().size(), [3, 8]);
    let got = tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers");
    assert_close(&got, &tch::no_grad(|| x.apply(&layer).tanh()));
}

/// A thread evaluates all the while that `train` runs in this one.
fn beside_evaluations(module: &TrtModule, x: &Tensor, train: impl FnOnce()) {
    let shared = Shared((module, x));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (shared, stop) = (&shared, &stop);
        let evaluations = scope.spawn(move || {
            let Shared((module, x)) = shared;
            while !stop.load(Ordering::Relaxed) {
                drop(tch::no_grad(|| module.forward_ts(&[*x])).expect("it answers"));
            }
        });
        train();
        stop.store(true, Ordering::Relaxed);
        evaluations.join().expect("nothing panics");
    });
}

/// Gradients come and go while others evaluate, and nobody trips over them.
#[test]
fn evaluations_beside_training_touch_no_gradient() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let layer = |i: i32| nn::linear(vs.root() / format!("l{i}"), 16, 16, Default::default());
    let net = (0..40).fold(nn::seq(), |net, i| net.add(layer(i)).add_fn(|x| x.tanh()));
    let x = Tensor::randn([2, 16], F32);
    let module =
        tch::no_grad(|| TrtModule::trace(&vs, &[x.shallow_clone()], |xs| net.forward(&xs[0]), &options()));
    let module = module.expect("the network is traced");
    tch::no_grad(|| module.compile(&[&x])).expect("it compiles");
    let mut adam = nn::Adam::default().build(&vs, 1e-3).expect("torch has it");
    beside_evaluations(&module, &x, || {
        (0..500).for_each(|_| adam.backward_step(&(net.forward(&x) - 0.5).square().mean(Kind::Float)));
    });
    let got = tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers");
    assert_close(&got, &tch::no_grad(|| net.forward(&x)));
}

#[test]
fn a_step_beside_an_evaluation_leaves_no_old_weights() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let layer = nn::linear(vs.root(), 1024, 1024, nn::LinearConfig { bias: false, ..Default::default() });
    let x = Tensor::randn([4, 1024], F32);
    let net = |x: &Tensor| x.apply(&layer).tanh();
    let module = tch::no_grad(|| TrtModule::trace(&vs, &[x.shallow_clone()], |xs| net(&xs[0]), &options()));
    let module = module.expect("the layer is traced");
    let evaluate = || tch::no_grad(|| module.forward_ts(&[&x])).expect("it answers");
    drop(evaluate());
    let mut sgd = nn::Sgd::default().build(&vs, 1e3).expect("torch has it");
    for step in 0..60 {
        let loss = net(&x).square().mean(Kind::Float) * f64::from(1 + step);
        loss.backward();
        drop(evaluate());
        beside_evaluations(&module, &x, || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            sgd.step();
            if step % 2 == 0 {
                sgd.zero_grad();
            }
        });
        // To the last bit what engines give that have read the weights anew.
        let got = evaluate();
        module.refit();
        assert_eq!(got, evaluate(), "step {step}");
        sgd.zero_grad();
    }
}

#[test]
fn a_look_costs_no_reading_of_the_weights_once_gradients_are_gone() {
    let _on = engines_on();
    tch::manual_seed(7);
    let vs = VarStore::new(Device::Cpu);
    let net = network(&vs.root());
    let images = Tensor::randn([8, 1, 12, 12], F32);
    let sample = [images.shallow_clone()];
    let module =
        tch::no_grad(|| TrtModule::trace(&vs, &sample, |xs| net.forward_t(&xs[0], false), &options()));
    let module = module.expect("the network is traced");
    let evaluate = || tch::no_grad(|| module.forward_ts(&[&images])).expect("it answers");
    drop(evaluate());
    let weight = &vs.variables()["hidden.weight"];
    // Element 1 is no sample.
    // SAFETY: the tensor is dense f32 on the CPU and has more than two elements; nobody else reads it meanwhile.
    let write = || unsafe {
        let value = &mut *weight.data_ptr().cast::<f32>().add(1);
        *value = if *value > 50.0 { -100.0 } else { 100.0 };
    };
    let mut sgd = nn::Sgd::default().build(&vs, 1e-3).expect("torch has it");
    sgd.backward_step(&net.forward_t(&images, true).square().sum(Kind::Float));
    let mut last = evaluate();
    for _ in 0..3 {
        write();
        let now = evaluate();
        assert_ne!(now, last, "as long as there is a gradient, every byte counts");
        last = now;
    }
    sgd.zero_grad();
    write();
    let now = evaluate();
    assert_ne!(now, last, "and once after that");
    write();
    assert_eq!(evaluate(), now, "nobody reads it all");
    module.refit();
    assert_ne!(evaluate(), now);
}

/// A network that evaluates with a detached view of what is trained, a target network on the same memory say.
#[test]
fn steps_are_seen_through_a_detached_view() {
    let _on = engines_on();
    let factors = Factors::new();
    let view = factors.users.ws.detach();
    let [ids, _] = &factors.ids;
    let forward = |ids: &Tensor| Tensor::embedding(&view, ids, -1, false, false).tanh() * 2.0 + 0.5;
    let sample = [ids.shallow_clone()];
    let module = tch::no_grad(|| TrtModule::trace(&factors.vs, &sample, |xs| forward(&xs[0]), &options()));
    let module = module.expect("it is traced");
    let mut sgd = nn::Sgd::default().build(&factors.vs, 0.5).expect("an optimiser");
    for _ in 0..4 {
        factors.users.forward(ids).square().sum(Kind::Float).backward();
        sgd.step();
        sgd.zero_grad();
        tch::no_grad(|| assert_close(&module.forward_ts(&[ids]).expect("it runs"), &forward(ids)));
    }
    assert!(served(&module) > 0, "{}", module.report());
}
