//! The program where there is nothing but the program: plans run, and all else says what it needs.

use super::plan::{inputs, saved};
use super::{Folder, said};
use std::process::Command;

#[test]
fn plans_need_the_program_alone() {
    let folder = Folder::new();
    let program = folder.path("tch-trt");
    std::fs::copy(env!("CARGO_BIN_EXE_tch-trt"), &program).unwrap();
    let run = |arguments: &[&str]| Command::new(&program).args(arguments).output().unwrap();
    let (plan, (_, given)) = (saved(&folder), inputs(&folder));
    let out = folder.path("out.npz");
    let ran = run(&["plan", "run", &plan, "--inputs", &given, "-o", &out]);
    assert!(ran.status.success() && said(&ran.stdout).contains("twice"), "{ran:?}");
    assert_eq!(tch::Tensor::read_npz(&out).unwrap().len(), 2);
    let refused = run(&["inspect", "model.pt", "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused.stdout).contains("libtch_trt.so, which is not beside this program"), "{refused:?}");
    std::fs::write(folder.path("libtch_trt.so"), "no library").unwrap();
    let refused = run(&["--help"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = "libtch_trt.so: file too short; all commands but `plan` need libtorch";
    assert!(said(&refused.stderr).contains(words), "{refused:?}");
}
