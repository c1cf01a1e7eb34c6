//! Compiles the shim in `cpp/` against libtorch and tells dependents where libtorch's libraries are.

use std::env;
use std::path::PathBuf;

fn variable(name: &str) -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var_os(name).map(PathBuf::from)
}

fn main() {
    let root = variable("LIBTORCH").unwrap_or_else(|| PathBuf::from("/usr"));
    let include = variable("LIBTORCH_INCLUDE").unwrap_or_else(|| root.clone()).join("include");
    let lib = variable("LIBTORCH_LIB").unwrap_or(root).join("lib");
    println!("cargo::rerun-if-changed=cpp");
    if !include.join("torch/csrc/jit/api/module.h").exists() {
        println!(
            "cargo::error=libtorch's headers are not under {}: run `make setup`, or set LIBTORCH to the folder of a \
             libtorch 2.11.0",
            include.display()
        );
        std::process::exit(1);
    }
    cxx_build::bridge("src/sys.rs")
        .file("cpp/all.cpp")
        .std("c++17")
        .opt_level(2)
        .flag("-isystem")
        .flag(&include)
        .flag("-Wall")
        .flag("-Wextra")
        .cargo_metadata(false)
        .compile("tch_trt_shim");
    // The operators register themselves when their object is linked, whether or not something names a symbol of it.
    println!("cargo::rustc-link-search=native={}", env::var("OUT_DIR").unwrap_or_default());
    println!("cargo::rustc-link-lib=static:+whole-archive=tch_trt_shim");
    println!("cargo::rustc-link-search=native={}", lib.display());
    for name in ["torch", "torch_cpu", "c10"] {
        println!("cargo::rustc-link-lib={name}");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo::metadata=rpath={}", lib.display());
}
