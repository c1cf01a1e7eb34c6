//! What the guides have their readers type names what there is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every page that a reader meets, with its path.
fn pages() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages: Vec<PathBuf> =
        root.join("docs").read_dir().expect("it is there").map(|e| e.expect("it reads").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|e| e == "md"));
    pages.extend(["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|name| root.join(name)));
    let read = |page: PathBuf| (page.clone(), std::fs::read_to_string(page).expect("it is text"));
    pages.into_iter().map(read).collect()
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
}

/// What cargo makes here: its kind (`package`, `test`, `example`) before its name.
fn made_here() -> BTreeSet<String> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let mut made = BTreeSet::new();
    for package in all["packages"].as_array().expect("there are packages") {
        made.insert(format!("package {}", package["name"].as_str().expect("it has a name")));
        for target in package["targets"].as_array().expect("it has targets") {
            let kind = target["kind"][0].as_str().expect("it has a kind");
            made.insert(format!("{kind} {}", target["name"].as_str().expect("it has a name")));
        }
    }
    made
}

#[test]
fn every_command_of_cargo_and_make_names_what_there_is() {
    let made = made_here();
    let makefile = include_str!("../../Makefile");
    let mut named = 0;
    for (page, text) in pages() {
        for line in text.lines() {
            let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "`;,()".contains(c)).collect();
            for pair in words.windows(2) {
                let kind = match pair[0] {
                    "-p" | "--package" => "package",
                    "--example" => "example",
                    "--test" => "test",
                    "make" if line.contains("`make ") || line.starts_with("make ") => "make",
                    _ => continue,
                };
                let name = pair[1];
                if name.is_empty() || name.chars().any(|c| c.is_uppercase()) {
                    continue;
                }
                let there = match kind {
                    "make" => makefile.lines().any(|l| l.starts_with(&format!("{name}:"))),
                    _ => made.contains(&format!("{kind} {name}")),
                };
                assert!(there, "{}: there is no {kind} {name}: {line}", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn links_lead_somewhere() {
    for (page, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, _heading) = link.split_once('#').unwrap_or((link, ""));
            let there = file.is_empty() || link.contains("://") || page.with_file_name(file).exists();
            assert!(there, "{}: {link}", page.display());
        }
    }
}

/// The packages that a crate reaches directly whose manifest has this block.
fn resolved(block: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let here = root.canonicalize().expect("it is there").display().to_string();
    let folder = std::env::temp_dir().join(format!("tch-trt-manifest-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("src")).expect("there is room");
    let block = block.replace("../tch-trt", &here);
    assert!(block.contains(&here), "{block}");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("there is room");
    write("Cargo.toml", &format!("[package]\nname = \"reader\"\nedition = \"2024\"\n{block}\n[workspace]\n"));
    write("src/main.rs", "fn main() {}\n");
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).expect("there is room");
    let output = cargo().args(["tree", "--offline", "--depth", "1"]).current_dir(&folder).output();
    let output = output.expect("cargo runs");
    std::fs::remove_dir_all(&folder).expect("it is ours");
    assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

#[test]
fn crates_with_the_dependencies_of_the_guides_resolve() {
    let mut blocks = 0;
    for (page, text) in pages() {
        for block in text.split("```toml\n").skip(1) {
            let (block, _) = block.split_once("```").expect("the block ends");
            let tree = resolved(block);
            for line in block.lines().skip(1) {
                let name = line.split(' ').next().expect("a line has a word");
                assert!(tree.contains(&format!("{name} v")), "{}: {line}\n{tree}", page.display());
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 2, "{blocks}");
}
