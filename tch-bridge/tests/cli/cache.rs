//! `tch-trt cache`.

use super::Folder;
use serde_json::Value;
use std::process::Command;
use trt_subgraph::cache::Cache;

fn tool(folder: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-trt"));
    let output = command.arg("cache").args(arguments).arg("--json").env("TRT_CACHE_DIR", folder).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the commands print, of a cache that has something and of none.
pub(crate) fn documents(folder: &Folder) -> Vec<Value> {
    let path = folder.path("cache");
    let cache = Cache::new(&path, u64::MAX);
    (0..3u8).for_each(|n| cache.put("kernels", &[n], &[n; 100]));
    vec![tool(&path, &["list"]), tool(&path, &["clear"]), tool("off", &["list"])]
}

#[test]
fn entries_are_listed_and_removed() {
    let folder = Folder::new();
    let path = folder.path("cache");
    let cache = Cache::new(&path, u64::MAX);
    (0..3u8).for_each(|n| cache.put("kernels", &[n], &vec![n; 1 << 20]));
    let listed = tool(&path, &["list"]);
    assert_eq!((listed["entries"].as_array().unwrap().len(), &listed["folder"]), (3, &path.as_str().into()));
    assert!(listed["bytes"].as_u64().unwrap() > 3 << 20);
    assert_eq!(tool(&path, &["prune"])["entries"].as_array().unwrap().len(), 0);
    assert_eq!(tool(&path, &["prune", "--to", "2"])["entries"].as_array().unwrap().len(), 2);
    assert_eq!(tool(&path, &["list"])["entries"].as_array().unwrap().len(), 1);
    assert_eq!(tool(&path, &["clear"])["entries"].as_array().unwrap().len(), 1);
    let nothing = tool("off", &["list"]);
    assert!(nothing["folder"].is_null() && nothing["entries"].as_array().unwrap().is_empty());
}
