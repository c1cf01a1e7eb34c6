//! The programs themselves, on little data; each checks its answers itself, and ends with exit code 1 when they are not the host's.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A file of this process alone, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("programs-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("there is room");
        Scratch(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("its name is plain")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Runs an example of this package, which cargo builds with the tests of a workspace, beside this program.
fn run(name: &str, arguments: &[&str]) -> Output {
    let tests = std::env::current_exe().expect("the test is a program");
    let target = tests.ancestors().nth(2).expect("it lies in target/PROFILE/deps");
    let program = target.join("examples").join(name);
    assert!(program.exists(), "`cargo build --workspace --example {name}` comes first");
    // One thread: tests run side by side.
    let mut command = Command::new(program);
    command.args(arguments).env("TRT_BACKEND", "cpu").env("OMP_NUM_THREADS", "1");
    command.output().expect("it is a program")
}

fn succeed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let said = String::from_utf8(output.stdout).expect("it writes text");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn workers_recommend_what_the_host_does() {
    // Users 1 to 60 rate every fourth of 120 items, high where both numbers leave the same rest.
    let rating = |user: usize, item: usize| {
        let stars = if user % 3 == item % 3 { 5 } else { 1 + (user + item) % 3 };
        format!("{user}::{item}::{stars}::978300760\n")
    };
    let of = |user: usize| (0..30).map(move |i| rating(user, 1000 + i * 4 + user % 4));
    let file = Scratch::new("ratings.dat", &(1..=60).flat_map(of).collect::<String>());
    let said = succeed("movielens_mlp", &[file.path()]);
    assert!(said.contains("60 users, 120 items, 1620 ratings to train with, 180 held out"), "{said}");
    assert_eq!(said.matches("us a batch").count(), 3, "{said}");
    assert!(said.contains("all recommend what the host does"), "{said}");
}

#[test]
fn engines_write_the_text_of_the_host() {
    let verses = "the fox jumps over the dog; the dog sleeps under the fox, and so on.\n".repeat(80);
    let file = Scratch::new("verses.txt", &verses);
    let said = succeed("char_rnn", &[file.path()]);
    assert!(said.contains("4968 characters to train with"), "{said}");
    assert!(said.contains("from TorchScript") && said.contains("all three wrote the same text"), "{said}");
}

#[test]
fn googlenet_is_fused_and_saved() {
    let folder = std::env::temp_dir().join(format!("programs-{}-googlenet", std::process::id()));
    let said = succeed("googlenet", &["--folder", folder.to_str().expect("its name is plain"), "1"]);
    // Nine blocks, each with three convolutions that become one.
    let convolutions = |stage: &str| -> Option<usize> {
        said.lines().find(|l| l.starts_with(stage))?.split_whitespace().last()?.parse().ok()
    };
    let found = ["as defined", "fused vertically", "and horizontally"].map(convolutions);
    assert_eq!(found, [Some(57), Some(57), Some(57 - 9 * 2)], "{said}");
    assert!(said.contains("1 of 1"), "{said}");
    for kind in ["plan", "image", "probability"] {
        assert!(folder.join(format!("batch-1.{kind}")).exists(), "{kind}");
    }
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn yolox_finds_the_boxes_of_the_host() {
    let said = succeed("yolox", &["--side", "96"]);
    assert!(said.contains("25.3 million weights") && said.contains("1 engine"), "{said}");
    let boxes = |name: &str| -> Option<usize> {
        said.lines()
            .find(|l| l.starts_with(name) && l.ends_with('s'))?
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    assert!(boxes("host ") > Some(10) && boxes("host ") == boxes("engines "), "{said}");
    assert!(said.contains("error against float64"), "{said}");
}

#[test]
fn a_file_that_is_none_is_named() {
    let file = Scratch::new("bad.dat", "1::2::3::4\nhello\n");
    let output = run("movielens_mlp", &[file.path()]);
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(!output.status.success() && errors.contains("bad.dat, line 2: expected user::item"), "{errors}");
    let output = run("char_rnn", &["no/such.txt"]);
    let errors = String::from_utf8_lossy(&output.stderr).to_string();
    assert!(!output.status.success() && errors.contains("no/such.txt"), "{errors}");
}
