//! Saved modules with engines, in Python.

mod embedded;

use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Device, IValue, Kind, Tensor};
use tch_bridge::jit::{Initial, Module};
use tch_bridge::report::State;
use tch_bridge::{Options, SavedWeights, TrtModule};

/// Held by tests that turn the process's switch.
static SWITCH: std::sync::Mutex<()> = std::sync::Mutex::new(());

const SOURCE: &str = "
def forward(self, x, factor: float = 1.0):
    a = torch.relu(torch.matmul(x, self.w)) * self.scale
    c = torch.real(torch.fft_fft(a)) * factor
    m = torch.matmul(c, self.w)
    d = m / (1.0 + torch.abs(m)) + a
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

fn model(weights: SavedWeights) -> TrtModule {
    tch::manual_seed(0);
    let attributes = [
        ("w", Initial::Parameter(Tensor::randn([8, 8], tch::kind::FLOAT_CPU).set_requires_grad(true))),
        ("scale", Initial::Buffer(Tensor::full([1], 0.5, (Kind::Float, Device::Cpu)))),
    ];
    let module = Module::from_source(SOURCE, &attributes).expect("the source compiles");
    let options = Options { take_all: true, weights, ..Options::waiting() };
    TrtModule::wrap(module.to_cmodule(), &options).expect("the options can be met")
}

/// The first of the model's results.
fn first(value: IValue) -> Tensor {
    match value {
        IValue::Tuple(mut parts) => match parts.swap_remove(0) {
            IValue::Tensor(t) => t,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
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
    saved_with(folder, SavedWeights::Reference)
}

fn saved_with(folder: &Folder, weights: SavedWeights) -> String {
    let module = model(weights);
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

#[test]
fn who_watches_operators_gets_the_hosts() {
    let folder = Folder::new("watched");
    run("watched.py", &[&saved(&folder)], &[]);
}

#[test]
fn networks_of_torch_keep_their_state_and_train() {
    let folder = Folder::new("networks");
    let at = folder.path("");
    if run("network.py", &["make", &at], &[]).is_none() {
        return;
    }
    let inputs: [(&str, &[i64]); 6] = [
        ("convolutions", &[2, 3, 12, 12]),
        ("recurrent", &[2, 7, 6]),
        ("counting", &[3, 100]),
        ("constants", &[3, 100]),
        ("nested", &[3, 8]),
        ("surrounded", &[4, 64]),
    ];
    for (name, shape) in inputs {
        let options = Options { take_all: true, ..Options::waiting() };
        let module = TrtModule::load(folder.path(&format!("{name}.pt")), &options).expect("it loads");
        module.set_eval().expect("it has modes");
        let x = Tensor::randn(shape, tch::kind::FLOAT_CPU);
        tch::no_grad(|| module.compile(&[x])).expect("it compiles");
        assert!(module.report().engines() > 0, "{name}: {}", module.report());
        module.save(folder.path(&format!("{name}.trt.pt"))).expect("it is saved");
    }
    run("network.py", &[&at], &[]);
}

#[test]
fn the_python_of_the_guides_runs() {
    let folder = Folder::new("guides");
    std::fs::rename(saved(&folder), folder.path("resnet18.trt.pt")).expect("it is there");
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").display().to_string();
    run("guides.py", &[&documents, &folder.path("")], &[]);
}

#[test]
fn without_the_library_torch_names_the_class() {
    let folder = Folder::new("alone");
    run("alone.py", &[&saved(&folder)], &[]);
}

/// A copy of an archive in which `change` was applied to each record that is the state of an engine.
fn with_states(path: &str, to: &str, change: impl Fn(&mut Vec<u8>)) -> usize {
    let file = std::fs::File::open(path).expect("it is there");
    let mut archive = zip::ZipArchive::new(file).expect("it is an archive");
    let mut out = zip::ZipWriter::new(std::fs::File::create(to).expect("there is room"));
    let mut changed = 0;
    for at in 0..archive.len() {
        let mut record = archive.by_index(at).expect("it has so many");
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut record, &mut bytes).expect("it reads");
        if bytes.starts_with(b"tch-trt engine") {
            change(&mut bytes);
            changed += 1;
        }
        let options = zip::write::FileOptions::default().compression_method(zip::CompressionMethod::Stored);
        out.start_file_aligned(record.name(), options, 64).expect("it is written");
        std::io::Write::write_all(&mut out, &bytes).expect("it is written");
    }
    out.finish().expect("it is written");
    changed
}

#[test]
fn damaged_engines_leave_their_calls_to_the_host() {
    let folder = Folder::new("damaged");
    let path = saved(&folder);
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change, &str); 3] = [
        ("flipped", |bytes| *bytes.last_mut().expect("it is not empty") ^= 1, "its saved state is damaged"),
        ("other", |bytes| bytes[20] ^= 0x40, "its saved state is damaged"),
        ("newer", |bytes| bytes[15] = 9, "saved in version 9"),
    ];
    for (name, change, said) in changes {
        let to = folder.path(name);
        let engines = with_states(&path, &to, change);
        assert!(engines >= 3, "{engines} engines");
        if let Some(errors) = run("damaged.py", &[&to], &[]) {
            assert!(errors.matches(said).count() >= engines, "{errors}");
        }
    }
}

#[test]
fn a_switch_that_is_not_understood_is_told_once() {
    let folder = Folder::new("misspelt");
    if let Some(errors) = run("misspelt.py", &[&saved(&folder)], &[("USE_TRT", "banana")]) {
        assert_eq!(errors.matches("USE_TRT=banana is not understood; it takes: 1, 0").count(), 1, "{errors}");
        assert!(!errors.contains("an engine failed"), "{errors}");
    }
}

#[test]
fn rust_loads_a_saved_module() {
    let _alone = SWITCH.lock();
    let folder = Folder::new("rust");
    let path = saved(&folder);
    let x = Tensor::randn([4, 8], tch::kind::FLOAT_CPU);
    let call = |module: &TrtModule| tch::no_grad(|| module.forward_is(&[IValue::Tensor(x.shallow_clone())]));
    let served = |module: &TrtModule| -> u64 {
        module.report().loaded.iter().filter_map(|l| l.engine.as_ref()).map(|e| e.served).sum()
    };
    tch_bridge::set_enabled(false);
    let module = TrtModule::load(&path, &Options::waiting()).expect("it loads");
    assert_eq!(module.method_names().len(), 3, "{:?}", module.method_names());
    let host = first(call(&module).expect("the host answers"));
    assert_eq!(served(&module), 0);
    tch_bridge::set_enabled(true);
    let got = first(call(&module).expect("engines answer"));
    assert!(served(&module) >= 2, "{}", module.report());
    assert!(got.allclose(&host, 1e-4, 1e-5, false), "{got}\n{host}");

    // torch's own handle to the same file, in a program that links the bridge.
    let plain = tch::CModule::load(&path).expect("it loads");
    let got =
        first(tch::no_grad(|| plain.forward_is(&[IValue::Tensor(x.shallow_clone())])).expect("it answers"));
    assert!(got.allclose(&host, 1e-4, 1e-5, false), "{got}\n{host}");

    // Compiled further, for another rank, and saved again: both forms, the old one no longer.
    let batch = Tensor::randn([2, 4, 8], tch::kind::FLOAT_CPU);
    tch::no_grad(|| module.compile(&[&x]).and_then(|()| module.compile(&[&batch]))).expect("it compiles");
    let again = folder.path("again.pt");
    module.save(&again).expect("it is saved");
    let again = TrtModule::load(&again, &Options::waiting()).expect("it loads");
    let sorted = |module: &TrtModule| {
        let mut names = module.method_names();
        names.sort();
        names
    };
    assert_eq!(sorted(&again), sorted(&module));
    for input in [&x, &batch] {
        let before = served(&again);
        let values = [IValue::Tensor(input.shallow_clone())];
        let got = first(tch::no_grad(|| again.forward_is(&values)).expect("it answers"));
        assert!(served(&again) > before, "{}", again.report());
        tch_bridge::set_enabled(false);
        let want = first(tch::no_grad(|| again.forward_is(&values)).expect("it answers"));
        tch_bridge::set_enabled(true);
        assert!(got.allclose(&want, 1e-4, 1e-5, false), "{got}\n{want}");
    }
    // The method that was not compiled again kept its engines.
    let other = again.method_ts("twice", &[&x]).expect("it answers");
    assert_eq!(other.size(), [4, 8]);
    let forms = again.report().loaded.iter().filter(|l| l.attribute.starts_with("trt_twice_0")).count();
    assert!(forms > 0, "{}", again.report());
}

#[test]
fn submodules_stay_on_the_host_with_what_they_call() {
    let folder = Folder::new("nested");
    if run("network.py", &["make", &folder.path("")], &[]).is_none() {
        return;
    }
    let x = Tensor::randn([3, 8], tch::kind::FLOAT_CPU);
    for name in ["nested", "traced"] {
        let path = folder.path(&format!("{name}.pt"));
        let facts =
            Module::load(&path, None).and_then(|m| m.prepare("forward")?.facts()).expect("it has a graph");
        let layers: Vec<&str> =
            facts.nodes.iter().filter(|n| n.kind == "aten::linear").map(|n| n.module.as_str()).collect();
        assert_eq!(layers, ["first.layer", "layer", "more.0", "more.1", "second.layer"], "{name}");
        let relu = facts.nodes.iter().find(|n| n.kind == "aten::relu").expect("there is one");
        assert_eq!(relu.module, "second");
        for (without, left) in [("more", 2), ("layer", 1), ("first", 1), ("second", 2), ("more.1", 1)] {
            let exclude_modules = vec![without.to_string()];
            let options = Options { take_all: true, exclude_modules, ..Options::waiting() };
            let module = TrtModule::load(&path, &options).expect("it loads");
            tch::no_grad(|| module.compile(&[&x])).expect("it compiles");
            let report = module.report();
            let State::Divided { blocks, .. } = &report.methods[0].state else { panic!("{report}") };
            let partition = &blocks[0].partition;
            let host = partition.to_string();
            assert!(host.contains("the options exclude the submodule"), "{without}: {host}");
            let stay = partition.coverage.compute - partition.coverage.taken_compute;
            assert_eq!(stay, left, "{name} without {without}: {host}");
        }
    }
}

/// Whether the program served the model with engines, and what it said.
fn serves(program: &str, model: &str) -> (bool, String) {
    let ran = Command::new(program)
        .arg(model)
        .arg("4,8")
        .env("LD_LIBRARY_PATH", library().parent().expect("it is in a folder"))
        .output()
        .expect("it runs");
    (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

#[test]
fn cpp_runs_a_saved_module() {
    let folder = Folder::new("cpp");
    let (model, program, library) = (saved(&folder), folder.path("serve"), library());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let torch = root.join(PathBuf::from(std::env::var_os("LIBTORCH").expect("the build needs it too")));
    let example = root.join("examples/serve_cpp");
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let mut compile = Command::new(compiler);
    compile.args(["-std=c++17", "-O0", "-o"]).arg(&program).arg(example.join("serve.cpp"));
    compile.arg("-isystem").arg(torch.join("include"));
    compile.arg("-isystem").arg(torch.join("include/torch/csrc/api/include"));
    compile.arg("-L").arg(torch.join("lib")).arg("-Wl,--no-as-needed").arg(&library);
    compile.args(["-ltorch", "-ltorch_cpu", "-lc10", "-Wl,-rpath"]).arg(torch.join("lib"));
    let compiled = compile.output().expect("there is a C++ compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let (served, said) = serves(&program, &model);
    assert!(served && said.contains("served all 20 calls") && said.contains("agree"), "{said}");

    let plain = folder.path("plain.pt");
    Module::from_source::<&str>("def forward(self, x):\n    return torch.relu(x)\n", &[])
        .expect("the source compiles")
        .to_cmodule()
        .save(&plain)
        .expect("it is written");
    let (served, said) = serves(&program, &plain);
    assert!(!served && said.contains("0 engines are ready; they did not serve"), "{said}");

    // The same by CMake, where there is one.
    let build = folder.path("build");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(&example).arg("-B").arg(&build);
    configure.arg(format!("-DTORCH={}", torch.display())).arg(format!("-DTCH_TRT={}", library.display()));
    let Ok(configured) = configure.output() else { return eprintln!("not run: there is no cmake") };
    assert!(configured.status.success(), "{}", String::from_utf8_lossy(&configured.stderr));
    let built = Command::new("cmake").arg("--build").arg(&build).output().expect("it ran before");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (served, said) = serves(&format!("{build}/serve"), &model);
    assert!(served, "{said}");
}
