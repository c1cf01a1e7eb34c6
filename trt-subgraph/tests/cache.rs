//! Processes that write to one cache are killed at any time: what others read then is what somebody wrote, or nothing.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use trt_subgraph::Random;
use trt_subgraph::cache::Cache;

/// Names the folder for a child.
const FOLDER: &str = "TRT_TEST_CACHE";
/// Keys of all processes, and the bytes of the largest value.
const KEYS: u8 = 16;
const LARGEST: u64 = 1 << 20;

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What is kept under a key: its length and every byte follow from the key.
fn value(key: u8) -> Vec<u8> {
    vec![key ^ 0x5a; (LARGEST / u64::from(KEYS)) as usize * (usize::from(key) + 1)]
}

fn cache(folder: &str) -> Cache {
    Cache::new(folder, 8 * LARGEST)
}

#[test]
#[ignore = "the child of `killed_writers_lose_nothing`"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (cache, mut random) = (cache(&folder), Random::new(std::process::id().into()));
    loop {
        let key = (random.bits() % u64::from(KEYS)) as u8;
        cache.put("kernels", &[key], &value(key));
    }
}

fn writer(folder: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_writers_lose_nothing() {
    let folder = Folder(std::env::temp_dir().join(format!("trt-killed-{}", std::process::id())));
    let name = folder.0.display().to_string();
    let (cache, mut random, mut found) = (cache(&name), Random::new(1), 0);
    for _ in 0..12 {
        let mut writers = [writer(&name), writer(&name)];
        std::thread::sleep(Duration::from_millis(20 + random.bits() % 120));
        for writer in &mut writers {
            writer.kill().unwrap();
            writer.wait().unwrap();
        }
        for key in 0..KEYS {
            if let Some(bytes) = cache.get("kernels", &[key]) {
                assert!(bytes[..] == value(key)[..], "key {key} has another value");
                found += 1;
            }
        }
    }
    assert!(found > 0, "nobody wrote anything");
    assert!(cache.list().iter().map(|e| e.bytes).sum::<u64>() <= 9 * LARGEST);
    // What killed writers left is nobody's, and makes way for a writer of the same key.
    for key in 0..KEYS {
        cache.put("kernels", &[key], &value(key));
        assert!(cache.get("kernels", &[key]).is_some_and(|b| b[..] == value(key)[..]));
    }
}
