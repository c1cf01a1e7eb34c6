//! What users get wrong: a typed error that names what was expected, or the host's own answer.

use std::path::PathBuf;
use std::process::Command;
use tch::{CModule, Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, JitError, Module, TensorView};
use tch_bridge::{BackendChoice, Error, Options, TrtModule};
use tests::{assert_close, engines_on, options, served};

const NETWORK: &str = "\
def forward(self, x):
    y = torch.relu(torch.conv2d(x, self.weight, self.bias, padding=[1, 1]))
    y = torch.flatten(torch.max_pool2d(y, [2, 2]), 1)
    return torch.softmax(torch.tanh(torch.addmm(self.shift, y, self.matrix)), 1)
";

fn floats(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

/// Images `[n, 3, 6, 6]` to scores `[n, 5]`.
fn network() -> CModule {
    let parameter = |shape: &[i64]| Initial::Parameter(floats(shape));
    let attributes = [
        ("weight", parameter(&[4, 3, 3, 3])),
        ("bias", parameter(&[4])),
        ("matrix", parameter(&[36, 5])),
        ("shift", parameter(&[5])),
    ];
    Module::from_source(NETWORK, &attributes).expect("the source compiles").to_cmodule()
}

fn wrap(source: &str) -> TrtModule {
    let module = Module::from_source::<&str>(source, &[]).expect("the source compiles").to_cmodule();
    TrtModule::wrap(module, &options()).expect("the options can be met")
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("tch-trt-{}-{name}", std::process::id()));
    std::fs::write(&path, bytes).expect("there is room");
    path
}

/// The error of loading a file with these bytes; it must name the file.
fn load_error(name: &str, bytes: &[u8]) -> JitError {
    let path = file(name, bytes);
    let error = TrtModule::load(&path, &Options::default()).expect_err("the file is bad");
    std::fs::remove_file(&path).expect("it is there");
    assert!(error.to_string().contains(name), "{error}");
    let Error::Load { source, .. } = error else { panic!("{error:?}") };
    source
}

/// Calls with engines, then on the host alone.
fn both(module: &TrtModule, x: &Tensor) -> [Result<Tensor, Error>; 2] {
    let engines = tch::no_grad(|| module.forward_ts(&[x]));
    tch_bridge::set_enabled(false);
    let host = tch::no_grad(|| module.forward_ts(&[x]));
    tch_bridge::set_enabled(true);
    [engines, host]
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let whole = Module::share(&network()).save_bytes().expect("it can be saved");
    for part in 0..16 {
        let error = load_error("cut.pt", &whole[..whole.len() * part / 16]);
        assert!(matches!(error, JitError::Damaged(_)), "{part} of 16: {error:?}");
    }
    assert!(matches!(load_error("text.pt", b"import torch\n"), JitError::NotTorchScript(_)));
    let path = file("whole.pt", &whole);
    TrtModule::load(&path, &Options::default()).expect("the whole file is good");
    std::fs::remove_file(&path).expect("it is there");
    let absent = TrtModule::load(&path, &Options::default()).expect_err("it is gone");
    assert!(matches!(absent, Error::Torch(JitError::Io { .. })) && absent.to_string().contains("whole.pt"));
}

#[test]
fn an_unknown_operator_is_named() {
    let module =
        Module::from_source::<&str>("def forward(self, x): return torch.neg(x)", &[]).expect("it compiles");
    let mut bytes = module.save_bytes().expect("it can be saved");
    let at = bytes.windows(9).position(|w| w == b"torch.neg").expect("the code is not compressed");
    bytes[at..at + 9].copy_from_slice(b"ops.a.neg");
    let error = load_error("operator.pt", &bytes);
    assert!(matches!(&error, JitError::UnknownOperator { name, .. } if name == "a::neg"), "{error:?}");
}

#[test]
fn bad_arguments_get_the_hosts_error_and_do_no_harm() {
    let _on = engines_on();
    let module = TrtModule::wrap(network(), &options()).expect("the options can be met");
    let good = floats(&[2, 3, 6, 6]);
    module.compile(&[&good]).expect("the network compiles");
    let bad = [
        floats(&[2, 4, 6, 6]),
        floats(&[2, 3, 6]),
        floats(&[2, 3, 8, 8]),
        floats(&[2, 3, 0, 6]),
        floats(&[]),
        good.to_kind(Kind::Double),
        good.to_kind(Kind::Int64),
        good.to_kind(Kind::ComplexFloat),
        good.to_device(Device::Cpu).to_sparse_sparse_dim(4),
    ];
    for x in &bad {
        let [engines, host] = both(&module, x).map(|r| r.expect_err("it does not fit").to_string());
        assert_eq!(engines, host);
        assert!(!engines.contains("frame #"), "{engines}");
    }
    let text = [IValue::String("an image".into())];
    let kind = module.forward_is(&text).expect_err("it is no tensor").to_string();
    assert!(kind.starts_with("wrong argument") && kind.contains("'x'") && kind.contains("Tensor"), "{kind}");
    let before = served(&module);
    let [engines, host] = both(&module, &good).map(|r| r.expect("it fits"));
    assert_close(&engines, &host);
    assert_eq!(served(&module), before + 1, "{}", module.report());
}

#[test]
fn layouts_and_empty_batches_are_served() {
    let _on = engines_on();
    let module = TrtModule::wrap(network(), &options()).expect("the options can be met");
    tch::no_grad(|| module.compile(&[floats(&[2, 3, 6, 6])])).expect("the network compiles");
    let inputs = [
        floats(&[2, 3, 6, 6]).transpose(2, 3),
        floats(&[2, 6, 6, 3]).permute([0, 3, 1, 2]),
        floats(&[4, 3, 12, 6]).slice(0, 0, 4, 2).slice(2, 1, 12, 2),
        floats(&[1, 3, 6, 6]).expand([3, 3, 6, 6], false),
        floats(&[2, 3, 1, 1]).expand([2, 3, 6, 6], false),
        floats(&[150]).as_strided([2, 3, 6, 6], [7, 5, 3, 1], 4),
        floats(&[3, 6, 6]).unsqueeze(0),
        floats(&[0, 3, 6, 6]),
    ];
    for x in &inputs {
        // Another order of the axes in memory is another form: the host's results follow it, so the first call shows how.
        tch::no_grad(|| module.compile(&[x])).expect("the network compiles");
        let before = served(&module);
        let [engines, host] = both(&module, x).map(|r| r.expect("it fits"));
        assert_close(&engines, &host);
        assert_eq!(engines.stride(), host.stride(), "{:?}", x.size());
        assert!(served(&module) > before, "{:?}: {}", x.size(), module.report());
    }
}

#[test]
fn nan_and_infinity_go_where_the_host_sends_them() {
    let _on = engines_on();
    let module = TrtModule::wrap(network(), &options()).expect("the options can be met");
    let pool = wrap(
        "def forward(self, x): return torch.max_pool2d(torch.relu(x) - 1.0, [2, 2]), torch.softmax(x, 3)",
    );
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut x = floats(&[2, 3, 6, 6]);
        let _ = x.get(1).get(2).get(3).fill_(value);
        tch::no_grad(|| module.compile(&[&x])).expect("the network compiles");
        let before = served(&module);
        let [engines, host] = both(&module, &x).map(|r| r.expect("it fits"));
        assert_close(&engines, &host);
        assert_eq!(served(&module), before + 1);
        let _ = x.fill_(value);
        let [engines, host] = both(&module, &x).map(|r| r.expect("it fits"));
        assert_close(&engines, &host);
        let argument = [IValue::Tensor(x)];
        let answers = [true, false].map(|on| {
            tch_bridge::set_enabled(on);
            pool.compile_method("forward", &argument).expect("it compiles");
            let IValue::Tuple(answer) = pool.forward_is(&argument).expect("it answers") else { panic!() };
            answer.into_iter().map(|v| Tensor::try_from(v).expect("a tensor")).collect::<Vec<_>>()
        });
        tch_bridge::set_enabled(true);
        answers[0].iter().zip(&answers[1]).for_each(|(engines, host)| assert_close(engines, host));
    }
}

/// A tensor like `x` on torch's meta device, which holds no data and which `tch` has no name for.
fn meta(x: &Tensor) -> Tensor {
    let source = "def forward(self, x): return torch.empty_like(x, device=torch.device('meta'))";
    let module = Module::from_source::<&str>(source, &[]).expect("the source compiles").to_cmodule();
    let meta = module.forward_ts(&[x]).expect("torch has such a device");
    assert_eq!(TensorView::of(&meta).device(), None);
    meta
}

#[test]
fn tensors_on_other_devices_are_the_hosts() {
    let _on = engines_on();
    let module = wrap("def forward(self, x): return torch.tanh(x) * 2.0 + 1.0");
    let x = floats(&[3, 4]);
    module.compile(&[&x]).expect("it compiles");
    drop(module.forward_ts(&[&x]).expect("it fits"));
    let before = served(&module);
    for _ in 0..2 {
        let answer = module.forward_ts(&[meta(&x)]).expect("the host answers");
        assert_eq!((TensorView::of(&answer).device(), answer.size()), (None, vec![3, 4]));
    }
    assert_eq!(served(&module), before);
}

#[test]
fn a_parameter_on_another_device_is_the_hosts() {
    let _on = engines_on();
    let source = "def forward(self, x): return torch.tanh(x.mm(self.w)) + 1.0";
    let w = Initial::Parameter(meta(&floats(&[4, 4])));
    let module = Module::from_source(source, &[("w", w)]).expect("the source compiles").to_cmodule();
    let module = TrtModule::wrap(module, &options()).expect("the options can be met");
    let told = |answer: Result<Tensor, Error>| match answer {
        Ok(answer) => format!("{:?} on {:?}", answer.size(), TensorView::of(&answer).device()),
        Err(error) => error.to_string(),
    };
    for _ in 0..2 {
        let [engines, host] = both(&module, &floats(&[2, 4])).map(told);
        assert_eq!(engines, host);
    }
    assert_eq!(served(&module), 0);
}

#[test]
fn element_types_that_no_engine_takes_are_the_hosts() {
    let _on = engines_on();
    let module = wrap("def forward(self, x): return (x * x + x) * x");
    for kind in [Kind::ComplexFloat, Kind::Half, Kind::BFloat16, Kind::Uint8, Kind::Int64, Kind::Bool] {
        let x = (floats(&[5]) * 3.0).abs().to_kind(kind);
        for _ in 0..2 {
            let [engines, host] = both(&module, &x).map(|r| r.expect("the host takes it"));
            assert_eq!((engines.kind(), &engines), (host.kind(), &host));
        }
    }
}

#[test]
fn an_input_that_records_gradients_gets_them() {
    let _on = engines_on();
    let module = wrap("def forward(self, x): return (torch.tanh(x) * 2.0).sum()");
    let x = floats(&[6]).set_requires_grad(true);
    tch::no_grad(|| module.compile(&[&x])).expect("it compiles");
    module.forward_ts(&[&x]).expect("the host answers").backward();
    let slope = 2.0 * (Tensor::from(1.0) - x.detach().tanh().square());
    assert_close(&x.grad(), &slope);
    assert_eq!(served(&module), 0);
}

/// Variables and values, the backend that is asked for in code, and what the error says.
const ENVIRONMENT: &[(&str, &str, &str)] = &[
    ("USE_TRT", "banana", "USE_TRT=banana is not understood; it takes: 1, 0"),
    ("TRT_BACKEND", "gpu", "TRT_BACKEND=gpu is not understood; it takes: auto, cpu, cuda, reference"),
    ("TRT_MIN_BLOCK_SIZE", "0", "TRT_MIN_BLOCK_SIZE=0 is not understood; it takes: a number from 1"),
];

#[test]
fn a_bad_environment_is_an_error_that_lists_the_values() {
    const THIS: &str = "a_bad_environment_is_an_error_that_lists_the_values";
    const CASE: &str = "TCH_TRT_TEST_CASE";
    if let Ok(case) = std::env::var(CASE) {
        let (_, _, expected) = ENVIRONMENT[case.parse::<usize>().expect("a number")];
        let error = TrtModule::wrap(network(), &Options::default()).expect_err("the environment is bad");
        assert!(matches!(error, Error::Environment(_)) && error.to_string() == expected, "{error}");
        return;
    }
    for (case, (name, value, _)) in ENVIRONMENT.iter().enumerate() {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program);
        child.args(["--exact", THIS]).env(CASE, case.to_string()).env(name, value);
        let out = child.output().expect("this program starts");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "{name}={value}: {text}");
    }
}

#[test]
fn a_backend_in_code_does_not_read_the_environment() {
    let options = Options { backend: Some(BackendChoice::Reference), ..options() };
    let module = TrtModule::wrap(network(), &options).expect("the reference runs everywhere");
    assert!(module.report().backend.starts_with("reference"), "{}", module.report());
}
