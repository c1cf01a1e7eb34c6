//! The program links no framework, and is quick to its first result.

use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_plan_only");

struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).env("TRT_BACKEND", "cpu").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
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
fn the_first_result_comes_soon() {
    let file = File(std::env::temp_dir().join(format!("plan-only-{}.plan", std::process::id())));
    let name = file.0.display().to_string();
    run(&["make", &name]);
    // The machine may be busy with other tests.
    let mut best = f64::MAX;
    for _ in 0..10 {
        let said = run(&[&name, "0"]);
        let (before, after) = said.split_once("first result after ").unwrap();
        assert!(before.contains("probability: f32[16,10]") && before.contains("digit: i64[16,1]"), "{said}");
        best = best.min(after.split_once(" ms").unwrap().0.parse().unwrap());
    }
    println!("first result after {best} ms");
    assert!(best < 20.0, "{best} ms");
    let timed = run(&[&name, "20"]);
    assert!(
        ["a batch takes", "inputs to the device", "two in flight", "engine saved in the plan"]
            .iter()
            .all(|w| timed.contains(w)),
        "{timed}"
    );
}

#[test]
fn what_is_no_plan_is_told() {
    let output = Command::new(PROGRAM).arg(PROGRAM).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let names = [format!("Error: no plan in {PROGRAM}"), "this is not a plan: ".to_string()];
    assert!(!output.status.success() && names.iter().all(|n| errors.contains(n)), "{errors}");
}

#[test]
fn a_file_and_a_number_that_are_none_are_named() {
    for (arguments, words) in [
        (&["no/such.plan"][..], ["no plan in no/such.plan", "No such file"]),
        (&["model.plan", "many"], ["`many` is no number of batches", "usage: plan_only"]),
        (&["a", "b", "c"], ["usage: plan_only", "make FILE"]),
    ] {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
}
