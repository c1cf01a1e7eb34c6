//! The house's walls: the partitioner and the compiler know neither the framework nor each other.

use std::collections::{BTreeMap, BTreeSet};

/// Everything a package reaches, on any platform, through normal, build and test dependencies: what the lock file says.
/// Versions of one package count as one.
fn reached(package: &str) -> BTreeSet<&'static str> {
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in include_str!("../Cargo.lock").split("[[package]]").skip(1) {
        let quoted = |line: &'static str| line.split('"').nth(1).expect("a quoted text");
        let name =
            entry.lines().find(|l| l.starts_with("name = ")).map(quoted).expect("a package has a name");
        let list = entry.split_once("dependencies = [").map_or("", |(_, list)| list);
        let list = list.lines().filter(|l| l.contains('"')).map(quoted);
        needs.entry(name).or_default().extend(list.filter_map(|need| need.split(' ').next()));
    }
    let (mut found, mut todo) = (BTreeSet::new(), vec![package]);
    while let Some(name) = todo.pop() {
        let (name, list) =
            needs.get_key_value(name).unwrap_or_else(|| panic!("{name} is not in the lock file"));
        if found.insert(*name) {
            todo.extend(list);
        }
    }
    found
}

#[test]
fn the_compiler_and_the_partitioner_stand_alone() {
    for (package, other) in [("trt-subgraph", "partitioner"), ("partitioner", "trt-subgraph")] {
        let names = reached(package);
        assert!(names.contains("petgraph") == (package == "partitioner"), "{names:?}");
        for forbidden in ["tch", "torch-sys", "tch-bridge", "cxx", other] {
            assert!(!names.contains(forbidden), "{package} reaches {forbidden}");
        }
    }
}

#[test]
fn plans_run_without_a_framework() {
    for package in ["plan_only", "googlenet_deploy", "trt-subgraph-c", "trt-tool"] {
        let names = reached(package);
        assert!(names.contains("trt-subgraph"), "{names:?}");
        for forbidden in ["tch", "torch-sys", "tch-bridge", "cxx"] {
            assert!(!names.contains(forbidden), "{package} reaches {forbidden}");
        }
    }
}

#[test]
fn the_bridge_joins_them() {
    let names = reached("tch-bridge");
    assert!(["partitioner", "trt-subgraph"].iter().all(|p| names.contains(p)), "{names:?}");
}
