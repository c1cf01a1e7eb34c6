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
    let unfit = folder.path("no folder");
    std::fs::write(&unfit, "").unwrap();
    let listed = [&path, "off", &unfit].map(|folder| tool(folder, &["list"]));
    listed.into_iter().chain([tool(&path, &["clear"])]).collect()
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
    assert!(nothing["note"].is_null(), "it was asked for");
}

#[test]
fn what_stands_in_the_place_of_the_folder_is_told() {
    let folder = Folder::new();
    let (file, looped, nowhere) = (folder.path("file"), folder.path("loop"), folder.path("nowhere"));
    std::fs::write(&file, "").unwrap();
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    std::os::unix::fs::symlink(folder.path("none"), &nowhere).unwrap();
    for unfit in [&file, &format!("{file}/below"), &looped, &nowhere, "/proc/no/such"] {
        let found = tool(unfit, &["list"]);
        let note = found["note"].as_str().unwrap();
        assert!(
            found["folder"].is_null() && note.starts_with(&format!("nothing can be kept in {unfit}: ")),
            "{found}"
        );
    }
    assert_eq!(tool(&folder.path("to be made"), &["list"])["note"], Value::Null);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tch-trt"));
    for name in ["TRT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"] {
        command.env_remove(name);
    }
    let said = String::from_utf8(command.args(["cache", "list"]).output().unwrap().stdout).unwrap();
    assert!(said.contains("neither TRT_CACHE_DIR nor HOME says where"), "{said}");
}

/// Looked at where mounting is allowed: permissions alone hold no superuser.
#[test]
fn what_stays_is_no_removal() {
    let folder = Folder::new();
    let path = folder.path("cache");
    Cache::new(&path, u64::MAX).put("kernels", b"key", b"value");
    let program = env!("CARGO_BIN_EXE_tch-trt");
    let script = format!(
        "mount --bind '{path}' '{path}' && mount -o remount,ro,bind '{path}' || exit 77; '{program}' cache clear; echo $?; '{program}' cache list"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env("TRT_CACHE_DIR", &path);
    let Ok(output) = command.output() else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    if said.is_empty() {
        return; // Mounting is not allowed here.
    }
    assert!(
        said.contains("0 entries of 0 B removed") && said.contains("cannot be removed: Read-only"),
        "{said}"
    );
    assert!(said.contains("\n1\n") && said.contains("1 entry of"), "{said}");
}
