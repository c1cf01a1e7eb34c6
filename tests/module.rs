//! The module that users hold, end to end: engines against the host, and who serves when.

use tch::nn::{Module as _, OptimizerConfig, VarStore};
use tch::{CModule, Device, IValue, Kind, Tensor, nn};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::report::State;
use tch_bridge::{Bounds, Options, TrtModule};
use tests::{assert_close, engines_on, options, served};

fn script(source: &str, attributes: &[(&str, Initial)]) -> CModule {
    Module::from_source(source, attributes).expect("the source compiles").to_cmodule()
}

fn floats(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

#[test]
fn a_chain_becomes_one_engine_and_agrees() {
    let _on = engines_on();
    let host = script(
        "def forward(self, x, y):\n    a = torch.tanh(x + y)\n    return torch.relu(a * 2.0 - y)\n",
        &[],
    );
    let module = TrtModule::wrap(host, &options()).unwrap();
    let (x, y) = (floats(&[3, 5]), floats(&[5]));
    let first = module.forward_ts(&[&x, &y]).unwrap();
    let second = module.forward_ts(&[&x, &y]).unwrap();
    assert_close(&second, &first);
    assert_eq!(module.report().engines(), 1, "{}", module.report());
    assert_eq!(served(&module), 1, "{}", module.report());
}

#[test]
fn switching_off_gives_the_host_back() {
    let on = engines_on();
    let module =
        TrtModule::wrap(script("def forward(self, x): return torch.relu(x) + 1", &[]), &options()).unwrap();
    let x = floats(&[4]);
    module.compile(&[&x]).unwrap();
    drop(module.forward_ts(&[&x]).unwrap());
    assert_eq!(served(&module), 1);
    tch_bridge::set_enabled(false);
    drop(module.forward_ts(&[&x]).unwrap());
    assert_eq!(served(&module), 1, "the host serves while engines are off");
    tch_bridge::set_enabled(true);
    drop(module.forward_ts(&[&x]).unwrap());
    assert_eq!(served(&module), 2);
    drop(on);
}

#[test]
fn a_new_shape_is_a_new_specialisation() {
    let _on = engines_on();
    let source =
        "def forward(self, x): return torch.relu(x.view(x.size(0), -1).mm(self.w)).view(x.size(0), 2, -1)";
    let w = floats(&[6, 4]);
    let module = TrtModule::wrap(script(source, &[("w", Initial::Parameter(w))]), &options()).unwrap();
    for batch in [1, 3, 7, 3] {
        let x = floats(&[batch, 2, 3]);
        let got = module.forward_ts(&[&x]).unwrap();
        tch_bridge::set_enabled(false);
        assert_close(&got, &module.forward_ts(&[&x]).unwrap());
        tch_bridge::set_enabled(true);
    }
    assert!(served(&module) >= 3, "{}", module.report());
}

#[test]
fn an_unsupported_operator_stays_between_two_engines() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    a = torch.relu(x) * 2.0\n    b = torch.lgamma(a)\n    return torch.tanh(b) + 1.0\n";
    let module = TrtModule::wrap(script(source, &[]), &options()).unwrap();
    let x = floats(&[8]);
    let want = module.forward_ts(&[&x]).unwrap();
    assert_close(&module.forward_ts(&[&x]).unwrap(), &want);
    let report = module.report();
    assert_eq!(report.engines(), 2, "{report}");
    assert!(report.to_string().contains("lgamma"), "{report}");
}

#[test]
fn writes_are_seen_by_the_caller() {
    let _on = engines_on();
    let source = "def forward(self, x):\n    y = torch.relu(x) + 1.0\n    x.add_(1.0)\n    self.count.add_(1.0)\n    return torch.tanh(y) * x\n";
    let count = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    let attributes = [("count", Initial::Buffer(count.shallow_clone()))];
    let module = TrtModule::wrap(script(source, &attributes), &options()).unwrap();
    for round in 1..4 {
        let x = floats(&[5]);
        let before = x.copy();
        let got = module.forward_ts(&[&x]).unwrap();
        assert_close(&x, &(&before + 1.0));
        assert_close(&got, &((before.relu() + 1.0).tanh() * &x));
        assert_eq!(count.double_value(&[0]), f64::from(round));
    }
}

#[test]
fn numbered_layers_come_back_from_a_file() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let path = vs.root() / "layers";
    let net = nn::seq()
        .add(nn::linear(&path / 0, 4, 5, Default::default()))
        .add_fn(|x| x.relu())
        .add(nn::linear(&path / "2-last", 5, 3, Default::default()));
    let x = floats(&[2, 4]);
    let module = tch::no_grad(|| {
        TrtModule::trace(&vs, &[x.shallow_clone()], |xs| net.forward(&xs[0]), &options()).unwrap()
    });
    let file = std::env::temp_dir().join(format!("tch-trt-module-{}-numbered.pt", std::process::id()));
    module.compile(&[&x]).unwrap();
    module.save(&file).unwrap();
    let loaded = TrtModule::load(&file, &options());
    std::fs::remove_file(&file).unwrap();
    let loaded = loaded.unwrap();
    tch::no_grad(|| assert_close(&loaded.forward_ts(&[&x]).unwrap(), &net.forward(&x)));
    let report = loaded.report().to_string();
    assert!(report.contains("served 1 call"), "{report}");
}

#[test]
fn branches_and_loops_hold_engines() {
    let _on = engines_on();
    let source = "def forward(self, x, n: int):\n    if bool(x.sum() > 0):\n        y = torch.tanh(x) * 2.0 + 1.0\n    else:\n        y = torch.relu(x) - 3.0\n    for i in range(n):\n        y = torch.sigmoid(y * 0.5) + y\n    return y\n";
    let module = TrtModule::wrap(script(source, &[]), &options()).unwrap();
    for x in [floats(&[6]).abs(), -floats(&[6]).abs(), floats(&[6]).abs()] {
        let arguments = [IValue::Tensor(x.shallow_clone()), IValue::Int(3)];
        let IValue::Tensor(got) = module.forward_is(&arguments).unwrap() else { panic!("a tensor") };
        tch_bridge::set_enabled(false);
        let IValue::Tensor(want) = module.forward_is(&arguments).unwrap() else { panic!("a tensor") };
        tch_bridge::set_enabled(true);
        assert_close(&got, &want);
    }
    assert!(served(&module) > 0, "{}", module.report());
}

#[test]
fn optimiser_steps_are_seen_without_being_told() {
    let _on = engines_on();
    let vs = VarStore::new(Device::Cpu);
    let net = nn::seq()
        .add(nn::linear(vs.root() / "a", 4, 8, Default::default()))
        .add_fn(|x| x.tanh())
        .add(nn::linear(vs.root() / "b", 8, 2, Default::default()));
    let x = floats(&[3, 4]);
    let module = tch::no_grad(|| {
        TrtModule::trace(&vs, &[x.shallow_clone()], |xs| net.forward(&xs[0]), &options()).unwrap()
    });
    let mut sgd = nn::Sgd::default().build(&vs, 0.5).unwrap();
    for step in 0..4 {
        let got = tch::no_grad(|| module.forward_ts(&[&x])).unwrap();
        assert_close(&got, &tch::no_grad(|| net.forward(&x)));
        assert_eq!(served(&module), step, "{}", module.report());
        sgd.backward_step(&net.forward(&x).square().sum(Kind::Float));
    }
}

#[test]
fn recorded_gradients_are_the_hosts() {
    let _on = engines_on();
    let w = floats(&[3, 3]).set_requires_grad(true);
    let attributes = [("w", Initial::Parameter(w.shallow_clone()))];
    let module = TrtModule::wrap(
        script("def forward(self, x): return torch.tanh(x.mm(self.w)) * 2.0", &attributes),
        &options(),
    )
    .unwrap();
    let x = floats(&[2, 3]);
    tch::no_grad(|| module.compile(&[&x])).unwrap();
    let y = module.forward_ts(&[&x]).unwrap();
    assert!(y.requires_grad());
    y.sum(Kind::Float).backward();
    let got = w.grad().copy();
    let mut plain = w.detach().copy().set_requires_grad(true);
    (x.mm(&plain).tanh() * 2.0).sum(Kind::Float).backward();
    assert_eq!(got, plain.grad());
    plain.zero_grad();
    assert_eq!(served(&module), 0);
    assert!(module.report().to_string().contains("1 call that recorded gradients"), "{}", module.report());
    drop(tch::no_grad(|| module.forward_ts(&[&x])).unwrap());
    assert_eq!(served(&module), 1);
}

#[test]
fn wrong_arguments_are_the_hosts_errors() {
    let _on = engines_on();
    let w = floats(&[3, 3]);
    let module = TrtModule::wrap(
        script("def forward(self, x): return torch.relu(x.mm(self.w))", &[("w", Initial::Parameter(w))]),
        &options(),
    )
    .unwrap();
    module.compile(&[floats(&[2, 3])]).unwrap();
    let few = module.forward_ts::<Tensor>(&[]).unwrap_err().to_string();
    assert!(few.contains("missing value for argument 'x'") || few.contains("argument"), "{few}");
    let many = module.forward_ts(&[floats(&[2, 3]), floats(&[2, 3])]).unwrap_err().to_string();
    assert!(many.contains("argument"), "{many}");
    let shape = module.forward_ts(&[floats(&[2, 4])]).unwrap_err().to_string();
    assert!(shape.contains("mat1 and mat2 shapes cannot be multiplied"), "{shape}");
    let rank = module.forward_ts(&[floats(&[2])]).unwrap_err().to_string();
    assert!(rank.contains("matrix"), "{rank}");
    let dtype = module.forward_ts(&[floats(&[2, 3]).to_kind(Kind::Double)]).unwrap_err().to_string();
    assert!(dtype.contains("dtype") || dtype.contains("type"), "{dtype}");
    assert_eq!(module.forward_ts(&[floats(&[2, 3])]).unwrap().size(), [2, 3]);
}

#[test]
fn strides_emptiness_and_nan_are_the_hosts() {
    let _on = engines_on();
    let module = TrtModule::wrap(
        script("def forward(self, x): return torch.relu(x * 2.0).sum(1) + 1.0", &[]),
        &options(),
    )
    .unwrap();
    let base = floats(&[6, 4]);
    let _ = base.get(0).fill_(f64::NAN);
    let inputs = [
        base.shallow_clone(),
        base.tr(),
        base.slice(0, 0, 6, 2).slice(1, 1, 4, 2),
        floats(&[1, 4]).expand([5, 4], false),
        floats(&[0, 4]),
        floats(&[4, 0]),
    ];
    for x in &inputs {
        let first = module.forward_ts(&[x]).unwrap();
        let second = module.forward_ts(&[x]).unwrap();
        assert_close(&second, &first);
    }
    assert!(served(&module) >= 6, "{}", module.report());
}

#[test]
fn methods_other_than_forward() {
    let _on = engines_on();
    let module =
        TrtModule::wrap(script("def double(self, x): return torch.tanh(x) * 2.0 + 1.0", &[]), &options())
            .unwrap();
    let x = floats(&[3]);
    let first = module.method_ts("double", &[&x]).unwrap();
    assert_close(&module.method_ts("double", &[&x]).unwrap(), &first);
    assert_eq!(served(&module), 1);
    assert!(module.forward_ts(&[&x]).unwrap_err().to_string().contains("forward"));
}

#[test]
fn threads_share_a_module() {
    let _on = engines_on();
    let w = floats(&[16, 16]);
    let source = "def forward(self, x): return torch.tanh(x.mm(self.w)) + x";
    let module =
        TrtModule::wrap(script(source, &[("w", Initial::Parameter(w.shallow_clone()))]), &options()).unwrap();
    module.compile(&[floats(&[4, 16])]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (module, w) = (&module, w.shallow_clone());
            scope.spawn(move || {
                for batch in 1..20 {
                    let x = floats(&[batch % 5 + 1, 16]);
                    assert_close(&module.forward_ts(&[&x]).unwrap(), &(x.mm(&w).tanh() + &x));
                }
            });
        }
    });
    assert!(served(&module) > 0);
}

#[test]
fn background_builds_never_keep_a_call_waiting_for_an_answer() {
    let _on = engines_on();
    let background = Options { wait: false, ..options() };
    let module =
        TrtModule::wrap(script("def forward(self, x): return torch.tanh(x) * 3.0", &[]), &background)
            .unwrap();
    let x = floats(&[5]);
    let want = x.tanh() * 3.0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while served(&module) == 0 {
        assert_close(&module.forward_ts(&[&x]).unwrap(), &want);
        assert!(std::time::Instant::now() < deadline, "{}", module.report());
    }
}

#[test]
fn a_new_batch_shares_the_prepared_weights_and_follows_their_changes() {
    let _on = engines_on();
    let source = "def forward(self, x): return torch.relu(torch.conv2d(x, self.w, self.b, [1, 1], [1, 1])).flatten(1).mm(self.m)";
    let (w, b, m) = (floats(&[16, 8, 3, 3]), floats(&[16]), floats(&[16 * 36, 5]));
    let weights = [("w", &w), ("b", &b), ("m", &m)].map(|(n, t)| (n, Initial::Parameter(t.shallow_clone())));
    let module = TrtModule::wrap(script(source, &weights), &options()).unwrap();
    let check = |batch: i64| {
        let x = floats(&[batch, 8, 6, 6]);
        let got = module.forward_ts(&[&x]).unwrap();
        let want = x.conv2d(&w, Some(&b), [1, 1], [1, 1], [1, 1], 1).relu().flatten(1, -1).mm(&m);
        assert_close(&got, &want);
    };
    tch::no_grad(|| {
        [1, 1, 4, 9].into_iter().for_each(check);
        let report = module.report();
        let State::Divided { engines, .. } = &report.methods[0].state else { panic!("{report}") };
        // Newest first: the first batch packed them, the others none.
        let shares: Vec<bool> = engines[0].shapes.iter().map(|s| s.shares_weights).collect();
        assert_eq!(shares, [true, true, false], "{report}");
        w.shallow_clone().copy_(&floats(&[16, 8, 3, 3]));
        [4, 1, 9, 2].into_iter().for_each(check);
    });
}

/// What the library writes into the log in this process.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn calls_outside_of_the_bounds_are_the_hosts_in_a_saved_module_too() {
    let _on = engines_on();
    let log = Log::default();
    let to = env_logger::Target::Pipe(Box::new(log.clone()));
    env_logger::Builder::new().filter_level(log::LevelFilter::Warn).target(to).init();
    let lines = |of: &str| {
        let text = String::from_utf8(log.0.lock().expect("no writer panics").clone()).expect("it is text");
        text.lines().filter(|l| l.contains("outside of the bounds") && l.contains(of)).count()
    };
    let source = "def bounded(self, images: List[Tensor], scale: float):\n    return torch.relu(images[0]) * scale + images[1].sum()\n";
    let mut options = options();
    options.bounds = vec![Bounds::new("images", [1, 2], [4, 2]), Bounds::new("images", [9, 9], [9, 9])];
    let module = TrtModule::wrap(script(source, &[]), &options).unwrap();
    let call = |module: &TrtModule, sizes: [[i64; 2]; 2]| {
        let images: Vec<Tensor> = sizes.iter().map(|s| floats(s)).collect();
        let want = images[0].relu() * 0.5 + images[1].sum(Kind::Float);
        let images = IValue::TensorList(images);
        let IValue::Tensor(got) = module.method_is("bounded", &[images, IValue::Double(0.5)]).unwrap() else {
            panic!("a tensor comes out")
        };
        assert_close(&got, &want);
    };
    let (inside, also, outside) = ([[2, 2], [4, 2]], [[9, 9], [1, 2]], [[2, 2], [5, 2]]);
    [outside, inside, inside, also, outside].iter().for_each(|&sizes| call(&module, sizes));
    let all = served(&module);
    assert!(all >= 1, "{}", module.report());
    call(&module, outside);
    assert_eq!((served(&module), lines("bounded")), (all, 1), "{}", module.report());
    let report = module.report();
    assert_eq!((report.outside, &report.bounds), (3, &options.bounds));
    let told = "engines are for images: [1, 2] to [4, 2], or images: [9, 9] to [9, 9]; the host served 3 calls outside";
    assert!(report.to_string().contains(told), "{report}");

    let path = std::env::temp_dir().join(format!("tch-trt-bounds-{}.pt", std::process::id()));
    module.save(&path).unwrap();
    let loaded = TrtModule::load(&path, &Options::waiting()).unwrap();
    std::fs::remove_file(&path).unwrap();
    let served =
        || -> u64 { loaded.report().loaded.iter().filter_map(|l| l.engine.as_ref()).map(|e| e.served).sum() };
    call(&loaded, outside);
    assert_eq!(served(), 0, "{}", loaded.report());
    call(&loaded, inside);
    call(&loaded, also);
    let all = served();
    assert!(all >= 2, "{}", loaded.report());
    call(&loaded, outside);
    assert_eq!((served(), lines("a saved module")), (all, 1), "{}", loaded.report());
}
