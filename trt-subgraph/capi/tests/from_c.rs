//! A C program on the header and the shared library.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use trt_subgraph::backend::Backend;
use trt_subgraph::backend::cpu::Cpu;
use trt_subgraph::network::Network;
use trt_subgraph::plan::{Plan, Recipe, share, unshare};
use trt_subgraph::{DType, Literal, TensorType};

/// Where cargo puts what it builds for this test.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_path_buf()
}

/// Compiles a C program against the header and the library.
fn compile(source: &Path, program: &Path) {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_string());
    let compiled = Command::new(compiler)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg(source)
        .arg("-o")
        .arg(program)
        .arg("-L")
        .arg(built())
        .arg("-ltrt_subgraph_c")
        .arg(format!("-Wl,-rpath,{}", built().display()))
        .status()
        .unwrap();
    assert!(compiled.success());
}

#[test]
fn the_program_of_the_guide_runs() {
    let guide = include_str!("../../../docs/serving.md");
    let (_, rest) = guide.split_once("```c\n").expect("the guide has a program");
    let code = rest.split("```").next().unwrap();
    let network = Network::parse("input %x: f32[3]\n%y = pointwise(%x) { i0 + 2:f32 }\noutput %y").unwrap();
    let folder = std::env::temp_dir().join(format!("trt-guide-c-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program, plan) = (folder.join("caller.c"), folder.join("caller"), folder.join("model.plan"));
    std::fs::write(&source, code).unwrap();
    Recipe::new(&network, &Vec::<Literal>::new()).inputs(["x"]).outputs(["y"]).save(&plan).unwrap();
    compile(&source, &program);
    let ran = |words: &[&Path]| Command::new(&program).args(words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran(&[&plan]).stdout), "y: begins with 2, 12 bytes\n");
    let lost = ran(&[Path::new("no/such.plan")]);
    assert!(!lost.status.success() && String::from_utf8_lossy(&lost.stderr).contains("no/such.plan"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_c_program_runs_a_plan() {
    let text = "input %x: f32[2,3]\nparam \"w\": f32[3]\n%w: f32[3] = parameter 0\n%y = pointwise(%x, %w) { i0 * i1 + 1:f32 }\n\
                %v, %p = topk(%y) axis=1 k=1\noutput %y, %p";
    let network = Network::parse(text).unwrap();
    let weights = vec![Literal::from_f64(TensorType::new(DType::F32, [3]), [1.0, 2.0, 3.0]).unwrap()];
    let folder = std::env::temp_dir().join(format!("trt-from-c-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, program) = (folder.join("small.plan"), folder.join("caller"));
    Recipe::new(&network, &weights).inputs(["x"]).outputs(["y", "place"]).save(&file).unwrap();
    let name = format!("from-c-{}", std::process::id());
    share(&name, &Plan::open(&file).unwrap(), 0o600).unwrap();

    compile(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/caller.c"), &program);
    for backend in ["reference", "cpu"] {
        if backend == "cpu" && Cpu.probe().is_err() {
            continue;
        }
        let ran = Command::new(&program).arg(&file).arg(backend).arg(format!("shm:{name}")).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && ran.stdout == b"all holds\n", "{backend}: {said}");
    }
    unshare(&name).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The header declares every function of the library, and the library has every function of the header.
#[test]
fn the_header_is_the_library() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = std::fs::read_to_string(here.join("include/trt_subgraph.h")).unwrap();
    let code = header.split("*/").filter_map(|part| part.split("/*").next()).collect::<String>();
    let words = |text: &str| -> Vec<String> {
        let letters = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let mut all: Vec<String> = text
            .split_inclusive('(')
            .filter(|part| part.ends_with('('))
            .filter_map(|part| part.trim_end_matches('(').split(letters).next_back())
            .filter(|word| word.starts_with("trt_"))
            .map(str::to_string)
            .collect();
        all.sort();
        all
    };
    let listed = Command::new("nm").arg("-D").arg(built().join("libtrt_subgraph_c.so")).output().unwrap();
    let mut exported: Vec<String> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split(" T ").nth(1))
        .filter(|name| name.starts_with("trt_"))
        .map(str::to_string)
        .collect();
    exported.sort();
    assert!(exported.len() > 15);
    assert_eq!(words(&code), exported);
}
