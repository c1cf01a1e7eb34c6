use std::io::Write;

use tch::{CModule, Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, JitError, Module, Role, TensorView};

use crate::{assert_same, rewritten, vector};

fn scaler() -> Module {
    let scale = vector(&[2.0, 3.0]).set_requires_grad(true);
    Module::from_source(
        "def forward(self, x): return x * self.inner.scale + self.shift\ndef negate(self, x): return -x",
        &[("inner.scale", Initial::Parameter(scale)), ("shift", Initial::Buffer(vector(&[1.0, 1.0])))],
    )
    .unwrap()
}

fn forward(module: &Module, x: &Tensor) -> Tensor {
    module.method("forward").unwrap().run_tensors(&[x]).unwrap().remove(0)
}

#[test]
fn saves_and_loads() {
    let module = scaler();
    let x = vector(&[1.0, 10.0]);
    assert_same(&forward(&module, &x), &vector(&[3.0, 31.0]));
    let folder = std::env::temp_dir().join(format!("tch-trt-jit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("scaler.pt");
    module.save(&path).unwrap();
    let loaded = Module::load(&path, Some(Device::Cpu)).unwrap();
    assert_same(&forward(&loaded, &x), &vector(&[3.0, 31.0]));
    assert_eq!(loaded.method_names(), ["forward", "negate"]);
    let theirs = CModule::load(&path).unwrap();
    assert_same(&theirs.forward_ts(&[&x]).unwrap(), &vector(&[3.0, 31.0]));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn names_tensors_by_identity() {
    let tensors = scaler().named_tensors().unwrap();
    let names: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.role)).collect();
    assert_eq!(names, [("inner.scale", Role::Parameter), ("shift", Role::Buffer)]);
    let module = scaler();
    let mut shift = module.named_tensors().unwrap().remove(1).tensor;
    let _ = shift.fill_(100.0);
    assert_same(&forward(&module, &vector(&[0.0, 0.0])), &vector(&[100.0, 100.0]));
}

#[test]
fn shares_with_cmodule() {
    let module = scaler();
    let theirs = module.to_cmodule();
    let ours = Module::share(&theirs);
    drop(module);
    ours.set_training(true).unwrap();
    assert!(Module::share(&theirs).is_training().unwrap());
    drop(theirs);
    assert_same(&forward(&ours, &vector(&[1.0, 1.0])), &vector(&[3.0, 4.0]));
}

#[test]
fn fork_shares_tensors_and_drops_methods() {
    let module = scaler();
    let x = vector(&[1.0, 1.0]);
    let _ = forward(&module, &x);
    let fork = module.fork(&["negate"]).unwrap();
    assert_eq!(fork.method_names(), ["forward"]);
    let mut scale = module.named_tensors().unwrap().remove(0).tensor;
    let _ = tch::no_grad(|| scale.fill_(0.0));
    assert_same(&forward(&fork, &x), &vector(&[1.0, 1.0]));
    assert_eq!(module.method_names().len(), 2);
}

#[test]
fn values_go_through_unchanged() {
    let source = "def forward(self, a: Optional[Tensor], b: Dict[str, List[int]], c: Tuple[float, bool, str], \
                  d: List[Tensor], e: Device, f: List[str], g: List[Optional[Tensor]]):\n  return a, b, c, d, e, f, g";
    let module = Module::from_source::<&str>(source, &[]).unwrap();
    let arguments = || {
        vec![
            IValue::None,
            IValue::GenericDict(vec![(IValue::String("k".into()), IValue::IntList(vec![1, 2]))]),
            IValue::Tuple(vec![IValue::Double(0.5), IValue::Bool(true), IValue::String("ü".into())]),
            IValue::TensorList(vec![]),
            IValue::Device(Device::Cpu),
            IValue::StringList(vec!["x".into(), String::new()]),
            IValue::GenericList(vec![IValue::None, IValue::None]),
        ]
    };
    let result = module.method("forward").unwrap().run(&arguments()).unwrap();
    assert_eq!(result, IValue::Tuple(arguments()));
}

#[test]
fn objects_pass_through() {
    let source = "def make(self): return self.inner\ndef use(self, m: Any): return m";
    let module = Module::from_source(source, &[("inner.w", Initial::Buffer(vector(&[4.0])))]).unwrap();
    let inner = module.method("make").unwrap().run::<IValue>(&[]).unwrap();
    let IValue::Object(again) = module.method("use").unwrap().run(&[inner]).unwrap() else { panic!() };
    let IValue::Tensor(w) = again.getattr("w").unwrap() else { panic!() };
    assert_same(&w, &vector(&[4.0]));
}

#[test]
fn errors_are_typed_and_have_no_stack() {
    let module = scaler();
    let run = |arguments: &[IValue]| module.method("forward").unwrap().run(arguments).unwrap_err();
    let JitError::Argument(count) = run(&[]) else { panic!() };
    assert!(count.contains("missing value for argument 'x'"), "{count}");
    let JitError::Argument(kind) = run(&[IValue::String("no".into())]) else { panic!() };
    assert!(kind.contains("Expected a value of type 'Tensor"), "{kind}");
    let JitError::Runtime(shape) = run(&[IValue::Tensor(vector(&[1.0, 2.0, 3.0]))]) else { panic!() };
    assert!(shape.contains("The size of tensor a (3) must match"), "{shape}");
    for message in [count, kind, shape] {
        assert!(!message.contains("frame #") && !message.contains("Exception raised from"), "{message}");
    }
    let Err(JitError::Argument(missing)) = module.method("nope").map(|_| ()) else { panic!() };
    assert!(missing.contains("nope"));
    let Err(JitError::Source(source)) = Module::from_source::<&str>("def f(self): return y", &[]) else {
        panic!()
    };
    assert!(source.contains("undefined value y"), "{source}");
}

#[test]
fn unregistered_operators_are_named() {
    let good = scaler().save_bytes().unwrap();
    let operator = rewritten(&good, str::to_owned, |text| text.replace("torch.neg", "ops.a.neg"));
    let operator = Module::load_bytes(&operator, None).map(|_| ()).unwrap_err();
    assert!(matches!(&operator, JitError::UnknownOperator { name, .. } if name == "a::neg"), "{operator:?}");
}

#[test]
fn bad_files_are_told_apart() {
    let folder = std::env::temp_dir().join(format!("tch-trt-bad-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let load = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        Module::load(&path, None).map(|_| ()).unwrap_err()
    };
    let good = scaler().save_bytes().unwrap();
    assert!(matches!(load("text", b"hello"), JitError::NotTorchScript(_)));
    assert!(matches!(load("empty", b""), JitError::Damaged(_)));
    let truncated = load("truncated", &good[..good.len() / 2]);
    assert!(matches!(truncated, JitError::Damaged(_)), "{truncated:?}");
    let other_zip = load("other", &rewritten(&good, |name| name.replace("data.pkl", "x.pkl"), str::to_owned));
    assert!(matches!(other_zip, JitError::NotTorchScript(_)), "{other_zip:?}");
    assert!(matches!(Module::load(folder.join("absent"), None), Err(JitError::Io { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn damaged_archives_in_memory_are_refused() {
    let good = scaler().save_bytes().unwrap();
    for length in (0..good.len()).step_by(97) {
        assert!(Module::load_bytes(&good[..length], None).is_err(), "{length} of {} bytes", good.len());
    }
    let directory = good.windows(4).position(|bytes| bytes == *b"PK\x01\x02").unwrap();
    let refused = (directory..good.len()).filter(|at| {
        let mut bad = good.clone();
        bad[*at] ^= 0xff;
        Module::load_bytes(&bad, None).is_err()
    });
    assert!(refused.count() > 0);
}

#[test]
fn views_tell_metadata() {
    let x = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    let mut row = x.transpose(0, 1);
    let view = TensorView::of(&row);
    assert_eq!((view.sizes(), view.strides()), (&[3, 2][..], &[1, 3][..]));
    assert_eq!((view.kind(), view.device()), (Some(Kind::Float), Some(Device::Cpu)));
    assert!(view.is_plain() && !view.is_contiguous() && !view.requires_grad());
    assert_eq!(view.storage_id(), TensorView::of(&x).storage_id());
    assert_eq!(view.data(), x.data_ptr().cast());
    let before = TensorView::of(&x).version();
    let _ = row.fill_(1.0);
    assert_eq!(TensorView::of(&x).version(), before + 1);
    let sparse = x.to_sparse_sparse_dim(2);
    assert!(!TensorView::of(&sparse).is_plain());
    assert!(TensorView::of(&sparse).sizes().is_empty());
}
