//! The house's walls: the partitioner and the compiler know neither the framework nor each other.

use std::process::Command;

/// Everything a package reaches, on any platform, through normal, build and test dependencies.
fn reached(package: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let tree =
        ["tree", "--offline", "--edges", "all", "--target", "all", "--prefix", "none", "--format", "{p}"];
    let out = Command::new(cargo)
        .args(tree)
        .args(["--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).expect("names are text");
    let mut names: Vec<String> =
        text.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_string).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_compiler_and_the_partitioner_stand_alone() {
    for (package, other) in [("trt-subgraph", "partitioner"), ("partitioner", "trt-subgraph")] {
        let names = reached(package);
        assert!(names.iter().any(|n| n == package), "{names:?}");
        for forbidden in ["tch", "torch-sys", "tch-bridge", "cxx", other] {
            assert!(!names.iter().any(|n| n == forbidden), "{package} reaches {forbidden}");
        }
    }
}

#[test]
fn the_bridge_joins_them() {
    let names = reached("tch-bridge");
    assert!(["partitioner", "trt-subgraph"].iter().all(|p| names.iter().any(|n| n == p)), "{names:?}");
}
