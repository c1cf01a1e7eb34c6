//! Gradients with engines and without: the same to the last bit.

use super::Traced;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Options, TrtModule};
use tests::{engines_on, options, served};

/// The gradients of each of a few steps whose scores are those of the module or, in the same mode, of the network; evaluations between
/// them. Then the parameters.
fn trained(traced: &Traced, through_module: bool, on: bool) -> Vec<Tensor> {
    tch_bridge::set_enabled(on);
    let labels = Tensor::arange(8, (Kind::Int64, Device::Cpu)).remainder(4);
    let mut adam = nn::Adam::default().build(&traced.vs, 1e-2).expect("torch has it");
    let mut found = Vec::new();
    for _ in 0..6 {
        let scores = match through_module {
            true => traced.module.forward_ts(&[&traced.images]).expect("the host answers"),
            false => traced.net.forward_t(&traced.images, false),
        };
        adam.zero_grad();
        scores.cross_entropy_for_logits(&labels).backward();
        found.extend(traced.vs.trainable_variables().iter().map(|v| v.grad().copy()));
        adam.step();
        drop(tch::no_grad(|| traced.module.forward_ts(&[&traced.images])));
    }
    let mut named: Vec<_> = traced.vs.variables().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    found.extend(named.into_iter().map(|(_, t)| t.detach().copy()));
    found
}

#[test]
fn gradients_are_those_of_the_network_to_the_last_bit() {
    let of_network = trained(&Traced::new(), false, false);
    assert!(of_network.len() > 36);
    for (through_module, on) in [(false, true), (true, false), (true, true)] {
        // One engine, and engines with an operator of the host between them.
        for excluded in [None, Some("aten::tanh")] {
            let options =
                Options { exclude_ops: excluded.into_iter().map(String::from).collect(), ..options() };
            let traced = Traced::with(&options);
            let engines = traced.module.report().engines();
            assert_eq!(engines, if excluded.is_some() { 2 } else { 1 });
            let before = served(&traced.module);
            let case = format!("through the module: {through_module}, engines: {on}, {excluded:?}");
            assert_eq!(trained(&traced, through_module, on), of_network, "{case}");
            assert_eq!(
                served(&traced.module) - before,
                if on { 6 } else { 0 },
                "evaluations run in engines: {case}"
            );
        }
    }
}

/// The gradients of each of a few calls of a `.pt` file's module by whoever answers; evaluations between them, and before the first if
/// `evaluated`.
fn gradients_of(
    module: &tch::CModule,
    evaluated: bool,
    mut call: impl FnMut(&Tensor) -> Tensor,
) -> Vec<Tensor> {
    let parameters: Vec<Tensor> =
        module.named_parameters().expect("it has some").into_iter().map(|p| p.1).collect();
    let mut found = Vec::new();
    for step in 0..5 {
        let x = Tensor::arange(24, (Kind::Float, Device::Cpu)).reshape([4, 6]) * 0.1 - f64::from(step);
        if evaluated || step > 0 {
            drop(tch::no_grad(|| call(&x)));
        }
        let loss = call(&x).square().sum(Kind::Float);
        let gradients = Tensor::run_backward(&[&loss], &parameters, false, false);
        found.extend(gradients);
    }
    found
}

#[test]
fn gradients_of_a_file_are_those_of_libtorch_to_the_last_bit() {
    let _on = engines_on();
    tch::manual_seed(5);
    let parameter = |shape: &[i64]| {
        Initial::Parameter(Tensor::randn(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true))
    };
    let source = "def forward(self, x):
        y = torch.layer_norm(torch.gelu(x @ self.a), [8], self.w, self.b)
        z = torch.softmax(torch.tanh(y * 1.5) @ self.c, 1)
        return torch.sigmoid(z + y.mean(1, keepdim=True)) * torch.silu(y.sum(1, keepdim=True))";
    let attributes = [
        ("a", parameter(&[6, 8])),
        ("w", parameter(&[8])),
        ("b", parameter(&[8])),
        ("c", parameter(&[8, 5])),
    ];
    let made = Module::from_source(source, &attributes).expect("it compiles");
    let folder = std::env::temp_dir().join(format!("tch-trt-gradients-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("it can be made");
    let (plain, saved) = (folder.join("plain.pt"), folder.join("saved.pt"));
    made.save(&plain).expect("it is written");
    let x = Tensor::zeros([4, 6], (Kind::Float, Device::Cpu));
    for (evaluated, excluded) in
        [(false, None), (true, None), (false, Some("aten::softmax")), (true, Some("aten::softmax"))]
    {
        let case = format!("evaluated: {evaluated}, excluded: {excluded:?}");
        let host = tch::CModule::load(&plain).expect("it loads");
        let want = gradients_of(&host, evaluated, |x| host.forward_ts(&[x]).expect("libtorch answers"));
        let options = Options { exclude_ops: excluded.into_iter().map(String::from).collect(), ..options() };
        let got = |module: &TrtModule| {
            gradients_of(&module.host(), evaluated, |x| module.forward_ts(&[x]).expect("somebody answers"))
        };
        let module = TrtModule::load(&plain, &options).expect("it loads");
        tch_bridge::set_enabled(false);
        assert_eq!(got(&module), want, "switched off, {case}");
        tch_bridge::set_enabled(true);
        assert_eq!(got(&module), want, "{case}");
        assert!(
            module.report().to_string().contains("5 calls that recorded gradients"),
            "{}",
            module.report()
        );
        // With engines in the file: by this crate, and by libtorch alone.
        tch::no_grad(|| module.compile(&[&x])).expect("it compiles");
        module.save(&saved).expect("it is written");
        let loaded = TrtModule::load(&saved, &options).expect("it loads");
        assert_eq!(got(&loaded), want, "loaded, {case}");
        let alone = tch::CModule::load(&saved).expect("it loads");
        let got = gradients_of(&alone, evaluated, |x| alone.forward_ts(&[x]).expect("somebody answers"));
        assert_eq!(got, want, "loaded by libtorch, {case}");
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}
