//! Names the state of this crate's sources, so that what one build saved of its engines is never taken for another's, and the
//! oneDNN that programs of this build look for last.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=src");
    let mut files = Vec::new();
    gather(Path::new("src"), &mut files);
    files.sort();
    // FNV-1a, 64 bits.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for file in files {
        let text = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for byte in file.as_os_str().as_encoded_bytes().iter().chain(&text) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=TRT_SUBGRAPH_SOURCES={hash:016x}");
    if let Some(path) = onednn() {
        println!("cargo::rustc-env=TRT_SUBGRAPH_ONEDNN={}", path.display());
    }
}

/// The library that the environment names, else the one that the set-up put beside this project's sources, whoever builds them.
fn onednn() -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed=TRT_ONEDNN_LIBRARY");
    if let Some(named) = env::var_os("TRT_ONEDNN_LIBRARY").filter(|v| !v.is_empty()) {
        return Some(named.into());
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let private = project.join(".venv/onednn/libdnnl.so.3");
    private.exists().then_some(private)
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path();
        if path.is_dir() { gather(&path, files) } else { files.push(path) }
    }
}
