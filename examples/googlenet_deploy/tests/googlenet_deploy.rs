//! The program links no framework, and its answers are checked: with a small network in GoogLeNet's place.

use std::path::PathBuf;
use std::process::{Command, Output};
use trt_subgraph::backend::CompileOptions;
use trt_subgraph::backend::reference::Reference;
use trt_subgraph::define::Definition;
use trt_subgraph::session::Session;
use trt_subgraph::{DType, Random, TensorType};

const PROGRAM: &str = env!("CARGO_BIN_EXE_googlenet_deploy");

/// A folder of this process alone, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("googlenet-deploy-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// What the build phase leaves for a batch: `image[batch, 6]` to `probability[batch, 4]`.
    fn fill(&self, batch: usize) {
        let mut random = Random::new(batch as u64);
        let mut n = Definition::new();
        let image = n.input("image", DType::F32, &[batch, 6]).unwrap();
        let weight = n.weight("weight", random.literal(TensorType::new(DType::F32, [4, 6]))).unwrap();
        let scores = n.fully_connected(image, weight, None).unwrap();
        let probability = n.softmax(scores, 1).unwrap();
        n.output("probability", probability).unwrap();
        let plan = n.build(&Reference, &CompileOptions::default()).unwrap();
        let mut session = Session::new(&plan, &Reference, plan.options()).unwrap();
        let image = random.literal(plan.inputs()[0].ty.clone());
        session.set("image", &image).unwrap();
        session.run().unwrap();
        let file = |kind: &str| self.0.join(format!("batch-{batch}.{kind}"));
        plan.save(file("plan")).unwrap();
        std::fs::write(file("image"), image.bytes()).unwrap();
        std::fs::write(file("probability"), session.output("probability").unwrap()).unwrap();
    }

    fn run(&self) -> Output {
        Command::new(PROGRAM).arg(&self.0).env("TRT_BACKEND", "cpu").output().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn no_framework_is_linked() {
    let output = Command::new("ldd").arg(PROGRAM).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    // Their names: addresses, which stand behind, may have c10 in them.
    let libraries: String = said.lines().filter_map(|line| line.split(" (0x").next()).collect();
    assert!(libraries.contains("libc.so"), "{said}");
    for framework in ["torch", "c10", "cuda", "cudnn", "stdc++"] {
        assert!(!libraries.contains(framework), "{libraries}");
    }
}

#[test]
fn batches_are_measured_and_drawn() {
    let folder = Folder::new("good");
    for batch in [1, 12, 3] {
        folder.fill(batch);
    }
    let output = folder.run();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let batches: Vec<&str> = said
        .lines()
        .filter_map(|l| l.split_whitespace().next().filter(|w| w.parse::<usize>().is_ok()))
        .collect();
    assert_eq!(batches, ["1", "3", "12"], "{said}");
    for plot in ["latency.svg", "throughput.svg"] {
        assert!(std::fs::read_to_string(folder.0.join(plot)).unwrap().contains("one session"));
    }
}

#[test]
fn another_answer_is_told() {
    let folder = Folder::new("bad");
    folder.fill(2);
    let expected = folder.0.join("batch-2.probability");
    let mut bytes = std::fs::read(&expected).unwrap();
    bytes[..4].copy_from_slice(&2.0f32.to_ne_bytes());
    std::fs::write(&expected, bytes).unwrap();
    let output = folder.run();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("batch 2: the answer differs"), "{errors}");
}

#[test]
fn a_folder_without_plans_is_told() {
    let folder = Folder::new("empty");
    let output = folder.run();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("--example googlenet"), "{errors}");
}
