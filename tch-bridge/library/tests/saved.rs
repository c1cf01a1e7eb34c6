//! Saved modules with engines, in Python.

use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::{Options, TrtModule};

const SOURCE: &str = "
def forward(self, x, factor: float = 1.0):
    a = torch.relu(torch.matmul(x, self.w)) * self.scale
    c = torch.real(torch.fft_fft(a)) * factor
    d = torch.sigmoid(torch.matmul(c, self.w)) + a
    values, indices = torch.topk(d, 2, -1)
    return d, {'values': values, 'indices': indices}

def twice(self, x):
    return torch.tanh(torch.matmul(x, self.w)) * 2.0

def plain(self, x):
    return x - 1
";

/// The private environment's interpreter. `None` where libtorch is the user's own, without Python.
fn python() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let torch = Command::new(&path).args(["-c", "import torch"]).output();
    if torch.is_ok_and(|o| o.status.success()) {
        return Some(path);
    }
    eprintln!("not tried: {} has no torch", path.display());
    None
}

/// The library that was built with this test.
fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    test.parent().expect("it is in a folder").join("libtch_trt.so")
}

/// Runs a script of `tests/python` on the library and these arguments, and gives what it says on the error stream.
fn run(script: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Option<String> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new(python()?);
    for name in ["USE_TRT", "TRT_BACKEND", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).arg(scripts.join(script)).arg(library()).args(arguments);
    let output = command.output().expect("Python runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script}:\n{}\n{errors}", String::from_utf8_lossy(&output.stdout));
    Some(errors)
}

fn model() -> TrtModule {
    tch::manual_seed(0);
    let attributes = [
        ("w", Initial::Parameter(Tensor::randn([8, 8], tch::kind::FLOAT_CPU).set_requires_grad(true))),
        ("scale", Initial::Buffer(Tensor::full([1], 0.5, (Kind::Float, Device::Cpu)))),
    ];
    let module = Module::from_source(SOURCE, &attributes).expect("the source compiles");
    let options = Options { take_all: true, ..Options::waiting() };
    TrtModule::wrap(module.to_cmodule(), &options).expect("the options can be met")
}

/// A folder of one test, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("tch-trt-saved-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Saves the model, compiled for one kind of argument of two methods.
fn saved(folder: &Folder) -> String {
    let module = model();
    let x = Tensor::randn([4, 8], tch::kind::FLOAT_CPU);
    tch::no_grad(|| {
        module.compile(&[&x]).expect("it compiles");
        module.compile_method("twice", &[IValue::Tensor(x)]).expect("it compiles");
    });
    assert!(module.report().engines() >= 3, "{}", module.report());
    let path = folder.path("model.pt");
    module.save(&path).expect("it is saved");
    path
}

#[test]
fn python_runs_a_saved_module() {
    let folder = Folder::new("serves");
    run("serves.py", &[&saved(&folder)], &[]);
}
