//! A module that goes from evaluation to training and back.

use super::resident;
use tch::{Device, Kind, Tensor};
use tch_bridge::TrtModule;
use tch_bridge::jit::{Initial, Module};
use tests::{assert_close, engines_on, options, served};

/// Scores that dropout thins out in training mode.
fn thinned() -> (Module, Tensor) {
    let weight = || Tensor::randn([16, 16], (Kind::Float, Device::Cpu));
    let source = "def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(torch.matmul(x, self.a))
        x = torch.dropout(x, 0.5, self.training)
        return torch.tanh(torch.matmul(x, self.b) + 1.0)";
    let attributes = [("a", Initial::Buffer(weight())), ("b", Initial::Buffer(weight()))];
    let module = Module::from_source(source, &attributes).expect("it compiles");
    (module, Tensor::randn([4, 16], (Kind::Float, Device::Cpu)))
}

#[test]
fn both_modes_keep_their_engines() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let (module, x) = thinned();
    let host = module.to_cmodule();
    let engines = TrtModule::wrap(module.to_cmodule(), &options()).expect("the options can be met");
    for round in 0..10 {
        for training in [true, false] {
            if training { engines.set_train() } else { engines.set_eval() }.expect("it has the mode");
            tch::manual_seed(round);
            let got = engines.forward_ts(&[&x]).expect("it answers");
            tch::manual_seed(round);
            assert_close(&got, &host.forward_ts(&[&x]).expect("libtorch answers"));
        }
    }
    let report = engines.report();
    assert_eq!(report.methods.len(), 2, "one form for each mode: {report}");
    // The first call of each mode is observed.
    assert_eq!(served(&engines), 18, "{report}");
}

#[test]
fn forms_that_are_gone_leave_no_memory_behind() {
    let _on = engines_on();
    let _no_grad = tch::no_grad_guard();
    let (module, x) = thinned();
    let round = || {
        let engines = TrtModule::wrap(module.to_cmodule(), &options()).expect("the options can be met");
        engines.compile(&[&x]).expect("it compiles");
        assert_eq!(engines.report().methods.len(), 1);
    };
    (0..50).for_each(|_| round());
    let before = resident();
    (0..200).for_each(|_| round());
    let grown = resident().saturating_sub(before);
    println!("GROWN {grown}");
    assert!(grown < 1 << 20, "{grown} bytes more");
}
