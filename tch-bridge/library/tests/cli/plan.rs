//! `tch-trt plan`.

use super::{Folder, json, text, tool};
use tch::{Device, Kind, Tensor};
use trt_subgraph::backend::CompileOptions;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::define::Definition;
use trt_subgraph::{DType, Literal, TensorType};

/// A plan with an engine of the CPU: `x[4,8]` to `twice[4,8]`, and `sum[4,4]` of it with itself transposed.
pub(crate) fn saved(folder: &Folder) -> String {
    let mut n = Definition::new();
    let x = n.input("x", DType::F32, &[4, 8]).unwrap();
    let two = Literal::from_f64(
        TensorType::new(DType::F32, [8, 8]),
        (0..64).map(|i| f64::from(2 * u8::from(i % 9 == 0))),
    );
    let two = n.weight("two", two.unwrap()).unwrap();
    let twice = n.matmul(x, two).unwrap();
    let turned = n.shuffle(x, Some(&[1, 0]), None).unwrap();
    let sum = n.matmul(twice, turned).unwrap();
    n.output("twice", twice).unwrap();
    n.output("sum", sum).unwrap();
    let path = folder.path("small.plan");
    n.build(&Cpu, &CompileOptions::default()).unwrap().save(&path).unwrap();
    path
}

pub(crate) fn inputs(folder: &Folder) -> (Tensor, String) {
    let x = Tensor::arange(32, (Kind::Float, Device::Cpu)).view([4, 8]) / 7.0;
    Tensor::write_npz(&[("x", &x)], folder.path("in.npz")).unwrap();
    (x, folder.path("in.npz"))
}

/// A name in shared memory that goes whatever becomes of the test.
struct Shared(String);

impl Drop for Shared {
    fn drop(&mut self) {
        drop(tool(&["plan", "unshare", &self.0]));
    }
}

#[test]
fn a_plan_runs_from_a_file_and_from_shared_memory() {
    let folder = Folder::new();
    let plan = saved(&folder);
    let (x, inputs) = inputs(&folder);
    let name = Shared(format!("cli-{}", std::process::id()));
    let shared = format!("shm:{}", name.0);
    let facts = json(&["plan", "share", &plan, &name.0], 0);
    assert_eq!(facts["engine"], "cpu");
    for plan in [&plan, &shared] {
        let out = folder.path("out.safetensors");
        let ran = json(&["plan", "run", plan, "--inputs", &inputs, "-o", &out], 0);
        assert_eq!((&ran["backend"], &ran["outputs"][0]["type"]), (&"cpu".into(), &"f32[4,8]".into()));
        let mut outputs = Tensor::read_safetensors(&out).unwrap();
        outputs.sort_by(|a, b| b.0.cmp(&a.0));
        assert_eq!((outputs[0].0.as_str(), outputs[1].0.as_str()), ("twice", "sum"));
        assert!(outputs[0].1.allclose(&(&x * 2.0), 1e-5, 1e-6, false));
        assert!(outputs[1].1.allclose(&(&x * 2.0).matmul(&x.tr()), 1e-5, 1e-5, false));
        let timed = json(&["plan", "bench", plan, "--duration", "0.05", "--warmup", "0"], 0);
        assert!(timed["built_ahead"].as_bool().unwrap() && timed["calls"]["calls"].as_u64().unwrap() > 0);
    }
    let (here, there) = (json(&["plan", "info", &plan], 0), json(&["plan", "info", &shared], 0));
    assert_eq!((&here["inputs"], &here["engines"]), (&there["inputs"], &there["engines"]));
    assert_eq!(
        (here["holds_weights"].as_bool(), there["holds_weights"].as_bool()),
        (Some(true), Some(false))
    );
    assert!(here["engines"][0]["fits_here"].as_bool().unwrap());
    assert!(text(&["plan", "share", &plan, &name.0], 2).is_empty());
    text(&["plan", "unshare", &shared], 0);
    let kept = json(&["plan", "share", &plan, &shared, "--with-weights", "--backend", "reference"], 0);
    assert_eq!((&kept["engine"], &kept["engines"]), (&serde_json::Value::Null, &serde_json::json!(["cpu"])));
    assert_eq!(json(&["plan", "info", &shared], 0)["engines"][0]["backend"], "cpu");
    text(&["plan", "unshare", &name.0], 0);
    text(&["plan", "info", &shared], 2);
    let words = text(&["plan", "info", &plan, "--network"], 0);
    for word in ["input x", "f32[4,8]", "used here", "matmul"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn bad_plans_and_inputs_are_told() {
    let folder = Folder::new();
    let plan = saved(&folder);
    let (x, inputs) = inputs(&folder);
    let mut bytes = std::fs::read(&plan).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path("bad.plan"), &bytes).unwrap();
    let told = |arguments: &[&str]| json(arguments, 2)["error"].as_str().unwrap().to_string();
    let bad = told(&["plan", "info", &folder.path("bad.plan")]);
    assert!(bad.contains("bad.plan: the plan is damaged"), "{bad}");
    assert!(told(&["plan", "info", &inputs]).contains("not a plan"));
    assert!(told(&["plan", "info", "no/such.plan"]).matches("no/such.plan").count() == 1);
    assert!(told(&["plan", "info", "shm:no-such-name"]).contains("nothing is shared"));
    for name in ["shm:a/b", "shm:a/b:"] {
        let said = told(&["plan", "info", name]);
        assert_eq!(
            (said.matches(name).count(), said.matches("a name has 1 to 200").count()),
            (1, 1),
            "{said}"
        );
    }
    assert!(told(&["plan", "bench", &plan, "--backend", "fast"]).contains("auto, cuda, cpu, reference"));
    let out = folder.path("out.npz");
    let run = |tensors: &[(&str, &Tensor)]| {
        Tensor::write_npz(tensors, folder.path("other.npz")).unwrap();
        told(&["plan", "run", &plan, "--inputs", &folder.path("other.npz"), "-o", &out])
    };
    assert!(run(&[("y", &x)]).contains("there is no input 'y'; there are: x"));
    assert!(run(&[("x", &x.to_kind(Kind::Double))]).contains("f64[4,8], the plan has f32[4,8]"));
    assert!(run(&[("x", &x.narrow(0, 0, 2))]).contains("f32[2,8]"));
}

#[test]
fn strings_of_a_plan_give_a_terminal_no_orders() {
    let folder = Folder::new();
    let mut n = Definition::new();
    let x = n.input("x\u{1b}[2J\ny", DType::F32, &[2, 2]).unwrap();
    let y = n.matmul(x, x).unwrap();
    n.output("y", y).unwrap();
    let path = folder.path("odd.plan");
    n.build(&Cpu, &CompileOptions::default()).unwrap().save(&path).unwrap();
    let said = text(&["plan", "info", &path, "--network"], 0);
    assert!(said.contains(r"input x\u{1b}[2J\ny"), "{said}");
}
