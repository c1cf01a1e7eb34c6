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
    assert!(said(&run(&["--version"]).stdout).starts_with("tch-trt 0."));
    let refused = run(&["inspect", "model.pt", "--json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused.stdout).contains("libtch_trt.so is not beside this program"), "{refused:?}");
    // A library that is none, and one that is cut short.
    let whole = std::fs::read(&program).unwrap();
    for bytes in [&b"no library"[..], &whole[..whole.len() / 2]] {
        std::fs::write(folder.path("libtch_trt.so"), bytes).unwrap();
        let refused = run(&["--help"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused.stderr).contains("libtch_trt.so: the file is cut short"), "{refused:?}");
    }
    std::fs::write(folder.path("libtch_trt.so"), &whole).unwrap();
    let refused = run(&["env"]);
    assert!(said(&refused.stderr).contains("copy or build it again"), "{refused:?}");
}

#[test]
fn a_failure_that_nobody_hears_keeps_its_status() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [["plan", "info", "none.plan", "--json"], ["inspect", "none.pt", "-i", "3"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tch-trt"));
        let ran = command.args(arguments).stderr(full()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{ran:?}");
        assert_eq!(said(&ran.stdout).contains("No such file"), arguments[0] == "plan");
    }
}
